"""The breakers of the account, the key and the applications, for operators: what stands open and why, and closing one."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.gating import Refusal
from services.ai_orchestrator.domain.slowing import Slowdown
from services.ai_orchestrator.pipeline.ports import Waiting
from services.ai_orchestrator.store import breakers
from services.ai_orchestrator.store.breakers import Row
from shared.audit import AuditLog, NewEntry
from shared.breaker import reset
from shared.clock import Clock
from shared.db.engine import Database
from shared.db.once import Once
from shared.ops.part import BreakerView, CheckStatus, Finding

_log = structlog.get_logger("reach.ai_orchestrator.breakers")


class AiBreakers:
    """See ``shared.ops.part.BreakerDesk``."""

    def __init__(self, database: Database, waiting: Waiting, audit: AuditLog, clock: Clock) -> None:
        self._database = database
        self._waiting = waiting
        self._audit = audit
        self._clock = clock

    async def list_breakers(self) -> Sequence[BreakerView]:
        """By key."""
        async with self._database.read() as conn:
            rows = await breakers.everything(conn)
            held = any(row.breaker.holds for row in rows)
            waiting = await self._waiting.count(conn, Refusal.CIRCUIT_OPEN) if held else 0
        return [_view(row, waiting) for row in rows]

    async def reset(self, key: str, *, by: str, once: Once) -> BreakerView | None:
        """Close it, forget that it was slowed, and let what waits go."""

        async def write(conn: AsyncConnection) -> bool:
            now = self._clock.now()
            if not await breakers.of(conn, [key]):
                return False
            if await once.is_first(conn, now):
                row = (await breakers.locked(conn, [key], now))[key]
                clean = Row(key, reset(row.breaker), "", Slowdown(), by)
                await breakers.write(conn, clean, now)
                for refusal in (Refusal.CIRCUIT_OPEN, Refusal.RATE_LIMITED):
                    await self._waiting.release(conn, refusal, now)
                await self._audit.record(conn, NewEntry(once.name, key, ""), now)
            return True

        if not await self._database.transact(write):
            return None
        _log.info("breaker reset by hand", breaker=key, by=by)
        return next(view for view in await self.list_breakers() if view.key == key)

    async def check(self) -> Sequence[Finding]:
        """Do the applications answer, as far as calls have shown?"""
        views = [view for view in await self.list_breakers() if view.state != "closed"]
        return [_finding(view) for view in views] or [Finding("breakers", CheckStatus.OK, "none open")]


def _view(row: Row, waiting: int) -> BreakerView:
    one = row.breaker
    return BreakerView(
        key=row.key,
        state=one.state.value,
        failures=one.failures,
        since=one.since,
        opened_at=one.opened_at,
        retry_at=one.retry_at,
        probe=one.probe,
        reason=one.reason,
        detail=one.detail,
        openings=one.opening,
        failed_probes=one.failed_probes,
        waiting=waiting if one.holds else 0,
        reset_by=row.updated_by,
    )


def _finding(view: BreakerView) -> Finding:
    since = f" since {view.since.isoformat(' ', 'seconds')}" if view.since is not None else ""
    return Finding(
        f"breaker:{view.key}",
        CheckStatus.FAILED,
        f"{view.failures} AI calls in a row failed{since} ({view.reason} {view.detail}".rstrip()
        + f"); {view.waiting} steps wait",
        f"put right what failed, then `reach breakers reset {view.key}`; it is tried again by itself as well",
    )
