"""Materials as rows, their bytes in parts beside them.

The row is also the lease of whoever uploads it to the platform: one replica at a time, and one that comes late
changes nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.material import ABANDONED, MaterialKind
from services.campaign.store.writing_tables import material, material_part
from shared.db.rows import dialect_of, insert_into
from shared.values import value_class


@value_class
class KeptMaterial:
    """A material as it stands."""

    id: str
    store_id: str
    name: str
    kind: MaterialKind
    filename: str
    size: int
    received: int
    digest: str
    """Empty until all its bytes are there."""
    created_by: str
    created_at: datetime
    updated_at: datetime
    media_id: str = ""
    expires_at: datetime | None = None
    failure: str = ""
    upload_epoch: int = 0
    upload_until: datetime | None = None


Purge = Callable[[AsyncConnection, datetime, int], Awaitable[int]]
"""Deletes a batch of what is past its time at an instant; how many rows there were."""

_COLUMNS: Final = tuple(KeptMaterial.__dataclass_fields__)


async def get(conn: AsyncConnection, store_id: str, name: str) -> KeptMaterial | None:
    """One material."""
    return next(iter(await of_names(conn, store_id, [name])), None)


async def hold(conn: AsyncConnection, store_id: str, name: str) -> KeptMaterial | None:
    """One material, locked until the end of the transaction."""
    lock = sa.select(material.c.id).where(_at(store_id, name)).with_for_update()
    if (await conn.execute(lock)).one_or_none() is None:
        return None
    return await get(conn, store_id, name)


async def share(conn: AsyncConnection, store_id: str, names: Collection[str]) -> list[KeptMaterial]:
    """Those of *names* that there are, kept from being deleted until the end of the transaction."""
    lock = (
        sa.select(material.c.id)
        .where(material.c.store_id == store_id, material.c.name.in_(sorted(names)))
        .order_by(material.c.name)
        .with_for_update(read=True)
    )
    await conn.execute(lock)
    return await of_names(conn, store_id, names)


async def of_names(conn: AsyncConnection, store_id: str, names: Collection[str]) -> list[KeptMaterial]:
    """Those of *names* that there are, by name."""
    where = (material.c.store_id == store_id, material.c.name.in_(sorted(names)))
    rows = await conn.execute(sa.select(material).where(*where).order_by(material.c.name))
    return [_kept(row) for row in rows.mappings()]


async def page(
    conn: AsyncConnection, stores: Collection[str] | None, after: tuple[str, str] | None, limit: int
) -> list[KeptMaterial]:
    """By store and name, those after *after*."""
    query = sa.select(material).order_by(material.c.store_id, material.c.name).limit(limit)
    if stores is not None:
        query = query.where(material.c.store_id.in_(sorted(stores)))
    if after is not None:
        query = query.where(
            sa.tuple_(material.c.store_id, material.c.name) > sa.tuple_(*map(sa.literal, after))
        )
    return [_kept(row) for row in (await conn.execute(query)).mappings()]


async def begin(conn: AsyncConnection, kept: KeptMaterial) -> bool:
    """Write a new one without its bytes. False: another call was first."""
    values = {name: getattr(kept, name) for name in _COLUMNS} | {"kind": kept.kind.value}
    new = insert_into(dialect_of(conn), material).values(values)
    done = await conn.execute(new.on_conflict_do_nothing(index_elements=["store_id", "name"]))
    return bool(done.rowcount)


async def add_part(
    conn: AsyncConnection, kept: KeptMaterial, start: int, content: bytes, digest: str, now: datetime
) -> None:
    """Write one part of a material that is held; *digest* is '' while more has to come."""
    part = {"material_id": kept.id, "start": start, "content": content}
    await conn.execute(sa.insert(material_part).values(part))
    changed = {"received": start + len(content), "digest": digest, "updated_at": now}
    await conn.execute(sa.update(material).where(material.c.id == kept.id).values(changed))


async def part(conn: AsyncConnection, material_id: str, start: int) -> bytes | None:
    """The part that begins at *start*."""
    query = sa.select(material_part.c.content).where(
        material_part.c.material_id == material_id, material_part.c.start == start
    )
    found: bytes | None = await conn.scalar(query)
    return found


async def content(conn: AsyncConnection, material_id: str) -> bytes:
    """All bytes that are there."""
    query = sa.select(material_part.c.content).where(material_part.c.material_id == material_id)
    return b"".join(await conn.scalars(query.order_by(material_part.c.start)))


async def drop(conn: AsyncConnection, material_id: str) -> None:
    """Forget a material that is held."""
    await conn.execute(sa.delete(material_part).where(material_part.c.material_id == material_id))
    await conn.execute(sa.delete(material).where(material.c.id == material_id))


async def purge(conn: AsyncConnection, now: datetime, limit: int) -> int:
    """Forget materials whose next part has not come for a day; how many."""
    query = (
        sa.select(material.c.id)
        .where(material.c.digest == "", material.c.updated_at < now - ABANDONED)
        .order_by(material.c.updated_at, material.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    found = list(await conn.scalars(query))
    await conn.execute(sa.delete(material_part).where(material_part.c.material_id.in_(found)))
    await conn.execute(sa.delete(material).where(material.c.id.in_(found)))
    return len(found)


async def take_upload(conn: AsyncConnection, held: KeptMaterial, until: datetime) -> int:
    """Upload it until then; the epoch to settle under. It is held."""
    epoch = held.upload_epoch + 1
    values = {"upload_epoch": epoch, "upload_until": until}
    await conn.execute(sa.update(material).where(material.c.id == held.id).values(values))
    return epoch


async def settle_upload(conn: AsyncConnection, material_id: str, epoch: int, **values: Any) -> bool:
    """Write how an upload ended. False: another one has begun since."""
    done = await conn.execute(
        sa.update(material)
        .where(material.c.id == material_id, material.c.upload_epoch == epoch)
        .values(upload_until=None, **values)
    )
    return bool(done.rowcount)


async def forget_media(conn: AsyncConnection, store_id: str, media_ids: Collection[str]) -> None:
    """The platform does not know these any more."""
    await conn.execute(
        sa.update(material)
        .where(material.c.store_id == store_id, material.c.media_id.in_(sorted(media_ids)))
        .values(media_id="", expires_at=None)
    )


def _at(store_id: str, name: str) -> Any:
    return sa.and_(material.c.store_id == store_id, material.c.name == name)


def _kept(row: Any) -> KeptMaterial:
    return KeptMaterial(**{**{name: row[name] for name in _COLUMNS}, "kind": MaterialKind(row["kind"])})
