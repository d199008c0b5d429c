"""What is read and written of many steps at once, in one statement each."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import field
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.lifecycle import StepStatus
from services.ai_orchestrator.store.run_tables import RUNNING, chain_run, step_run
from services.ai_orchestrator.store.runs import RUN, Run, run_of
from shared.db.frozen import frozen
from shared.db.rows import dialect_of, pack, rows
from shared.db.types import DialectName, Id, Instant, Json
from shared.values import value_class


@value_class
class Asked:
    """A step that is about to be asked for."""

    id: str
    epoch: int
    missing: Sequence[str]
    asked_at: datetime
    """Of its first request."""
    started_at: datetime


@value_class
class Closed:
    """What a call has brought to its step."""

    id: str
    tokens: int
    reason: str
    error: str
    result: Mapping[str, Any] | None = field(default=None, hash=False)
    """None keeps what is there, as with the others."""
    correction: str | None = None
    finished_at: datetime | None = None


class _Statements:
    def __init__(self, dialect: DialectName) -> None:
        r, s = chain_run, step_run
        wanted = rows(dialect, "wanted", id=Id)
        runs = sa.select(*RUN).join(wanted, r.c.id == wanted.c.id).order_by(r.c.id)
        self.get = frozen(dialect, runs)
        self.lock = frozen(dialect, runs.with_for_update(of=r) if dialect == "postgresql" else runs)
        asked = rows(
            dialect,
            "asked",
            id=Id,
            epoch=sa.BigInteger,
            missing=Json(),
            asked_at=Instant(),
            started_at=Instant(),
        )
        held = (
            s.c.id == asked.c.id,
            s.c.lease_epoch == asked.c.epoch,
            s.c.status == sa.literal_column(f"'{RUNNING}'"),
        )
        known = {name: asked.c[name] for name in ("missing", "asked_at", "started_at")}
        ask = sa.update(s).where(*held).values(**known, reason=sa.literal_column("''"))
        self.ask = frozen(dialect, ask.returning(s.c.id))
        kept = {"result": Json(), "correction": sa.Text(), "finished_at": Instant()}
        closed = rows(
            dialect, "closed", id=Id, tokens=sa.BigInteger, reason=sa.Text(), error=sa.Text(), **kept
        )
        values: dict[str, Any] = {name: closed.c[name] for name in ("tokens", "reason", "error")}
        values |= {name: sa.func.coalesce(closed.c[name], s.c[name]) for name in kept}
        self.close = frozen(dialect, sa.update(s).where(s.c.id == closed.c.id).values(values))
        first = sa.select(s).where(
            s.c.run_id == sa.bindparam("run_id"),
            s.c.status == sa.literal_column(f"'{StepStatus.BLOCKED.value}'"),
        )
        self.next_in_line = frozen(
            dialect, first.order_by(s.c.position).limit(sa.bindparam("size", type_=sa.Integer()))
        )


_statements = cache(_Statements)


async def get(conn: AsyncConnection, ids: Collection[str]) -> dict[str, Run]:
    """Runs, unlocked; those that are gone are left out."""
    return await _runs(conn, _statements(dialect_of(conn)).get, ids)


async def lock(conn: AsyncConnection, ids: Collection[str]) -> dict[str, Run]:
    """Runs, nobody else's until the transaction ends; those that are gone are left out. See `runs.lock`."""
    return await _runs(conn, _statements(dialect_of(conn)).lock, ids)


async def _runs(conn: AsyncConnection, statement: sa.Executable, ids: Collection[str]) -> dict[str, Run]:
    wanted = pack([{"id": one} for one in sorted(ids)])
    found = await conn.execute(statement, {"wanted": wanted})
    return {row["id"]: run_of(row) for row in found.mappings()}


async def ask(conn: AsyncConnection, steps: Sequence[Asked]) -> set[str]:
    """Write what is known of steps that are about to be asked for; the ids of those that are still their holder's."""
    asked = pack(
        [
            {"id": one.id, "epoch": one.epoch, "missing": list(one.missing)}
            | {"asked_at": one.asked_at, "started_at": one.started_at}
            for one in sorted(steps, key=lambda one: one.id)
        ]
    )
    return set((await conn.execute(_statements(dialect_of(conn)).ask, {"asked": asked})).scalars())


async def close(conn: AsyncConnection, steps: Sequence[Closed]) -> None:
    """Write what calls have brought; under the locks of their runs."""
    closed = pack(
        [
            {"id": one.id, "tokens": one.tokens, "reason": one.reason, "error": one.error}
            | {"correction": one.correction, "finished_at": one.finished_at}
            | {"result": None if one.result is None else dict(one.result)}
            for one in sorted(steps, key=lambda one: one.id)
        ]
    )
    await conn.execute(_statements(dialect_of(conn)).close, {"closed": closed})


async def next_in_line(conn: AsyncConnection, run_id: str, size: int) -> Sequence[sa.RowMapping]:
    """The first steps of a run that nothing has let go yet."""
    query = _statements(dialect_of(conn)).next_in_line
    return (await conn.execute(query, {"run_id": run_id, "size": size})).mappings().all()
