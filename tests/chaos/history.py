"""What a run left behind: what was accepted, what the database says, and what the platform saw."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import psycopg

from services.notifier.domain.content import reference

Recipient = tuple[str, str, str]
"""Channel, kind, id."""


@dataclass(frozen=True)
class Delivery:
    """A delivery's row."""

    id: str
    event_id: str
    channel: str
    priority: int
    status: str
    reason: str
    attempt_no: int


@dataclass(frozen=True)
class Attempt:
    """An attempt's row."""

    delivery_id: str
    number: int
    epoch: int
    state: str
    owner: str
    detail: str
    started_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True)
class Post:
    """A send the platform was asked for: its place in the request log, its text, and the answer."""

    number: int
    at: str
    robot: bool
    text: str
    errcode: int | None


@dataclass
class History:
    """Everything the checker looks at."""

    accepted: dict[str, frozenset[Recipient]] = field(default_factory=dict)
    """By id: events whose acceptance was confirmed to the publisher, and whom each must reach."""

    recorded: set[str] = field(default_factory=set)
    """Events in the inbox."""

    deliveries: dict[str, Delivery] = field(default_factory=dict)
    recipients: dict[str, list[Recipient]] = field(default_factory=lambda: defaultdict(list))
    attempts: dict[str, list[Attempt]] = field(default_factory=lambda: defaultdict(list))
    unpublished: int = 0
    """Events that still wait in the outbox."""

    parked: list[str] = field(default_factory=list)
    """Dead letters: reason and event."""

    posts: dict[str, list[Post]] = field(default_factory=lambda: defaultdict(list))
    """By delivery."""

    strays: list[Post] = field(default_factory=list)
    """Posts of no delivery."""

    arrivals: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How often each delivery was shown to each receiver."""

    log: list[str] = field(default_factory=list)
    """What the run did, with times: starts, kills."""

    def tell(self, delivery_id: str) -> str:
        """The slice of history that concerns one delivery."""
        lines = [str(self.deliveries.get(delivery_id, f"no delivery {delivery_id}"))]
        lines += [str(one) for one in self.attempts.get(delivery_id, ())]
        lines += [str(one) for one in self.posts.get(delivery_id, ())]
        return "\n    ".join(lines + self.log)


# --- The database -----------------------------------------------------------------------------------------


class Rows(Protocol):
    """Answers a query with rows."""

    def __call__(self, query: str) -> Sequence[tuple[Any, ...]]:
        """All of them."""
        ...


def rows_of_home(home: Path) -> Rows:
    """The embedded database under *home*, whoever writes it meanwhile."""

    def ask(query: str) -> Sequence[tuple[Any, ...]]:
        connection = sqlite3.connect(f"file:{home}/notifier.db?mode=ro", uri=True, timeout=10)
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()

    return ask


def rows_of_server(url: str) -> Rows:
    """The notifier's schema in a PostgreSQL database."""

    def ask(query: str) -> Sequence[tuple[Any, ...]]:
        with psycopg.connect(url, options="-c search_path=notifier") as connection:
            return connection.execute(query.encode()).fetchall()

    return ask


def open_work(ask: Rows) -> dict[str, int]:
    """What is not over yet, by kind; empty at rest."""
    counts = {
        "deliveries": "SELECT count(*) FROM delivery WHERE status IN ('pending', 'deferred', 'sending')",
        "attempts": "SELECT count(*) FROM attempt WHERE state = 'started'",
        "outbox": "SELECT count(*) FROM outbox WHERE state = 'pending'",
    }
    found = {name: int(ask(query)[0][0]) for name, query in counts.items()}
    return {name: count for name, count in found.items() if count}


def read_database(history: History, ask: Rows) -> None:
    """Fill in what the database says."""
    history.recorded = {row[0] for row in ask("SELECT event_id FROM inbox")}
    history.unpublished = int(ask("SELECT count(*) FROM outbox WHERE state = 'pending'")[0][0])
    history.parked = [f"{row[0]} {row[1]}" for row in ask("SELECT reason, event_id FROM dead_letter")]
    columns = "id, event_id, channel, priority, status, reason, attempt_no"
    for row in ask(f"SELECT {columns} FROM delivery"):
        history.deliveries[row[0]] = Delivery(*row)
    for row in ask("SELECT delivery_id, channel, kind, target FROM recipient"):
        history.recipients[row[0]].append((row[1], row[2], row[3]))
    columns = "delivery_id, attempt_no, epoch, state, owner, detail, started_at, finished_at"
    for row in ask(f"SELECT {columns} FROM attempt ORDER BY delivery_id, attempt_no"):
        made = Attempt(*row[:6], _instant(row[6]), None if row[7] is None else _instant(row[7]))
        history.attempts[row[0]].append(made)


def _instant(value: str | datetime) -> datetime:
    at = datetime.fromisoformat(value) if isinstance(value, str) else value
    return at.astimezone(UTC)


# --- The platform -----------------------------------------------------------------------------------------


def read_platform(
    history: History, calls: Iterable[Mapping[str, Any]], messages: Iterable[Mapping[str, Any]]
) -> None:
    """Match the sandbox's request log and arrivals to deliveries: by the event's word in the text, then by the
    reference line (an app's message has one; a robot's delivery is the only one of its event)."""
    by_reference = {(one.event_id, reference(one.id)): one.id for one in history.deliveries.values()}
    by_robot = {
        one.event_id: one.id for one in history.deliveries.values() if one.channel.startswith("robot:")
    }

    def owner(text: str, *, robot: bool) -> str | None:
        word = token_in(text)
        return by_robot.get(word) if robot else by_reference.get((word, text.rpartition("\n")[2]))

    for call in calls:
        if call["path"] not in ("/cgi-bin/message/send", "/cgi-bin/webhook/send"):
            continue
        robot = call["path"].endswith("webhook/send")
        post = Post(call["number"], call["at"], robot, _text(call["body"]), call["errcode"])
        found = owner(post.text, robot=robot)
        if found is None:
            history.strays.append(post)
        else:
            history.posts[found].append(post)
    for message in messages:
        text = str(message["content"].get("content", ""))
        found = owner(text, robot=message["kind"] == "robot")
        if found is not None:
            history.arrivals[found, str(message["to"])] += 1


def _text(body: Any) -> str:
    kind = body.get("msgtype") if isinstance(body, dict) else None
    if kind in ("text", "markdown"):
        return str(body[kind]["content"])
    return json.dumps(body, ensure_ascii=False)


TOKEN = "evt"
"""How an event's word in a text begins; it ends at the first character that is no letter and no digit."""


def token_in(text: str) -> str:
    """The event id a text carries, or ``""``."""
    start = text.find(TOKEN)
    if start < 0:
        return ""
    end = start
    while end < len(text) and text[end].isalnum() and text[end].isascii():
        end += 1
    return text[start:end]
