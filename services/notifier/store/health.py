"""What the doctor looks up in the rows; every query is answered by an index."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.domain.routing import Target
from services.notifier.store.tables import delivery, recipient


async def last_reason(conn: AsyncConnection, target: Target) -> str:
    """Why the newest message for *target* did not reach it, as a stable word; empty when nothing is known of that.

    Ids sort by the time they were made, near enough to tell the newest.
    """
    query = (
        sa.select(recipient.c.reason)
        .where(
            recipient.c.kind == target.kind.value,
            recipient.c.target == target.id,
            recipient.c.channel == target.address,
        )
        .order_by(recipient.c.delivery_id.desc())
        .limit(1)
    )
    return (await conn.execute(query)).scalar() or ""


async def count_unknown(conn: AsyncConnection) -> int:
    """How many deliveries there are of which nobody can tell whether they arrived."""
    # The status stands in the text: SQLite takes a partial index only for a condition it can read beforehand.
    query = sa.select(sa.func.count()).select_from(delivery).where(sa.text("status = 'unknown'"))
    return int((await conn.execute(query)).scalar_one())
