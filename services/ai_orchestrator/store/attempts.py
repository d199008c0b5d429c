"""The rows of requests: written before they leave, ended once, kept as the record of what was asked and answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.gating import Wish
from services.ai_orchestrator.domain.lifecycle import AttemptStatus
from services.ai_orchestrator.store.run_tables import WORDY, attempt
from shared.values import value_class

_CALLING = AttemptStatus.CALLING.value

_INSERT = sa.insert(attempt)
_END = sa.update(attempt).where(attempt.c.id == sa.bindparam("which"), attempt.c.status == _CALLING)


@value_class
class UnderWay:
    """An attempt that has not ended."""

    id: str
    step_id: str
    wish: Wish


async def insert(conn: AsyncConnection, row: Mapping[str, Any]) -> None:
    """Write an attempt that is about to leave."""
    blank = {
        "status": _CALLING,
        "reason": "",
        "code": "",
        "error": "",
        "response": "",
        "models": [],
        "input_tokens": 0,
        "output_tokens": 0,
        "charged_tokens": 0,
        "request_id": "",
        "finish_reason": "",
        "took_ms": 0,
    }
    await conn.execute(_INSERT, {**blank, **row})


async def end(conn: AsyncConnection, attempt_id: str, values: Mapping[str, Any]) -> bool:
    """End an attempt; False where somebody has."""
    return bool((await conn.execute(_END, {**values, "which": attempt_id})).rowcount)


async def earlier(conn: AsyncConnection, step_id: str, attempt_id: str) -> list[AttemptStatus]:
    """How the other attempts of a step ended."""
    query = sa.select(attempt.c.status).where(attempt.c.step_id == step_id, attempt.c.id != attempt_id)
    return [AttemptStatus(status) for status in (await conn.execute(query)).scalars()]


async def of_step_under_way(conn: AsyncConnection, step_id: str) -> UnderWay | None:
    """The attempt of a step that has not ended."""
    query = sa.select(attempt).where(attempt.c.step_id == step_id, attempt.c.status == _CALLING)
    row = (await conn.execute(query)).mappings().one_or_none()
    return None if row is None else _under_way(row)


async def orphans(conn: AsyncConnection, before: datetime, limit: int) -> list[UnderWay]:
    """Attempts that were to be over before *before* and have no end."""
    query = (
        sa.select(attempt)
        .where(sa.text(f"status = '{_CALLING}'"), attempt.c.until < before)
        .order_by(attempt.c.until)
        .limit(limit)
    )
    return [_under_way(row) for row in (await conn.execute(query)).mappings()]


def _under_way(row: sa.RowMapping) -> UnderWay:
    wish = Wish(
        attempt_id=row["id"],
        store_id=row["store_id"],
        app_type=row["app_type"],
        prompt_bytes=row["prompt_bytes"],
        interactive=row["interactive"],
        until=row["until"],
    )
    return UnderWay(row["id"], row["step_id"], wish)


async def forget_words(conn: AsyncConnection, before: datetime, limit: int) -> int:
    """Blank prompts and responses of attempts that began before *before*; how many."""
    a = attempt
    old = sa.select(a.c.id).where(a.c.started_at < before, a.c.status != _CALLING, sa.text(f"({WORDY})"))
    old = old.order_by(a.c.started_at).limit(limit)
    statement = sa.update(a).where(a.c.id.in_(old)).values(prompt="", response="")
    return (await conn.execute(statement)).rowcount


async def purge(conn: AsyncConnection, before: datetime, limit: int) -> int:
    """Delete up to *limit* attempts that began before *before*; how many."""
    a = attempt
    old = sa.select(a.c.id).where(a.c.started_at < before, a.c.status != _CALLING)
    old = old.order_by(a.c.started_at).limit(limit)
    return (await conn.execute(sa.delete(a).where(a.c.id.in_(old)))).rowcount


async def of_run(conn: AsyncConnection, run_id: str) -> Sequence[sa.RowMapping]:
    """The attempts of a run, oldest first."""
    query = sa.select(attempt).where(attempt.c.run_id == run_id).order_by(attempt.c.started_at, attempt.c.id)
    return (await conn.execute(query)).mappings().all()
