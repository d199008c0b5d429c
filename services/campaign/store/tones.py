"""Tone profiles as rows."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.tone import Tone
from services.campaign.store.writing_tables import tone
from shared.db.rows import dialect_of, insert_into
from shared.values import value_class

EVERY_STORE: Final = ""


@value_class
class KeptTone:
    """A profile as it is kept."""

    store_id: str
    tone: Tone
    updated_by: str
    updated_at: datetime


async def keep(conn: AsyncConnection, kept: KeptTone) -> None:
    """Write it; one of its name is replaced."""
    values = {
        "store_id": kept.store_id,
        "name": kept.tone.name,
        "said": kept.tone.document(),
        "updated_by": kept.updated_by,
        "updated_at": kept.updated_at,
    }
    new = insert_into(dialect_of(conn), tone).values(values)
    changed = {name: new.excluded[name] for name in ("said", "updated_by", "updated_at")}
    await conn.execute(new.on_conflict_do_update(index_elements=["store_id", "name"], set_=changed))


async def get(conn: AsyncConnection, store_id: str, name: str) -> KeptTone | None:
    """The one of this very store."""
    query = sa.select(tone).where(tone.c.store_id == store_id, tone.c.name == name)
    row = (await conn.execute(query)).mappings().one_or_none()
    return None if row is None else _kept(row)


async def find(conn: AsyncConnection, store_id: str, name: str) -> Tone | None:
    """What a campaign of a store means by a name: the store's own comes before that of every store."""
    query = (
        sa.select(tone)
        .where(tone.c.store_id.in_((EVERY_STORE, store_id)), tone.c.name == name)
        .order_by(tone.c.store_id.desc())
        .limit(1)
    )
    row = (await conn.execute(query)).mappings().one_or_none()
    return None if row is None else _kept(row).tone


async def page(
    conn: AsyncConnection, stores: Collection[str] | None, after: tuple[str, str] | None, limit: int
) -> list[KeptTone]:
    """Those of *stores* and of every store, by store and name, those after *after*."""
    query = sa.select(tone).order_by(tone.c.store_id, tone.c.name).limit(limit)
    if stores is not None:
        query = query.where(tone.c.store_id.in_(sorted({*stores, EVERY_STORE})))
    if after is not None:
        query = query.where(sa.tuple_(tone.c.store_id, tone.c.name) > sa.tuple_(*map(sa.literal, after)))
    return [_kept(row) for row in (await conn.execute(query)).mappings()]


async def drop(conn: AsyncConnection, store_id: str, name: str) -> bool:
    """Keep it no longer; whether it was kept."""
    gone = await conn.execute(sa.delete(tone).where(tone.c.store_id == store_id, tone.c.name == name))
    return bool(gone.rowcount)


def _kept(row: Any) -> KeptTone:
    return KeptTone(
        row["store_id"], Tone.read(row["name"], row["said"]), row["updated_by"], row["updated_at"]
    )
