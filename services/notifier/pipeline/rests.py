"""Accounts that the platform found too fast rest: nothing is sent with them until then, by any replica."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.pipeline.settling import Settled
from shared.db.rows import insert_into
from shared.db.tables import rate_window
from shared.db.types import DialectName

_PREFIX = "rest:"


class Rests:
    """Which channels rest until when, as this process knows it; reloaded by the dispatcher every second."""

    def __init__(self, dialect: DialectName) -> None:
        self._dialect = dialect
        self._until: dict[str, datetime] = {}

    def until(self, channel: str, now: datetime) -> datetime | None:
        """When *channel* may be used again; None when it may now."""
        until = self._until.get(channel)
        return until if until is not None and until > now else None

    def note(self, channel: str, until: datetime) -> None:
        """Remember a rest that was just recorded."""
        self._until[channel] = max(until, self._until.get(channel, until))

    async def load(self, conn: AsyncConnection) -> None:
        """Learn what other replicas recorded."""
        found = await conn.execute(
            sa.select(rate_window.c.key, rate_window.c.state).where(
                rate_window.c.key >= _PREFIX, rate_window.c.key < _PREFIX + "\uffff"
            )
        )
        for row in found:
            self.note(row.key.removeprefix(_PREFIX), datetime.fromisoformat(row.state["until"]))

    async def save(self, conn: AsyncConnection, rested: Sequence[Settled]) -> None:
        """Record the rests that *rested* asked for; a longer one that is there already stays."""
        longest: dict[str, datetime] = {}
        for one in rested:
            until = one.next.rest_until
            assert until is not None
            longest[one.job.credential] = max(until, longest.get(one.job.credential, until))
        for channel, until in sorted(longest.items()):
            values = {
                "key": _PREFIX + channel,
                "state": {"until": until.astimezone(UTC).isoformat()},
                "updated_at": until,
            }
            await conn.execute(
                insert_into(self._dialect, rate_window)
                .values(values)
                .on_conflict_do_update(
                    index_elements=["key"],
                    set_={"state": values["state"], "updated_at": until},
                    where=rate_window.c.updated_at < until,
                )
            )
