"""What one finished request, or one look, does to its task, its groups, the run and the campaign: one transaction."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain import brake
from services.campaign.domain.lifecycle import Status
from services.campaign.domain.making import Next, Sight, after_look, after_request
from services.campaign.domain.outcomes import TargetStatus, TaskStatus
from services.campaign.pipeline.deciding import Barred, Job, Look, Over, kept
from services.campaign.pipeline.moving import Moving
from services.campaign.pipeline.pacing import Pacer
from services.campaign.pipeline.planning import WAKEUP
from services.campaign.pipeline.ports import Follow, Made, Permit
from services.campaign.store import campaigns, targets, tasks
from services.campaign.store.campaigns import Kept
from services.campaign.store.tasks import Claimed
from shared.clock import Clock
from shared.db.engine import Database
from shared.db.queue import DueQueue, Settlement
from shared.telemetry import metrics
from shared.telemetry.metrics import Metrics
from shared.values import value_class
from shared.wecom.mass_send import Created
from shared.wecom.outcome import Outcome, State

_log = structlog.get_logger("reach.campaign.tasks")
_API: Final = "add_msg_template"

LOST: Final = Created(Outcome(State.UNKNOWN, cause="lost", detail="the sender stopped before an answer came"))
"""What became of a request whose sender is gone."""
SHOWN: Final = Created(Outcome(State.ACCEPTED))
"""What becomes of every request of a dry run."""


@value_class
class Seen:
    """What a look brought."""

    sight: Sight
    msgid: str = ""
    created_at: datetime | None = None
    """By the platform's clock."""
    detail: str = ""


@value_class
class _Ended:
    """All that is to be written of a task."""

    task: Claimed
    then: Next
    msgid: str = ""
    made_at: datetime | None = None
    confirm_within: timedelta = timedelta(0)
    refused: tuple[str, ...] = ()
    outcome: str = ""
    """Of the request; '' where there was none."""
    errcode: int | None = None
    error: str = ""
    began_at: datetime | None = None
    """When the request began."""


class Settler:
    """Writes how things ended."""

    def __init__(
        self,
        database: Database,
        queue: DueQueue,
        moving: Moving,
        permit: Permit,
        follow: Follow,
        pacer: Pacer,
        clock: Clock,
        numbers: Metrics,
        *,
        retry_max: int,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._queue = queue
        self._moving = moving
        self._permit = permit
        self._follow = follow
        self._pacer = pacer
        self._clock = clock
        self._numbers = numbers
        self._retry_max = retry_max
        self._jitter = jitter

    async def settle(self, job: Job, created: Created) -> TaskStatus | None:
        """A request ended; what became of the task, None where another replica has taken it over meanwhile."""
        return await self._requested(
            job.task, created, job.began_at, job.confirm_within, job.trace_id, job.chat_ids
        )

    async def lost(self, one: Claimed, began_at: datetime) -> TaskStatus | None:
        """Whoever made a request is gone. What a dry run would have made is as good as made."""
        return await self._requested(one, SHOWN if one.dry else LOST, began_at, timedelta(0), "", ())

    async def looked(self, look: Look, seen: Seen) -> TaskStatus | None:
        """A task was looked for."""
        one, now = look.task, self._clock.now()
        then = after_look(
            seen.sight,
            one.tries,
            now,
            since=one.unclear_at or now,
            retry_max=self._retry_max,
            jitter=self._jitter(),
        )
        ended = _Ended(
            one,
            then,
            msgid=seen.msgid,
            made_at=seen.created_at or now if then.status is TaskStatus.CREATED else None,
            confirm_within=look.confirm_within,
            error=seen.detail,
            began_at=one.unclear_at,
        )
        status = await self._transact(ended)
        told = "found" if then.status is TaskStatus.CREATED else then.status.value
        self._numbers.add(metrics.CAMPAIGN_TASKS, outcome=told)
        _log.info(
            "task looked for",
            campaign_id=one.campaign_id,
            task_id=one.id,
            api="get_groupmsg_list_v2",
            sight=seen.sight.value,
            detail=seen.detail,
            then=status,
        )
        return status

    async def over(self, one: Over) -> TaskStatus | None:
        """Nothing leaves for a task any more."""
        self._numbers.add(metrics.CAMPAIGN_TASKS, outcome=one.status.value)
        return await self._transact(_Ended(one.task, Next(one.status, one.reason, tries=one.task.tries)))

    async def barred(self, one: Barred) -> None:
        """The campaign may not send: it pauses, unless that has changed meanwhile; the task waits for it."""

        async def write(conn: AsyncConnection) -> None:
            now = self._clock.now()
            held = await campaigns.hold(conn, one.task.campaign_id)
            run = await tasks.run_of(conn, one.task.run_id)
            if held is not None and run is not None and held.status is Status.RUNNING:
                reason = await self._permit.refusal(conn, held, one.task.version, run.content_hash, now)
                if reason:
                    await self._moving.move(conn, held, Status.PAUSED, now, by="", reason=reason)
            own = kept(one.task, now)
            waiting = Settlement(
                one.task.id, one.task.epoch, "deferred", one.task.attempts, now, "paused", own
            )
            await self._queue.settle(conn, [waiting])

        await self._database.transact(write)
        _log.warning("campaign may not send", campaign_id=one.task.campaign_id, reason=one.reason)

    async def _requested(
        self,
        one: Claimed,
        created: Created,
        began_at: datetime,
        confirm_within: timedelta,
        trace_id: str,
        chat_ids: list[str] | tuple[str, ...],
    ) -> TaskStatus | None:
        outcome, now = created.outcome, self._clock.now()
        then = after_request(outcome, one.tries, now, retry_max=self._retry_max, jitter=self._jitter())
        ended = _Ended(
            one,
            then,
            msgid="" if one.dry else created.msgid,
            made_at=now if then.status is TaskStatus.CREATED else None,
            confirm_within=confirm_within,
            refused=created.refused,
            outcome="simulated" if one.dry else outcome.state.value,
            errcode=outcome.errcode,
            error=outcome.errmsg if outcome.errcode else outcome.detail,
            began_at=began_at,
        )
        status = await self._transact(ended)
        self._count(one, outcome, status, (now - began_at).total_seconds())
        _log.log(
            20 if then.status is TaskStatus.CREATED else 30,
            "task requested",
            trace_id=trace_id,
            campaign_id=one.campaign_id,
            task_id=one.id,
            chat_id=chat_ids[0] if len(chat_ids) == 1 else None,
            api=_API,
            errcode=outcome.errcode,
            outcome=ended.outcome,
            then=status,
        )
        return status

    def _count(self, one: Claimed, outcome: Outcome, status: TaskStatus | None, seconds: float) -> None:
        if status is None:
            self._numbers.add(metrics.WRITES_FENCED, service="campaign")
            return
        self._numbers.add(metrics.CAMPAIGN_TASKS, outcome=status.value)
        if one.dry:
            return
        self._numbers.add(
            metrics.ATTEMPTS, service="campaign", channel="mass_send", outcome=outcome.state.value
        )
        self._numbers.observe(metrics.ATTEMPT_SECONDS, seconds, service="campaign", channel="mass_send")
        if status is TaskStatus.CREATED:
            self._numbers.observe(metrics.CAMPAIGN_TASK_SECONDS, seconds)
        if outcome.errcode:
            self._numbers.add(metrics.CAMPAIGN_ERRORS, api=_API, errcode=str(outcome.errcode))

    async def _transact(self, ended: _Ended) -> TaskStatus | None:
        return await self._database.transact(lambda conn: self._write(conn, ended))

    async def _write(self, conn: AsyncConnection, ended: _Ended) -> TaskStatus | None:
        one, then, now = ended.task, ended.then, self._clock.now()
        # One at a time for a campaign: whoever settles its last task sees that it is the last.
        held = None if one.dry else await campaigns.hold(conn, one.campaign_id)
        if one.dry:
            await tasks.run_of(conn, one.run_id, lock=True)
        status = TaskStatus.SIMULATED if one.dry and then.status is TaskStatus.CREATED else then.status
        if one.id not in await self._queue.settle(conn, [_settlement(ended, status, now)]):
            return None  # whoever took it over looks for what our request may have made
        if ended.outcome:
            await tasks.finish_attempt(conn, one, ended.outcome, ended.errcode, ended.error, now)
        await self._mark(conn, ended, status, now)
        if held is not None:
            await self._tell(conn, ended, status, now)
            if then.rest_until is not None:
                await self._pacer.rest(conn, then.rest_until)
                await tasks.hold_all(conn, then.rest_until, "rest", now)
            await self._steer(conn, held, ended, status, now)
        elif not await tasks.unfinished(conn, one.run_id):
            await tasks.end_run(conn, one.run_id, now)
        self._database.wakeups.notify(conn, WAKEUP)
        return status

    @staticmethod
    async def _mark(conn: AsyncConnection, ended: _Ended, status: TaskStatus, now: datetime) -> None:
        one, then = ended.task, ended.then
        match status:
            case TaskStatus.CREATED:
                if ended.refused:
                    await targets.mark(
                        conn, one.id, TargetStatus.REFUSED, now, only=ended.refused, reason="left_out"
                    )
                await targets.mark(conn, one.id, TargetStatus.AWAITING_OWNER, now)
            case TaskStatus.SIMULATED:
                await targets.mark(conn, one.id, TargetStatus.SIMULATED, now)
            case TaskStatus.REFUSED:
                told = {"reason": then.reason, "error": ended.error}
                await targets.mark(conn, one.id, TargetStatus.REFUSED, now, errcode=ended.errcode, **told)
            case TaskStatus.CANCELLED:
                await targets.mark(conn, one.id, TargetStatus.CANCELLED, now, reason=then.reason)
            case TaskStatus.UNKNOWN | TaskStatus.DEFERRED:
                if then.unclear:
                    await targets.mark(conn, one.id, TargetStatus.UNKNOWN, now, reason="outcome_unknown")
                elif one.unclear_at is not None:
                    await targets.mark(conn, one.id, TargetStatus.PLANNED, now)
            case TaskStatus.PENDING | TaskStatus.CREATING:
                raise ValueError(f"a task does not end as {status.value}")

    async def _tell(self, conn: AsyncConnection, ended: _Ended, status: TaskStatus, now: datetime) -> None:
        one = ended.task
        if status is TaskStatus.CREATED and ended.made_at is not None:
            made = Made(
                task_id=one.id,
                run_id=one.run_id,
                campaign_id=one.campaign_id,
                store_id=one.store_id,
                owner=one.owner,
                msgid=ended.msgid,
                made_at=ended.made_at,
                confirm_by=ended.made_at + ended.confirm_within,
            )
            await self._follow.made(conn, [made], now)

    async def _steer(
        self, conn: AsyncConnection, held: Kept, ended: _Ended, status: TaskStatus, now: datetime
    ) -> None:
        """What follows for the campaign: it goes on, pauses, or all of its tasks are made."""
        one, settled = ended.task, status is not TaskStatus.DEFERRED
        if settled and one.canary:
            pause = await self._canary_done(conn, held, one)
        else:
            pause = ""
        if held.status is Status.RUNNING:
            pause = ended.then.pause or pause or await self._brake(conn, one, status)
            if pause:
                held = await self._moving.move(conn, held, Status.PAUSED, now, by="", reason=pause)
        elif held.status is Status.PAUSED and pause and held.reason != pause:
            # It ends once only: whoever lets the campaign go on is to see it.
            held = await self._moving.explain(conn, held, now, reason=pause)
        over = settled and not await tasks.unfinished(conn, one.run_id)
        if over and held.status in (Status.RUNNING, Status.PAUSED):
            await self._moving.move(conn, held, Status.RECONCILING, now, by="")
        if over or status in (TaskStatus.REFUSED, TaskStatus.CANCELLED):
            await self._follow.run_changed(conn, one.campaign_id, now)

    async def _brake(self, conn: AsyncConnection, one: Claimed, status: TaskStatus) -> str:
        """Why the campaign must pause, going by how its last tasks ended since somebody let it go on."""
        if status not in (TaskStatus.REFUSED, TaskStatus.UNKNOWN):
            return ""
        moves = await campaigns.moves(conn, one.campaign_id)
        resumed = [move.at for move in moves if (move.before, move.after) == (Status.PAUSED, Status.RUNNING)]
        last = await tasks.last_ended(conn, one.run_id, max(resumed, default=None))
        return brake.BRAKE if brake.pulled(last) else ""

    async def _canary_done(self, conn: AsyncConnection, held: Kept, one: Claimed) -> str:
        """When the last of the first owners' tasks ended: the others' turn is known; why the campaign must pause."""
        first = await tasks.canary(conn, one.run_id)
        if any(task.status.value in tasks.OPEN and task.status is not TaskStatus.UNKNOWN for task in first):
            return ""
        now = self._clock.now()
        made = [task.made_at for task in first if task.made_at is not None]
        begins = max(made, default=now) + held.spec.canary.wait
        await tasks.release(conn, one.campaign_id, "canary", max(now, begins), now)
        return brake.CANARY_FAILED if brake.canary_failed([task.ended for task in first]) else ""


def _settlement(ended: _Ended, status: TaskStatus, now: datetime) -> Settlement:
    one, then = ended.task, ended.then
    # Since when it may exist: since the first request of which nobody knows.
    unclear_at = (one.unclear_at or ended.began_at) if then.unclear else None
    own = {
        "msgid": ended.msgid if status is TaskStatus.CREATED else "",
        "reason": then.reason,
        "errcode": ended.errcode,
        "error": ended.error,
        "updated_at": now,
        "made_at": ended.made_at if status is TaskStatus.CREATED else None,
        "retries": then.tries.retries,
        "renewals": then.tries.renewals,
        "looks": then.tries.looks,
        "unclear_at": unclear_at,
        "take_first": one.take_first and then.unclear and status is not TaskStatus.UNKNOWN,
    }
    attempts = one.attempts + 1 if ended.outcome else one.attempts
    return Settlement(one.id, one.epoch, status.value, attempts, then.due_at, then.hold_reason or None, own)
