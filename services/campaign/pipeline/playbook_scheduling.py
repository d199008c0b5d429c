"""The steps of playbooks on their days: each occurrence once, or missed.

Whoever comes first of any number of replicas locks the run; the occurrence, whose key is the run, the day and the step,
what became of it, and what is next are one transaction. Who comes second finds the next one. What nobody has seen to
within the grace is missed: nothing is drafted late. Days come from the run's own calendar and not from the clock, so a
clock that is set back makes nothing come again.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.playbook_calendar import Calendar
from services.campaign.domain.playbook_parameters import read
from services.campaign.pipeline.playbook_making import Making, begun
from services.campaign.playbook_files import playbook_of
from services.campaign.store import playbooks
from services.campaign.store.playbook_tables import ACTIVE
from services.campaign.store.playbooks import WAKEUP, Run
from shared.clock import Clock
from shared.db.engine import Database
from shared.errors import Invalid, ReachError
from shared.supervise import Turn

EVERY: Final = 2.0
"""Seconds between looks."""
BATCH: Final = 50
MISSED: Final = "missed"
SCHEDULE_MISSED: Final = "schedule_missed"

_log = structlog.get_logger("reach.campaign.playbooks")


def calendar_of(run: Run) -> Calendar:
    """The days of a run, as it was when it was started. Raises Invalid where this version cannot read it."""
    playbook = playbook_of(run.playbook, run.definition)
    values = read(playbook.parameters, run.parameters, run.start_day)
    return Calendar(playbook, values, run.zone, run.start_day, run.started_at)


class PlaybookScheduling:
    """Makes what is due, and goes on with what is written; ``run`` is a loop."""

    def __init__(self, database: Database, making: Making, clock: Clock, grace: timedelta) -> None:
        """*grace*: how late a step may come."""
        self._database = database
        self._making = making
        self._clock = clock
        self._grace = grace

    async def run(self, turn: Turn) -> None:
        """See to what is due until cancelled."""
        signal = self._database.wakeups.listen(WAKEUP)
        while True:
            await self.make_due(turn)
            await self.go_on()
            turn()
            await signal.wait(EVERY)

    async def make_due(self, turn: Turn = lambda: None) -> int:
        """All that is due now; how many occurrences that were."""
        made, last = 0, ""
        while True:
            async with self._database.read() as conn:
                due = await playbooks.due(conn, self._clock.now(), last, BATCH)
            for run_id in due:
                while await self._guarded(run_id):
                    made += 1
                    turn()
            if len(due) < BATCH:
                return made
            last = due[-1]

    async def go_on(self) -> int:
        """Go on with drafts whose words were asked for; how many moved."""
        moved, last = 0, ""
        while True:
            async with self._database.read() as conn:
                waiting = await playbooks.written(conn, last, BATCH)
            for campaign_id in waiting:
                moved += await self._database.transact(partial(self._settle, campaign_id=campaign_id))
            if len(waiting) < BATCH:
                return moved
            last = waiting[-1]

    async def _settle(self, conn: AsyncConnection, campaign_id: str) -> bool:
        return await self._making.go_on(conn, campaign_id, self._clock.now())

    async def _guarded(self, run_id: str) -> bool:
        """One occurrence; a defect of one run keeps no other from its turn, and is missed in the end."""
        try:
            return await self._database.transact(partial(self._one, run_id=run_id))
        except ReachError:
            raise
        except Exception:
            _log.exception("a playbook's step came to nothing; it is tried again", playbook_run_id=run_id)
            return False

    async def _one(self, conn: AsyncConnection, run_id: str) -> bool:
        run = await playbooks.hold(conn, run_id)
        now = self._clock.now()
        if run is None or run.status != ACTIVE or run.next_at is None or run.next_at > now:
            return False
        try:
            calendar = calendar_of(run)
        except Invalid as refusal:
            _log.error(
                "a playbook that was started cannot be read", playbook_run_id=run_id, error=str(refusal)
            )
            await playbooks.stop(conn, run_id, "", refusal.message, now)
            return True
        place = (run.next_day or run.start_day, run.next_step)
        found = calendar.occurrence(place)
        if found is not None:
            began = begun(run, found, now)
            if await playbooks.begin(conn, began):
                if now - found.due_at > self._grace:
                    ended = replace(began, status=MISSED, reason=SCHEDULE_MISSED)
                else:
                    ended = await self._making.make(conn, run, calendar, began, now)
                await playbooks.happened(conn, ended)
                _log.info(
                    "a playbook's step came",
                    playbook_run_id=run_id,
                    step=calendar.playbook.steps[found.step].name,
                    day=str(found.day),
                    then=ended.status,
                    reason=ended.reason,
                    groups=ended.groups,
                )
        following = next(calendar.occurrences(place), None)
        if following is None:
            await playbooks.go_on(conn, run_id, None, 0, None, now)
        else:
            await playbooks.go_on(conn, run_id, following.day, following.step, following.due_at, now)
        return True
