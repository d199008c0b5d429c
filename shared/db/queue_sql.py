"""The statements of a `DueQueue`, built once per kind of database.

States are written into the SQL as literals: a bound state would keep both planners from using the
partial indexes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    String,
    Table,
    Update,
    bindparam,
    exists,
    func,
    literal_column,
    null,
    select,
    tuple_,
    update,
)

from shared.db.frozen import frozen
from shared.db.rows import rows
from shared.db.types import DialectName, Id, Instant


class QueueSql:
    """One statement per method of the queue, named alike."""

    def __init__(
        self,
        dialect: DialectName,
        table: Table,
        running: str,
        settle_columns: Sequence[str],
        returned: Sequence[str],
    ) -> None:
        self._dialect = dialect
        self._table = table
        self._returned = [table.c[name] for name in returned]
        self._pending: ColumnElement[str] = literal_column("'pending'")
        self._deferred: ColumnElement[str] = literal_column("'deferred'")
        self._running: ColumnElement[str] = literal_column(f"'{running}'")
        self.claim = frozen(dialect, self._claim())
        self.expired = frozen(dialect, self._expired())
        self.promote = frozen(dialect, self._promote())
        self.settle = frozen(dialect, self._settle(settle_columns))
        self.renew = frozen(dialect, self._renew())
        self.next_due = select(func.min(table.c.due_at)).where(table.c.status == self._deferred)
        self.depth = self._depth()

    def _claim(self) -> Any:
        t = self._table
        urgent = t.c.priority <= bindparam("least", type_=Integer())
        ready = (
            select(t.c.id)
            .where(t.c.status == self._pending, urgent, t.c.lane.is_(None) | self._is_lane_head())
            .order_by(t.c.rank, t.c.id)
        )
        return self._take(ready, status=self._running)

    def _is_lane_head(self) -> ColumnElement[bool]:
        """Nothing of the lane is running, and nothing that waits in it comes before."""
        t, before, busy = self._table, self._table.alias("before"), self._table.alias("busy")
        runs = exists().where(busy.c.lane == t.c.lane, busy.c.status == self._running)
        waits = exists().where(
            before.c.lane == t.c.lane,
            before.c.status.in_([self._pending, self._deferred]),
            tuple_(before.c.rank, before.c.id) < tuple_(t.c.rank, t.c.id),
        )
        return ~runs & ~waits

    def _expired(self) -> Any:
        t = self._table
        late = (
            select(t.c.id)
            .where(t.c.status == self._running, t.c.lease_until <= bindparam("now", type_=Instant()))
            .order_by(t.c.lease_until, t.c.id)
        )
        return self._take(late)

    def _take(self, chosen: Select[Any], **values: Any) -> Any:
        t = self._table
        held = {
            "lease_owner": bindparam("owner", type_=String()),
            "lease_epoch": t.c.lease_epoch + 1,
            "lease_until": bindparam("until", type_=Instant()),
        }
        return self._among(chosen).values(**held, **values).returning(*self._returned)

    def _among(self, chosen: Select[Any]) -> Update:
        """UPDATE of the first ``size`` rows of *chosen*, passing over those others have locked."""
        t = self._table
        chosen = chosen.limit(bindparam("size", type_=Integer()))
        if self._dialect == "sqlite":  # one writer at a time: nothing is ever locked by others
            return update(t).where(t.c.id.in_(chosen))
        # Materialised, because a LIMIT in a joined or IN subquery may be evaluated more than once.
        picked = chosen.with_for_update(skip_locked=True, of=t).cte("picked").prefix_with("MATERIALIZED")
        return update(t).where(t.c.id == picked.c.id)

    def _promote(self) -> Any:
        t = self._table
        due = (
            select(t.c.id)
            .where(t.c.status == self._deferred, t.c.due_at <= bindparam("now", type_=Instant()))
            .order_by(t.c.due_at, t.c.id)
        )
        return self._among(due).values(status=self._pending, hold_reason=null()).returning(t.c.id)

    def _settle(self, extra: Sequence[str]) -> Any:
        t = self._table
        own = {f"x_{name}": t.c[name].type for name in extra}
        outcomes = rows(
            self._dialect,
            "outcomes",
            id=Id,
            epoch=BigInteger(),
            status=String(),
            attempt_no=Integer(),
            due_at=Instant(),
            hold_reason=String(),
            **own,
        )
        values = {
            "status": outcomes.c.status,
            "attempt_no": outcomes.c.attempt_no,
            "due_at": func.coalesce(outcomes.c.due_at, t.c.due_at),
            "hold_reason": outcomes.c.hold_reason,
            "lease_owner": null(),
            "lease_until": null(),
            **{name: outcomes.c[f"x_{name}"] for name in extra},
        }
        return update(t).where(*self._held_by(outcomes)).values(values).returning(t.c.id)

    def _renew(self) -> Any:
        t = self._table
        held = rows(self._dialect, "held", id=Id, epoch=BigInteger())
        until = bindparam("until", type_=Instant())
        return update(t).where(*self._held_by(held)).values(lease_until=until).returning(t.c.id)

    def _held_by(self, source: Any) -> tuple[ColumnElement[bool], ...]:
        t = self._table
        return (t.c.id == source.c.id, t.c.lease_epoch == source.c.epoch, t.c.status == self._running)

    def _depth(self) -> Select[Any]:
        t = self._table

        def count(state: ColumnElement[str]) -> Any:
            return select(func.count()).select_from(t).where(t.c.status == state).scalar_subquery()

        oldest = select(func.min(t.c.due_at)).where(t.c.status == self._pending).scalar_subquery()
        return select(
            count(self._pending).label("pending"),
            count(self._deferred).label("deferred"),
            count(self._running).label("running"),
            oldest.label("oldest_due_at"),
        )
