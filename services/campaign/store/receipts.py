"""The ledger of what groups have received: what it holds is known to count against their allowance."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import cache

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.caps import SAID_FULL, Period, ReceiveLimit
from services.campaign.store.follow_tables import group_receipt
from services.campaign.store.tasks import some_of
from shared.db.rows import dialect_of, insert_rows, pack, rows
from shared.db.types import DialectName, Id
from shared.values import value_class

_CHUNK = 2000


@value_class
class Receipt:
    """What one task brought to one group."""

    task_id: str
    chat_id: str
    store_id: str
    received: bool
    """Or else the platform said that it was full."""
    at: datetime
    """By the platform's clock."""


@cache
def _insert(dialect: DialectName) -> sa.Executable:
    t = group_receipt
    fresh = insert_rows(dialect, t, "new")
    # Whoever was full and received it after all has received it.
    values = {"received": fresh.excluded.received, "at": fresh.excluded.at}
    keys = [t.c.task_id, t.c.chat_id]
    return fresh.on_conflict_do_update(index_elements=keys, set_=values, where=~t.c.received)


async def add(conn: AsyncConnection, receipts: Sequence[Receipt]) -> None:
    """Write them; once for each task and group, however often they are seen."""
    statement = _insert(dialect_of(conn))
    for some in some_of(receipts, _CHUNK):
        await conn.execute(statement, {"new": pack(_row(one) for one in some)})


def _row(one: Receipt) -> dict[str, object]:
    return {name: getattr(one, name) for name in ("task_id", "chat_id", "store_id", "received", "at")}


async def full(
    conn: AsyncConnection, limits: Sequence[ReceiveLimit], chat_ids: Collection[str], at: datetime
) -> Mapping[str, str]:
    """Those of *chat_ids* with no room left in the period of *at*, and the name of the limit: the first that is reached."""
    t, found = group_receipt.c, dict[str, str]()
    # Which limit a group was full by is not told: the shortest that there may be is a day.
    periods = [Period.DAY, *(limit.period for limit in limits)]
    spans = [period.around(at) for period in periods]
    counted = [
        sa.func.sum(
            sa.case((sa.and_(t.at >= start, t.at < end, t.received if place else ~t.received), 1), else_=0)
        )
        for place, (start, end) in enumerate(spans)
    ]
    begin, until = min(start for start, _ in spans), max(end for _, end in spans)
    wanted = sa.select(rows(dialect_of(conn), "wanted", chat_id=Id).c.chat_id)
    query = sa.select(t.chat_id, *counted).where(t.chat_id.in_(wanted), t.at >= begin, t.at < until)
    for some in some_of(sorted(chat_ids), _CHUNK):
        document = pack({"chat_id": chat_id} for chat_id in some)
        for chat_id, said, *received in await conn.execute(query.group_by(t.chat_id), {"wanted": document}):
            reached = (
                limit.named(at)
                for limit, count in zip(limits, received, strict=True)
                if count >= limit.most_at(at)
            )
            if name := next(reached, SAID_FULL if said else ""):
                found[chat_id] = name
    return found


async def purge(conn: AsyncConnection, before: datetime, limit: int) -> int:
    """Delete up to *limit* from before *before*; how many there were."""
    t = group_receipt
    key = sa.tuple_(t.c.task_id, t.c.chat_id)
    old = sa.select(t.c.task_id, t.c.chat_id).where(t.c.at < before).order_by(t.c.at).limit(limit)
    return (await conn.execute(sa.delete(t).where(key.in_(old)))).rowcount
