"""The one way in for everything that is to be sent to a customer."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.content import CODE_FORMS, Content
from services.kf_session.domain.push import NewPush, Purpose
from services.kf_session.store.tables import push, push_item
from shared.db.engine import Database
from shared.db.queue import HIGH, LOW, NORMAL, PENDING, rank_of
from shared.db.rows import insert_into
from shared.db.types import DialectName
from shared.errors import Invalid
from shared.ids import new_id

WAKEUP: Final = "pushes"
"""Given when pushes become ready; to be noted in the transaction that admits one."""

Admit = Callable[[AsyncConnection, NewPush, datetime], Awaitable[str]]
"""Admits a push in the caller's transaction and wakes who sends; its id. See ``admit``."""

_PRIORITY: Final = {
    Purpose.REPLY: HIGH,
    Purpose.NOTICE: HIGH,
    Purpose.WELCOME: HIGH,
    Purpose.MESSAGE: NORMAL,
    Purpose.MATCH: LOW,
    Purpose.SUMMARY: LOW,
}


def msgid_of(push_id: str) -> str:
    """The platform's key of a push: at most 32 of its characters, the same in every try."""
    return hashlib.sha256(f"reach push\0{push_id}".encode()).hexdigest()[:32]


def admission(database: Database) -> Admit:
    """The door of a database."""

    async def admitted(conn: AsyncConnection, new: NewPush, now: datetime) -> str:
        database.wakeups.notify(conn, WAKEUP)
        return await admit(conn, database.dialect, new, now)

    return admitted


async def admit(conn: AsyncConnection, dialect: DialectName, new: NewPush, now: datetime) -> str:
    """Record a push that is due at once; its id. A repeat of (store, dedupe_key) is the first one's id and changes
    nothing; so is a second push for the same one-shot code.

    Locks no session, so it may stand in any transaction. Raises Invalid for content that the platform would not take.
    """
    content = Content.from_json(new.content)
    if new.code_id is not None and content.form not in CODE_FORMS:
        raise Invalid.field("content", "a one-shot code takes a text or a menu only")
    push_id = new_id()
    added = await conn.scalar(
        insert_into(dialect, push)
        .values(**_row(push_id, new, content, now))
        .on_conflict_do_nothing()
        .returning(push.c.id)
    )
    if added is None:
        return await _first(conn, new)
    for position, item in enumerate(new.items, 1):
        await conn.execute(
            sa.insert(push_item).values(
                push_id=push_id,
                position=position,
                item_id=item.item_id,
                line=item.line,
                details=item.details,
                score=item.score,
            )
        )
    return push_id


def _row(push_id: str, new: NewPush, content: Content, now: datetime) -> dict[str, object]:
    priority = _PRIORITY[new.purpose]
    return {
        "id": push_id,
        "store_id": new.store_id,
        "open_kfid": new.open_kfid,
        "external_userid": new.external_userid,
        "purpose": new.purpose.value,
        "dedupe_key": new.dedupe_key,
        "msgid": msgid_of(push_id),
        "content": content.to_json(),
        "score": new.score,
        "template_id": new.template_id,
        "template_version": new.template_version,
        "variant": new.variant,
        "code_id": new.code_id,
        "answer_to": new.answer_to,
        "expires_at": new.expires_at,
        "status": PENDING,
        "priority": priority,
        "rank": rank_of(priority, now),
        "due_at": now,
        "hold_reason": None,
        "attempt_no": 0,
        "lease_owner": None,
        "lease_epoch": 0,
        "lease_until": None,
        "lane": None,
        "retries": 0,
        "refreshes": 0,
        "reason": "",
        "fail_type": None,
        "merged_into": None,
        "accepted_at": None,
        "traceparent": new.traceparent,
        "created_at": now,
        "updated_at": now,
    }


async def _first(conn: AsyncConnection, new: NewPush) -> str:
    same = (push.c.store_id == new.store_id) & (push.c.dedupe_key == new.dedupe_key)
    if new.code_id is not None:
        same = same | (push.c.code_id == new.code_id)
    found = await conn.scalar(
        sa.select(push.c.id).where(same).order_by(push.c.created_at, push.c.id).limit(1)
    )
    return str(found)
