"""Reminds an owner who has not confirmed: written down before it leaves, three times in a day at most."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.following import Policy, Reminded, next_reminder
from services.campaign.pipeline.asking_after import REMIND, Asker
from services.campaign.pipeline.follow_settling import hindrance, told_of, trace_of, window_of
from services.campaign.pipeline.pacing import Slot
from services.campaign.pipeline.reading_pace import ReadingPace
from services.campaign.store import campaigns, follows, reminders
from services.campaign.store.campaigns import Kept
from services.campaign.store.follows import Followed
from services.campaign.store.reminders import Planned
from shared.clock import Clock
from shared.db.engine import Database
from shared.telemetry import metrics
from shared.telemetry.metrics import Metrics
from shared.values import value_class
from shared.wecom.outcome import Outcome, State

_LONGEST: Final = 20.0
_log = structlog.get_logger("reach.campaign.following")


@value_class
class _Leave:
    """A reminder that may leave now."""

    number: int
    slot: Slot
    held: Kept


class _Later(Exception):
    """No slot yet; nothing is to be written."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class Reminding:
    """Gives reminders that are due or were asked for."""

    def __init__(
        self,
        database: Database,
        asker: Asker,
        pace: ReadingPace,
        policy: Policy,
        clock: Clock,
        numbers: Metrics,
    ) -> None:
        self._database = database
        self._asker = asker
        self._pace = pace
        self._policy = policy
        self._clock = clock
        self._numbers = numbers

    async def give(self, one: Followed, still: Callable[[], bool]) -> Reminded | None:
        """Remind the owner of *one*, who has just been seen not to have confirmed, if that is due; what came of it, None
        where nothing left. *still* says whether the caller may still act."""
        if not await self._wanted(one):
            return None
        if await self._asker.ready() is not None:
            return None  # the next look tells what is wrong
        leave = await self._begin(one)
        if leave is None:
            return None

        def may() -> bool:
            return still() and leave.slot.lasts()

        outcome = await self._asker.remind(one, may, leave.held.traceparent)
        told = _reminded(outcome)
        error = "" if told is Reminded.GIVEN else (outcome.errmsg or outcome.detail)[:300]

        async def write(conn: AsyncConnection) -> None:
            now = self._clock.now()
            if told is None:
                await reminders.put_back(conn, one.id, leave.number)
            else:
                await reminders.finish(
                    conn, one.id, leave.number, told, now, errcode=outcome.errcode, error=error
                )

        await self._database.transact(write)
        word = "not_sent" if told is None else told.value
        self._numbers.add(metrics.CAMPAIGN_REMINDERS, outcome=word)
        _log.log(
            20 if told is Reminded.GIVEN else 30,
            "owner reminded",
            trace_id=trace_of(leave.held),
            **told_of(one),
            api=REMIND,
            errcode=outcome.errcode,
            outcome=word,
        )
        return told

    async def _wanted(self, one: Followed) -> bool:
        """Whether one is due, as far as can be seen without a lock: most looks end here."""
        async with self._database.read() as conn:
            held = await campaigns.get(conn, one.campaign_id)
            return held is not None and await self._number(conn, held, one) is not None

    async def _number(self, conn: AsyncConnection, held: Kept, one: Followed) -> int | None:
        """The number of the reminder that is due; None where none is."""
        now = self._clock.now()
        given = (await reminders.of(conn, [one.id])).get(one.id, ())
        window = await window_of(conn, one)
        if window is None or hindrance(held, window, now):
            return None
        waiting = [item.number for item in given if item.planned]
        if waiting:
            return waiting[0]
        due = next_reminder(self._policy, window, given, one.made_at, one.confirm_by, now)
        return None if due is None or due > now else len(given) + 1

    async def _begin(self, one: Followed) -> _Leave | None:
        ends_at = time.monotonic() + _LONGEST
        while True:
            try:
                return await self._database.transact(lambda conn: self._write(conn, one))
            except _Later as later:
                if time.monotonic() + later.seconds > ends_at:
                    return None
                await asyncio.sleep(later.seconds)

    async def _write(self, conn: AsyncConnection, one: Followed) -> _Leave | None:
        """Write the reminder that leaves now; the campaign is kept from changing and the task from being taken meanwhile."""
        held = await campaigns.share(conn, one.campaign_id)
        if held is None or not await follows.still_held(conn, one):
            return None
        number = await self._number(conn, held, one)
        if number is None:
            return None
        slot = await self._pace.take(conn)
        if not isinstance(slot, Slot):
            raise _Later(slot)
        now = self._clock.now()
        given = (await reminders.of(conn, [one.id])).get(one.id, ())
        if number > len(given):
            new = Planned(one.id, one.campaign_id, number, "")
            await reminders.plan(conn, [new], now, leaves=True)
        else:
            await reminders.begin(conn, one.id, number, now)
        return _Leave(number, slot, held)


def _reminded(outcome: Outcome) -> Reminded | None:
    """None where nothing left."""
    match outcome.state:
        case State.ACCEPTED | State.ACCEPTED_PARTIAL:
            return Reminded.GIVEN
        case State.NOT_SENT:
            return None
        case State.UNKNOWN:
            return Reminded.UNKNOWN
    return Reminded.REFUSED
