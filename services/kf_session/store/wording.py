"""Pushes whose words a model may still replace: of one match, a text, waiting, and never tried."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.asking import ANSWERED
from services.kf_session.domain.content import Content, Form
from services.kf_session.domain.eligibility import AI_TEXT, Gate
from services.kf_session.store import outgoing
from services.kf_session.store.tables import SENDING, push, push_attempt, push_item
from shared.db.queue import DEFERRED, PENDING

_ITEMS: Final = (
    sa.select(sa.func.count())
    .select_from(push_item)
    .where(push_item.c.push_id == push.c.id)
    .scalar_subquery()
)
_TRIED: Final = sa.exists().where(push_attempt.c.push_id == push.c.id)
_OPEN: Final = (push.c.status.in_((PENDING, DEFERRED, SENDING)), ~_TRIED, _ITEMS == 1)
"""Who has claimed it and begun no try looks at its words again under the lock that ``hold`` takes."""


async def replaceable(conn: AsyncConnection, push_id: str) -> str | None:
    """The words that the push has and that others may take the place of; None where they may not."""
    return _text(await conn.scalar(sa.select(push.c.content).where(push.c.id == push_id, *_OPEN)))


async def hold(conn: AsyncConnection, push_id: str) -> bool:
    """Whether its words may be replaced; nobody else changes it until the transaction ends."""
    await conn.execute(sa.select(push.c.id).where(push.c.id == push_id).with_for_update())
    return await replaceable(conn, push_id) is not None


async def end(conn: AsyncConnection, push_id: str, outcome: str, text: str, now: datetime) -> None:
    """The push, which the caller holds, waits for words no longer; it has *text*, or (empty) keeps its own.

    The words of a model are of no template, and nothing that comes of them is credited to one.
    """
    there = await conn.scalar(sa.select(push.c.id).where(push.c.id == push_id))
    if there is None:
        return
    if text:
        values: dict[str, Any] = {"content": Content.text(text).to_json()}
        values |= {"template_id": None, "template_version": None, "variant": None}
        await conn.execute(sa.update(push).where(push.c.id == push_id).values(**values))
    await conn.execute(
        sa.update(push)
        .where(push.c.id == push_id, push.c.status == DEFERRED, push.c.hold_reason == AI_TEXT)
        .values(status=PENDING, hold_reason=None, due_at=now, updated_at=now)
    )
    used = outcome == ANSWERED
    await outgoing.write_note(
        conn,
        push_id,
        now,
        gate=Gate.WORDS.value,
        verdict="pass",
        reason="ai_text_used" if used else "ai_text_not_used",
        facts={} if used else {"why": outcome},
    )


def _text(content: Any) -> str | None:
    if content is None:
        return None
    kept = Content.from_json(content)
    return kept.words if kept.form is Form.TEXT else None
