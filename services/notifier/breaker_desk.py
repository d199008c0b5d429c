"""The notifier's breakers, for operators: what stands open and why, and closing one by hand."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.pipeline.breakers import Breakers, Change
from services.notifier.pipeline.recording import ALERTS, WAKEUP
from services.notifier.store import breakers as store
from services.notifier.store.breakers import ALERT_UNDELIVERABLE, Row
from shared.audit import AuditLog, NewEntry
from shared.clock import Clock
from shared.db import outbox
from shared.db.engine import Database
from shared.db.once import Once
from shared.ops.part import BreakerView, CheckStatus, Finding

_log = structlog.get_logger("reach.notifier.breakers")


class NotifierBreakers:
    """See ``shared.ops.part.BreakerDesk``."""

    def __init__(self, database: Database, breakers: Breakers, audit: AuditLog, clock: Clock) -> None:
        self._database = database
        self._breakers = breakers
        self._audit = audit
        self._clock = clock

    async def list_breakers(self) -> Sequence[BreakerView]:
        """By key."""
        async with self._database.read() as conn:
            return [await self._view(conn, row) for row in await store.everything(conn)]

    async def reset(self, key: str, *, by: str, once: Once) -> BreakerView | None:
        """Close it and let what waits go."""
        now = self._clock.now()

        async def write(conn: AsyncConnection) -> list[Change] | None:
            if all(row.key != key for row in await store.everything(conn)):
                return None
            if not await once.is_first(conn, now):
                return []
            await store.release_waiting(conn, self._breakers.channels([key]), now)
            change = await self._breakers.reset(conn, key, by, now)
            self._database.wakeups.notify(conn, WAKEUP)
            self._database.wakeups.notify(conn, outbox.WAKEUP, ALERTS, others=False)
            await self._audit.record(conn, NewEntry(once.name, key, ""), now)
            return [change]

        changes = await self._database.transact(write)
        if changes is None:
            return None
        if changes:
            self._breakers.note(changes)
            _log.info("breaker reset by hand", credential=key, by=by)
        return next(view for view in await self.list_breakers() if view.key == key)

    async def check(self) -> Sequence[Finding]:
        """Does every credential work, as far as sends have shown?"""
        views = [view for view in await self.list_breakers() if view.state != "closed"]
        if not views:
            return [Finding("breakers", CheckStatus.OK, "none open")]
        return [_finding(view) for view in views]

    async def _view(self, conn: AsyncConnection, row: Row) -> BreakerView:
        one = row.breaker
        waiting = await store.waiting(conn, self._breakers.channels([row.key])) if one.holds else 0
        return BreakerView(
            key=row.key,
            state=one.state.value,
            failures=one.failures,
            since=one.since,
            opened_at=one.opened_at,
            retry_at=one.retry_at,
            probe=one.probe,
            reason=one.reason,
            errcode=one.errcode,
            detail=one.detail,
            openings=one.opening,
            failed_probes=one.failed_probes,
            waiting=waiting,
            alert=row.alert,
            alerted_at=row.alerted_at,
            reset_by=row.updated_by,
        )


def _finding(view: BreakerView) -> Finding:
    since = f" since {view.since.isoformat(' ', 'seconds')}" if view.since is not None else ""
    untold = "; nobody could be told" if view.alert == ALERT_UNDELIVERABLE else ""
    return Finding(
        f"breaker:{view.key}",
        CheckStatus.FAILED,
        f"{view.failures} sends in a row failed{since} ({view.reason} {view.detail}".rstrip()
        + f"); {view.waiting} deliveries wait{untold}",
        f"put right what failed, then `reach breakers reset {view.key}`; it is tried again by itself as well",
    )
