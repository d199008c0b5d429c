"""The rows of clues."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.clues import MANUAL, Change, Clue, change
from services.ai_orchestrator.store.result_tables import clue, clue_set
from shared.db.rows import dialect_of, insert_into
from shared.ids import new_id
from shared.values import value_class

_SAYS = ("category", "emoji", "summary", "detail", "providers")


@value_class
class KeptClue:
    """A clue as it is kept."""

    id: str
    store_id: str
    member_id: str
    source: str
    clue: Clue
    run_id: str
    created_at: datetime
    created_by: str


async def replace(
    conn: AsyncConnection,
    store_id: str,
    member_id: str,
    source: str,
    found: Sequence[Clue],
    *,
    run_id: str,
    now: datetime,
) -> Change:
    """Let *found* be all that *source* says of a member, and say what that changes; nothing where it is empty.

    What stays the same keeps its row. Of two at once the second sees what the first left.
    """
    if source == MANUAL:
        raise ValueError("what a person wrote is never replaced")
    if not found:
        return Change((), ())
    # The set's row is the lock.
    insert = insert_into(dialect_of(conn), clue_set).values(
        store_id=store_id, member_id=member_id, source=source, run_id=run_id, replaced_at=now
    )
    await conn.execute(
        insert.on_conflict_do_update(
            index_elements=["store_id", "member_id", "source"],
            set_={"run_id": insert.excluded.run_id, "replaced_at": insert.excluded.replaced_at},
        )
    )
    own = (clue.c.store_id == store_id, clue.c.member_id == member_id, clue.c.source == source)
    before = [_clue(row) for row in await conn.execute(sa.select(clue).where(*own))]
    changed = change([one.clue for one in before], found)
    gone = [one.id for one in before if one.clue in changed.removed]
    if gone:
        await conn.execute(sa.delete(clue).where(clue.c.id.in_(gone)))
    for one in changed.added:
        await add(conn, KeptClue(new_id(), store_id, member_id, source, one, run_id, now, ""))
    return changed


async def add(conn: AsyncConnection, new: KeptClue) -> None:
    """Insert one."""
    says = {name: getattr(new.clue, name) for name in _SAYS}
    await conn.execute(
        sa.insert(clue).values(
            id=new.id,
            store_id=new.store_id,
            member_id=new.member_id,
            source=new.source,
            run_id=new.run_id,
            created_at=new.created_at,
            created_by=new.created_by,
            **says,
        )
    )


async def get(conn: AsyncConnection, store_id: str, clue_id: str) -> KeptClue | None:
    """One of a store."""
    query = sa.select(clue).where(clue.c.id == clue_id, clue.c.store_id == store_id)
    row = (await conn.execute(query)).one_or_none()
    return None if row is None else _clue(row)


async def page(
    conn: AsyncConnection, store_id: str, member_id: str, source: str, after_id: str, limit: int
) -> list[KeptClue]:
    """A member's, by id."""
    query = sa.select(clue).where(
        clue.c.store_id == store_id, clue.c.member_id == member_id, clue.c.id > after_id
    )
    if source:
        query = query.where(clue.c.source == source)
    return [_clue(row) for row in await conn.execute(query.order_by(clue.c.id).limit(limit))]


async def newest(
    conn: AsyncConnection, store_id: str, member_id: str, source: str, limit: int
) -> list[KeptClue]:
    """Those of a source that were written last, the newest first."""
    query = sa.select(clue).where(
        clue.c.store_id == store_id, clue.c.member_id == member_id, clue.c.source == source
    )
    return [_clue(row) for row in await conn.execute(query.order_by(clue.c.id.desc()).limit(limit))]


async def remove(conn: AsyncConnection, store_id: str, clue_id: str) -> None:
    """Take one away."""
    await conn.execute(sa.delete(clue).where(clue.c.id == clue_id, clue.c.store_id == store_id))


def _clue(row: sa.Row[Any]) -> KeptClue:
    return KeptClue(
        row.id,
        row.store_id,
        row.member_id,
        row.source,
        Clue(*(getattr(row, name) for name in _SAYS)),
        row.run_id,
        row.created_at,
        row.created_by,
    )
