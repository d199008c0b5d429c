"""The platform's session ids, one for each store, user and application: none crosses to another."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.store.result_tables import conversation
from shared.db.rows import dialect_of, insert_into

LIFE: Final = timedelta(hours=1)
"""The platform forgets a session that long after its last use."""


async def session(conn: AsyncConnection, store_id: str, user_id: str, app_type: str, now: datetime) -> str:
    """The session to go on in; empty: begin one, as for nobody's step."""
    if not user_id:
        return ""
    c = conversation.c
    query = sa.select(c.session_id).where(
        c.store_id == store_id, c.user_id == user_id, c.app_type == app_type, c.used_at > now - LIFE
    )
    return (await conn.execute(query)).scalar_one_or_none() or ""


async def remember(
    conn: AsyncConnection, store_id: str, user_id: str, app_type: str, session_id: str, now: datetime
) -> None:
    """A reply came in *session_id*; nothing where it was nobody's, or the platform named none."""
    if not user_id or not session_id:
        return
    insert = insert_into(dialect_of(conn), conversation).values(
        store_id=store_id, user_id=user_id, app_type=app_type, session_id=session_id, used_at=now
    )
    await conn.execute(
        insert.on_conflict_do_update(
            index_elements=["store_id", "user_id", "app_type"],
            set_={"session_id": insert.excluded.session_id, "used_at": insert.excluded.used_at},
        )
    )


async def purge(conn: AsyncConnection, before: datetime, limit: int) -> int:
    """Delete up to *limit* last used before *before*; how many there were."""
    c = conversation.c
    key = (c.store_id, c.user_id, c.app_type)
    old = sa.select(*key).where(c.used_at < before).order_by(c.used_at).limit(limit)
    return (await conn.execute(sa.delete(conversation).where(sa.tuple_(*key).in_(old)))).rowcount
