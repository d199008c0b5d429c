"""What a finished call does to its attempt, its budgets, its step and its run: one transaction."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.call import CallProblem, Completion, Count
from services.ai_orchestrator.domain.lifecycle import (
    CANCELLED,
    DEADLINE,
    LOST,
    AttemptStatus,
    Next,
    StepStatus,
    after_problem,
    alert_of,
    attempt_status,
)
from services.ai_orchestrator.domain.planning import Pace
from services.ai_orchestrator.pipeline.ending import STEPS, Ending
from services.ai_orchestrator.pipeline.job import Job, Step
from services.ai_orchestrator.pipeline.ports import Alerts, Bad, Gates, Mask, Results
from services.ai_orchestrator.store import attempts, conversations, runs
from services.ai_orchestrator.store.attempts import UnderWay
from services.ai_orchestrator.store.runs import Run
from shared.clock import Clock
from shared.db.engine import Database
from shared.db.queue import DueQueue, Settlement
from shared.telemetry import metrics
from shared.telemetry.metrics import Metrics

GONE: Final = CallProblem(LOST, message="the process that asked is gone", count=Count.NEVER, repeatable=True)
"""What became of a call whose process is gone: whatever it cost is charged in full."""

Then = Callable[[AsyncConnection], Awaitable[Collection[str]]]
"""What else is done in the transaction that settles: the ids of the steps that it took."""

Reply = Mapping[str, Any] | Bad | None
"""What a reply was worth; None where there was none."""

_log = structlog.get_logger("reach.ai_orchestrator.runs")


class Settler:
    """Writes how calls ended."""

    def __init__(
        self,
        database: Database,
        queue: DueQueue,
        pace: Pace,
        ending: Ending,
        results: Results,
        gates: Gates,
        alerts: Alerts,
        clock: Clock,
        numbers: Metrics,
        *,
        mask: Mask,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._queue = queue
        self._pace = pace
        self._ending = ending
        self._results = results
        self._gates = gates
        self._alerts = alerts
        self._clock = clock
        self._numbers = numbers
        self._mask = mask
        self._jitter = jitter

    async def settle(
        self, job: Job, outcome: Completion | CallProblem, then: Then | None = None
    ) -> StepStatus | None:
        """What became of the step; None where it is not ours any more, and only the attempt was ended."""
        reply: Reply = self._results.read(job.app, outcome) if isinstance(outcome, Completion) else None
        drawn = self._jitter()

        async def write(conn: AsyncConnection) -> StepStatus | None:
            status, ready = await self._write(conn, job, outcome, reply, drawn)
            taken = await then(conn) if then is not None else ()
            if not set(ready) <= set(taken):
                self._database.wakeups.notify(conn, STEPS)
            return status

        status = await self._database.transact(write)
        if status is None:
            self._numbers.add(metrics.WRITES_FENCED, service="ai_orchestrator")
        if isinstance(outcome, CallProblem) or isinstance(reply, Bad):
            why = (
                outcome.reason
                if isinstance(outcome, CallProblem)
                else reply.reason
                if isinstance(reply, Bad)
                else ""
            )
            _log.warning(
                "attempt", attempt_id=job.wish.attempt_id, app_type=job.app.app_type, reason=why, then=status
            )
        return status

    async def _write(
        self,
        conn: AsyncConnection,
        job: Job,
        outcome: Completion | CallProblem,
        reply: Reply,
        drawn: float,
    ) -> tuple[StepStatus | None, list[str]]:
        """What became of the step, and the ids of those that are ready now."""
        now = self._clock.now()
        charged = await self._gates.settle(conn, job.wish, outcome, now)
        ours = await attempts.end(conn, job.wish.attempt_id, self._ended(outcome, reply, charged, now))
        run = await runs.lock(conn, job.run.id)
        if run is None:
            return None, []
        following = await self._following(conn, job, outcome, reply, now, drawn)
        own: dict[str, Any] = {"tokens": job.step.tokens + charged}
        if isinstance(reply, Bad):
            own["correction"] = reply.detail
        elif following.status is StepStatus.COMPLETED:
            own["result"] = reply
        error = _error(outcome, reply)
        number, step = job.step.attempt_no + 1, job.step
        taken = await self._take(conn, run, step, following, number, error, own, now)
        if not taken and ours and not _broken_off(outcome):
            # The lease ran out, and whoever took the step over has not come to its attempt yet: what was paid for counts.
            epoch = await runs.epoch_of(conn, step.id)
            taken = epoch is not None and await self._take(
                conn, run, replace(step, epoch=epoch), following, number, error, own, now
            )
        if not taken:
            return None, []
        if isinstance(outcome, Completion):
            app_type, session_id = job.app.app_type, outcome.session_id
            await conversations.remember(conn, run.store_id, step.user_id, app_type, session_id, now)
        if following.status is StepStatus.COMPLETED:
            assert isinstance(reply, Mapping)
            await self._results.keep(
                conn,
                job.app,
                job.step.subject,
                reply,
                job.prompt,
                run_id=run.id,
                triggered_by=run.event_type or run.trigger,
                now=now,
                known_at=job.known_at,
            )
        if following.status.open:
            return following.status, [job.step.id] if following.status is StepStatus.PENDING else []
        return following.status, await self._ending.release(conn, run)

    async def take_over(self, step: Step, conn: AsyncConnection) -> None:
        """A step whose holder is gone, and which this replica holds now: its call is charged, and asked once more at most."""
        now = self._clock.now()
        found = await attempts.of_step_under_way(conn, step.id)
        following, charged = Next(StepStatus.PENDING), 0
        if found is not None:
            charged = await self.bury(found, now, conn)
        run = await runs.lock(conn, step.run_id)
        if run is None:
            return
        # Its holder may have ended the last one, and not the step any more.
        earlier = await attempts.earlier(conn, step.id, found.id if found is not None else "")
        number = len(earlier)
        if found is not None:
            number += 1
            until = min(run.deadline_at, (step.asked_at or now) + self._pace.step_limit)
            following = after_problem(GONE, earlier, now, until, jitter=0.0)
        own = {"tokens": step.tokens + charged}
        if await self._take(conn, run, step, following, number, GONE.message, own, now):
            if following.status.open:
                self._database.wakeups.notify(conn, STEPS)
            else:
                await self._ending.advance(conn, run)

    async def bury(self, found: UnderWay, now: datetime, conn: AsyncConnection) -> int:
        """End an attempt whose process is gone; what it was charged."""
        charged = await self._gates.settle(conn, found.wish, GONE, now)
        return charged if await attempts.end(conn, found.id, self._ended(GONE, None, charged, now)) else 0

    async def expire(self, run_id: str, now: datetime, conn: AsyncConnection) -> None:
        """End a run whose time is over."""
        run = await runs.lock(conn, run_id)
        if run is None or not run.status.open or run.deadline_at > now:
            return
        await self._ending.expire(conn, run)
        await self._alerts.tell(
            conn,
            store_id=run.store_id,
            app_type="",
            kind=alert_of(DEADLINE),
            message=f"{run.chain}: its time was over before its steps were",
            run_id=run.id,
            step="",
            now=now,
        )

    async def _following(
        self,
        conn: AsyncConnection,
        job: Job,
        outcome: Completion | CallProblem,
        reply: Reply,
        now: datetime,
        drawn: float,
    ) -> Next:
        if isinstance(outcome, Completion) and not isinstance(reply, Bad):
            return Next(StepStatus.COMPLETED)
        earlier = await attempts.earlier(conn, job.step.id, job.wish.attempt_id)
        if isinstance(outcome, CallProblem):
            return after_problem(outcome, earlier, now, job.until, jitter=drawn)
        assert isinstance(reply, Bad)
        if AttemptStatus.REFUSED_REPLY in earlier or now >= job.until:
            return Next(StepStatus.FAILED, reply.reason)
        return Next(StepStatus.PENDING, reply.reason)  # asked once more, with what was wrong

    async def _take(
        self,
        conn: AsyncConnection,
        run: Run,
        step: Step,
        following: Next,
        attempt_no: int,
        error: str,
        own: Mapping[str, Any],
        now: datetime,
    ) -> bool:
        """Write the step's next state; False where it is somebody else's."""
        status, over = following.status, not following.status.open
        hold = f"repeat:{following.reason}" if status is StepStatus.DEFERRED else None
        turn = Settlement(step.id, step.epoch, status.value, attempt_no, following.due_at, hold)
        if not await self._queue.settle(conn, [turn]):
            return False
        failed = status is StepStatus.FAILED
        values: dict[str, Any] = {**own, "reason": following.reason if failed else ""}
        values["error"] = error[: runs.ERROR_MOST] if failed else ""
        if over:
            values["finished_at"] = now
        await runs.update_step(conn, step.id, values)
        if failed:
            await self._alerts.tell(
                conn,
                store_id=run.store_id,
                app_type=step.app_type,
                kind=alert_of(following.reason),
                message=f"{step.name}: {following.reason}" + (f" ({error})" if error else ""),
                run_id=run.id,
                step=step.name,
                now=now,
            )
        return True

    def _ended(
        self, outcome: Completion | CallProblem, reply: Reply, charged: int, now: datetime
    ) -> dict[str, Any]:
        """An attempt's last columns."""
        common: dict[str, Any] = {
            "request_id": outcome.request_id,
            "finished_at": now,
            "charged_tokens": charged,
        }
        common["took_ms"] = round(outcome.took.total_seconds() * 1000)
        if isinstance(outcome, CallProblem):
            return common | {
                "status": attempt_status(outcome).value,
                "reason": outcome.reason,
                "code": outcome.code,
                "http_status": outcome.http_status,
                "error": self._mask(outcome.message)[: runs.ERROR_MOST],
            }
        bad = isinstance(reply, Bad)
        usage = outcome.usage
        return common | {
            "status": (AttemptStatus.REFUSED_REPLY if bad else AttemptStatus.COMPLETED).value,
            "reason": reply.reason if isinstance(reply, Bad) else "",
            "http_status": 200,
            "error": self._mask(reply.detail)[: runs.ERROR_MOST] if isinstance(reply, Bad) else "",
            "response": self._mask(outcome.text),
            "input_tokens": usage.input_tokens if usage else 0,
            "output_tokens": usage.output_tokens if usage else 0,
            "finish_reason": outcome.finish_reason,
            "models": list(usage.models) if usage else [],
        }


def _broken_off(outcome: Completion | CallProblem) -> bool:
    """Whether a call was ended because its step is somebody else's, which says nothing of the step."""
    return isinstance(outcome, CallProblem) and outcome.reason == CANCELLED


def _error(outcome: Completion | CallProblem, reply: Reply) -> str:
    if isinstance(outcome, CallProblem):
        return outcome.message
    return reply.detail if isinstance(reply, Bad) else ""
