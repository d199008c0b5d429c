"""Runs, wired: events in, steps asked, and what can be asked of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.definitions import Subject
from services.ai_orchestrator.domain.planning import Pace, Site
from services.ai_orchestrator.pipeline.book import Book
from services.ai_orchestrator.pipeline.ending import Ending
from services.ai_orchestrator.pipeline.engine import LEASE, Engine
from services.ai_orchestrator.pipeline.gathering import Gathering
from services.ai_orchestrator.pipeline.ports import (
    ActiveStores,
    Alerts,
    Announce,
    Gates,
    Learn,
    Mask,
    Materials,
    Provider,
    Results,
    Sites,
)
from services.ai_orchestrator.pipeline.preparing import Preparer
from services.ai_orchestrator.pipeline.prewarming import Prewarming
from services.ai_orchestrator.pipeline.retention import OldRuns
from services.ai_orchestrator.pipeline.settling import Settler
from services.ai_orchestrator.pipeline.starting import Starter
from services.ai_orchestrator.store import run_reading, runs
from services.ai_orchestrator.subscriptions import Intake
from services.ai_orchestrator.usecases.copywriting import Ran
from services.ai_orchestrator.usecases.runs import Runs
from services.ai_orchestrator.usecases.schedules import Schedules
from services.ai_orchestrator.usecases.single_apps import SingleApps
from shared.audit import AuditLog
from shared.clock import Clock
from shared.db.engine import Database
from shared.db.once import Once
from shared.errors import Unavailable
from shared.ops.retention import Purge, Retention
from shared.rpc.calls import remaining
from shared.settings import Settings
from shared.supervise import Loop
from shared.telemetry.metrics import Metrics
from shared.telemetry.redaction import redact
from shared.values import value_class

ACTIVE: Final = timedelta(days=30)
"""A store for which nothing was started for so long is not prepared for."""


MOST: Final = 180.0
"""Seconds that somebody waits for an app."""
LATER: Final = timedelta(seconds=5)
"""When to ask again for what is still being asked."""


@value_class
class Neighbours:
    """What the other rooms lend."""

    provider: Provider
    gates: Gates
    materials: Materials
    results: Results
    alerts: Alerts
    announce: Announce
    learn: Learn
    types: Sequence[str] = ()
    """Event types whose facts are kept, beside those that start a chain."""
    sites: Sites | None = None
    """None: all as the deployment is."""
    stores: ActiveStores | None = None
    """None: those for which something was started lately."""
    mask: Mask = redact
    purges: Sequence[Purge] = ()


class RunsSide:
    """The parts that others hold on to."""

    def __init__(
        self,
        database: Database,
        book: Book,
        settings: Settings,
        audit: AuditLog,
        clock: Clock,
        numbers: Metrics,
        owner: str,
        neighbours: Neighbours,
        *,
        lease: timedelta = LEASE,
    ) -> None:
        ai, near = settings.ai, neighbours
        pace = Pace(ai.prewarm_at_once, ai.step_limit, ai.quiet_period)
        zone = settings.default_zone

        async def same(conn: AsyncConnection, store_id: str) -> Site:
            return Site(zone)

        async def with_runs(conn: AsyncConnection, now: datetime) -> Mapping[str, ZoneInfo]:
            return dict.fromkeys(await run_reading.stores_with_runs(conn, now - ACTIVE), zone)

        sites = near.sites or same
        queue = runs.queue(database.dialect)
        gathering = Gathering(near.materials, near.results)
        ending = Ending(database, clock, near.announce)
        starter = Starter(book, sites, pace, ending, near.results)
        settler = Settler(
            database,
            queue,
            pace,
            ending,
            near.results,
            near.gates,
            near.alerts,
            clock,
            numbers,
            mask=near.mask,
        )
        preparer = Preparer(
            database,
            queue,
            book,
            pace,
            ending,
            gathering,
            near.results,
            near.gates,
            near.alerts,
            clock,
            owner,
            app_ids=settings.dashscope.app_ids,
            mask=near.mask,
        )
        self._database = database
        self._book = book
        self._clock = clock
        self.engine = Engine(
            database,
            queue,
            preparer,
            settler,
            near.provider,
            clock,
            numbers,
            owner,
            at_once=ai.at_once,
            prewarm_at_once=ai.prewarm_at_once,
            lease=lease,
        )
        self.intake = Intake(
            database,
            book,
            starter,
            near.learn,
            clock,
            numbers,
            types=near.types,
            default_store=settings.default_store,
            max_bytes=settings.limits.event_bytes,
        )
        """Its ``take`` is the bus's handler of its ``types``, its ``replay`` takes dead letters."""
        self.runs = Runs(
            database,
            book,
            sites,
            pace,
            starter,
            ending,
            self.intake,
            gathering,
            near.results,
            near.gates,
            audit,
            clock,
        )
        self.single = SingleApps(database, book, sites, starter, gathering, audit, clock)
        self.prewarming = Prewarming(
            database,
            book,
            starter,
            near.stores or with_runs,
            clock,
            cron=ai.prewarm_cron,
        )
        self.schedules = Schedules(database, book, near.stores or with_runs, ai.prewarm_cron).listed
        """For operators."""
        self.old_runs = OldRuns(ai)
        purges = [self.old_runs.purge, *near.purges]
        self._retention = Retention(database, clock, settings.limits.dedupe_horizon, purges)

    async def open(self) -> None:
        """Keep the present definitions; on a database that no other process uses, take over what was left behind."""
        await self._database.transact(lambda conn: self._book.keep(conn, self._clock.now()))
        if self._database.dialect == "sqlite":
            await self.engine.take_over_orphans()

    async def ask(
        self, app_type: str, subject: Subject, *, arguments: Mapping[str, Any], trigger: str, once: Once
    ) -> Ran:
        """See ``usecases.copywriting.RunApp``."""
        wait = timedelta(seconds=remaining(MOST))
        view = await self.single.run(
            app_type, subject, once=once, wait=wait, trigger=trigger, arguments=arguments
        )
        (step,) = view.steps
        if view.run["finished_at"] is None:
            text = (
                f"{app_type} is still being asked; the same call finds its answer; see run {step['run_id']}"
            )
            raise Unavailable("DEPENDENCY_DOWN", text, retry_after=LATER, dependency="dashscope")
        return Ran(step["run_id"], step["result"], await self.single.origin(step), step["reason"])

    @property
    def loops(self) -> Mapping[str, Loop]:
        """To be kept running."""
        return {
            "steps": self.engine.run,
            "step-leases": self.engine.keep,
            "step-sweep": self.engine.sweep,
            "prewarm": self.prewarming.run,
            "retention": self._retention.run,
        }
