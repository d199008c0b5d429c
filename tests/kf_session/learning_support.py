"""A kf_session database with a session in it, and pushes as the outbound half leaves them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.message import Inbound, Origin
from services.kf_session.domain.push import Item, NewPush
from services.kf_session.store import learning_tables, matching_tables  # noqa: F401  # parts of the metadata
from services.kf_session.store.ledger import SessionKey, lock
from services.kf_session.store.tables import metadata, push, push_item, session
from shared.db.engine import Database
from shared.db.rows import dialect_of, insert_into
from shared.db.tables import shared_metadata
from shared.ids import new_id

STORE = "store-1"
KEY = SessionKey("kf-1", "wm-1")


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    database = Database.open(url, schema="public")
    async with database.write() as conn:
        await conn.run_sync(shared_metadata.create_all)
        await conn.run_sync(metadata.create_all)
    yield database
    await database.close()


async def add_session(
    conn: AsyncConnection, at: datetime, key: SessionKey = KEY, store_id: str = STORE
) -> None:
    """A customer who wrote at *at*."""
    await conn.execute(
        sa.insert(session).values(
            open_kfid=key.open_kfid,
            external_userid=key.external_userid,
            store_id=store_id,
            state=1,
            servicer_userid="",
            state_at=at,
            customer_at=at,
            customer_msgid="m0",
            window_no=1,
            scene="",
            scene_param="",
            created_at=at,
            updated_at=at,
        )
    )


def wrote(at: datetime, key: SessionKey = KEY, *, text: str = "你好", menu: str = "") -> Inbound:
    content = {"content": text} | ({"menu_id": menu} if menu else {})
    return Inbound(key.open_kfid, key.external_userid, STORE, new_id(), Origin.CUSTOMER, "text", content, at)


async def heard(database: Database, listen, inbound: Inbound) -> None:  # type: ignore[no-untyped-def]
    """One message given to a listener, as taking a page does."""

    async def take(conn: AsyncConnection) -> None:
        standing = await lock(conn, SessionKey(inbound.open_kfid, inbound.external_userid))
        assert standing is not None
        await listen(conn, inbound, standing)

    await database.transact(take)


async def admit(conn: AsyncConnection, new: NewPush, now: datetime) -> str:  # type: ignore[no-untyped-def]
    """What ``pipeline.admitting.admit`` promises: a repeat is the first one."""
    ident = new_id()
    row = push_row(
        ident,
        now,
        store_id=new.store_id,
        open_kfid=new.open_kfid,
        external_userid=new.external_userid,
        purpose=new.purpose.value,
        dedupe_key=new.dedupe_key,
        content=dict(new.content),
        score=new.score,
        template_id=new.template_id,
        template_version=new.template_version,
        variant=new.variant,
        expires_at=new.expires_at,
    )
    insert = insert_into(dialect_of(conn), push).values(**row).on_conflict_do_nothing()
    added = await conn.scalar(insert.returning(push.c.id))
    if added is None:
        same = (push.c.store_id == new.store_id) & (push.c.dedupe_key == new.dedupe_key)
        return str(await conn.scalar(sa.select(push.c.id).where(same)))
    await add_items(conn, ident, new.items)
    return ident


async def add_items(conn: AsyncConnection, push_id: str, items: tuple[Item, ...]) -> None:
    for position, one in enumerate(items, 1):
        values = {"item_id": one.item_id, "line": one.line, "details": one.details, "score": one.score}
        await conn.execute(sa.insert(push_item).values(push_id=push_id, position=position, **values))


def push_row(ident: str, at: datetime, **other: object) -> dict[str, object]:
    return {
        "id": ident,
        "store_id": STORE,
        "open_kfid": KEY.open_kfid,
        "external_userid": KEY.external_userid,
        "purpose": "match",
        "dedupe_key": ident,
        "msgid": ident.replace("-", "")[:32],
        "content": {"msgtype": "text", "text": {"content": "x"}},
        "expires_at": at + timedelta(days=1),
        "status": "pending",
        "priority": 3,
        "rank": at,
        "due_at": at,
        "retries": 0,
        "refreshes": 0,
        "reason": "",
        "created_at": at,
        "updated_at": at,
    } | other


async def add_push(conn: AsyncConnection, ident: str, at: datetime, *items: Item, **other: object) -> None:
    await conn.execute(sa.insert(push).values(**push_row(ident, at, **other)))
    await add_items(conn, ident, items)


async def add_match(conn: AsyncConnection, ident: str, intent_id: str, at: datetime, **other: object) -> None:
    values = {
        "id": ident,
        "store_id": STORE,
        "intent_id": intent_id,
        "profile_id": f"profile-{ident}",
        "source": "own",
        "intent_name": "寻找AI合作伙伴",
        "profile_name": "张三",
        "score": 0.85,
        "conditions": ["AI", "北京"],
        "explanation": "具有AI背景",
        "profile_fingerprint": "f",
        "intent_version": 1,
        "open_kfid": KEY.open_kfid,
        "external_userid": KEY.external_userid,
        "created_at": at,
        "updated_at": at,
    }
    await conn.execute(sa.insert(matching_tables.match).values(values | other))
