"""The loop that has owners asked: claims what is due, decides, calls, and takes over what died in somebody's hands."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final, Protocol

import structlog
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.campaign import Content
from services.campaign.domain.making import Came, came_of
from services.campaign.domain.message import materials_of
from services.campaign.domain.outcomes import TaskStatus
from services.campaign.pipeline.deciding import Barred, Decider, Job, Look, Over, Verdict, back
from services.campaign.pipeline.looking_up import Looker
from services.campaign.pipeline.pacing import Pacer
from services.campaign.pipeline.planning import WAKEUP
from services.campaign.pipeline.ports import Materials
from services.campaign.pipeline.settling import Settler
from services.campaign.store import campaigns, tasks
from services.campaign.store.campaign_tables import owner_task
from services.campaign.store.tasks import Claimed
from shared.clock import Clock
from shared.db.engine import Database
from shared.db.queue import DueQueue
from shared.due_worker import POLL, DueWorker
from shared.supervise import Turn
from shared.telemetry.metrics import Metrics
from shared.wecom.mass_send import Created
from shared.wecom.outcome import Outcome, State

AT_ONCE: Final = 16
"""Tasks in hand in one replica."""
CLAIM: Final = 100
LEASE: Final = timedelta(seconds=60)
DEADLINE: Final = timedelta(seconds=8)
"""Bound on one request; with what goes before it, a pause holds within ten seconds."""
_MARGIN: Final = 2.0
_MEDIA_AGAIN: Final = timedelta(seconds=30)
_log = structlog.get_logger("reach.campaign.tasks")

_DEFECT: Final = Created(Outcome(State.UNKNOWN, cause="defect", detail="our own code failed; see the log"))
_TIMEOUT: Final = Created(Outcome(State.UNKNOWN, cause="timeout", detail="no answer within the deadline"))


class Way(Protocol):
    """What reaches the outside world."""

    async def ready(self, deadline: float) -> None:
        """Have at hand what a request needs, so that it leaves as soon as its slot is there."""
        ...

    async def make(self, job: Job, still: Callable[[], bool], deadline: float) -> Created:
        """At most one request that makes a task, over within *deadline* seconds; none where *still*, asked right before
        it leaves, says no. Never raises for what the other side does."""
        ...


class Sender(DueWorker[Claimed]):
    """Has owners asked; as many at once as it was told."""

    def __init__(
        self,
        database: Database,
        queue: DueQueue,
        decider: Decider,
        settler: Settler,
        looker: Looker,
        live: Way,
        dry: Way,
        materials: Materials,
        pacer: Pacer,
        clock: Clock,
        numbers: Metrics,
        owner: str,
        *,
        lease: timedelta = LEASE,
        deadline: timedelta = DEADLINE,
        at_once: int = AT_ONCE,
    ) -> None:
        super().__init__(
            database, queue, owner_task, clock, numbers, owner, service="campaign", lease=lease, batch=CLAIM
        )
        self._decider = decider
        self._settler = settler
        self._looker = looker
        self._live = live
        self._dry = dry
        self._materials = materials
        self._pacer = pacer
        self._deadline = deadline
        self._at_once = at_once

    async def run(self, turn: Turn) -> None:
        """Send until cancelled."""
        signal = self._database.wakeups.listen(WAKEUP)
        while True:
            await self._reap()
            async with self._claiming:
                room, later = await self._room()
                claimed = await self.once(room) if room > 0 else 0
            turn()
            if room > 0 and claimed == room:
                continue
            if not self._closed and self._calls and room <= 0 and later is None:
                await asyncio.wait(self._calls, timeout=POLL, return_when=asyncio.FIRST_COMPLETED)
                continue
            if later is not None:  # what is ready has to wait for the platform's rate, and for nothing else
                await asyncio.sleep(min(POLL, max(0.01, (later - self._clock.now()).total_seconds())))
                continue
            await signal.wait(await self._until_due())

    async def once(self, limit: int = AT_ONCE) -> int:
        """Claim up to *limit* and begin with them; how many were claimed."""
        claimed = await self._database.transact(lambda conn: self._claim(conn, limit))
        claimed_at = time.monotonic()
        for one in claimed:
            self._begin(self._handle(one, claimed_at), f"task {one.id}")
        return len(claimed)

    async def _room(self) -> tuple[int, datetime | None]:
        """How many to claim; where none, when to look again."""
        free = 0 if self._closed else self._at_once - len(self._calls)
        if free <= 0:
            return 0, None
        return await self._pacer.room(min(free, self._pacer.a_second))

    async def _handle(self, one: Claimed, claimed_at: float) -> None:
        """Decide, call and settle. One that is cancelled leaves its task to whoever takes it over."""
        media = await self._media(one)
        if isinstance(media, Over):
            await self._settler.over(media)
            return
        if media is None:
            await self._database.transact(lambda conn: self._put_back(conn, one))
            return
        if one.unclear_at is None:
            await self._way(one).ready(self._deadline.total_seconds())
        found = await self._database.transact(lambda conn: self._decider.decide(conn, one, media))
        await self._carry_out(found, claimed_at)

    async def _carry_out(self, found: Verdict | None, claimed_at: float) -> None:
        match found:
            case Job():
                created = await self._call(found, claimed_at)
                if came_of(created.outcome) is Came.MEDIA:
                    await self._materials.forget(found.task.store_id, list(found.media_ids.values()))
                await self._settler.settle(found, created)
            case Look():
                within = self._lease.total_seconds() - (time.monotonic() - claimed_at) - _MARGIN
                await self._settler.looked(found, await self._looker.look(found, within))
            case Over():
                await self._settler.over(found)
            case Barred():
                await self._settler.barred(found)
            case None:
                pass

    async def _call(self, job: Job, claimed_at: float) -> Created:
        # By the monotonic clock, which goes on while the process is frozen: whoever wakes up sends nothing.
        ends_at = claimed_at + self._lease.total_seconds() - self._deadline.total_seconds() - _MARGIN

        def still() -> bool:
            if job.before is not None and self._clock.now() >= job.before:
                return False
            return time.monotonic() < ends_at and (job.slot is None or job.slot.lasts())

        try:
            async with asyncio.timeout(self._deadline.total_seconds() + 1):
                return await self._way(job.task).make(job, still, self._deadline.total_seconds())
        except TimeoutError:
            return _TIMEOUT
        except Exception:
            _log.exception("sending failed", task_id=job.task.id, campaign_id=job.task.campaign_id)
            return _DEFECT

    def _way(self, one: Claimed) -> Way:
        return self._dry if one.dry else self._live

    async def _media(self, one: Claimed) -> Mapping[str, str] | Over | None:
        """Ids for the files of what is to be sent; None where they cannot be told now."""
        async with self._database.read() as conn:
            spec = await campaigns.spec_of(conn, one.campaign_id, one.version)
        content = Content() if spec is None or one.unclear_at is not None else spec.content
        wanted = materials_of(content)
        if not wanted or one.dry:
            return dict.fromkeys(wanted, "dry-run")
        found = await self._materials.media_ids(one.store_id, content.attachments)
        if not found.reason:
            return found.ids
        told = {"campaign_id": one.campaign_id, "task_id": one.id, "reason": found.reason}
        _log.warning("material not there", detail=found.detail, **told)
        return None if found.again else Over(one, TaskStatus.REFUSED, found.reason)

    async def _put_back(self, conn: AsyncConnection, one: Claimed) -> None:
        due = self._clock.now() + _MEDIA_AGAIN
        await self._queue.settle(conn, [back(one, self._clock.now(), due, "media")])

    def _read(self, row: RowMapping) -> Claimed:
        return tasks.claimed(row)

    async def _bury(self, one: Claimed) -> None:
        """A request that was begun may have made its task; a task that was claimed and no more goes back as it was."""
        async with self._database.read() as conn:
            began_at = await tasks.under_way(conn, one.id)
        if began_at is not None:
            await self._settler.lost(one, began_at)
            return

        async def write(conn: AsyncConnection) -> None:
            await self._queue.settle(conn, [back(one, self._clock.now())])

        await self._database.transact(write)
