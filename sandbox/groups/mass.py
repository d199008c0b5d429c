"""Mass sends: tasks that an app makes, and owners carry out.

Time passes here when somebody asks: `settle` does what owners have done since, each at its own instant and in order.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from sandbox.clock import rfc3339
from sandbox.directory import Directory
from sandbox.groups.caps import ReceiveCounts
from sandbox.groups.chats import Group, Groups
from sandbox.groups.owners import Owners
from sandbox.journal import Journal, Message
from sandbox.profile import Profile

REMINDERS_A_DAY = 3
_DAY = 86_400
CORP, PERSONAL = 0, 1

Result = Literal["sent", "over_cap", "gone", "not_owner"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one group when the owner pressed send.

    over_cap: it had received what it may (status 3); gone: dismissed, or never was; not_owner: it is somebody else's by now.
    """

    chat_id: str
    result: Result
    at: float


@dataclass(slots=True)
class MassSend:
    """One task. No `chat_ids`: its sender picks the groups. No `creator`: an app has made it by the API."""

    number: int
    msgid: str
    corp_id: str
    sender: str
    chat_ids: tuple[str, ...]
    text: str
    attachments: list[dict[str, object]]
    created_at: float
    request_number: int = 0
    creator: str = ""
    kind: int = CORP
    refused: tuple[str, ...] = ()
    """Groups that were named and could not be served."""
    sent_at: float | None = None
    """When the sender pressed first."""
    cancelled_at: float | None = None
    reminders: list[float] = field(default_factory=list)
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    @property
    def state(self) -> str:
        """waiting, sent or cancelled."""
        if self.cancelled_at is not None:
            return "cancelled"
        return "waiting" if self.sent_at is None else "sent"

    def answered(self) -> list[Outcome]:
        """What the platform tells of: groups that were sent to or are over their cap, and no others."""
        return [one for one in self.outcomes.values() if one.result in ("sent", "over_cap")]

    def content(self) -> dict[str, object]:
        """What a group gets to see."""
        return {"text": self.text, "attachments": self.attachments}

    def view(self) -> dict[str, object]:
        """As `GET /sandbox/mass-sends` shows it: the truth, with every named group in it."""
        named = dict.fromkeys((*self.chat_ids, *self.outcomes))
        return {
            "number": self.number,
            "msgid": self.msgid,
            "state": self.state,
            "sender": self.sender,
            "creator": self.creator or None,
            "create_type": self.kind,
            "text": self.text,
            "attachments": self.attachments,
            "chat_ids": list(self.chat_ids),
            "fail_list": list(self.refused),
            "created_at": rfc3339(self.created_at),
            "sent_at": None if self.sent_at is None else rfc3339(self.sent_at),
            "cancelled_at": None if self.cancelled_at is None else rfc3339(self.cancelled_at),
            "reminded_at": [rfc3339(at) for at in self.reminders],
            "request_number": self.request_number or None,
            "outcomes": [self._row(chat_id) for chat_id in named],
        }

    def _row(self, chat_id: str) -> dict[str, object]:
        outcome = self.outcomes.get(chat_id)
        return {
            "msgid": self.msgid,
            "chat_id": chat_id,
            "sender": self.sender,
            "outcome": "unsent" if outcome is None else outcome.result,
            "at": None if outcome is None else rfc3339(outcome.at),
        }


class MassSends:
    """All tasks, and what owners do about them."""

    def __init__(
        self,
        profile: Profile,
        directory: Directory,
        journal: Journal,
        groups: Groups,
        new_id: Callable[[str], str],
    ) -> None:
        self._directory = directory
        self._journal = journal
        self._groups = groups
        self._new_id = new_id
        self.owners = Owners(profile)
        self.received = ReceiveCounts(profile)
        self.clear()

    def clear(self) -> None:
        """Forget tasks, behaviours and what groups have received."""
        self.owners.clear()
        self.received.clear()
        self._by_id: dict[str, MassSend] = {}
        self._waiting: dict[str, MassSend] = {}

    def get(self, msgid: str) -> MassSend | None:
        """The task of an id."""
        return self._by_id.get(msgid)

    def after(self, number: int) -> Iterator[MassSend]:
        """Those with a greater number, oldest first."""
        return (mass for mass in self._by_id.values() if mass.number > number)

    @property
    def newest(self) -> int:
        """The number of the newest task; 0 without any."""
        return len(self._by_id)

    def waiting(self) -> list[MassSend]:
        """Those that nobody has sent or cancelled, oldest first."""
        return list(self._waiting.values())

    def create(
        self,
        corp_id: str,
        sender: str,
        chat_ids: Sequence[str],
        text: str,
        attachments: list[dict[str, object]],
        now: float,
        *,
        request_number: int = 0,
        creator: str = "",
        kind: int = CORP,
        refused: Sequence[str] = (),
    ) -> MassSend:
        """A new task: its sender is prompted. One who presses at once has pressed when this returns."""
        number, msgid = len(self._by_id) + 1, self._new_id("msg")
        mass = MassSend(
            number, msgid, corp_id, sender, tuple(dict.fromkeys(chat_ids)), text, attachments, now
        )
        mass.request_number, mass.creator, mass.kind = request_number, creator, kind
        mass.refused = tuple(refused)
        self._by_id[msgid] = self._waiting[msgid] = mass
        self._journal.totals["accepted"] += 1
        self._journal.arrived.send()
        self.settle(now)
        return mass

    def settle(self, now: float) -> None:
        """Do what owners have done by themselves until now."""
        due: list[tuple[float, int, MassSend]] = []
        for mass in self._waiting.values():
            at = self.owners.of(mass.sender).presses_at(mass.created_at)
            if at is not None and at <= now:
                due.append((at, mass.number, mass))
        for at, _, mass in sorted(due, key=lambda one: one[:2]):
            self.confirm(mass, at)

    def confirm(self, mass: MassSend, at: float, only: Sequence[str] = ()) -> list[Outcome]:
        """The sender presses send: for these groups only, or for all that are left; what came of each.

        ValueError for a task that was cancelled, or a group that is not of it or was sent to before.
        """
        if mass.cancelled_at is not None:
            raise ValueError(f"the mass send {mass.msgid!r} was cancelled")
        named = mass.chat_ids or self._owned(mass.sender)
        chosen = only or [chat_id for chat_id in named if chat_id not in mass.outcomes]
        for chat_id in chosen:
            if chat_id not in named or chat_id in mass.outcomes:
                raise ValueError(f"{chat_id!r} is not of this mass send, or was sent to before")
        mass.sent_at = at if mass.sent_at is None else mass.sent_at
        self._waiting.pop(mass.msgid, None)
        outcomes = [self._send(mass, chat_id, at) for chat_id in dict.fromkeys(chosen)]
        self._journal.arrived.send()
        return outcomes

    def remind(self, mass: MassSend, now: float) -> bool:
        """Remind its sender; False when they were reminded three times in a day."""
        if sum(at > now - _DAY for at in mass.reminders) >= REMINDERS_A_DAY:
            return False
        mass.reminders.append(now)
        self._journal.arrived.send()
        return True

    def cancel(self, mass: MassSend, now: float) -> None:
        """What is not sent yet never will be."""
        mass.cancelled_at = now
        self._waiting.pop(mass.msgid, None)
        self._journal.arrived.send()

    def _owned(self, userid: str) -> tuple[str, ...]:
        """The groups of an owner who picks all of them."""
        owned = (group for group in self._groups.after(0) if _owns(userid, group))
        return tuple(group.chat_id for group in owned if group.dismissed_at is None and not group.internal)

    def _send(self, mass: MassSend, chat_id: str, at: float) -> Outcome:
        group = self._groups.get(chat_id)
        result: Result = "sent"
        if group is None or group.dismissed_at is not None:
            result = "gone"
        elif not _owns(mass.sender, group):
            result = "not_owner"
        elif not self.received.take(chat_id, at):
            result = "over_cap"
        else:
            self._arrive(mass, group, at)
        outcome = mass.outcomes[chat_id] = Outcome(chat_id, result, at)
        return outcome

    def _arrive(self, mass: MassSend, group: Group, at: float) -> None:
        user = self._directory.user(mass.sender)
        message = Message(
            msgid=mass.msgid,
            msgtype="mass_send",
            content=mass.content(),
            sender=user.name if user is not None and user.name else mass.sender,
            agentid=None,
            corp_id=mass.corp_id,
            received_at=at,
            request_number=mass.request_number,
        )
        self._journal.arrive("group", group.chat_id, group.name or group.chat_id, message)


def _owns(userid: str, group: Group) -> bool:
    return group.owner.lower() == userid.lower()
