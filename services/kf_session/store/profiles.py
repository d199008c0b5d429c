"""Profiles and what they can be found by."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.matching.profile import Profile
from services.kf_session.store.matching_tables import profile, profile_term
from shared.db.rows import dialect_of, insert_into, insert_rows, pack
from shared.values import value_class


@value_class
class KeptProfile:
    """A profile as it is stored."""

    store_id: str
    profile: Profile
    fingerprint: str
    updated_at: datetime


async def save(conn: AsyncConnection, store_id: str, given: Sequence[Profile], now: datetime) -> set[str]:
    """Insert or replace; the ids whose content differs from before, a new name included.

    An id that is given twice is to be refused before.
    """
    ids = sorted(one.id for one in given)
    held = (
        sa.select(profile.c.profile_id, profile.c.fingerprint, profile.c.name)
        .where(profile.c.store_id == store_id, profile.c.profile_id.in_(ids))
        .order_by(profile.c.profile_id)
        .with_for_update()
    )
    known = {row.profile_id: (row.fingerprint, row.name) for row in await conn.execute(held)}
    new = {one.id: one.fingerprint() for one in given}
    renewed = [one for one in given if known.get(one.id, ("", ""))[0] != new[one.id]]
    changed = {one.id for one in given if known.get(one.id) != (new[one.id], one.name)}
    for one in sorted(given, key=lambda one: one.id):
        values = {
            "name": one.name,
            "text": one.text,
            "fields": one.to_json(),
            "fingerprint": new[one.id],
            "updated_at": now,
        }
        insert = insert_into(dialect_of(conn), profile).values(
            store_id=store_id, profile_id=one.id, created_at=now, **values
        )
        await conn.execute(
            insert.on_conflict_do_update(index_elements=["store_id", "profile_id"], set_=values)
        )
    await _index(conn, store_id, renewed)
    return changed


async def _index(conn: AsyncConnection, store_id: str, renewed: Sequence[Profile]) -> None:
    ids = [one.id for one in renewed]
    if not ids:
        return
    mine = (profile_term.c.store_id == store_id, profile_term.c.profile_id.in_(ids))
    await conn.execute(sa.delete(profile_term).where(*mine))
    listed = [
        {"store_id": store_id, "term": term, "profile_id": one.id}
        for one in renewed
        for term in sorted(one.terms())
    ]
    insert = insert_rows(dialect_of(conn), profile_term, "terms").on_conflict_do_nothing()
    await conn.execute(insert, {"terms": pack(listed)})


async def delete(conn: AsyncConnection, store_id: str, profile_id: str) -> bool:
    """Forget one, after whoever is comparing it (``get`` with *hold*); whether it was there."""
    key = {"store_id": store_id, "profile_id": profile_id}
    gone = await conn.execute(sa.delete(profile).filter_by(**key))
    await conn.execute(sa.delete(profile_term).filter_by(**key))
    return bool(gone.rowcount)


async def get(
    conn: AsyncConnection, store_id: str, ids: Collection[str], *, hold: bool = False
) -> dict[str, KeptProfile]:
    """Those that are there, by id; with *hold* nobody changes or deletes them until the transaction ends."""
    found = (
        sa.select(profile)
        .where(profile.c.store_id == store_id, profile.c.profile_id.in_(sorted(ids)))
        .order_by(profile.c.profile_id)
    )
    if hold:
        found = found.with_for_update(read=True)
    return {row.profile_id: _kept(row) for row in await conn.execute(found)}


async def page(conn: AsyncConnection, store_id: str, after: str, limit: int) -> list[KeptProfile]:
    """By id, those after *after*."""
    found = (
        sa.select(profile)
        .where(profile.c.store_id == store_id, profile.c.profile_id > after)
        .order_by(profile.c.profile_id)
        .limit(limit)
    )
    return [_kept(row) for row in await conn.execute(found)]


def _kept(row: Any) -> KeptProfile:
    one = Profile.from_json(row.profile_id, row.name, row.text, row.fields)
    return KeptProfile(row.store_id, one, row.fingerprint, row.updated_at)
