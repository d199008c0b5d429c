"""A database with the gates over it, and calls that want to pass; as a program, one of several processes at it.

    python -m tests.ai_orchestrator.gates.bench URL STORE COUNT

opens the gates on a database that is there, has COUNT calls ask for leave at once, prints how many were let through,
and then waits to be killed, as a process does whose calls hang.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from services.ai_orchestrator.domain.call import CallProblem, Completion, Usage
from services.ai_orchestrator.domain.gating import Granted, Refused, Wish
from services.ai_orchestrator.pipeline.gates import GateFigures, SqlGates
from services.ai_orchestrator.pipeline.ports import Gates
from services.ai_orchestrator.pipeline.token_rates import TokenRates
from services.ai_orchestrator.store import breakers, budgets, gate_tables
from services.ai_orchestrator.store.budgets import LimitRow, Spent
from services.ai_orchestrator.store.gate_tables import budget
from shared.breaker import Breaker
from shared.db.engine import Database
from shared.db.tables import shared_metadata
from shared.errors import Throttled
from shared.ids import new_id
from shared.settings import Limits

NOW = datetime(2026, 3, 2, 4, tzinfo=UTC)
DAY, MONTH = "2026-03-02", "2026-03"
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
ZONE = ZoneInfo("Asia/Shanghai")
STORE, APP = "s1", "app3_clue"
PROMPT_BYTES = 1000
FIRST_HOLD = 5500
"""What a call with such a prompt is held for before anything is known of its application."""
FIGURES = GateFigures.of(Limits())
WIDE = replace(FIGURES, store_per_minute=100_000, per_minute=100_000, tokens=TokenRates(10**12, 10**12, 80))


def wish(app: str = APP, store: str = STORE, *, at: datetime = NOW, **more: Any) -> Wish:
    """A call that wants to leave."""
    asked = {"prompt_bytes": PROMPT_BYTES, "interactive": True, "until": at + 200 * SECOND, **more}
    return Wish(new_id(), store, app, **asked)


def answered(tokens: int | None = 900) -> Completion:
    """A reply that cost so much; None: it does not say."""
    usage = None if tokens is None else Usage(tokens - 1, 1, ("qwen-plus",))
    return Completion("{}", "", "stop", usage, "r", SECOND)


class Bench:
    """One replica."""

    def __init__(self, database: Database, figures: GateFigures = FIGURES) -> None:
        self.database = database
        self.gates = SqlGates(figures, ZONE, jitter=lambda: 0.0)
        self.port: Gates = self.gates

    async def ask(self, one: Wish, now: datetime = NOW) -> Granted | Refused:
        """Whether it may leave."""
        said = await self.database.transact(lambda conn: self.gates.pass_(conn, [one], now))
        return said if isinstance(said, Refused) else said[0]

    async def end(self, one: Wish, outcome: Completion | CallProblem, now: datetime = NOW) -> int:
        """It is over; what was charged."""
        (charged,) = await self.database.transact(lambda conn: self.gates.settle(conn, [(one, outcome)], now))
        return charged

    async def call(
        self, outcome: Completion | CallProblem, now: datetime = NOW, **more: Any
    ) -> Granted | Refused:
        """A whole call, if it may leave."""
        asked = wish(at=now, **more)
        verdict = await self.ask(asked, now)
        if isinstance(verdict, Granted):
            await self.end(asked, outcome, now)
        return verdict

    async def crowd(self, wishes: list[Wish], now: datetime = NOW) -> Counter[str]:
        """All at once: how many were granted, and how many refused by each gate."""

        async def ask(one: Wish) -> Granted | Refused:
            while True:
                try:
                    return await self.ask(one, now)
                except Throttled:  # so many that some found no connection: they ask again, as callers do
                    continue

        async with asyncio.timeout(60):
            verdicts = await asyncio.gather(*(ask(one) for one in wishes))
        return Counter("granted" if isinstance(one, Granted) else one.refusal.value for one in verdicts)

    async def limit(self, day: int | None, month: int | None = None, store: str = STORE) -> None:
        """SetBudget."""
        row = LimitRow(store, day, month, NOW, "test")
        await self.database.transact(lambda conn: budgets.set_limit(conn, row))

    async def spent(self, store: str = STORE, window: str = DAY) -> Spent:
        """How a budget stands."""
        async with self.database.read() as conn:
            return (await budgets.spent(conn, [(store, window)])).get((store, window), Spent())

    async def breaker(self, key: str) -> Breaker:
        """How one stands."""
        async with self.database.read() as conn:
            found = await breakers.of(conn, [key])
            return found[key].breaker if key in found else Breaker()

    async def ledger(self) -> list[tuple[Any, ...]]:
        """Every budget, to see that nothing moved."""
        columns = (budget.c.store_id, budget.c.window, budget.c.used, budget.c.held)
        async with self.database.read() as conn:
            return [tuple(row) for row in await conn.execute(sa.select(*columns).order_by(*columns))]


@asynccontextmanager
async def bench(url: str, figures: GateFigures = FIGURES, *, fresh: bool = True) -> AsyncIterator[Bench]:
    """The gates over the database at *url*, which gets its tables first if it is *fresh*."""
    database = Database.open(url, schema="public")
    try:
        if fresh:
            async with database.write() as conn:
                await conn.run_sync(shared_metadata.create_all)
                await conn.run_sync(gate_tables.metadata.create_all)
        yield Bench(database, figures)
    finally:
        await database.close()


async def _main(url: str, store: str, count: int) -> None:
    async with bench(url, WIDE, fresh=False) as made:
        found = await made.crowd([wish(store=store) for _ in range(count)])
        print(found["granted"], found["budget_exceeded"], flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
