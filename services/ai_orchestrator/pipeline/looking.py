"""What there is to ask about: the facts of a step, its inputs and its prompt, read beside the writers.

While calls are under way, those next in line of a wide run are read ahead: nothing is between an answer and the next request
but what has to be written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.definitions import AppDefinition
from services.ai_orchestrator.domain.lifecycle import NO_FACTS, TIMEOUT, RunStatus, StepStatus
from services.ai_orchestrator.domain.material import Prompt
from services.ai_orchestrator.domain.planning import Pace
from services.ai_orchestrator.pipeline.book import Book
from services.ai_orchestrator.pipeline.gathering import Gathering
from services.ai_orchestrator.pipeline.job import Step, step_of
from services.ai_orchestrator.pipeline.ports import Results, Sought
from services.ai_orchestrator.pipeline.together import Together
from services.ai_orchestrator.store import run_batches, runs
from services.ai_orchestrator.store.runs import Run
from shared.clock import Clock
from shared.db.engine import Database
from shared.values import value_class

AHEAD: Final = timedelta(seconds=5)
"""How old facts may be that were read ahead. Where calls take longer, reading is no matter and is done again."""
_MOST_AHEAD: Final = 200
"""Steps for which something is kept in memory."""

_log = structlog.get_logger("reach.ai_orchestrator.runs")


@value_class
class Without:
    """A step that ends without a request."""

    status: StepStatus
    reason: str = ""
    error: str = ""
    own: Mapping[str, Any] = field(default_factory=dict, hash=False)
    also: Callable[[AsyncConnection], Awaitable[None]] | None = None
    """What else its end writes."""


@value_class
class Asking:
    """A step that is to be asked for."""

    step: Step
    run: Run
    app: AppDefinition
    prompt: Prompt
    until: datetime
    """When its time is over."""
    known_at: datetime
    """When its facts were read."""

    @property
    def sought(self) -> Sought | None:
        """What may be kept already; None where it is to be asked anew."""
        if self.step.refresh or self.step.correction:
            return None
        return Sought(self.app, self.step.subject, self.prompt.fingerprint)

    @property
    def own(self) -> dict[str, Any]:
        """Of its columns, what is known before it is asked."""
        return {
            "missing": list(self.prompt.missing),
            "started_at": self.step.started_at or self.known_at,
        }

    def kept(self, result: Mapping[str, Any], results: Results) -> Without:
        """Its end, *result* having been made from the very same facts."""
        same = partial(
            results.confirm,
            app=self.app,
            subject=self.step.subject,
            fingerprint=self.prompt.fingerprint,
            known_at=self.known_at,
        )
        return Without(StepStatus.CACHED, own={**self.own, "result": result}, also=same)


class Looker:
    """Reads what steps are to be asked about."""

    def __init__(
        self, database: Database, book: Book, pace: Pace, gathering: Gathering, results: Results, clock: Clock
    ) -> None:
        self._database = database
        self._book = book
        self._pace = pace
        self._gathering = gathering
        self._results = results
        self._clock = clock
        self._beginning: Together[str, None] = Together(self._begin)
        self._ahead: dict[str, Asking] = {}
        self._wanted: dict[str, Run] = {}
        """Runs that are to be read ahead of."""
        self._reading: asyncio.Task[None] | None = None

    async def look(self, step: Step) -> Without | Asking | None:
        """What there is to ask about; None where its run is over, or past its time."""
        if (ahead := self._taken(step)) is not None:
            return ahead
        while True:
            async with self._database.read() as conn:
                now = self._clock.now()
                run = await runs.get(conn, step.run_id)
                if run is None or not run.status.open:
                    return None
                if run.deadline_at <= now:
                    return None  # the sweep ends it, with all that is left of it, each for its own reason
                if run.status is RunStatus.RUNNING:
                    return await self._look(conn, run, step, now)
            # Committed before facts are read: what comes later does not gather for this run any more.
            await self._beginning.do(run.id)

    async def _begin(self, ids: Sequence[str]) -> Sequence[None]:
        await self._database.transact(partial(runs.begin, ids=set(ids), now=self._clock.now()))
        return [None for _ in ids]

    async def _look(self, conn: AsyncConnection, run: Run, step: Step, now: datetime) -> Without | Asking:
        app = await self._book.app(conn, step.app_type, step.app_version)
        if app is None:
            text = f"version {step.app_version} of {step.app_type} is not known here"
            return Without(StepStatus.FAILED, "definition_missing", text)
        if (until := self._until(run, step, now)) <= now:
            return Without(StepStatus.FAILED, TIMEOUT, "its time is over")
        material, inputs = await self._gathering.gather(
            conn, app, step.subject, now, run_id=run.id, after=step.after, arguments=step.arguments
        )
        if material.empty:
            return Without(StepStatus.SKIPPED, NO_FACTS)
        prompt = self._gathering.assemble(app, step.subject, material, inputs, correction=step.correction)
        asking = Asking(step, run, app, prompt, until, now)
        if asking.sought is not None:
            (kept,) = await self._results.fresh(conn, [asking.sought])
            if kept is not None:
                return asking.kept(kept, self._results)
        return asking

    def _until(self, run: Run, step: Step, now: datetime) -> datetime:
        return min(run.deadline_at, (step.asked_at or now) + self._pace.step_limit)

    # --- Ahead ------------------------------------------------------------------------------------------

    def ahead(self, run: Run) -> None:
        """Read what is next in line of a wide run, while its calls are under way."""
        if not run.width:
            return
        self._wanted[run.id] = run
        if self._reading is None:
            self._reading = asyncio.create_task(self._read_ahead(), name="reading ahead")

    async def idle(self) -> None:
        """Wait until nothing is read ahead."""
        if self._reading is not None:
            await asyncio.wait({self._reading})

    async def _read_ahead(self) -> None:
        try:
            while self._wanted:
                _, run = self._wanted.popitem()
                async with self._database.read() as conn:
                    await self._read_line(conn, run)
        except Exception as error:  # whoever takes the step up reads for himself, and meets the same
            _log.info("nothing could be read ahead", error=str(error))
        finally:
            self._reading = None

    async def _read_line(self, conn: AsyncConnection, run: Run) -> None:
        """In the order in which they will be let go; nothing of those that others bring something to."""
        for row in await run_batches.next_in_line(conn, run.id, run.width):
            step = step_of(row, prewarm=run.prewarm)
            app = self._book.apps.get(step.app_type)
            if step.id in self._ahead or step.after or app is None or app.inputs:
                continue
            found = await self._look(conn, run, step, self._clock.now())
            if isinstance(found, Asking):
                self._ahead[step.id] = found
        while len(self._ahead) > _MOST_AHEAD:  # of steps that others have taken up
            del self._ahead[next(iter(self._ahead))]

    def _taken(self, step: Step) -> Asking | None:
        """What was read ahead of a step, unless it is too old."""
        found, now = self._ahead.pop(step.id, None), self._clock.now()
        if found is None or step.correction or now - found.known_at > AHEAD or found.run.deadline_at <= now:
            return None
        return replace(found, step=step, until=self._until(found.run, step, now))
