"""The rows of alerts, and their numbers.

Who records an alert does so in a transaction that may commit after one that began later; a number given there would let
a reader pass it by. So alerts are numbered when they are there to be read: under the lock of the head's row, and only
committed ones. Whoever sees a number sees all below it.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.store.result_tables import alert, alert_head
from shared.db.rows import dialect_of, insert_into
from shared.values import value_class

WAKEUP: Final = "ai_alerts"
"""Name of the wake-up of those who watch alerts."""

_ONLY = 1
_BATCH = 1000


@value_class
class KeptAlert:
    """An alert as it is kept."""

    id: str
    store_id: str
    app_type: str
    kind: str
    message: str
    run_id: str
    step: str
    announced: bool
    """Whether it goes on the exchange."""
    created_at: datetime
    seq: int | None = None
    """None: not numbered yet."""


@value_class
class Head:
    """How far the numbers go."""

    seq: int
    purged: int
    """The last that is not kept any more."""
    waiting: bool
    """Whether there are alerts without a number."""


@value_class
class Wanted:
    """Which alerts are told; what is empty does not narrow it."""

    stores: Collection[str] | None
    """None is every store."""
    kinds: tuple[str, ...] = ()


async def add(conn: AsyncConnection, new: KeptAlert, once: str) -> bool:
    """Record it, unless there is one of that *once*; whether it was new."""
    insert = insert_into(dialect_of(conn), alert).values(
        id=new.id,
        once=once,
        store_id=new.store_id,
        app_type=new.app_type,
        kind=new.kind,
        message=new.message,
        run_id=new.run_id,
        step=new.step,
        announced=new.announced,
        created_at=new.created_at,
    )
    done = await conn.execute(insert.on_conflict_do_nothing(index_elements=["once"]).returning(alert.c.id))
    return done.scalar_one_or_none() is not None


async def announced_since(
    conn: AsyncConnection, store_id: str, app_type: str, kind: str, since: datetime
) -> bool:
    """Whether one like it was announced after *since*."""
    query = sa.select(alert.c.id).where(
        alert.c.store_id == store_id,
        alert.c.app_type == app_type,
        alert.c.kind == kind,
        alert.c.announced,
        alert.c.created_at > since,
    )
    return (await conn.execute(query.limit(1))).first() is not None


async def head(conn: AsyncConnection) -> Head:
    """How far the numbers go."""
    found = (await conn.execute(sa.select(alert_head.c.seq, alert_head.c.purged))).one_or_none()
    waiting = (await conn.execute(sa.select(alert.c.id).where(alert.c.seq.is_(None)).limit(1))).first()
    seq, purged = (0, 0) if found is None else (found.seq, found.purged)
    return Head(seq, purged, waiting is not None)


async def number(conn: AsyncConnection) -> None:
    """Number a batch of those that are committed."""
    seq = await _lock(conn)
    query = sa.select(alert.c.id).where(alert.c.seq.is_(None)).order_by(alert.c.id).limit(_BATCH)
    found = (await conn.execute(query)).scalars().all()
    if not found:
        return
    numbered = sa.update(alert).where(alert.c.id == sa.bindparam("row")).values(seq=sa.bindparam("number"))
    await conn.execute(numbered, [{"row": one, "number": at} for at, one in enumerate(found, start=seq + 1)])
    await conn.execute(sa.update(alert_head).values(seq=seq + len(found)))


async def behind(conn: AsyncConnection, wanted: Wanted, after: int, last: int, limit: int) -> list[KeptAlert]:
    """Those with numbers above *after* up to *last*, in their order."""
    query = sa.select(alert).where(alert.c.seq > after, alert.c.seq <= last)
    if wanted.stores is not None:
        query = query.where(alert.c.store_id.in_(list(wanted.stores)))
    if wanted.kinds:
        query = query.where(alert.c.kind.in_(wanted.kinds))
    return [_alert(row) for row in await conn.execute(query.order_by(alert.c.seq).limit(limit))]


async def purge(conn: AsyncConnection, before: datetime, limit: int) -> int:
    """Delete up to *limit* numbered ones from before *before*, the lowest numbers first; how many there were."""
    query = sa.select(alert.c.id, alert.c.seq).where(alert.c.created_at < before, alert.c.seq.is_not(None))
    found = (await conn.execute(query.order_by(alert.c.seq).limit(limit))).all()
    if found:
        await _lock(conn)
        await conn.execute(sa.delete(alert).where(alert.c.id.in_([row.id for row in found])))
        last = found[-1].seq
        await conn.execute(sa.update(alert_head).values(purged=last).where(alert_head.c.purged < last))
    return len(found)


async def _lock(conn: AsyncConnection) -> int:
    """Hold the head until the end of the transaction; the last number given."""
    first = insert_into(dialect_of(conn), alert_head).values(id=_ONLY, seq=0, purged=0)
    held = first.on_conflict_do_update(index_elements=["id"], set_={"seq": alert_head.c.seq})
    seq: int = (await conn.execute(held.returning(alert_head.c.seq))).scalar_one()
    return seq


def _alert(row: sa.Row[Any]) -> KeptAlert:
    return KeptAlert(
        row.id,
        row.store_id,
        row.app_type,
        row.kind,
        row.message,
        row.run_id,
        row.step,
        row.announced,
        row.created_at,
        row.seq,
    )
