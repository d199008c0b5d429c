"""The row is the queue: due work is claimed from its own table, under a lease, in order of rank.

States: ``pending`` (ready) · ``deferred`` (waits for ``due_at``, ``hold_reason`` says why) · running
(the name is the table's choice) · anything else is terminal. A holder is known by (id, epoch): every
change of holder raises the epoch, so one that was frozen and wakes up changes nothing (F-P2).

Rows of one ``lane`` go one at a time, in order of (rank, id); a head that is deferred blocks those
behind it. A unique index on the running rows' lane makes a second one impossible.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    Index,
    Integer,
    RowMapping,
    String,
    Table,
    text,
)
from sqlalchemy import Column as SqlColumn
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.faults import Raced
from shared.db.queue_sql import QueueSql
from shared.db.rows import pack
from shared.db.types import DialectName, Id, Instant
from shared.values import value_class

URGENT, HIGH, NORMAL, LOW = range(4)

HEAD_START = (timedelta(hours=1), timedelta(minutes=10), timedelta(minutes=1), timedelta(0))
"""How much longer than a low row created at the same time each priority may have been waiting."""

PENDING, DEFERRED = "pending", "deferred"

_LANE_INDEX = "running_lane"
_statements = cache(QueueSql)


def rank_of(priority: int, created_at: datetime) -> datetime:
    """The row's place in line. Ageing is built in: a row older than another's head start goes first."""
    return created_at - HEAD_START[priority]


def due_columns() -> list[SqlColumn[Any]]:
    """The columns a table needs to be a `DueQueue`, besides its text primary key ``id``."""
    return [
        SqlColumn("status", String, nullable=False),
        SqlColumn("priority", Integer, nullable=False),
        SqlColumn("rank", Instant, nullable=False),
        SqlColumn("due_at", Instant, nullable=False),
        SqlColumn("hold_reason", String),
        SqlColumn("attempt_no", Integer, nullable=False, server_default="0"),
        SqlColumn("lease_owner", String),
        SqlColumn("lease_epoch", BigInteger, nullable=False, server_default="0"),
        SqlColumn("lease_until", Instant),
        SqlColumn("lane", Id),
    ]


def due_indexes(table: str, running: str) -> list[Index]:
    """The partial indexes that keep every operation as fast as the work that is due is small.

    Terminal rows are in none of them; deferred ones not in the claim's.
    """
    waiting = f"lane IS NOT NULL AND status IN ('{PENDING}', '{DEFERRED}')"
    return [
        _partial(f"ix_{table}_ready", f"status = '{PENDING}'", "rank", "id", "due_at"),
        _partial(f"ix_{table}_deferred", f"status = '{DEFERRED}'", "due_at", "id"),
        _partial(f"ix_{table}_running", f"status = '{running}'", "lease_until", "id"),
        _partial(f"ix_{table}_lane", waiting, "lane", "rank", "id"),
        _partial(
            f"uq_{table}_{_LANE_INDEX}", f"lane IS NOT NULL AND status = '{running}'", "lane", unique=True
        ),
    ]


def _partial(name: str, condition: str, *columns: str, unique: bool = False) -> Index:
    where = text(condition)
    return Index(name, *columns, unique=unique, sqlite_where=where, postgresql_where=where)


@value_class
class Settlement:
    """How one claimed row ends its turn."""

    id: str
    epoch: int
    """The epoch it was claimed under."""
    status: str
    """``pending``, ``deferred``, or a terminal state of the table."""
    attempt_no: int
    due_at: datetime | None = None
    """When to go on; needed for ``deferred``, otherwise None keeps the old one."""
    hold_reason: str | None = None
    extra: Mapping[str, object] = field(default_factory=dict)
    """Values of the queue's settle columns; a column left out becomes NULL."""


@value_class
class Depth:
    """How much work waits."""

    pending: int
    deferred: int
    running: int
    oldest_due_at: datetime | None
    """Since when the pending row that became due first has been waiting."""


class DueQueue:
    """Claims, settles and recovers the due rows of one table (built with `due_columns`, `due_indexes`).

    Every method runs in the caller's transaction; use `Database.transact`, since claimers on
    PostgreSQL may meet and lose a race. Instants are handed in.
    """

    def __init__(
        self,
        dialect: DialectName,
        table: Table,
        *,
        running: str = "sending",
        settle_columns: Sequence[str] = (),
        claim_columns: Sequence[str] | None = None,
    ) -> None:
        """*settle_columns* are the table's own columns `settle` writes; *claim_columns* what a claim returns."""
        unknown = {*settle_columns, *(claim_columns or ())} - {column.name for column in table.c}
        if unknown:
            raise ValueError(f"{table.name} has no column {sorted(unknown)}")
        wanted = {*claim_columns, "id", "rank", "lease_epoch"} if claim_columns is not None else None
        returned = tuple(column.name for column in table.c if wanted is None or column.name in wanted)
        self.running = running
        self._settle_columns = tuple(settle_columns)
        self._lane_index = f"uq_{table.name}_{_LANE_INDEX}"
        self._sql = _statements(dialect, table, running, self._settle_columns, returned)

    def ready(self, priority: int, created_at: datetime, *, lane: str | None = None) -> dict[str, object]:
        """Column values of a new row that is ready at once."""
        return self._fresh(PENDING, priority, created_at, created_at, lane)

    def deferred(
        self, priority: int, created_at: datetime, due_at: datetime, reason: str, *, lane: str | None = None
    ) -> dict[str, object]:
        """Column values of a new row that waits for *due_at*, and why."""
        return {**self._fresh(DEFERRED, priority, created_at, due_at, lane), "hold_reason": reason}

    def claimed(
        self, priority: int, created_at: datetime, *, owner: str, now: datetime, lease: timedelta
    ) -> dict[str, object]:
        """Column values of a new row its creator works on at once, under epoch 1: no claim is needed.

        Not for rows with a lane, which wait in line.
        """
        held = {"lease_owner": owner, "lease_epoch": 1, "lease_until": now + lease}
        return {**self._fresh(self.running, priority, created_at, created_at, None), **held}

    def ended(self, status: str, priority: int, created_at: datetime) -> dict[str, object]:
        """Column values of a new row that is over before it began: *status* is a terminal state of the table."""
        return self._fresh(status, priority, created_at, created_at, None)

    @staticmethod
    def _fresh(
        status: str, priority: int, created_at: datetime, due_at: datetime, lane: str | None
    ) -> dict[str, object]:
        return {
            "status": status,
            "priority": priority,
            "rank": rank_of(priority, created_at),
            "due_at": due_at,
            "hold_reason": None,
            "attempt_no": 0,
            "lease_owner": None,
            "lease_epoch": 0,
            "lease_until": None,
            "lane": lane,
        }

    async def claim(
        self,
        connection: AsyncConnection,
        owner: str,
        now: datetime,
        lease: timedelta,
        limit: int,
        *,
        least: int = LOW,
    ) -> list[RowMapping]:
        """Take up to *limit* ready rows for *owner* until now + *lease*; rows in order of rank, none less urgent than *least*.

        Rows another claimer is taking are passed over. Raises ``Overtaken`` (which `transact`
        repeats) when two claimers meet in one lane.
        """
        parameters = {"owner": owner, "until": now + lease, "size": limit, "least": least}
        try:
            taken = await connection.execute(self._sql.claim, parameters)
        except IntegrityError as error:
            if self._lane_index in str(error.orig):
                raise Raced("lane", "another claimer was first in a lane") from error
            raise
        return sorted(taken.mappings(), key=lambda row: (row["rank"], row["id"]))

    async def promote(self, connection: AsyncConnection, now: datetime, limit: int = 500) -> int:
        """Make up to *limit* deferred rows whose time has come ready; how many there were."""
        promoted = await connection.execute(self._sql.promote, {"now": now, "size": limit})
        return len(promoted.all())

    async def settle(self, connection: AsyncConnection, settlements: Sequence[Settlement]) -> set[str]:
        """Write the outcomes; the ids that were still the caller's. The others are left untouched."""
        if not settlements:
            return set()
        document = pack([self._outcome(item) for item in sorted(settlements, key=lambda item: item.id)])
        settled = await connection.execute(self._sql.settle, {"outcomes": document})
        return set(settled.scalars())

    def _outcome(self, item: Settlement) -> dict[str, object]:
        if item.status == self.running:
            raise ValueError("a settled row is not running")
        if item.status == DEFERRED and item.due_at is None:
            raise ValueError("a deferred row needs due_at")
        if unknown := item.extra.keys() - set(self._settle_columns):
            raise ValueError(f"not a settle column: {sorted(unknown)}")
        return {
            "id": item.id,
            "epoch": item.epoch,
            "status": item.status,
            "attempt_no": item.attempt_no,
            "due_at": item.due_at,
            "hold_reason": item.hold_reason,
            **{f"x_{key}": value for key, value in item.extra.items()},
        }

    async def renew(
        self, connection: AsyncConnection, held: Sequence[tuple[str, int]], until: datetime
    ) -> set[str]:
        """Extend the leases of (id, epoch) pairs; the ids that were still the caller's."""
        if not held:
            return set()
        document = pack([{"id": key, "epoch": epoch} for key, epoch in sorted(held)])
        renewed = await connection.execute(self._sql.renew, {"held": document, "until": until})
        return set(renewed.scalars())

    async def expired(
        self, connection: AsyncConnection, owner: str, now: datetime, lease: timedelta, limit: int
    ) -> list[RowMapping]:
        """Take over up to *limit* rows whose lease ran out, under a new epoch; the caller settles them."""
        parameters = {"owner": owner, "now": now, "until": now + lease, "size": limit}
        taken = await connection.execute(self._sql.expired, parameters)
        return sorted(taken.mappings(), key=lambda row: (row["rank"], row["id"]))

    async def next_due(self, connection: AsyncConnection) -> datetime | None:
        """When the next deferred row is due, or None."""
        found: datetime | None = (await connection.execute(self._sql.next_due)).scalar()
        return found

    async def depth(self, connection: AsyncConnection) -> Depth:
        """The figures, read from the partial indexes alone."""
        row = (await connection.execute(self._sql.depth)).one()
        return Depth(row.pending, row.deferred, row.running, row.oldest_due_at)
