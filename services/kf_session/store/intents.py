"""Intents, their versions, and the anchors by which a profile finds them."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.matching.conditions import from_json, to_json
from services.kf_session.domain.matching.scoring import Intent
from services.kf_session.store.matching_tables import intent, intent_anchor
from shared.db.rows import dialect_of, insert_rows, pack
from shared.values import value_class


@value_class
class KeptIntent:
    """An intent as it is stored: what is looked for, for whom."""

    store_id: str
    intent: Intent
    version: int
    description: str
    open_kfid: str
    """Empty: the account that the customer wrote to last."""
    external_userid: str
    auto_push: bool
    expires_at: datetime | None
    deleted_at: datetime | None
    created_at: datetime
    updated_at: datetime
    ai_score: bool = False
    """Whether a model is asked for its opinion of each match."""
    ai_text: bool = False
    """Whether a model words the push of a single match."""

    def lives(self, now: datetime) -> bool:
        """Whether it matches anything at all."""
        return self.deleted_at is None and (self.expires_at is None or self.expires_at > now)


async def add(conn: AsyncConnection, kept: KeptIntent) -> bool:
    """Insert it with its anchors; False where its id is taken, be it by one that was deleted."""
    key = (intent.c.store_id == kept.store_id, intent.c.intent_id == kept.intent.id)
    if (await conn.execute(sa.select(intent.c.version).where(*key))).first() is not None:
        return False
    await conn.execute(sa.insert(intent).values(**_columns(kept), created_at=kept.created_at))
    await _anchor(conn, kept)
    return True


async def replace(conn: AsyncConnection, kept: KeptIntent) -> None:
    """Write it over what is there; after ``hold``."""
    key = (intent.c.store_id == kept.store_id, intent.c.intent_id == kept.intent.id)
    await conn.execute(sa.update(intent).where(*key).values(**_columns(kept)))
    mine = (intent_anchor.c.store_id == kept.store_id, intent_anchor.c.intent_id == kept.intent.id)
    await conn.execute(sa.delete(intent_anchor).where(*mine))
    if kept.deleted_at is None:
        await _anchor(conn, kept)


async def _anchor(conn: AsyncConnection, kept: KeptIntent) -> None:
    listed = [
        {"store_id": kept.store_id, "term": term, "intent_id": kept.intent.id}
        for term in sorted(kept.intent.anchors())
    ]
    await conn.execute(insert_rows(dialect_of(conn), intent_anchor, "anchors"), {"anchors": pack(listed)})


async def hold(conn: AsyncConnection, store_id: str, intent_id: str) -> KeptIntent | None:
    """The intent, which nobody else changes until the transaction ends; None where there is none any more."""
    found = (
        sa.select(intent)
        .where(intent.c.store_id == store_id, intent.c.intent_id == intent_id, intent.c.deleted_at.is_(None))
        .with_for_update()
    )
    row = (await conn.execute(found)).first()
    return None if row is None else _kept(row)


async def get(conn: AsyncConnection, store_id: str, ids: Collection[str]) -> dict[str, KeptIntent]:
    """Those that are there, by id, the deleted left out."""
    found = sa.select(intent).where(
        intent.c.store_id == store_id, intent.c.intent_id.in_(sorted(ids)), intent.c.deleted_at.is_(None)
    )
    return {row.intent_id: _kept(row) for row in await conn.execute(found)}


async def deleted(conn: AsyncConnection, store_id: str, intent_id: str) -> KeptIntent | None:
    """One that was taken away, as it was last."""
    found = sa.select(intent).where(
        intent.c.store_id == store_id, intent.c.intent_id == intent_id, intent.c.deleted_at.is_not(None)
    )
    row = (await conn.execute(found)).first()
    return None if row is None else _kept(row)


async def page(
    conn: AsyncConnection, store_id: str, external_userid: str, after: str, limit: int
) -> list[KeptIntent]:
    """By id, those after *after*; of one customer, or (empty) of all."""
    found = (
        sa.select(intent)
        .where(intent.c.store_id == store_id, intent.c.intent_id > after, intent.c.deleted_at.is_(None))
        .order_by(intent.c.intent_id)
        .limit(limit)
    )
    if external_userid:
        found = found.where(intent.c.external_userid == external_userid)
    return [_kept(row) for row in await conn.execute(found)]


def _columns(kept: KeptIntent) -> dict[str, Any]:
    spec = {
        "conditions": [to_json(one) for one in kept.intent.conditions],
        "min_score": kept.intent.min_score,
        "ai_score": kept.ai_score,
        "ai_text": kept.ai_text,
    }
    return {
        "store_id": kept.store_id,
        "intent_id": kept.intent.id,
        "version": kept.version,
        "name": kept.intent.name,
        "description": kept.description,
        "spec": spec,
        "open_kfid": kept.open_kfid,
        "external_userid": kept.external_userid,
        "auto_push": kept.auto_push,
        "expires_at": kept.expires_at,
        "deleted_at": kept.deleted_at,
        "updated_at": kept.updated_at,
    }


def _kept(row: Any) -> KeptIntent:
    conditions = tuple(from_json(one) for one in row.spec["conditions"])
    return KeptIntent(
        row.store_id,
        Intent(row.intent_id, row.name, conditions, float(row.spec["min_score"])),
        row.version,
        row.description,
        row.open_kfid,
        row.external_userid,
        row.auto_push,
        row.expires_at,
        row.deleted_at,
        row.created_at,
        row.updated_at,
        row.spec.get("ai_score", False),
        row.spec.get("ai_text", False),
    )
