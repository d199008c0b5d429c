"""What customers did after pushes, in figures; and what others saw them do."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.effects import MOST_ROWS, Group, Kind, period
from services.kf_session.pipeline.effects import Effects
from services.kf_session.store import effects as store
from services.kf_session.store.effects import Counts, Selection
from shared.clock import Clock
from shared.db.engine import Database
from shared.errors import Invalid, NotFound
from shared.rpc.principal import current
from shared.values import value_class


@value_class
class Figures:
    """An answer."""

    start_at: datetime
    end_at: datetime
    rows: Sequence[tuple[Mapping[Group, Any], Counts]]


class EffectStats:
    """Counts what was recorded."""

    def __init__(self, database: Database, effects: Effects, clock: Clock) -> None:
        self._database = database
        self._effects = effects
        self._clock = clock

    async def of(
        self,
        stores: Collection[str] | None,
        start_at: datetime | None,
        end_at: datetime | None,
        groups: Sequence[Group],
        *,
        template_ids: Sequence[str] = (),
        variants: Sequence[str] = (),
        intent_ids: Sequence[str] = (),
        purposes: Sequence[str] = (),
    ) -> Figures:
        """The figures. Raises Invalid for a period that is none or too long, and for too many rows."""
        start, end = period(start_at, end_at, self._clock.now())
        wanted = Selection(stores, start, end, groups, template_ids, variants, intent_ids, purposes)
        async with self._database.read() as conn:
            rows = await store.count(conn, wanted, MOST_ROWS + 1)
        if len(rows) > MOST_ROWS:
            raise Invalid.field("group_by", f"comes to more than {MOST_ROWS:,} rows; ask for fewer groups")
        return Figures(start, end, rows)

    async def record(self, push_id: str, kind: Kind, at: datetime | None) -> bool:
        """Take note of an effect; False where it counts for nothing. Raises NotFound."""
        now = self._clock.now()
        if at is not None and at > now:
            raise Invalid.field("occurred_time", "has not come yet")

        async def write(conn: AsyncConnection) -> bool:
            found = await store.of_id(conn, push_id)
            # In a store that is not the caller's it does not exist.
            if found is None or not current().may_touch(found.store_id):
                raise NotFound("NOT_FOUND", "WeCom has accepted no such push", resource="push")
            return await self._effects.record(conn, found, kind, at or now)

        return await self._database.transact(write)
