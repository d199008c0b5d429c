"""What can be asked of runs: start, plan, look, cancel, run again, explain."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.asking import asked_anew
from services.ai_orchestrator.domain.definitions import AppDefinition, ChainDefinition, Subject
from services.ai_orchestrator.domain.lifecycle import Part, StepStatus
from services.ai_orchestrator.domain.planning import Pace, about, day_of, dedup_key, lacking, limit_of, plan
from services.ai_orchestrator.domain.story import Told, tell_event, tell_run
from services.ai_orchestrator.pipeline.book import Book
from services.ai_orchestrator.pipeline.ending import Ending
from services.ai_orchestrator.pipeline.gathering import Gathering
from services.ai_orchestrator.pipeline.ports import Gates, Results, Sites
from services.ai_orchestrator.pipeline.starting import Order, Started, Starter, lane_of
from services.ai_orchestrator.store import attempts, run_reading, runs
from services.ai_orchestrator.store.run_reading import AttemptsWanted, Before, Row, RunsWanted, RunView
from services.ai_orchestrator.store.runs import NewRun, NewStep
from services.ai_orchestrator.subscriptions import Intake
from shared.audit import AuditLog, NewEntry
from shared.clock import Clock
from shared.db import inbox
from shared.db.engine import Database
from shared.db.once import Once
from shared.errors import Conflict, Invalid, NotFound
from shared.events.canonical import Unreadable
from shared.events.kinds import Event
from shared.ids import new_id
from shared.telemetry.traces import current_traceparent
from shared.values import value_class

TOLD_MOST: Final = 50
"""Runs of a member that one story covers."""


@value_class
class Projected:
    """What would become of a step now."""

    name: str
    app_type: str
    subject: Subject
    after: tuple[str, ...]
    verdict: str
    """ask, cached, skipped or depends."""
    tokens: int
    """What it would be held for, 0 where nothing would be asked."""


@value_class
class Projection:
    """What a trigger would do."""

    chain: str
    steps: tuple[Projected, ...]
    run_id: str
    """Of today's run that would answer instead."""


class Runs:
    """What callers may look at and do."""

    def __init__(
        self,
        database: Database,
        book: Book,
        sites: Sites,
        pace: Pace,
        starter: Starter,
        ending: Ending,
        intake: Intake,
        gathering: Gathering,
        results: Results,
        gates: Gates,
        audit: AuditLog,
        clock: Clock,
    ) -> None:
        self._database = database
        self._book = book
        self._sites = sites
        self._pace = pace
        self._starter = starter
        self._ending = ending
        self._intake = intake
        self._gathering = gathering
        self._results = results
        self._gates = gates
        self._audit = audit
        self._clock = clock

    def now(self) -> datetime:
        """What time it is for those who ask for a period."""
        return self._clock.now()

    # --- Starting ---------------------------------------------------------------------------------------

    def chain_of(self, event_type: str, subject: Subject) -> ChainDefinition:
        """The chain that a trigger starts. Raises Invalid where there is none, or the subject lacks something."""
        chain = self._book.chain_of(event_type)
        for part in lacking(chain.needs, subject):
            raise Invalid.field(part, f"is needed for {event_type}")
        return chain

    def known(self, event_type: str) -> None:
        """Whether an event of this type starts a chain, asked before anything of it is looked at. Raises Invalid."""
        self._book.chain_of(event_type)

    async def handle_event(self, event: Event, *, forced: bool, connector: str, once: Once) -> Started:
        """Keep an event's facts and start its chain. Raises Invalid, Conflict."""
        try:
            self._intake.check(event)
        except Unreadable as error:
            raise Invalid.field("payload", error.message) from None

        async def start(conn: AsyncConnection, now: datetime) -> Started:
            return await self._intake.take_one(conn, event, forced=forced, connector=connector)

        return await self._started(start, once, event.store_id)

    async def handle_bare(
        self, event_type: str, subject: Subject, *, forced: bool, connector: str, event_id: str, once: Once
    ) -> Started:
        """Start a chain on the facts there are. Raises Invalid."""
        chain = self.chain_of(event_type, subject)
        content = hashlib.sha256(dedup_key(chain, subject, "").encode()).hexdigest()
        trace = current_traceparent()
        order = Order(chain, subject, event_id, content, "rpc", connector, forced, trace)

        async def start(conn: AsyncConnection, now: datetime) -> Started:
            return await self._starter.start(conn, order, now)

        return await self._started(start, once, subject.store_id)

    async def _started(self, start: Any, once: Once, store_id: str) -> Started:
        async def write(conn: AsyncConnection) -> Started:
            now = self._clock.now()
            if (earlier := await once.begin(conn, now)) is not None:
                return Started(earlier.decode(), deduplicated=True)
            started: Started = await start(conn, now)
            await once.finish(conn, started.run_id.encode())
            told = {"deduplicated": started.deduplicated}
            await self._audit.record(conn, NewEntry(once.name, started.run_id, store_id, detail=told), now)
            return started

        return await self._database.transact(write)

    async def project(self, event_type: str, subject: Subject) -> Projection:
        """What a trigger would do now. Raises Invalid."""
        chain = self.chain_of(event_type, subject)
        now = self._clock.now()
        asked: set[str] = set()
        steps: list[Projected] = []
        async with self._database.read() as conn:
            site = await self._sites(conn, subject.store_id)
            key = dedup_key(chain, subject, day_of(now, site.zone))
            run_id = await runs.by_key(conn, subject.store_id, key)
            for step in plan(chain, subject, site):
                app = self._book.apps[step.app_type]
                verdict, prompt_bytes = await self._verdict(conn, app, about(app, step.subject), now)
                if verdict != "ask" and asked & set(step.after):
                    verdict = "depends"
                tokens = 0
                if verdict in ("ask", "depends"):
                    asked.add(step.name)
                    tokens = await self._gates.guess(conn, app.app_type, prompt_bytes)
                steps.append(Projected(step.name, step.app_type, step.subject, step.after, verdict, tokens))
        return Projection(chain.name, tuple(steps), run_id or "")

    async def _verdict(
        self, conn: AsyncConnection, app: AppDefinition, subject: Subject, now: datetime
    ) -> tuple[str, int]:
        """What would become of a step by itself, and the bytes of its prompt as it is now."""
        material, inputs = await self._gathering.gather(conn, app, subject, now)
        if material.empty:
            return "skipped", 0
        prompt = self._gathering.assemble(app, subject, material, inputs)
        kept = await self._results.fresh(conn, app, subject, prompt.fingerprint)
        return "ask" if kept is None else "cached", len(prompt.text.encode())

    # --- Looking ----------------------------------------------------------------------------------------

    async def get(self, run_id: str, stores: Collection[str] | None) -> RunView:
        """One run with its steps. Raises NotFound."""
        async with self._database.read() as conn:
            view = await run_reading.get(conn, run_id, stores)
        if view is None:
            raise NotFound("NOT_FOUND", f"there is no run {run_id}", resource="run")
        return view

    async def listed(self, wanted: RunsWanted, before: Before, limit: int) -> Sequence[Row]:
        """Runs, newest first."""
        async with self._database.read() as conn:
            return await run_reading.newest(conn, wanted, before, limit)

    async def attempts(self, wanted: AttemptsWanted, before: Before, limit: int) -> Sequence[Row]:
        """Attempts, newest first."""
        async with self._database.read() as conn:
            return await run_reading.newest_attempts(conn, wanted, before, limit)

    async def explain_run(self, run_id: str, stores: Collection[str] | None) -> list[Told]:
        """The story of a run. Raises NotFound."""
        view = await self.get(run_id, stores)
        async with self._database.read() as conn:
            return tell_run(view.run, view.steps, await attempts.of_run(conn, run_id))

    async def explain_event(self, event_id: str, stores: Collection[str] | None) -> list[Told]:
        """The story of an event and the runs that answer it. Raises NotFound."""
        async with self._database.read() as conn:
            rows = await inbox.find(conn, event_id, stores)
            answered = await run_reading.of_event(conn, event_id, stores)
        if not rows and not answered:
            raise NotFound("NOT_FOUND", f"there is no event {event_id}", resource="event")
        told = [tell_event(row) for row in rows]
        for run_id in answered:
            told += await self.explain_run(run_id, stores)
        return sorted(told, key=lambda one: one.at)

    async def explain_member(
        self, store_id: str, member_id: str, since: datetime, until: datetime
    ) -> list[Told]:
        """The story of a member in a period."""
        wanted = RunsWanted(frozenset({store_id}), member_id, since=since, until=until)
        told: list[Told] = []
        for run in reversed(await self.listed(wanted, None, TOLD_MOST)):
            told += await self.explain_run(run["id"], {store_id})
        return sorted(told, key=lambda one: one.at)

    # --- Ending and repeating ---------------------------------------------------------------------------

    async def cancel(self, run_id: str, stores: Collection[str] | None, *, once: Once) -> RunView:
        """End a run. Raises NotFound, and Conflict where it has ended."""

        async def write(conn: AsyncConnection) -> None:
            now = self._clock.now()
            if not await once.is_first(conn, now):
                return
            run = await runs.lock(conn, run_id)
            if run is None or (stores is not None and run.store_id not in stores):
                raise NotFound("NOT_FOUND", f"there is no run {run_id}", resource="run")
            if not run.status.open:
                raise Conflict(
                    "STATE_INVALID", f"run {run_id} has ended: {run.status}", state=run.status.value
                )
            await self._ending.cancel(conn, run)
            await self._audit.record(conn, NewEntry(once.name, run_id, run.store_id), now)

        await self._database.transact(write)
        return await self.get(run_id, stores)

    async def rerun(
        self, run_id: str, from_step: str, stores: Collection[str] | None, *, once: Once
    ) -> RunView:
        """Begin a run that takes over what an ended one brought. Raises NotFound, Conflict, Invalid."""
        view = await self.get(run_id, stores)

        async def write(conn: AsyncConnection) -> str:
            now = self._clock.now()
            if (earlier := await once.begin(conn, now)) is not None:
                return earlier.decode()
            again = await self._again(conn, view, from_step, now)
            await once.finish(conn, again.encode())
            told = {"run_id": run_id, "from_step": from_step}
            await self._audit.record(conn, NewEntry(once.name, again, view.run["store_id"], detail=told), now)
            return again

        return await self.get(await self._database.transact(write), stores)

    async def _again(self, conn: AsyncConnection, view: RunView, from_step: str, now: datetime) -> str:
        old = view.run
        if old["finished_at"] is None:
            raise Conflict("STATE_INVALID", "the run has not ended; cancel it first", state=old["status"])
        parts = [
            Part(row["id"], row["name"], StepStatus(row["status"]), tuple(row["after"])) for row in view.steps
        ]
        if from_step and from_step not in [part.name for part in parts]:
            raise Invalid.field("from_step", f"there are {', '.join(part.name for part in parts)}")
        anew = asked_anew(parts, from_step)
        if not anew:
            text = "every step has a result; name the step to begin at"
            raise Conflict("STATE_INVALID", text, state=old["status"])
        new = NewRun(
            id=new_id(),
            store_id=old["store_id"],
            chain=old["chain"],
            chain_version=old["chain_version"],
            event_type=old["event_type"],
            event_id=old["event_id"],
            trigger="rerun",
            connector=old["connector"],
            subject=Subject(old["store_id"], old["member_id"], old["assistant_id"]),
            day=day_of(now, (await self._sites(conn, old["store_id"])).zone),
            dedup_key=None,
            awaiting=None,
            follows=None,
            rerun_of=old["id"],
            prewarm=old["prewarm"],
            priority=old["priority"],
            width=old["width"],
            traceparent=current_traceparent(),
            deadline_at=now + limit_of(len(anew), self._pace, prewarm=old["prewarm"]),
        )
        await runs.insert(conn, new, now)
        steps = [self._step_again(row, anew=row["name"] in anew) for row in view.steps]
        await self._starter.write(conn, new, steps, now)
        return new.id

    def _step_again(self, row: Row, *, anew: bool) -> NewStep:
        app = self._book.app_named(row["app_type"])
        subject = runs.subject_of(row)
        kept: Mapping[str, Any] | None = None
        if not anew:
            # What it brought counts as known from before; it has cost nothing here.
            status = StepStatus(row["status"])
            names = ("result", "missing", "reason", "error", "finished_at")
            kept = {name: row[name] for name in names}
            kept["status"] = (StepStatus.CACHED if status.has_result else status).value
        return NewStep(
            new_id(),
            row["name"],
            app.app_type,
            app.version,
            subject,
            tuple(row["after"]),
            arguments=row["arguments"],
            user_id=row["user_id"],
            refresh=anew,
            patient=row["patient"],
            lane=lane_of(app, subject, row["user_id"]),
            kept=kept,
        )
