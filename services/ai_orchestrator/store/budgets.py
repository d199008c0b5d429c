"""Budgets, holds and what applications cost, as rows.

Rows are locked in this order: a hold, then budgets by key, then an application's cost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.budget import EVERY_STORE, Cost
from services.ai_orchestrator.store.gate_tables import app_cost, budget, budget_limit, hold
from shared.db.frozen import frozen
from shared.db.rows import dialect_of, insert_into, pack, rows
from shared.db.types import DialectName, Id
from shared.values import value_class

MONTH_NAME: Final = len("2026-03")

_TAKEN: Final = ("attempt_id", "store_id", "app_type", "day", "month", "tokens", "taken_at", "until")

BudgetKey = tuple[str, str]
"""A store (`EVERY_STORE`: all of them together) and a window's name."""


@value_class
class Spent:
    """What was spent of one budget, and what calls under way may cost."""

    used: int = 0
    held: int = 0
    calls: int = 0
    most: int | None = None
    """What somebody said that it may reach; None: nobody did."""


@value_class
class Move:
    """What changes in one budget."""

    used: int = 0
    held: int = 0
    calls: int = 0
    most: int | None = None
    """Only if no more than this is used and held thereafter; None: in any case."""


@value_class
class Hold:
    """Tokens spoken for by one attempt."""

    attempt_id: str
    store_id: str
    app_type: str
    day: str
    month: str
    tokens: int
    taken_at: datetime
    until: datetime
    charged: int | None = None
    """None: its call is under way."""

    @property
    def keys(self) -> list[BudgetKey]:
        """The budgets it was taken of."""
        return budget_keys(self.store_id, (self.day, self.month))


@value_class
class LimitRow:
    """What somebody said that a store may spend."""

    store_id: str
    day_tokens: int | None
    month_tokens: int | None
    updated_at: datetime
    updated_by: str


def budget_keys(store_id: str, windows: Sequence[str]) -> list[BudgetKey]:
    """The budgets a call of a store counts for, in the order of their locks."""
    return sorted((store, window) for store in {EVERY_STORE, store_id} for window in windows)


class _Statements:
    def __init__(self, dialect: DialectName) -> None:
        wanted = rows(dialect, "wanted", store_id=Id, window=Id)
        same = sa.and_(budget.c.store_id == wanted.c.store_id, budget.c.window == wanted.c.window)
        # A month's name is shorter than a day's.
        is_day = sa.func.length(budget.c.window) > sa.literal_column(str(MONTH_NAME))
        most = sa.case((is_day, budget_limit.c.day_tokens), else_=budget_limit.c.month_tokens)
        look = (
            sa.select(budget, most.label("most"))
            .join(wanted, same)
            .outerjoin(budget_limit, budget_limit.c.store_id == budget.c.store_id)
            .order_by(budget.c.store_id, budget.c.window)
        )
        self.look = frozen(dialect, look)
        self.lock = frozen(dialect, look.with_for_update(of=budget)) if dialect == "postgresql" else self.look
        big = sa.BigInteger
        moved = rows(dialect, "moved", store_id=Id, window=Id, used=big, held=big, calls=big, most=big)
        used, held = budget.c.used + moved.c.used, budget.c.held + moved.c.held
        self.move = frozen(
            dialect,
            sa.update(budget)
            .where(budget.c.store_id == moved.c.store_id, budget.c.window == moved.c.window)
            .where(sa.or_(moved.c.most.is_(None), used + held <= moved.c.most))
            .values(
                used=used,
                held=held,
                calls=budget.c.calls + moved.c.calls,
                updated_at=sa.bindparam("now", type_=budget.c.updated_at.type),
            ),
        )
        self.take = frozen(dialect, sa.insert(hold).values({name: sa.bindparam(name) for name in _TAKEN}))
        mine = hold.c.attempt_id == sa.bindparam("attempt")
        self.held = frozen(dialect, sa.select(hold).where(mine).with_for_update())
        ended: dict[str, Any] = {"settled_at": sa.bindparam("now"), "charged": sa.bindparam("tokens_charged")}
        self.settle = frozen(dialect, sa.update(hold).where(mine).values(ended))
        of_app = app_cost.c.app_type == sa.bindparam("app")
        self.cost = frozen(dialect, sa.select(app_cost).where(of_app))
        self.cost_locked = frozen(dialect, sa.select(app_cost).where(of_app).with_for_update())
        known: dict[str, Any] = {
            name: sa.bindparam(f"new_{name}") for name in ("extra", "calls", "updated_at")
        }
        self.learn = frozen(dialect, sa.update(app_cost).where(of_app).values(known))


_statements = cache(_Statements)


async def spent(conn: AsyncConnection, keys: Sequence[BudgetKey]) -> dict[BudgetKey, Spent]:
    """How budgets stand; those that nothing was ever taken of are left out."""
    return await _read(conn, _statements(dialect_of(conn)).look, keys)


async def lock(conn: AsyncConnection, keys: Sequence[BudgetKey], now: datetime) -> dict[BudgetKey, Spent]:
    """How budgets stand; made where they are missing, and nobody else's until the transaction is over."""
    dialect = dialect_of(conn)
    statement = _statements(dialect).lock
    found = await _read(conn, statement, keys)
    if missing := sorted(set(keys) - found.keys()):
        fresh = [
            {"store_id": store, "window": window, "used": 0, "held": 0, "calls": 0, "updated_at": now}
            for store, window in missing
        ]
        await conn.execute(insert_into(dialect, budget).values(fresh).on_conflict_do_nothing())
        found |= await _read(conn, statement, missing)
    return found


async def _read(
    conn: AsyncConnection, statement: sa.Executable, keys: Sequence[BudgetKey]
) -> dict[BudgetKey, Spent]:
    wanted = pack([{"store_id": store, "window": window} for store, window in keys])
    return {
        (row.store_id, row.window): Spent(row.used, row.held, row.calls, row.most)
        for row in await conn.execute(statement, {"wanted": wanted})
    }


async def move(conn: AsyncConnection, moves: Mapping[BudgetKey, Move], now: datetime) -> bool:
    """Change budgets that are locked; false, with some of them perhaps changed, when one has no room."""
    moved = [
        {"store_id": store, "window": window, "used": one.used, "held": one.held}
        | {"calls": one.calls, "most": one.most}
        for (store, window), one in sorted(moves.items())
    ]
    done = await conn.execute(_statements(dialect_of(conn)).move, {"moved": pack(moved), "now": now})
    return done.rowcount == len(moves)


async def take(conn: AsyncConnection, one: Hold) -> None:
    """Write a hold down."""
    values = {name: getattr(one, name) for name in _TAKEN}
    await conn.execute(_statements(dialect_of(conn)).take, values)


async def held(conn: AsyncConnection, attempt_id: str) -> Hold | None:
    """An attempt's hold, locked; None where it has none."""
    statement = _statements(dialect_of(conn)).held
    row = (await conn.execute(statement, {"attempt": attempt_id})).one_or_none()
    return None if row is None else _hold(row)


async def lapsed(conn: AsyncConnection, now: datetime, limit: int) -> list[Hold]:
    """Holds that nobody settled in time, locked; those that somebody is at are left out."""
    query = (
        sa.select(hold)
        .where(hold.c.settled_at.is_(None), hold.c.until <= now)
        .order_by(hold.c.until)
        .limit(limit)
    )
    return [_hold(row) for row in await conn.execute(query.with_for_update(skip_locked=True))]


async def settle(conn: AsyncConnection, charges: Mapping[Hold, int], now: datetime) -> None:
    """Turn locked holds into what was spent."""
    dialect = dialect_of(conn)
    moves: dict[BudgetKey, Move] = {}
    for one, tokens in charges.items():
        ended = {"attempt": one.attempt_id, "now": now, "tokens_charged": tokens}
        await conn.execute(_statements(dialect).settle, ended)
        for key in one.keys:
            known = moves.get(key, Move())
            moves[key] = Move(known.used + tokens, known.held - one.tokens, known.calls + 1)
    if moves:
        if dialect == "postgresql":  # in their order; SQLite has one writer
            await lock(conn, sorted(moves), now)
        await move(conn, moves, now)


async def limits(conn: AsyncConnection, stores: Sequence[str]) -> list[LimitRow]:
    """What somebody said for *stores*."""
    found = await conn.execute(sa.select(budget_limit).where(budget_limit.c.store_id.in_(stores)))
    return [
        LimitRow(row.store_id, row.day_tokens, row.month_tokens, row.updated_at, row.updated_by)
        for row in found
    ]


async def set_limit(conn: AsyncConnection, row: LimitRow) -> None:
    """Say what a store may spend."""
    values = {
        "day_tokens": row.day_tokens,
        "month_tokens": row.month_tokens,
        "updated_at": row.updated_at,
        "updated_by": row.updated_by,
    }
    await conn.execute(
        insert_into(dialect_of(conn), budget_limit)
        .values(store_id=row.store_id, **values)
        .on_conflict_do_update(index_elements=["store_id"], set_=values)
    )


async def cost(conn: AsyncConnection, app_type: str) -> Cost:
    """What an application's calls have cost; what a new one is supposed to cost."""
    row = (await conn.execute(_statements(dialect_of(conn)).cost, {"app": app_type})).one_or_none()
    return Cost() if row is None else Cost(row.extra, row.calls)


async def learn(conn: AsyncConnection, app_type: str, prompt_bytes: int, tokens: int, now: datetime) -> None:
    """Remember what a call has cost."""
    statements, which = _statements(dialect_of(conn)), {"app": app_type}
    row = (await conn.execute(statements.cost_locked, which)).one_or_none()
    if row is None:
        first = {"app_type": app_type, "extra": Cost().extra, "calls": 0, "updated_at": now}
        await conn.execute(insert_into(dialect_of(conn), app_cost).values(first).on_conflict_do_nothing())
        row = (await conn.execute(statements.cost_locked, which)).one()
    after = Cost(row.extra, row.calls).learned(prompt_bytes, tokens)
    new = {"new_extra": after.extra, "new_calls": after.calls, "new_updated_at": now}
    await conn.execute(statements.learn, {**which, **new})


async def purge(conn: AsyncConnection, holds: datetime, budgets: datetime, limit: int) -> int:
    """Delete settled holds and windows older than those instants; how many there were."""
    old = sa.select(hold.c.attempt_id).where(hold.c.settled_at < holds).order_by(hold.c.settled_at)
    ids = (await conn.execute(old.limit(limit))).scalars().all()
    gone = len(ids)
    if ids:
        await conn.execute(sa.delete(hold).where(hold.c.attempt_id.in_(ids)))
    past = sa.select(budget.c.store_id, budget.c.window).where(budget.c.updated_at < budgets)
    past = past.order_by(budget.c.updated_at).limit(limit)
    both = sa.tuple_(budget.c.store_id, budget.c.window)
    return gone + (await conn.execute(sa.delete(budget).where(both.in_(past)))).rowcount


def _hold(row: Any) -> Hold:
    return Hold(*(row._mapping[name] for name in (*_TAKEN, "charged")))
