"""From a claimed step to a request that may leave: its facts, its inputs and its prompt, read; then the gates and its attempt,
one transaction.

A step ends here without a request where there is nothing to ask about, where the answer is known, or where a gate is shut
and nobody wants to wait.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.call import Call
from services.ai_orchestrator.domain.definitions import AppDefinition
from services.ai_orchestrator.domain.gating import Refused, Wish
from services.ai_orchestrator.domain.lifecycle import (
    DEFECT,
    NO_FACTS,
    TIMEOUT,
    RunStatus,
    StepStatus,
    alert_of,
)
from services.ai_orchestrator.domain.material import Prompt
from services.ai_orchestrator.domain.planning import Pace
from services.ai_orchestrator.pipeline.book import Book
from services.ai_orchestrator.pipeline.ending import Ending
from services.ai_orchestrator.pipeline.gathering import Gathering
from services.ai_orchestrator.pipeline.job import Job, Step
from services.ai_orchestrator.pipeline.ports import Alerts, Gates, Mask, Results
from services.ai_orchestrator.store import attempts, conversations, runs
from services.ai_orchestrator.store.runs import Run
from shared.clock import Clock
from shared.db.engine import Database
from shared.db.queue import DEFERRED, DueQueue, Settlement
from shared.errors import Overtaken, Throttled, Unavailable
from shared.ids import new_id
from shared.telemetry.traces import parse
from shared.text.instants import instant_text
from shared.values import value_class

LOOK_AGAIN: Final = timedelta(seconds=30)
"""How long a shut gate is believed: somebody may open it by hand."""
OVER: Final = timedelta(seconds=5)
"""What a call may take beyond its time-out until its end is written."""


_log = structlog.get_logger("reach.ai_orchestrator.runs")


class _Gone(Exception):  # nothing went wrong: it gives back what the gates have taken
    """The step was ended or taken over meanwhile."""


@value_class
class _Over:
    """A step that ends without a request."""

    status: StepStatus
    reason: str = ""
    error: str = ""
    own: Mapping[str, Any] = field(default_factory=dict, hash=False)
    also: Callable[[AsyncConnection], Awaitable[None]] | None = None
    """What else its end writes."""


@value_class
class _Asking:
    """A step that is to be asked for."""

    app: AppDefinition
    prompt: Prompt
    until: datetime
    own: Mapping[str, Any] = field(hash=False)


class Preparer:
    """Makes claimed steps ready to be asked."""

    def __init__(
        self,
        database: Database,
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
        self._database = database
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

    async def prepare(self, step: Step) -> Job | None:
        """What is to be asked, its attempt written; None where the step has ended or waits."""
        try:
            return await self._prepare(step)
        except _Gone:
            return None
        except (Overtaken, Throttled, Unavailable):
            raise  # the database's: whoever takes the step over tries again
        except Exception as error:
            # Whoever tried again would meet the same.
            _log.exception("a step failed by our own doing", step_id=step.id, app_type=step.app_type)
            over = _Over(StepStatus.FAILED, DEFECT, type(error).__name__)
            await self._database.transact(partial(self._end, step=step, over=over))
            return None

    async def _prepare(self, step: Step) -> Job | None:
        while True:
            # What takes long is read beside the writers.
            async with self._database.read() as conn:
                now = self._clock.now()
                run = await runs.get(conn, step.run_id)
                if run is None or not run.status.open:
                    return None
                if run.deadline_at <= now:
                    return None  # the sweep ends it, with all that is left of it, each for its own reason
                if run.status is RunStatus.RUNNING:
                    found = await self._look(conn, run, step, now)
                    break
            # Committed before facts are read: what comes later does not gather for this run any more.
            await self._database.transact(partial(runs.begin, run_id=run.id, now=now))
        if isinstance(found, _Over):
            await self._database.transact(partial(self._end, step=step, over=found))
            return None
        return await self._database.transact(
            partial(self._ask, run=run, step=step, asking=found, known_at=now)
        )

    async def _look(self, conn: AsyncConnection, run: Run, step: Step, now: datetime) -> _Over | _Asking:
        """What there is to ask about."""
        app = await self._book.app(conn, step.app_type, step.app_version)
        if app is None:
            text = f"version {step.app_version} of {step.app_type} is not known here"
            return _Over(StepStatus.FAILED, "definition_missing", text)
        until = min(run.deadline_at, (step.asked_at or now) + self._pace.step_limit)
        if until <= now:
            return _Over(StepStatus.FAILED, TIMEOUT, "its time is over")
        material, inputs = await self._gathering.gather(
            conn, app, step.subject, now, run_id=run.id, after=step.after, arguments=step.arguments
        )
        if material.empty:
            return _Over(StepStatus.SKIPPED, NO_FACTS)
        prompt = self._gathering.assemble(app, step.subject, material, inputs, correction=step.correction)
        own: dict[str, Any] = {"missing": list(prompt.missing), "started_at": step.started_at or now}
        if not step.refresh and not step.correction:
            kept = await self._results.fresh(conn, app, step.subject, prompt.fingerprint)
            if kept is not None:
                same = partial(
                    self._results.confirm,
                    app=app,
                    subject=step.subject,
                    fingerprint=prompt.fingerprint,
                    known_at=now,
                )
                return _Over(StepStatus.CACHED, own={**own, "result": kept}, also=same)
        return _Asking(app, prompt, until, own)

    async def _ask(
        self, conn: AsyncConnection, run: Run, step: Step, asking: _Asking, known_at: datetime
    ) -> Job | None:
        app, prompt, now = asking.app, asking.prompt, self._clock.now()
        until = asking.until
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
            await self._refused(conn, run, step, verdict, now, asking.own)
            return None
        known = {**asking.own, "asked_at": step.asked_at or now, "reason": ""}
        if not await runs.asked(conn, step.id, step.epoch, known):
            raise _Gone
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
                "prompt_hash": hashlib.sha256(prompt.text.encode()).hexdigest(),
                "owner": self._owner,
                "trace_id": "" if context is None else f"{context.trace_id:032x}",
                "until": wish.until,
                "started_at": now,
            },
        )
        app_id = self._app_ids.get(app.app_type, "")
        session_id = await conversations.session(conn, run.store_id, step.user_id, app.app_type, now)
        call = Call(app.app_type, app_id, prompt.text, timeout, session_id, run.traceparent or "")
        return Job(step, run, app, prompt, wish, call, until, known_at)

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
        elif not await self._end(conn, step, _Over(StepStatus.REFUSED, no.refusal.value, no.detail, own)):
            return
        await self._tell(conn, run, step, no.refusal.value, no.detail, now)

    async def _end(self, conn: AsyncConnection, step: Step, over: _Over) -> bool:
        """End the step without a request; False where it is not ours any more."""
        now = self._clock.now()
        run = await runs.lock(conn, step.run_id)
        ended = Settlement(step.id, step.epoch, over.status.value, step.attempt_no)
        if run is None or not await self._queue.settle(conn, [ended]):
            return False
        values = {"reason": over.reason, "error": over.error[: runs.ERROR_MOST], "finished_at": now}
        await runs.update_step(conn, step.id, {"started_at": step.started_at or now, **over.own, **values})
        if over.also is not None:
            await over.also(conn)
        if over.status is StepStatus.FAILED:
            text = f"{step.name}: {over.reason}" + (f" ({over.error})" if over.error else "")
            await self._tell(conn, run, step, alert_of(over.reason), text, now)
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
