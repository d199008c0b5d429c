"""Playbooks as operators meet them: shown, previewed, started, stopped."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import takewhile
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain import linting
from services.campaign.domain.campaign import Content
from services.campaign.domain.playbook import Playbook
from services.campaign.domain.playbook_calendar import Calendar, Occurrence
from services.campaign.domain.playbook_drafts import draft_of
from services.campaign.domain.playbook_parameters import Kind, read, said_of
from services.campaign.pipeline.linting import Linter
from services.campaign.pipeline.playbook_previewing import Played, Player
from services.campaign.pipeline.selecting import StoredGroups
from services.campaign.store import playbooks as store
from services.campaign.store.playbook_tables import ACTIVE
from services.campaign.store.playbooks import WAKEUP, Draft, Happened, Run
from services.campaign.usecases.campaigns import Campaigns
from shared.audit import AuditLog, NewEntry
from shared.clock import Clock
from shared.db.engine import Database
from shared.db.once import Once
from shared.errors import Conflict, Invalid, NotFound, Violation
from shared.ids import new_id
from shared.rpc.principal import current
from shared.values import value_class

DAYS: Final = 31
AHEAD: Final = 180
"""Days that a playbook may be started ahead."""
_SAID: Final = (Kind.TEXT, Kind.WORDS, Kind.LINK)


@value_class
class Wish:
    """Which playbook, with what is said, for which store, from when."""

    store_id: str
    playbook: str
    parameters: Mapping[str, str]
    start: str
    """``YYYY-MM-DD``; empty is today."""


@value_class
class Preview:
    """What a playbook would do."""

    calendar: Calendar
    played: Played
    skipped: Sequence[str]
    """Names of the steps that would never come."""


@value_class
class RunView:
    """A run as callers see it."""

    run: Run
    drafts: Mapping[str, int]
    """How many by state."""


@value_class
class Seen:
    """An occurrence with its drafts."""

    happened: Happened
    drafts: Sequence[Draft]


class Playbooks:
    """What operators may do with them."""

    def __init__(
        self,
        database: Database,
        known: Mapping[str, Playbook],
        campaigns: Campaigns,
        linter: Linter,
        groups: StoredGroups,
        audit: AuditLog,
        clock: Clock,
        zone: ZoneInfo,
    ) -> None:
        """*known* are those there are, by name; days are counted in *zone*."""
        self._database = database
        self._known = known
        self._campaigns = campaigns
        self._linter = linter
        self._groups = groups
        self._audit = audit
        self._clock = clock
        self._zone = zone

    def all(self, after: str, limit: int) -> list[Playbook]:
        """Those there are, by name, those behind *after*."""
        return [one for name, one in sorted(self._known.items()) if name > after][:limit]

    async def preview(self, wish: Wish, days: int, *, after: str, limit: int) -> Preview:
        """What it would do in *days* days (0: the usual); groups behind *after*. Raises NotFound, Invalid."""
        now = self._clock.now()
        calendar = self._calendar(wish, now)
        end = calendar.start + timedelta(days=days or DAYS)
        inside = list(takewhile(lambda one: one.day < end, calendar.occurrences()))
        async with self._database.read() as conn:
            await self._look_through(conn, wish.store_id, calendar)
            player = Player(self._groups, calendar, inside, now)
            played = await player.play(conn, wish.store_id, after=after, limit=limit, counted=not after)
        return Preview(calendar, played, _skipped(calendar))

    async def start(self, wish: Wish, *, once: Once) -> RunView:
        """Start it. Raises NotFound, Invalid naming what is wrong with what is said."""

        async def write(conn: AsyncConnection) -> str:
            now = self._clock.now()
            answered = await once.begin(conn, now)
            if answered is not None:
                return answered.decode()
            calendar = self._calendar(wish, now)
            await self._look_through(conn, wish.store_id, calendar)
            run = self._begun(wish, calendar, now)
            await store.add(conn, run)
            await once.finish(conn, run.id.encode())
            detail = {"playbook": run.playbook, "start_date": str(run.start_day)}
            done = NewEntry(once.name, run.id, wish.store_id, content=dict(run.parameters), detail=detail)
            await self._audit.record(conn, done, now)
            self._database.wakeups.notify(conn, WAKEUP)
            return run.id

        return await self.get(await self._database.transact(write), None)

    async def stop(self, run_id: str, comment: str, stores: Collection[str] | None, *, once: Once) -> RunView:
        """Draft nothing more. Raises NotFound, Conflict (STATE_INVALID) where it is over."""

        async def write(conn: AsyncConnection) -> None:
            now = self._clock.now()
            first = await once.is_first(conn, now)
            run = _here(await store.hold(conn, run_id), stores)
            if not first:
                return
            if run.status != ACTIVE:
                raise Conflict(
                    "STATE_INVALID", f"the run is {run.status}; nothing comes any more", state=run.status
                )
            await store.stop(conn, run_id, current().subject, comment, now)
            done = NewEntry(once.name, run_id, run.store_id, detail={"playbook": run.playbook})
            await self._audit.record(conn, done, now)

        await self._database.transact(write)
        return await self.get(run_id, stores)

    async def get(self, run_id: str, stores: Collection[str] | None) -> RunView:
        """One run. Raises NotFound."""
        async with self._database.read() as conn:
            run = _here(await store.get(conn, run_id), stores)
            counted = await store.counted(conn, [run_id])
        return RunView(run, counted.get(run_id, {}))

    async def page(
        self,
        stores: Collection[str] | None,
        status: str,
        before: tuple[datetime, str] | None,
        limit: int,
    ) -> list[RunView]:
        """Runs, the newest first, those behind *before* (started_at, id)."""
        async with self._database.read() as conn:
            runs = await store.page(conn, stores, status=status, before=before, limit=limit)
            counted = await store.counted(conn, [one.id for one in runs])
        return [RunView(one, counted.get(one.id, {})) for one in runs]

    async def occurrences(
        self,
        run_id: str,
        stores: Collection[str] | None,
        before: tuple[date, int] | None,
        limit: int,
    ) -> tuple[Run, list[Seen]]:
        """What became of its steps, the newest first, behind *before* (day, step). Raises NotFound."""
        async with self._database.read() as conn:
            run = _here(await store.get(conn, run_id), stores)
            found = await store.occurrences(conn, run_id, before, limit)
            drafts = await store.drafts(conn, run_id, [(one.day, one.step) for one in found])
        return run, [Seen(one, drafts.get((one.day, one.step), ())) for one in found]

    def _calendar(self, wish: Wish, now: datetime) -> Calendar:
        playbook = self._known.get(wish.playbook)
        if playbook is None:
            known = ", ".join(sorted(self._known))
            raise NotFound("NOT_FOUND", f"there is no such playbook; there are {known}", resource="playbook")
        start = self._start(wish.start, now)
        values = read(playbook.parameters, wish.parameters, start)
        playbook.check(values)
        calendar = Calendar(playbook, values, self._zone.key, start, now)
        if next(calendar.occurrences(), None) is None:
            field = f"parameters.{playbook.event}" if playbook.event else "start_date"
            raise Invalid.field(
                field, "every step would be over before the playbook begins; choose a later day"
            )
        return calendar

    def _start(self, said: str, now: datetime) -> date:
        today = now.astimezone(self._zone).date()
        if not said:
            return today
        try:
            start = date.fromisoformat(said)
        except ValueError:
            raise Invalid.field("start_date", "must be a date, such as 2026-10-01") from None
        if not 0 <= (start - today).days <= AHEAD:
            raise Invalid.field("start_date", f"must lie from today, {today}, to {AHEAD} days ahead")
        return start

    async def _look_through(self, conn: AsyncConnection, store_id: str, calendar: Calendar) -> None:
        """Raises Invalid for what may not be said: where it is a parameter's, by its name, else by the step's."""
        playbook = calendar.playbook
        for one in playbook.parameters:
            if one.kind in _SAID:
                content = Content(said_of(calendar.values[one.name]))
                found = await self._linter.found(conn, store_id, content, ())
                linting.refuse([replace(hit, field=one.name) for hit in found], "parameters")
        first: dict[int, Occurrence] = {}
        for occurrence in calendar.occurrences():
            first.setdefault(occurrence.step, occurrence)
            if len(first) == len(playbook.steps):
                break
        for number, occurrence in first.items():
            step = playbook.steps[number]
            spec = draft_of(calendar, step, occurrence.day, ["any"])
            try:
                self._campaigns.check(spec, None)
                await self._campaigns.bound(conn, store_id, spec)
            except Invalid as refusal:
                raise _named(refusal, number, step.tone.name) from None

    def _begun(self, wish: Wish, calendar: Calendar, now: datetime) -> Run:
        first = next(calendar.occurrences())
        return Run(
            id=new_id(),
            store_id=wish.store_id,
            playbook=wish.playbook,
            definition=calendar.playbook.document,
            parameters={name: said_of(value) for name, value in calendar.values.items()},
            zone=calendar.zone,
            start_day=calendar.start,
            status=ACTIVE,
            started_by=current().subject,
            started_at=now,
            stopped_by="",
            comment="",
            ended_at=None,
            next_day=first.day,
            next_step=first.step,
            next_at=first.due_at,
        )


def _skipped(calendar: Calendar) -> list[str]:
    """Steps whose only day is over before it begins."""
    come = {one.step for one in calendar.occurrences()}
    return [one.name for number, one in enumerate(calendar.playbook.steps) if number not in come]


def _named(refusal: Invalid, step: int, tone: str) -> Invalid:
    """The same with the fields as the caller of a playbook knows them."""
    fields = {"spec.tone": f"parameters.{tone}" if tone else f"steps[{step}].tone"}
    wrong = [
        Violation(fields.get(one.field, f"steps[{step}].{one.field.removeprefix('spec.')}"), one.description)
        for one in refusal.violations
    ]
    facts: dict[str, Any] = refusal.facts
    text = f"{wrong[0].field}: {wrong[0].description}" if wrong else refusal.message
    return Invalid(refusal.reason, text, violations=wrong, **facts)


def _here(run: Run | None, stores: Collection[str] | None) -> Run:
    if run is None or (stores is not None and run.store_id not in stores):
        raise NotFound("NOT_FOUND", "there is no such run of a playbook", resource="playbook_run")
    return run
