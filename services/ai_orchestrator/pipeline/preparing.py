"""From a claimed step to a request that may leave: its facts, its inputs, its prompt, and the gates; one transaction.

A step ends here without a request where there is nothing to ask about, where the answer is known, or where a gate is shut
and nobody wants to wait.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.call import Call
from services.ai_orchestrator.domain.definitions import AppDefinition
from services.ai_orchestrator.domain.gating import Refused, Wish
from services.ai_orchestrator.domain.lifecycle import NO_FACTS, TIMEOUT, RunStatus, StepStatus
from services.ai_orchestrator.domain.material import Prompt
from services.ai_orchestrator.domain.planning import Pace
from services.ai_orchestrator.pipeline.book import Book
from services.ai_orchestrator.pipeline.ending import Ending
from services.ai_orchestrator.pipeline.gathering import Gathering
from services.ai_orchestrator.pipeline.job import Job, Step
from services.ai_orchestrator.pipeline.ports import Alerts, Gates, Mask, Results
from services.ai_orchestrator.store import attempts, runs
from services.ai_orchestrator.store.runs import Run
from shared.clock import Clock
from shared.db.queue import DEFERRED, DueQueue, Settlement
from shared.db.types import instant_text
from shared.ids import new_id
from shared.telemetry.traces import parse

LOOK_AGAIN: Final = timedelta(seconds=30)
"""How long a shut gate is believed: somebody may open it by hand."""
OVER: Final = timedelta(seconds=5)
"""What a call may take beyond its time-out until its end is written."""


class Preparer:
    """Makes claimed steps ready to be asked."""

    def __init__(
        self,
        queue: DueQueue,
        book: Book,
        pace: Pace,
        ending: Ending,
        gathering: Gathering,
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
        self._queue = queue
        self._book = book
        self._pace = pace
        self._ending = ending
        self._gathering = gathering
        self._results = results
        self._gates = gates
        self._alerts = alerts
        self._clock = clock
        self._owner = owner
        self._app_ids = app_ids
        self._mask = mask

    async def prepare(self, conn: AsyncConnection, step: Step) -> Job | None:
        """What is to be asked, its attempt written; None where the step has ended or waits."""
        now = self._clock.now()
        run = await runs.get(conn, step.run_id)
        if run is None or not run.status.open:
            return None
        if run.status is RunStatus.PENDING:
            await runs.begin(conn, run.id, now)
        app = await self._book.app(conn, step.app_type, step.app_version)
        if app is None:
            text = f"version {step.app_version} of {step.app_type} is not known here"
            await self._end(conn, run, step, StepStatus.FAILED, "definition_missing", text)
            return None
        until = min(run.deadline_at, (step.asked_at or now) + self._pace.step_limit)
        if until <= now:
            await self._end(conn, run, step, StepStatus.FAILED, TIMEOUT, "its time is over")
            return None
        material, inputs = await self._gathering.gather(
            conn, app, step.subject, now, run_id=run.id, after=step.after, arguments=step.arguments
        )
        if material.empty:
            await self._end(conn, run, step, StepStatus.SKIPPED, NO_FACTS, "")
            return None
        prompt = self._gathering.assemble(app, step.subject, material, inputs, correction=step.correction)
        own: dict[str, Any] = {"missing": list(prompt.missing), "started_at": step.started_at or now}
        if not step.refresh and not step.correction:
            kept = await self._results.fresh(conn, app, step.subject, prompt.fingerprint)
            if kept is not None:
                await self._end(conn, run, step, StepStatus.CACHED, "", "", {**own, "result": kept})
                return None
        return await self._ask(conn, run, step, app, prompt, until, now, own)

    async def _ask(
        self,
        conn: AsyncConnection,
        run: Run,
        step: Step,
        app: AppDefinition,
        prompt: Prompt,
        until: datetime,
        now: datetime,
        own: Mapping[str, Any],
    ) -> Job | None:
        timeout = min(app.timeout, until - now)
        wish = Wish(
            attempt_id=new_id(),
            store_id=step.subject.store_id,
            app_type=app.app_type,
            prompt_bytes=len(prompt.text.encode()),
            interactive=not run.prewarm,
            until=now + timeout + OVER,
        )
        verdict = await self._gates.pass_(conn, wish, now)
        if isinstance(verdict, Refused):
            await self._refused(conn, run, step, verdict, now, own)
            return None
        context = parse(run.traceparent)
        await attempts.insert(
            conn,
            {
                "id": wish.attempt_id,
                "step_id": step.id,
                "run_id": run.id,
                "store_id": step.subject.store_id,
                "app_type": app.app_type,
                **runs.subject_columns(step.subject),
                "attempt_no": step.attempt_no + 1,
                "interactive": wish.interactive,
                "prompt": self._mask(prompt.text),
                "prompt_bytes": wish.prompt_bytes,
                "owner": self._owner,
                "trace_id": "" if context is None else f"{context.trace_id:032x}",
                "until": wish.until,
                "started_at": now,
            },
        )
        await runs.update_step(conn, step.id, {**own, "asked_at": step.asked_at or now, "reason": ""})
        app_id = self._app_ids.get(app.app_type, "")
        call = Call(app.app_type, app_id, prompt.text, timeout, traceparent=run.traceparent or "")
        return Job(step, run, app, prompt, wish, call, until, now)

    async def _refused(
        self, conn: AsyncConnection, run: Run, step: Step, no: Refused, now: datetime, own: Mapping[str, Any]
    ) -> None:
        """A gate is shut: wait for it until the run's time is over, and say so once."""
        told = [dict(one) for one in step.refusals]
        if no.refusal not in [one["refusal"] for one in told]:
            times = {"at": instant_text(now), "until": instant_text(no.until)}
            told.append({"refusal": no.refusal.value, "detail": no.detail, **times})
        own = {**own, "refusals": told, "reason": no.refusal.value, "error": no.detail[: runs.ERROR_MOST]}
        await self._alerts.tell(
            conn,
            store_id=run.store_id,
            app_type=step.app_type,
            kind=no.refusal.value,
            message=no.detail,
            run_id=run.id,
            step=step.name,
            now=now,
        )
        if not step.patient:
            await self._end(conn, run, step, StepStatus.REFUSED, no.refusal.value, no.detail, own)
            return
        due_at = min(max(no.until, now + timedelta(seconds=1)), now + LOOK_AGAIN, run.deadline_at)
        held = Settlement(step.id, step.epoch, DEFERRED, step.attempt_no, due_at, no.refusal.value)
        if await self._queue.settle(conn, [held]):
            await runs.update_step(conn, step.id, own)

    async def _end(
        self,
        conn: AsyncConnection,
        run: Run,
        step: Step,
        status: StepStatus,
        reason: str,
        error: str,
        own: Mapping[str, Any] | None = None,
    ) -> None:
        """End the step without a request."""
        now = self._clock.now()
        locked = await runs.lock(conn, run.id)
        ended = Settlement(step.id, step.epoch, status.value, step.attempt_no)
        if locked is None or not await self._queue.settle(conn, [ended]):
            return
        values = {"reason": reason, "error": error[: runs.ERROR_MOST], "finished_at": now}
        await runs.update_step(conn, step.id, {"started_at": step.started_at or now, **(own or {}), **values})
        if status is StepStatus.FAILED:
            await self._alerts.tell(
                conn,
                store_id=run.store_id,
                app_type=step.app_type,
                kind="timeout" if reason == TIMEOUT else "failed",
                message=f"{step.name}: {reason} ({error})",
                run_id=run.id,
                step=step.name,
                now=now,
            )
        await self._ending.advance(conn, locked)
