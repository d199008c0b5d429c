"""Compares join ways with what the platform has, on schedule: what was changed or taken away by another way is found.

Several processes may check the same one at once; each writes what it saw, under the version it saw it for.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from typing import Any, Final

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain import join_way as domain
from services.campaign.domain.join_way import WayStatus
from services.campaign.pipeline.customer_calls import counted
from services.campaign.store import join_ways
from services.campaign.store.join_ways import Way
from shared.clock import Clock
from shared.credentials import FIRST, Credentials
from shared.db import lease
from shared.db.engine import Database
from shared.supervise import Turn
from shared.telemetry import metrics
from shared.telemetry.metrics import Metrics
from shared.wecom.client import WeComClient
from shared.wecom.customer import UNKNOWN_WAY, CustomerApi, JoinWayRead
from shared.wecom.outcome import State

BATCH: Final = 10
AGAIN: Final = timedelta(minutes=5)
"""After a check that came to nothing."""
_LEASE: Final = "join_way_checks"
_HELD: Final = timedelta(seconds=60)
_POLL: Final = 5.0
_log = structlog.get_logger("reach.campaign.join_ways")


class WayChecking:
    """The loop."""

    def __init__(
        self,
        database: Database,
        credentials: Credentials,
        wecom: WeComClient,
        clock: Clock,
        numbers: Metrics,
        owner: str,
    ) -> None:
        self._database = database
        self._credentials = credentials
        self._wecom = wecom
        self._clock = clock
        self._numbers = numbers
        self._owner = owner

    async def run(self, turn: Turn) -> None:
        """Check until cancelled."""
        signal = self._database.wakeups.listen(join_ways.WAKEUP)
        while True:
            while await self.step():
                turn()
            turn()
            await signal.wait(_POLL)

    async def step(self) -> bool:
        """Check a batch of those that are due; whether there may be more."""
        app = await self._credentials.customer(FIRST)
        batch = await self._database.transact(lambda conn: self._due(conn, readable=app is not None))
        if not batch or app is None:
            return False
        api = CustomerApi(self._wecom, app)
        found = await asyncio.gather(*[api.join_way(way.config_id) for way in batch])
        for way, read in zip(batch, found, strict=True):
            counted(self._numbers, "groupchat/get_join_way", read.outcome)
            await self._database.transact(partial(self._take, way, read))
        await self._show()
        return len(batch) == BATCH

    async def _due(self, conn: AsyncConnection, *, readable: bool) -> list[Way]:
        now = self._clock.now()
        if await lease.acquire(conn, _LEASE, self._owner, now, _HELD) is None:
            return []
        due = await join_ways.due(conn, now, BATCH)
        for way in due:
            if way.status is WayStatus.PENDING:
                # Whoever asked for it ended before it wrote what came of it.
                _log.warning("whether a join way was made is not known", join_way_id=way.id)
                words = "the process that asked for it ended before the answer"
                await join_ways.settle(conn, way.id, WayStatus.UNKNOWN, now, again=None, error=words)
            elif not way.status.live and way.status is not WayStatus.GONE:
                await join_ways.change(conn, way.id, check_due_at=None)
        return [way for way in due if way.config_id and way.status.live] if readable else []

    async def _take(self, way: Way, read: JoinWayRead, conn: AsyncConnection) -> None:
        """Write what the platform has, unless we have changed it since we asked."""
        now = self._clock.now()
        known = await join_ways.get(conn, way.id, None, lock=True)
        if known is None or known.version != way.version or not known.status.live:
            return
        outcome = read.outcome
        if read.spec is not None:
            drift = domain.drift(way.spec, read.spec)
            status = WayStatus.DRIFTED if drift else WayStatus.ACTIVE
            if drift and drift != known.drift:
                fields = [one.field for one in drift]
                _log.warning("a join way was changed by another way", join_way_id=way.id, fields=fields)
            values: dict[str, Any] = {
                "drift": [{"field": one.field, "ours": one.ours, "theirs": one.theirs} for one in drift],
                "qr_code": read.qr_code or known.qr_code,
                "checked_at": now,
                "errcode": None,
                "error": "",
            }
            await join_ways.settle(conn, way.id, status, now, **values)
            return
        words = (outcome.errmsg or outcome.detail)[:300]
        refused = outcome.state is State.REJECTED_PERMANENT
        if refused and outcome.errcode in UNKNOWN_WAY:
            _log.error("a join way is gone from the platform", join_way_id=way.id, errcode=outcome.errcode)
            gone = {"checked_at": now, "errcode": outcome.errcode, "error": words}
            await join_ways.settle(conn, way.id, WayStatus.GONE, now, again=None, **gone)
            return
        wait = max(AGAIN, outcome.retry_after or AGAIN)
        told = {"errcode": outcome.errcode, "error": words}
        await join_ways.change(conn, way.id, check_due_at=now + wait, **told)
        _log.warning(
            "a join way could not be checked",
            join_way_id=way.id,
            api="groupchat/get_join_way",
            errcode=outcome.errcode,
            error=words,
        )

    async def _show(self) -> None:
        async with self._database.read() as conn:
            found = await join_ways.counts(conn)
        for status in (WayStatus.ACTIVE, WayStatus.DRIFTED, WayStatus.GONE, WayStatus.UNKNOWN):
            self._numbers.set(metrics.JOIN_WAYS, found.get(status, 0), state=status.value)
