"""Matches that nobody could be told of when they were made, for the next daily summary."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.push import Item
from services.kf_session.pipeline.telling import item_of
from services.kf_session.store import matches
from services.kf_session.store.ledger import Standing

MOST: Final = 50
"""Matches that one summary takes; the best."""


class Untold:
    """Those that were to be pushed and were not; never those of an intent that is pushed by hand."""

    async def find(self, conn: AsyncConnection, standing: Standing, now: datetime) -> Sequence[Item]:
        """A customer's."""
        key = standing.key
        found = await matches.untold(
            conn, standing.store_id, MOST, now, customer=key.external_userid, unsent_at=key.open_kfid
        )
        return [item_of(one) for one in found]

    async def told(self, conn: AsyncConnection, items: Sequence[Item], push_id: str, now: datetime) -> None:
        """A push carries them now."""
        for one in await matches.get(conn, [item.item_id for item in items]):
            await matches.pushed(conn, one, push_id, now)
