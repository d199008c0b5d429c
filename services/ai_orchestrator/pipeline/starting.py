"""How a run begins: once a store, subject and day; and once more for what came later that day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.definitions import AppDefinition, ChainDefinition, Subject
from services.ai_orchestrator.domain.insights import NEWER_FACTS
from services.ai_orchestrator.domain.lifecycle import QUIET
from services.ai_orchestrator.domain.planning import Pace, Site, about, day_of, dedup_key, limit_of, plan
from services.ai_orchestrator.pipeline.book import Book
from services.ai_orchestrator.pipeline.ending import Ending
from services.ai_orchestrator.pipeline.ports import Results, Sites
from services.ai_orchestrator.store import runs
from services.ai_orchestrator.store.runs import NewRun, NewStep
from shared.db.queue import HIGH, LOW, NORMAL
from shared.ids import new_id
from shared.values import value_class


@value_class
class Order:
    """What is to start a chain."""

    chain: ChainDefinition
    subject: Subject
    event_id: str
    content_hash: str
    """What tells a repeat from something new."""
    trigger: str
    connector: str = ""
    forced: bool = False
    traceparent: str | None = None


@value_class
class OneApp:
    """What is to run one app."""

    app: AppDefinition
    subject: Subject
    trigger: str = "on_demand"
    refresh: bool = False
    arguments: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """What the caller gives beside the facts."""
    user_id: str = ""
    """Whose conversation it goes on with; empty: none."""
    traceparent: str | None = None


@value_class
class Started:
    """Which run answers."""

    run_id: str
    deduplicated: bool = False
    follow_up_run_id: str = ""
    repeated: bool = False
    """Whether a run of the day answers this very content already, under whatever id: it tells of nothing new."""


class Starter:
    """Writes runs with their steps, in the caller's transaction."""

    def __init__(self, book: Book, sites: Sites, pace: Pace, ending: Ending, results: Results) -> None:
        self._book = book
        self._sites = sites
        self._pace = pace
        self._ending = ending
        self._results = results

    async def start(
        self, conn: AsyncConnection, order: Order, now: datetime, *, again: bool = True
    ) -> Started:
        """The run that answers *order*: a new one, or the first of its day; *again*: and what is new in it is looked at
        later."""
        site = await self._sites(conn, order.subject.store_id)
        day = day_of(now, site.zone)
        key = dedup_key(order.chain, order.subject, day)
        new = self._new_run(order, day, now, site)
        if not order.forced:
            new = replace(new, dedup_key=key)
        if await runs.insert(conn, new, now):
            repeated = await runs.answered(conn, order.subject, day, order.content_hash)
            await runs.note_event(conn, new.id, order.event_id, order.content_hash, now)
            await self._add_steps(conn, new, order, now, site)
            return Started(new.id, repeated=repeated)
        first = await runs.by_key(conn, order.subject.store_id, key)
        assert first is not None  # the insert has waited for whoever wrote it
        if not again or not await runs.note_event(conn, first, order.event_id, order.content_hash, now):
            return Started(first, deduplicated=True, repeated=again)
        follow_up = await self._follow_up(conn, order, first, key, day, now, site)
        if order.subject.member_id:
            await self._results.stale(conn, order.subject.store_id, order.subject.member_id, NEWER_FACTS, now)
        return Started(first, deduplicated=True, follow_up_run_id=follow_up)

    async def run_app(self, conn: AsyncConnection, order: OneApp, now: datetime) -> str:
        """A run of one step for which somebody waits: it takes no shut gate for an answer."""
        app, subject = order.app, order.subject
        new = NewRun(
            id=new_id(),
            store_id=subject.store_id,
            chain=f"app:{app.app_type}",
            chain_version=app.version,
            event_type="",
            event_id="",
            trigger=order.trigger,
            connector="",
            subject=subject,
            day=day_of(now, (await self._sites(conn, subject.store_id)).zone),
            dedup_key=None,
            awaiting=None,
            follows=None,
            rerun_of=None,
            prewarm=False,
            priority=HIGH,
            width=0,
            traceparent=order.traceparent,
            deadline_at=now + self._pace.step_limit,
        )
        step = NewStep(
            new_id(),
            app.app_type,
            app.app_type,
            app.version,
            subject,
            arguments=order.arguments,
            user_id=order.user_id,
            refresh=order.refresh,
            patient=False,
            lane=lane_of(app, subject, order.user_id),
        )
        await runs.insert(conn, new, now)
        await self.write(conn, new, [step], now)
        return new.id

    async def write(
        self,
        conn: AsyncConnection,
        new: NewRun,
        steps: Sequence[NewStep],
        now: datetime,
        due_at: datetime | None = None,
    ) -> None:
        """Write the steps of a run that is there, and let the first ones go."""
        hold = None if due_at is None else QUIET
        await runs.insert_steps(conn, new, steps, now, due_at=due_at, hold_reason=hold)
        run = await runs.lock(conn, new.id)
        assert run is not None
        await self._ending.advance(conn, run)
        if due_at is not None:
            await runs.stand_back(conn, run, due_at)

    async def _follow_up(
        self, conn: AsyncConnection, order: Order, first: str, key: str, day: str, now: datetime, site: Site
    ) -> str:
        """The run that takes up what came later; the one of the very same subject that waits already, where there is one.

        Runs that differ in their assistant have steps the others have not: each gets its own, and shares what is the same.
        """
        new = self._new_run(order, day, now, site)
        key = "|".join((key, order.subject.assistant_id))
        due_at = now + self._pace.quiet
        new = replace(
            new,
            awaiting=key,
            follows=first,
            trigger="follow_up",
            deadline_at=new.deadline_at + self._pace.quiet,
        )
        while (waiting := await runs.awaiting(conn, new.store_id, key)) is None:
            if await runs.insert(conn, new, now):
                await self._add_steps(conn, new, order, now, site, due_at)
                return new.id
        return waiting

    def _new_run(self, order: Order, day: str, now: datetime, site: Site) -> NewRun:
        chain = order.chain
        steps = len(plan(chain, order.subject, site))
        return NewRun(
            id=new_id(),
            store_id=order.subject.store_id,
            chain=chain.name,
            chain_version=chain.version,
            event_type=chain.event_type,
            event_id=order.event_id,
            trigger=order.trigger,
            connector=order.connector,
            subject=order.subject,
            day=day,
            dedup_key=None,
            awaiting=None,
            follows=None,
            rerun_of=None,
            prewarm=chain.prewarm,
            priority=LOW if chain.prewarm else NORMAL,
            width=self._pace.width if chain.prewarm else 0,
            traceparent=order.traceparent,
            deadline_at=now + limit_of(steps, self._pace, prewarm=chain.prewarm),
        )

    async def _add_steps(
        self,
        conn: AsyncConnection,
        new: NewRun,
        order: Order,
        now: datetime,
        site: Site,
        due_at: datetime | None = None,
    ) -> None:
        steps = [
            NewStep(
                new_id(),
                step.name,
                step.app_type,
                (app := self._book.apps[step.app_type]).version,
                about(app, step.subject),
                step.after,
                lane=lane_of(app, step.subject),
            )
            for step in plan(order.chain, order.subject, site)
        ]
        await self.write(conn, new, steps, now, due_at)


def lane_of(app: AppDefinition, subject: Subject, user_id: str = "") -> str | None:
    """What is asked one at a time: the insight it would write, or the conversation it goes on with; None where it does
    neither."""
    if user_id:
        return "|".join((subject.store_id, app.app_type, user_id))
    if not app.cache_type:
        return None
    return "|".join((subject.store_id, app.app_type, *(subject.parts.get(part, "") for part in app.needs)))
