"""What arrived and what was asked: two bounded rings and totals that outlive them."""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl

import orjson

from sandbox.clock import rfc3339
from sandbox.ring import Ring
from sandbox.wakeup import Signal

Kind = Literal["user", "robot", "party", "tag", "all", "customer", "group"]
SECRET_PARAMETERS = frozenset({"access_token", "corpsecret", "key", "suite_access_token", "provider_secret"})


@dataclass(slots=True)
class Message:
    """One accepted send; its arrivals share it. `content` is what the reader gets to see, after cutting."""

    msgid: str
    msgtype: str
    content: dict[str, object]
    sender: str
    agentid: int | None
    corp_id: str
    received_at: float
    request_number: int
    mentions: tuple[str, ...] = ()
    secret: str = ""  # whose message it is, for recall; never shown
    recalled_at: float | None = None


@dataclass(slots=True)
class Arrival:
    """A message at one receiver: a person, a robot's group, a customer or their group, or a department, tag or everyone not declared."""

    number: int
    kind: Kind
    to: str
    name: str
    message: Message
    dropped: bool
    changed: dict[str, object] | None = None
    """What this reader sees of a card since it was updated."""

    @property
    def content(self) -> dict[str, object]:
        """What this reader sees."""
        return self.message.content if self.changed is None else self.changed

    def view(self) -> dict[str, object]:
        """As `GET /sandbox/messages` shows it."""
        message = self.message
        return {
            "number": self.number,
            "kind": self.kind,
            "to": self.to,
            "name": self.name,
            "dropped": self.dropped,
            "msgid": message.msgid,
            "msgtype": message.msgtype,
            "content": self.content,
            "mentions": message.mentions,
            "sender": message.sender,
            "agentid": message.agentid,
            "corp_id": message.corp_id,
            "received_at": rfc3339(message.received_at),
            "recalled_at": None if message.recalled_at is None else rfc3339(message.recalled_at),
            "request_number": message.request_number,
        }


@dataclass(slots=True)
class CallRecord:
    """One API call. `http_status` is None while it is unanswered, and stays so when it never was.

    `client_left`: it was left without an answer until the client closed the connection.
    """

    number: int
    at: float
    method: str
    path: str
    query: str
    body: bytes
    body_size: int
    content_type: str
    traceparent: str
    client: str
    host: str
    """Where the caller believes the API to be."""
    errcode: int | str | None = None
    http_status: int | None = None
    fault: str | None = None
    client_left: bool = False

    def view(self) -> dict[str, object]:
        """As `GET /sandbox/requests` shows it: secrets masked, the body parsed where it is JSON."""
        return {
            "number": self.number,
            "at": rfc3339(self.at),
            "method": self.method,
            "path": self.path,
            "query": {
                name: mask(name, value) for name, value in parse_qsl(self.query, keep_blank_values=True)
            },
            "body": self._body(),
            "body_bytes": self.body_size,
            "body_cut": self.body_size > len(self.body),
            "content_type": self.content_type,
            "traceparent": self.traceparent or None,
            "client": self.client,
            "errcode": self.errcode,
            "http_status": self.http_status,
            "fault": self.fault,
            "client_left": self.client_left,
        }

    def _body(self) -> object:
        if not self.body:
            return None
        if self.content_type.startswith("multipart/"):
            return f"({self.body_size} bytes of {self.content_type.partition(';')[0]})"
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return self.body.decode("utf-8", "replace")


def mask(name: str, value: str) -> str:
    """The value of a query parameter as it may be shown: of a secret, four characters at most."""
    if name not in SECRET_PARAMETERS or not value:
        return value
    return (value[:4] if len(value) > 8 else "") + "***"


class Journal:
    """Rings of arrivals and calls. Totals count everything since the last reset, kept or forgotten."""

    def __init__(self, messages_kept: int, requests_kept: int) -> None:
        self.arrivals: Ring[Arrival] = Ring(messages_kept)
        self.calls: Ring[CallRecord] = Ring(requests_kept)
        self.arrived = Signal()
        self._messages_kept = messages_kept
        self.clear()

    def clear(self) -> None:
        """Forget calls, arrivals and totals; the numbering goes on."""
        self.arrivals.clear()
        self.calls.clear()
        self._messages: dict[str, Message] = {}
        self.updated: deque[Arrival] = deque(maxlen=200)  # newest last
        self.recalled: deque[str] = deque(maxlen=200)  # msgids, newest last
        self.answers: Counter[tuple[str, str]] = Counter()
        self.statuses: Counter[str] = Counter()
        self.totals: Counter[str] = Counter()
        self.sends_by_day: Counter[tuple[str, int, str]] = Counter()

    def remember(self, message: Message) -> None:
        """Make an accepted send known to recall."""
        self._messages[message.msgid] = message
        if len(self._messages) > self._messages_kept:
            del self._messages[next(iter(self._messages))]

    def message(self, msgid: str) -> Message | None:
        """The accepted send of this id, unless forgotten."""
        return self._messages.get(msgid)

    def card(self, task_id: str) -> Message | None:
        """The newest accepted card of this task id, unless forgotten."""
        cards = (one for one in reversed(self._messages.values()) if one.msgtype == "template_card")
        return next((one for one in cards if one.content.get("task_id") == task_id), None)

    def change(self, arrival: Arrival, content: dict[str, object]) -> None:
        """Let a reader's card look different."""
        arrival.changed = content
        self.updated.append(arrival)
        self.arrived.send()

    def recall(self, message: Message, at: float) -> None:
        """Take an accepted send back from its readers."""
        message.recalled_at = at
        self.recalled.append(message.msgid)
        self.arrived.send()

    def arrive(self, kind: Kind, to: str, name: str, message: Message, *, dropped: bool = False) -> None:
        """Let a message reach somebody, or vanish on the way when `dropped`."""
        self.totals["dropped" if dropped else "delivered"] += 1
        self.arrivals.append(Arrival(self.arrivals.next_number, kind, to, name, message, dropped))
        self.arrived.send()

    def answered(self, record: CallRecord) -> None:
        """Count a call that is over."""
        self.answers[record.path, "none" if record.errcode is None else str(record.errcode)] += 1
        self.statuses["none" if record.http_status is None else str(record.http_status)] += 1

    def find(self, to: str | None, after: int, since: float | None, dropped: str) -> Iterator[Arrival]:
        """Arrivals in order. `to`: a userid, robot key, chat_id or group name; `dropped`: "no", "also" or "only"."""
        wanted = None if to is None else to.lower()
        for arrival in self.arrivals.after(after):
            if (arrival.dropped and dropped == "no") or (not arrival.dropped and dropped == "only"):
                continue
            if wanted is not None and arrival.to.lower() != wanted and arrival.name.lower() != wanted:
                continue
            if since is not None and arrival.message.received_at < since:
                continue
            yield arrival

    def stats(self) -> dict[str, object]:
        """Totals since the last reset."""
        paths: dict[str, dict[str, int]] = {}
        for (path, errcode), count in sorted(self.answers.items()):
            paths.setdefault(path, {})[errcode] = count
        return {
            "requests": {
                "total": self.totals["requests"],
                "answered": sum(self.answers.values()),
                "by_path": paths,
            },
            "http_status": dict(self.statuses),
            "messages": {
                name: self.totals[name] for name in ("accepted", "delivered", "dropped", "suppressed")
            },
            "faults_applied": self.totals["faults_applied"],
            "kept": {
                "messages": self.arrivals.next_number - self.arrivals.oldest,
                "requests": self.calls.next_number - self.calls.oldest,
            },
        }
