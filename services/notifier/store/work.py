"""Deliveries as work: planned, claimed, settled. One statement a table and batch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.domain.content import Content
from services.notifier.domain.digest import Heading
from services.notifier.domain.routing import Role, Target, TargetKind
from services.notifier.pipeline.job import Job
from services.notifier.store import bins
from services.notifier.store.bins import NewItem
from services.notifier.store.tables import SENDING, attempt, delivery, recipient
from shared.db.frozen import Together, frozen
from shared.db.queue import DEFERRED, PENDING, DueQueue, Settlement
from shared.db.rows import insert_rows, pack, rows
from shared.db.types import DialectName, Id, Instant
from shared.values import value_class

GATHERING = "gathering"
"""Beside the words of a delivery that gathers: how they will be headed when it goes."""

SETTLED = ("retries", "refreshes", "resend_mark", "unclear_since", "reason", "updated_at")
"""Columns of its own that a settled delivery brings."""


# What a new row never has: each column that is read from the document costs, on every event.
_NOT_AT_FIRST = (
    "unclear_since",
    "clicked_at",
    "acknowledged_at",
    "acknowledged_by",
    "fallback_of",
    "fallback_step",
)


def _columns(table: sa.Table, without: Collection[str]) -> list[str]:
    return [column.name for column in table.c if column.name not in without]


_STARTED = _columns(attempt, ("errcode", "finished_at"))


@dataclass(slots=True)
class NewWork:
    """Rows to be inserted together, and the jobs among them that are already claimed."""

    deliveries: list[dict[str, object]] = field(default_factory=list)
    recipients: list[dict[str, object]] = field(default_factory=list)
    attempts: list[dict[str, object]] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    items: list[NewItem] = field(default_factory=list)
    """Events that were added to digests."""
    waiting: bool = False
    """Whether some of them wait to be claimed."""


@value_class
class AttemptOutcome:
    """How one attempt ended, for its row."""

    delivery_id: str
    attempt_no: int
    state: str
    http_status: int
    errcode: int | None
    detail: str
    vendor_msgid: str
    finished_at: datetime


@value_class
class RecipientOutcome:
    """One recipient whose outcome differs from its delivery's."""

    delivery_id: str
    kind: str
    target: str
    status: str
    reason: str


class _Statements:
    """What is asked of one kind of database, compiled once."""

    def __init__(self, dialect: DialectName) -> None:
        self.insert_deliveries = frozen(dialect, insert_rows(dialect, delivery, "deliveries"))
        self.insert = Together(
            dialect,
            deliveries=insert_rows(dialect, delivery, "deliveries", _columns(delivery, _NOT_AT_FIRST)),
            recipients=insert_rows(
                dialect, recipient, "recipients", _columns(recipient, ("status", "reason"))
            ),
            attempts=insert_rows(dialect, attempt, "attempts", _STARTED),
        )
        self.insert_attempts = frozen(dialect, insert_rows(dialect, attempt, "attempts", _STARTED))
        self.finish_attempts = frozen(dialect, _finish_attempts(dialect))
        meant = rows(dialect, "meant", id=Id, go_at=Instant)
        self.keep_until = frozen(
            dialect, sa.update(delivery).where(delivery.c.id == meant.c.id).values(go_at=meant.c.go_at)
        )
        self.mark_recipients = _mark_recipients(dialect)
        self.move_recipients = _move_recipients(dialect)


_statements = cache(_Statements)


class Work:
    """The delivery queue of one database."""

    def __init__(self, dialect: DialectName) -> None:
        self.queue = DueQueue(dialect, delivery, running=SENDING, settle_columns=SETTLED)
        self._sql = _statements(dialect)

    async def insert(self, conn: AsyncConnection, new: NewWork) -> None:
        """Insert everything of *new*."""
        if new.deliveries:
            documents = {
                "deliveries": pack(new.deliveries),
                "recipients": pack(new.recipients),
                "attempts": pack(new.attempts),
            }
            await self._sql.insert.execute(conn, documents)
        if new.items:
            await bins.add(conn, new.items)

    async def insert_deliveries(self, conn: AsyncConnection, planned: Sequence[Mapping[str, object]]) -> None:
        """Insert deliveries alone."""
        if planned:
            await conn.execute(self._sql.insert_deliveries, {"deliveries": pack(planned)})

    async def start_attempts(self, conn: AsyncConnection, started: Sequence[dict[str, object]]) -> None:
        """Write attempts down before their requests leave."""
        if started:
            await conn.execute(self._sql.insert_attempts, {"attempts": pack(started)})

    async def finish_attempts(self, conn: AsyncConnection, outcomes: Sequence[AttemptOutcome]) -> None:
        """Record outcomes. One that a reaper called unknown meanwhile becomes known; others stay as they ended."""
        if not outcomes:
            return
        document = pack(
            [
                {
                    "delivery_id": o.delivery_id,
                    "attempt_no": o.attempt_no,
                    "state": o.state,
                    "http_status": o.http_status,
                    "errcode": o.errcode,
                    "detail": o.detail,
                    "vendor_msgid": o.vendor_msgid,
                    "finished_at": o.finished_at,
                }
                for o in sorted(outcomes, key=lambda o: (o.delivery_id, o.attempt_no))
            ]
        )
        await conn.execute(self._sql.finish_attempts, {"outcomes": document})

    async def attempts_under_way(self, conn: AsyncConnection, jobs: Sequence[Job]) -> dict[str, datetime]:
        """When the open attempts of *jobs* were started, by delivery."""
        query = sa.select(attempt.c.delivery_id, attempt.c.started_at).where(
            attempt.c.delivery_id.in_([job.delivery_id for job in jobs]), attempt.c.state == "started"
        )
        return {row.delivery_id: row.started_at for row in await conn.execute(query)}

    async def mark_recipients(self, conn: AsyncConnection, outcomes: Sequence[RecipientOutcome]) -> None:
        """Record the recipients whose outcome differs from their delivery's."""
        if outcomes:
            document = pack(
                [
                    {
                        "delivery_id": o.delivery_id,
                        "kind": o.kind,
                        "target": o.target,
                        "status": o.status,
                        "reason": o.reason,
                    }
                    for o in outcomes
                ]
            )
            await conn.execute(self._sql.mark_recipients, {"marks": document})

    async def move_recipients(
        self, conn: AsyncConnection, moves: Iterable[tuple[str, str, Sequence[Target]]]
    ) -> None:
        """Give targets of one delivery to a sibling: (from id, to id, targets)."""
        document = [
            {"old": old, "new": new, "kind": target.kind.value, "target": target.id}
            for old, new, targets in moves
            for target in targets
        ]
        if document:
            await conn.execute(self._sql.move_recipients, {"moves": pack(document)})

    async def claim(
        self, conn: AsyncConnection, owner: str, now: datetime, lease: timedelta, limit: int
    ) -> list[tuple[Job, RowMapping]]:
        """Claim what is due, as jobs for their next attempt, beside the rows they were made from."""
        return await self._jobs(conn, await self.queue.claim(conn, owner, now, lease, limit), now)

    async def take_over(
        self, conn: AsyncConnection, owner: str, now: datetime, lease: timedelta, limit: int
    ) -> list[tuple[Job, RowMapping]]:
        """Take over what a sender left behind; the jobs are the attempts that were under way."""
        return await self._jobs(conn, await self.queue.expired(conn, owner, now, lease, limit), now)

    async def settle(self, conn: AsyncConnection, settlements: Sequence[Settlement]) -> set[str]:
        """See ``DueQueue.settle``."""
        return await self.queue.settle(conn, settlements)

    async def _jobs(
        self, conn: AsyncConnection, found: Sequence[RowMapping], now: datetime
    ) -> list[tuple[Job, RowMapping]]:
        targets = await _targets(conn, [row["id"] for row in found]) if found else {}
        return [(_job(row, targets.get(row["id"], {}), now), row) for row in found]

    async def leave_lane(self, conn: AsyncConnection, job: Job) -> None:
        """Move what of the job's event waits in its lane to a lane of its own, where it keeps back no other event."""
        t = delivery.c
        mine = (t.event_id == job.event_id, t.store_id == job.store_id, t.lane == job.lane)
        waiting = t.status.in_((PENDING, DEFERRED))
        away = {"lane": f"{job.lane}#{job.event_id}"}
        await conn.execute(sa.update(delivery).where(*mine, waiting).values(away))

    async def keep_until(self, conn: AsyncConnection, meant: Mapping[str, datetime]) -> None:
        """Remember until when deliveries are kept on purpose, from which on their latency counts."""
        if meant:
            document = pack({"id": key, "go_at": until} for key, until in sorted(meant.items()))
            await conn.execute(self._sql.keep_until, {"meant": document})

    async def write_contents(self, conn: AsyncConnection, contents: Mapping[str, Content]) -> None:
        """Give digests that were emptied the words they go with."""
        for delivery_id, content in sorted(contents.items()):
            written = {"content": content.to_json()}
            await conn.execute(sa.update(delivery).where(delivery.c.id == delivery_id).values(written))


def _job(row: RowMapping, targets: Mapping[Target, Role | None], now: datetime) -> Job:
    gathering = row["content"].get(GATHERING)
    return Job(
        delivery_id=row["id"],
        store_id=row["store_id"],
        event_id=row["event_id"],
        event_type=row["event_type"],
        rule_id=row["rule_id"],
        channel=row["channel"],
        part=row["part"],
        content=Content.from_json(row["content"]),
        targets=tuple(targets),
        roles={target: role for target, role in targets.items() if role is not None},
        heading=None if gathering is None else Heading.from_json(gathering),
        priority=row["priority"],
        # The row counts settled attempts; the one to be made, or that was under way, is the next.
        attempt_no=row["attempt_no"] + 1,
        epoch=row["lease_epoch"],
        claimed_at=now,
        lease_until=row["lease_until"],
        retries=row["retries"],
        refreshes=row["refreshes"],
        resend_mark=row["resend_mark"],
        unclear_since=row["unclear_since"],
        traceparent=row["traceparent"],
        created_at=row["created_at"],
        lane=row["lane"],
        fallback_step=row["fallback_step"] or 0,
    )


async def _targets(conn: AsyncConnection, ids: Sequence[str]) -> dict[str, dict[Target, Role | None]]:
    query = (
        sa.select(
            recipient.c.delivery_id,
            recipient.c.kind,
            recipient.c.target,
            recipient.c.channel,
            recipient.c.role,
        )
        .where(recipient.c.delivery_id.in_(ids), recipient.c.status.is_(None))
        .order_by(recipient.c.delivery_id, recipient.c.kind, recipient.c.target)
    )
    found: dict[str, dict[Target, Role | None]] = defaultdict(dict)
    for row in await conn.execute(query):
        kind = TargetKind(row.kind)
        account = "" if kind is TargetKind.ROBOT else row.channel.partition(":")[2]
        found[row.delivery_id][Target(kind, row.target, account)] = Role(row.role) if row.role else None
    return found


def started_attempt(job: Job, owner: str, now: datetime) -> dict[str, object]:
    """The row of an attempt that is about to be made."""
    return {
        "delivery_id": job.delivery_id,
        "attempt_no": job.attempt_no,
        "epoch": job.epoch,
        "state": "started",
        "http_status": 0,
        "detail": "",
        "vendor_msgid": "",
        "owner": owner,
        "started_at": now,
        "member": job.member or None,
    }


def _finish_attempts(dialect: DialectName) -> Any:
    found = rows(
        dialect,
        "outcomes",
        delivery_id=Id,
        attempt_no=sa.Integer(),
        state=sa.Text(),
        http_status=sa.Integer(),
        errcode=sa.Integer(),
        detail=sa.Text(),
        vendor_msgid=sa.Text(),
        finished_at=Instant(),
    )
    changed = ("state", "http_status", "errcode", "detail", "vendor_msgid", "finished_at")
    return (
        sa.update(attempt)
        .where(
            attempt.c.delivery_id == found.c.delivery_id,
            attempt.c.attempt_no == found.c.attempt_no,
            sa.or_(attempt.c.state == "started", attempt.c.state == "unknown"),
        )
        .values({name: found.c[name] for name in changed})
    )


def _mark_recipients(dialect: DialectName) -> Any:
    found = rows(dialect, "marks", delivery_id=Id, kind=Id, target=Id, status=sa.Text(), reason=sa.Text())
    return (
        sa.update(recipient)
        .where(
            recipient.c.delivery_id == found.c.delivery_id,
            recipient.c.kind == found.c.kind,
            recipient.c.target == found.c.target,
        )
        .values(status=found.c.status, reason=found.c.reason)
    )


def _move_recipients(dialect: DialectName) -> Any:
    found = rows(dialect, "moves", old=Id, new=Id, kind=Id, target=Id)
    return (
        sa.update(recipient)
        .where(
            recipient.c.delivery_id == found.c.old,
            recipient.c.kind == found.c.kind,
            recipient.c.target == found.c.target,
        )
        .values(delivery_id=found.c.new)
    )
