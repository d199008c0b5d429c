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
from services.ai_orchestrator.domain.material import Input, Material, Prompt
from services.ai_orchestrator.domain.planning import Pace
from services.ai_orchestrator.pipeline.book import Book
from services.ai_orchestrator.pipeline.gathering import About, Gathering
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


Look = Without | Asking | None
"""What becomes of a claimed step; None where it is left to others."""


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
        self._looking: Together[Step, Look] = Together(self._look)
        self._ahead: dict[str, Asking] = {}
        self._wanted: dict[str, Run] = {}
        """Runs that are to be read ahead of."""
        self._reading: asyncio.Task[None] | None = None

    async def look(self, step: Step) -> Look:
        """What there is to ask about; None where its run is over, or past its time."""
        if (ahead := self._taken(step)) is not None:
            return ahead
        if step.prewarm:
            return await self._looking.do(step)
        (found,) = await self._look([step])  # somebody waits: it is not held up by what others read
        return found

    async def _look(self, steps: Sequence[Step]) -> list[Look]:
        while True:
            async with self._database.read() as conn:
                now = self._clock.now()
                found = await run_batches.get(conn, {step.run_id for step in steps})
                # What is past its time the sweep ends, with all that is left of it, each for its own reason.
                open_ = {key: run for key, run in found.items() if run.status.open and run.deadline_at > now}
                begun = {key for key, run in open_.items() if run.status is RunStatus.RUNNING}
                if begun == open_.keys():
                    return await self._read(conn, open_, steps, now)
            # Committed before facts are read: what comes later does not gather for these runs any more.
            await self._database.transact(partial(runs.begin, ids=open_.keys() - begun, now=now))

    async def _read(
        self, conn: AsyncConnection, of: Mapping[str, Run], steps: Sequence[Step], now: datetime
    ) -> list[Look]:
        looks: dict[str, Look] = {}
        about: dict[str, About] = {}
        for step in steps:
            run = of.get(step.run_id)
            app = await self._book.app(conn, step.app_type, step.app_version) if run is not None else None
            if run is None:
                looks[step.id] = None
            elif app is None:
                text = f"version {step.app_version} of {step.app_type} is not known here"
                looks[step.id] = Without(StepStatus.FAILED, "definition_missing", text)
            elif self._until(run, step, now) <= now:
                looks[step.id] = Without(StepStatus.FAILED, TIMEOUT, "its time is over")
            else:
                about[step.id] = About(app, step.subject, run.id, step.after, step.arguments)
        gathered = dict(
            zip(about, await self._gathering.gather(conn, list(about.values()), now), strict=True)
        )
        for step in steps:
            if step.id in gathered:
                looks[step.id] = self._shown(
                    of[step.run_id], step, about[step.id].app, *gathered[step.id], now
                )
        looks |= await self.kept(conn, [one for one in looks.values() if isinstance(one, Asking)])
        return [looks[step.id] for step in steps]

    def _shown(
        self,
        run: Run,
        step: Step,
        app: AppDefinition,
        material: Material,
        inputs: Sequence[Input],
        now: datetime,
    ) -> Without | Asking:
        if material.empty:
            return Without(StepStatus.SKIPPED, NO_FACTS)
        prompt = self._gathering.assemble(app, step.subject, material, inputs, correction=step.correction)
        return Asking(step, run, app, prompt, self._until(run, step, now), now)

    async def kept(self, conn: AsyncConnection, askings: Sequence[Asking]) -> dict[str, Without]:
        """The ends, by step, of those whose answer is known: it was made from the very same facts."""
        asked = [(one, sought) for one in askings if (sought := one.sought) is not None]
        results = await self._results.fresh(conn, [sought for _, sought in asked])
        return {
            one.step.id: one.kept(result, self._results)
            for (one, _), result in zip(asked, results, strict=True)
            if result is not None
        }

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
        rows = await run_batches.next_in_line(conn, run.id, run.width)
        line = [step_of(row, prewarm=run.prewarm) for row in rows]
        apart = [step for step in line if step.id not in self._ahead and self._apart(step)]
        for one in await self._read(conn, {run.id: run}, apart, self._clock.now()):
            if isinstance(one, Asking):
                self._ahead[one.step.id] = one
        while len(self._ahead) > _MOST_AHEAD:  # of steps that others have taken up
            del self._ahead[next(iter(self._ahead))]

    def _apart(self, step: Step) -> bool:
        """Whether no other step has to do with what it is asked about."""
        app = self._book.apps.get(step.app_type)
        return app is not None and not app.inputs and not step.after

    def _taken(self, step: Step) -> Asking | None:
        """What was read ahead of a step, unless it is too old."""
        found, now = self._ahead.pop(step.id, None), self._clock.now()
        if found is None or step.correction or now - found.known_at > AHEAD or found.run.deadline_at <= now:
            return None
        return replace(found, step=step, until=self._until(found.run, step, now))
