"""What finished calls do to their attempts, budgets, steps and runs: one transaction."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import field, replace
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.call import CallProblem, Completion, Count, Outcome
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
from services.ai_orchestrator.pipeline.ports import Alerts, Bad, Gates, Made, Mask, Results
from services.ai_orchestrator.store import attempts, conversations, run_batches, runs
from services.ai_orchestrator.store.attempts import UnderWay
from services.ai_orchestrator.store.run_batches import Closed
from services.ai_orchestrator.store.runs import Run
from shared.clock import Clock
from shared.db.engine import Database
from shared.db.queue import DueQueue, Settlement
from shared.telemetry import metrics
from shared.telemetry.metrics import Metrics
from shared.values import value_class

GONE: Final = CallProblem(LOST, message="the process that asked is gone", count=Count.NEVER, repeatable=True)
"""What became of a call whose process is gone: whatever it cost is charged in full."""

Then = Callable[[AsyncConnection], Awaitable[Collection[str]]]
"""What else is done in the transaction that settles: the ids of the steps that it took."""

Reply = Mapping[str, Any] | Bad | None
"""What a reply was worth; None where there was none."""

_log = structlog.get_logger("reach.ai_orchestrator.runs")


@value_class
class Over:
    """A call that is over, its reply read."""

    job: Job
    outcome: Outcome
    reply: Reply = field(hash=False)
    drawn: float
    """A random number in [0, 1), for the pause before it is asked again."""

    @property
    def good(self) -> bool:
        """Whether it brought a result: its step will not be asked again."""
        return isinstance(self.reply, Mapping)

    @property
    def problem(self) -> str:
        """Why it brought nothing, as a stable word; empty: it did."""
        if isinstance(self.outcome, CallProblem):
            return self.outcome.reason
        return self.reply.reason if isinstance(self.reply, Bad) else ""

    @property
    def error(self) -> str:
        """The same, for people."""
        if isinstance(self.outcome, CallProblem):
            return self.outcome.message
        return self.reply.detail if isinstance(self.reply, Bad) else ""

    @property
    def broken_off(self) -> bool:
        """Whether it was ended because its step is somebody else's, which says nothing of the step."""
        return isinstance(self.outcome, CallProblem) and self.outcome.reason == CANCELLED


@value_class
class _Turn:
    """What becomes of a step, and what is written of it."""

    step: Step
    run: Run
    next: Next
    attempt_no: int
    error: str
    tokens: int
    result: Mapping[str, Any] | None = field(default=None, hash=False)
    correction: str | None = None

    @property
    def settlement(self) -> Settlement:
        """For the queue."""
        status, reason = self.next.status, self.next.reason
        hold = f"repeat:{reason}" if status is StepStatus.DEFERRED else None
        step = self.step
        return Settlement(step.id, step.epoch, status.value, self.attempt_no, self.next.due_at, hold)

    def closed(self, now: datetime) -> Closed:
        """For the step's own columns."""
        failed = self.next.status is StepStatus.FAILED
        return Closed(
            self.step.id,
            self.tokens,
            self.next.reason if failed else "",
            self.error[: runs.ERROR_MOST] if failed else "",
            self.result,
            self.correction,
            None if self.next.status.open else now,
        )


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

    def read(self, job: Job, outcome: Outcome) -> Over:
        """What an answer is worth; nothing is written."""
        reply: Reply = self._results.read(job.app, outcome) if isinstance(outcome, Completion) else None
        return Over(job, outcome, reply, self._jitter())

    async def settle(self, over: Sequence[Over], then: Then | None = None) -> list[StepStatus | None]:
        """What became of the steps, in one transaction; None where one is not ours any more, and only its attempt was
        ended."""

        async def write(conn: AsyncConnection) -> list[StepStatus | None]:
            statuses, ready = await self._write(conn, over)
            taken = await then(conn) if then is not None else ()
            if not set(ready) <= set(taken):
                self._database.wakeups.notify(conn, STEPS)
            return statuses

        statuses = await self._database.transact(write)
        for end, status in zip(over, statuses, strict=True):
            if status is None:
                self._numbers.add(metrics.WRITES_FENCED, service="ai_orchestrator")
            if end.problem:
                app = end.job.app.app_type
                attempt = end.job.wish.attempt_id
                _log.warning("attempt", attempt_id=attempt, app_type=app, reason=end.problem, then=status)
        return statuses

    async def _write(
        self, conn: AsyncConnection, ends: Sequence[Over]
    ) -> tuple[list[StepStatus | None], list[str]]:
        """What became of the steps, and the ids of those that are ready now."""
        now = self._clock.now()
        charged = await self._gates.settle(conn, [(one.job.wish, one.outcome) for one in ends], now)
        last = [self._ended(one, tokens, now) for one, tokens in zip(ends, charged, strict=True)]
        ours = await attempts.end(conn, last)
        found = await run_batches.lock(conn, {one.job.run.id for one in ends})
        turns = {
            one.job.step.id: await self._turn(conn, found[one.job.run.id], one, tokens, now)
            for one, tokens in zip(ends, charged, strict=True)
            if one.job.run.id in found
        }
        taken = await self._take(conn, list(turns.values()), now)
        for one in ends:
            step = one.job.step
            if step.id in turns.keys() - taken and one.job.wish.attempt_id in ours and not one.broken_off:
                # The lease ran out, and whoever took the step over has not come to its attempt yet: what was paid for counts.
                taken |= await self._take_late(conn, turns[step.id], now)
        done = [one for one in ends if one.job.step.id in taken]
        for one in done:
            if isinstance(one.outcome, Completion):
                run, step, session_id = found[one.job.run.id], one.job.step, one.outcome.session_id
                app_type = one.job.app.app_type
                await conversations.remember(conn, run.store_id, step.user_id, app_type, session_id, now)
        made = [
            self._made(one, found[one.job.run.id])
            for one in done
            if turns[one.job.step.id].next.status is StepStatus.COMPLETED
        ]
        if made:
            await self._results.keep(conn, made, now)
        return (
            [turns[one.job.step.id].next.status if one in done else None for one in ends],
            await self._release(conn, [turns[one.job.step.id] for one in done]),
        )

    async def _release(self, conn: AsyncConnection, done: Sequence[_Turn]) -> list[str]:
        """Let go what the ends of steps let go; the ids of all that are ready."""
        ready = [one.step.id for one in done if one.next.status is StepStatus.PENDING]
        runs_ = {one.run.id: one.run for one in done if not one.next.status.open}
        for _, run in sorted(runs_.items()):
            ready += await self._ending.release(conn, run)
        return ready

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
        turn = _Turn(step, run, following, number, GONE.message, step.tokens + charged)
        if await self._take(conn, [turn], now):
            if following.status.open:
                self._database.wakeups.notify(conn, STEPS)
            else:
                await self._ending.advance(conn, run)

    async def bury(self, found: UnderWay, now: datetime, conn: AsyncConnection) -> int:
        """End an attempt whose process is gone; what it was charged."""
        (charged,) = await self._gates.settle(conn, [(found.wish, GONE)], now)
        last = {"id": found.id, **self._problem(GONE), "charged_tokens": charged, "finished_at": now}
        return charged if await attempts.end(conn, [last]) else 0

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

    async def _turn(self, conn: AsyncConnection, run: Run, one: Over, charged: int, now: datetime) -> _Turn:
        """What becomes of a step."""
        job, reply = one.job, one.reply
        turn = _Turn(
            job.step,
            run,
            await self._following(conn, one, now),
            job.step.attempt_no + 1,
            one.error,
            job.step.tokens + charged,
        )
        if isinstance(reply, Bad):
            return replace(turn, correction=reply.detail)
        return turn if reply is None else replace(turn, result=reply)

    async def _following(self, conn: AsyncConnection, one: Over, now: datetime) -> Next:
        job, reply = one.job, one.reply
        if isinstance(one.outcome, Completion) and not isinstance(reply, Bad):
            return Next(StepStatus.COMPLETED)
        earlier = await attempts.earlier(conn, job.step.id, job.wish.attempt_id)
        if isinstance(one.outcome, CallProblem):
            return after_problem(one.outcome, earlier, now, job.until, jitter=one.drawn)
        assert isinstance(reply, Bad)
        if AttemptStatus.REFUSED_REPLY in earlier or now >= job.until:
            return Next(StepStatus.FAILED, reply.reason)
        return Next(StepStatus.PENDING, reply.reason)  # asked once more, with what was wrong

    async def _take(self, conn: AsyncConnection, turns: Sequence[_Turn], now: datetime) -> set[str]:
        """Write the steps' next states; the ids of those that are not somebody else's."""
        taken = await self._queue.settle(conn, [one.settlement for one in turns])
        done = [one for one in turns if one.step.id in taken]
        if done:
            await run_batches.close(conn, [one.closed(now) for one in done])
        for one in done:
            if one.next.status is StepStatus.FAILED:
                await self._alerts.tell(
                    conn,
                    store_id=one.run.store_id,
                    app_type=one.step.app_type,
                    kind=alert_of(one.next.reason),
                    message=f"{one.step.name}: {one.next.reason}" + (f" ({one.error})" if one.error else ""),
                    run_id=one.run.id,
                    step=one.step.name,
                    now=now,
                )
        return taken

    async def _take_late(self, conn: AsyncConnection, turn: _Turn, now: datetime) -> set[str]:
        """The same, from whoever holds the step now."""
        epoch = await runs.epoch_of(conn, turn.step.id)
        if epoch is None:
            return set()
        return await self._take(conn, [replace(turn, step=replace(turn.step, epoch=epoch))], now)

    def _made(self, one: Over, run: Run) -> Made:
        assert isinstance(one.reply, Mapping)
        job = one.job
        by = run.event_type or run.trigger
        return Made(job.app, job.step.subject, one.reply, job.prompt, run.id, by, job.known_at)

    def _ended(self, one: Over, charged: int, now: datetime) -> dict[str, Any]:
        """An attempt's last columns."""
        end = {"id": one.job.wish.attempt_id, "charged_tokens": charged, "finished_at": now}
        if isinstance(one.outcome, CallProblem):
            return end | self._problem(one.outcome)
        return end | self._reply(one.outcome, one.reply)

    def _problem(self, outcome: CallProblem) -> dict[str, Any]:
        return {
            "status": attempt_status(outcome).value,
            "request_id": outcome.request_id,
            "took_ms": _milliseconds(outcome.took),
            "reason": outcome.reason,
            "code": outcome.code,
            "http_status": outcome.http_status,
            "error": self._mask(outcome.message)[: runs.ERROR_MOST],
        }

    def _reply(self, outcome: Completion, reply: Reply) -> dict[str, Any]:
        bad, usage = reply if isinstance(reply, Bad) else None, outcome.usage
        return {
            "status": (AttemptStatus.REFUSED_REPLY if bad else AttemptStatus.COMPLETED).value,
            "request_id": outcome.request_id,
            "took_ms": _milliseconds(outcome.took),
            "reason": bad.reason if bad else "",
            "http_status": 200,
            "error": self._mask(bad.detail)[: runs.ERROR_MOST] if bad else "",
            "response": self._mask(outcome.text),
            "input_tokens": usage.input_tokens if usage else 0,
            "output_tokens": usage.output_tokens if usage else 0,
            "finish_reason": outcome.finish_reason,
            "models": list(usage.models) if usage else [],
        }


def _milliseconds(took: timedelta) -> int:
    return round(took.total_seconds() * 1000)
