"""From a claimed step to a request that may leave: what there is to ask about, read; then the gates and its attempt, one
transaction, which it shares with those that are ready in the same moment.

A step ends here without a request where there is nothing to ask about, where the answer is known, or where a gate is shut
and nobody wants to wait.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.call import Call
from services.ai_orchestrator.domain.gating import Refused, Wish
from services.ai_orchestrator.domain.lifecycle import DEFECT, StepStatus, alert_of
from services.ai_orchestrator.pipeline.ending import Ending
from services.ai_orchestrator.pipeline.job import Job, Step
from services.ai_orchestrator.pipeline.looking import Asking, Looker, Without
from services.ai_orchestrator.pipeline.ports import Alerts, Gates, Mask, Results
from services.ai_orchestrator.pipeline.together import Apart, Together
from services.ai_orchestrator.store import attempts, conversations, run_batches, runs
from services.ai_orchestrator.store.run_batches import Asked
from services.ai_orchestrator.store.runs import Run
from shared.clock import Clock
from shared.db.engine import Database
from shared.db.queue import DEFERRED, DueQueue, Settlement
from shared.errors import Overtaken, Throttled, Unavailable
from shared.ids import new_id
from shared.telemetry.traces import parse
from shared.text.instants import instant_text

LOOK_AGAIN: Final = timedelta(seconds=30)
"""How long a shut gate is believed: somebody may open it by hand."""
OVER: Final = timedelta(seconds=5)
"""What a call may take beyond its time-out until its end is written."""


_log = structlog.get_logger("reach.ai_orchestrator.runs")


class _Gone(Exception):  # nothing went wrong: it gives back what the gates have taken
    """The step was ended or taken over meanwhile."""


class Preparer:
    """Makes claimed steps ready to be asked."""

    def __init__(
        self,
        database: Database,
        queue: DueQueue,
        looker: Looker,
        ending: Ending,
        results: Results,
        gates: Gates,
        alerts: Alerts,
        clock: Clock,
        owner: str,
        *,
        app_ids: Mapping[str, str],
        mask: Mask,
    ) -> None:
        """*app_ids* are the 百炼 application ids by app type; what is missing there the provider refuses."""
        self._database = database
        self._queue = queue
        self._looker = looker
        self._ending = ending
        self._results = results
        self._gates = gates
        self._alerts = alerts
        self._clock = clock
        self._owner = owner
        self._app_ids = app_ids
        self._mask = mask
        self._asking: Together[Asking, Job | Without | None] = Together(self._ask)

    async def prepare(self, step: Step) -> Job | None:
        """What is to be asked, its attempt written; None where the step has ended or waits."""
        try:
            looked = await self._looker.look(step)
            found = await self._asking.do(looked) if isinstance(looked, Asking) else looked
            if isinstance(found, Without):
                await self._database.transact(partial(self._end, step=step, without=found))
                return None
        except _Gone:
            return None
        except (Overtaken, Throttled, Unavailable):
            raise  # the database's: whoever takes the step over tries again
        except Exception as error:
            # Whoever tried again would meet the same.
            _log.exception("a step failed by our own doing", step_id=step.id, app_type=step.app_type)
            without = Without(StepStatus.FAILED, DEFECT, type(error).__name__)
            await self._database.transact(partial(self._end, step=step, without=without))
            return None
        return found

    async def idle(self) -> None:
        """Wait until nothing is read ahead."""
        await self._looker.idle()

    async def _ask(self, askings: Sequence[Asking]) -> Sequence[Job | Without | None]:
        """The gates and the attempts of steps that are ready in the same moment; None for one that waits for a gate."""
        found = await self._database.transact(partial(self._write, askings=askings))
        for run in {one.run.id: one.run for one in found if isinstance(one, Job)}.values():
            self._looker.ahead(run)
        return found

    async def _write(
        self, conn: AsyncConnection, askings: Sequence[Asking]
    ) -> Sequence[Job | Without | None]:
        now = self._clock.now()
        found: dict[str, Job | Without | None] = dict(
            await self._looker.kept(conn, askings)  # since their facts were read
        )
        jobs = [await self._job(conn, one, now) for one in askings if one.step.id not in found]
        if jobs:
            verdict = await self._gates.pass_(conn, [one.wish for one in jobs], now)
            if isinstance(verdict, Refused):
                if len(askings) > 1:
                    raise Apart  # whose refusal it is, each finds out alone
                (one,) = askings
                await self._refused(conn, one.run, one.step, verdict, now, one.own)
                return [None]
            await self._asked(conn, jobs, now)
        found |= {one.step.id: one for one in jobs}
        return [found[one.step.id] for one in askings]

    async def _job(self, conn: AsyncConnection, one: Asking, now: datetime) -> Job:
        app, run, prompt = one.app, one.run, one.prompt
        timeout = min(app.timeout, one.until - now)
        wish = Wish(
            attempt_id=new_id(),
            store_id=one.step.subject.store_id,
            app_type=app.app_type,
            prompt_bytes=len(prompt.text.encode()),
            interactive=not run.prewarm,
            until=now + timeout + OVER,
        )
        app_id = self._app_ids.get(app.app_type, "")
        session_id = await conversations.session(conn, run.store_id, one.step.user_id, app.app_type, now)
        call = Call(app.app_type, app_id, prompt.text, timeout, session_id, run.traceparent or "")
        return Job(one.step, run, app, prompt, wish, call, one.until, one.known_at)

    async def _asked(self, conn: AsyncConnection, jobs: Sequence[Job], now: datetime) -> None:
        """Write that they are being asked: nothing leaves that was not written down."""
        steps = [
            Asked(
                one.step.id,
                one.step.epoch,
                one.prompt.missing,
                one.step.asked_at or now,
                one.step.started_at or one.known_at,
            )
            for one in jobs
        ]
        if len(await run_batches.ask(conn, steps)) < len(steps):
            raise _Gone if len(steps) == 1 else Apart
        await attempts.insert(conn, [self._attempt(one, now) for one in jobs])

    def _attempt(self, job: Job, now: datetime) -> dict[str, Any]:
        step, wish, text = job.step, job.wish, job.prompt.text
        context = parse(job.run.traceparent)
        return {
            "id": wish.attempt_id,
            "step_id": step.id,
            "run_id": job.run.id,
            "store_id": step.subject.store_id,
            "app_type": job.app.app_type,
            **runs.subject_columns(step.subject),
            "attempt_no": step.attempt_no + 1,
            "interactive": wish.interactive,
            "prompt": self._mask(text),
            "prompt_bytes": wish.prompt_bytes,
            "prompt_hash": hashlib.sha256(text.encode()).hexdigest(),
            "owner": self._owner,
            "trace_id": "" if context is None else f"{context.trace_id:032x}",
            "until": wish.until,
            "started_at": now,
        }

    async def _refused(
        self, conn: AsyncConnection, run: Run, step: Step, no: Refused, now: datetime, own: Mapping[str, Any]
    ) -> None:
        """A gate is shut: wait for it until the run's time is over, and say so once."""
        told = [dict(one) for one in step.refusals]
        if no.refusal not in [one["refusal"] for one in told]:
            times = {"at": instant_text(now), "until": instant_text(no.until)}
            told.append({"refusal": no.refusal.value, "detail": no.detail, **times})
        own = {**own, "refusals": told, "reason": no.refusal.value, "error": no.detail[: runs.ERROR_MOST]}
        if step.patient:
            due_at = min(max(no.until, now + timedelta(seconds=1)), now + LOOK_AGAIN, run.deadline_at)
            held = Settlement(step.id, step.epoch, DEFERRED, step.attempt_no, due_at, no.refusal.value)
            if not await self._queue.settle(conn, [held]):
                return
            await runs.update_step(conn, step.id, own)
        elif not await self._end(conn, step, Without(StepStatus.REFUSED, no.refusal.value, no.detail, own)):
            return
        await self._tell(conn, run, step, no.refusal.value, no.detail, now)

    async def _end(self, conn: AsyncConnection, step: Step, without: Without) -> bool:
        """End the step without a request; False where it is not ours any more."""
        now = self._clock.now()
        run = await runs.lock(conn, step.run_id)
        ended = Settlement(step.id, step.epoch, without.status.value, step.attempt_no)
        if run is None or not await self._queue.settle(conn, [ended]):
            return False
        values = {"reason": without.reason, "error": without.error[: runs.ERROR_MOST], "finished_at": now}
        await runs.update_step(conn, step.id, {"started_at": step.started_at or now, **without.own, **values})
        if without.also is not None:
            await without.also(conn)
        if without.status is StepStatus.FAILED:
            text = f"{step.name}: {without.reason}" + (f" ({without.error})" if without.error else "")
            await self._tell(conn, run, step, alert_of(without.reason), text, now)
        await self._ending.advance(conn, run)
        return True

    async def _tell(
        self, conn: AsyncConnection, run: Run, step: Step, kind: str, message: str, now: datetime
    ) -> None:
        await self._alerts.tell(
            conn,
            store_id=run.store_id,
            app_type=step.app_type,
            kind=kind,
            message=message,
            run_id=run.id,
            step=step.name,
            now=now,
        )
