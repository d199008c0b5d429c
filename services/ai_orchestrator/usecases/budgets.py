"""Budgets: what may be spent, and what was."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.budget import EVERY_STORE, Window, windows_of
from services.ai_orchestrator.domain.gating import Refusal
from services.ai_orchestrator.pipeline.gates import GateFigures
from services.ai_orchestrator.pipeline.ports import Waiting
from services.ai_orchestrator.store import budgets
from services.ai_orchestrator.store.budgets import LimitRow, Spent
from shared.audit import AuditLog, NewEntry
from shared.clock import Clock
from shared.db.engine import Database
from shared.db.once import Once
from shared.rpc.principal import current
from shared.values import value_class


@value_class
class WindowView:
    """One day or month."""

    window: Window
    limit: int
    is_default: bool
    spent: Spent


@value_class
class BudgetView:
    """What a store, or all of them together, may spend and spent."""

    store_id: str
    day: WindowView
    month: WindowView
    updated_at: datetime | None
    updated_by: str


class Budgets:
    """What operators may look at and change."""

    def __init__(
        self,
        database: Database,
        figures: GateFigures,
        waiting: Waiting,
        audit: AuditLog,
        clock: Clock,
        zone: ZoneInfo,
    ) -> None:
        self._database = database
        self._figures = figures
        self._waiting = waiting
        self._audit = audit
        self._clock = clock
        self._zone = zone

    async def get(self, store_id: str) -> BudgetView:
        """How it stands; `EVERY_STORE` is all of them together."""
        async with self._database.read() as conn:
            return await self._view(conn, store_id)

    async def set(
        self, store_id: str, day_tokens: int | None, month_tokens: int | None, *, once: Once
    ) -> BudgetView:
        """Say what may be spent; None: what the deployment says."""

        async def write(conn: AsyncConnection) -> BudgetView:
            now = self._clock.now()
            if await once.is_first(conn, now):
                by = current().subject
                await budgets.set_limit(conn, LimitRow(store_id, day_tokens, month_tokens, now, by))
                await self._waiting.release(conn, Refusal.BUDGET_EXCEEDED, now)
                told = {"day_tokens": day_tokens, "month_tokens": month_tokens}
                done = NewEntry(once.name, store_id or "all stores", store_id, detail=told)
                await self._audit.record(conn, done, now)
            return await self._view(conn, store_id)

        return await self._database.transact(write)

    async def _view(self, conn: AsyncConnection, store_id: str) -> BudgetView:
        day, month = windows_of(self._clock.now(), self._zone)
        spent = await budgets.spent(conn, [(store_id, day.name), (store_id, month.name)])
        row = next(iter(await budgets.limits(conn, [store_id])), None)
        default = self._figures.together if store_id == EVERY_STORE else self._figures.each

        def view(window: Window, said: int | None, otherwise: int) -> WindowView:
            limit = otherwise if said is None else said
            return WindowView(window, limit, said is None, spent.get((store_id, window.name), Spent()))

        return BudgetView(
            store_id,
            view(day, row.day_tokens if row else None, default.day),
            view(month, row.month_tokens if row else None, default.month),
            row.updated_at if row else None,
            row.updated_by if row else "",
        )
