"""Owners reminded by hand: written down here, given by whoever follows their tasks."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Final

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.following import Reminder, free_at
from services.campaign.domain.lifecycle import Status
from services.campaign.domain.window import next_open
from services.campaign.pipeline.follow_settling import hindrance
from services.campaign.pipeline.holding import held, looked_at
from services.campaign.pipeline.reconciling import WAKEUP
from services.campaign.store import follows, reminders
from services.campaign.store.campaigns import Kept
from services.campaign.store.follows import Line
from services.campaign.store.reminders import Planned
from shared.audit import AuditLog, NewEntry
from shared.clock import Clock
from shared.db.engine import Database
from shared.db.once import Once
from shared.errors import Conflict, Invalid
from shared.rpc.principal import current
from shared.values import value_class

_WAITS: Final = (Status.RUNNING, Status.RECONCILING)


@value_class
class Asked:
    """One task, and whether its owner is reminded of it."""

    task_id: str
    owner: str
    msgid: str
    reason: str
    """Why not; '' where they are."""
    free_at: datetime | None = None
    """When one may be asked for again."""


class OwnerReminders:
    """See RemindOwners."""

    def __init__(self, database: Database, audit: AuditLog, clock: Clock) -> None:
        self._database = database
        self._audit = audit
        self._clock = clock

    async def remind(
        self, campaign_id: str, owners: Collection[str], comment: str, once: Once
    ) -> Sequence[Asked]:
        """Have owners reminded: *owners*, or all who have not confirmed. Raises NotFound, Conflict (STATE_INVALID),
        Invalid."""

        async def write(conn: AsyncConnection) -> Sequence[Asked]:
            now = self._clock.now()
            if (before := await once.begin(conn, now)) is not None:
                await looked_at(conn, campaign_id)
                return [_read(row) for row in orjson.loads(before)]
            campaign = await held(conn, campaign_id)
            if campaign.status not in _WAITS:
                state = campaign.status.value
                allowed = ", ".join(status.value for status in _WAITS)
                text = f"a campaign that is {state} does not wait for owners; one does that is: {allowed}"
                raise Conflict("STATE_INVALID", text, state=state, allowed=allowed)
            asked = await self._ask(conn, campaign, owners, now)
            await once.finish(conn, orjson.dumps(asked))
            detail = {"asked": sum(not one.reason for one in asked), "tasks": len(asked), "comment": comment}
            entry = NewEntry(once.name, campaign.id, campaign.store_id, sorted(owners), detail)
            await self._audit.record(conn, entry, now)
            return asked

        return await self._database.transact(write)

    async def _ask(
        self, conn: AsyncConnection, campaign: Kept, owners: Collection[str], now: datetime
    ) -> Sequence[Asked]:
        lines = await follows.lines(conn, campaign.id, lock=True)
        known = {one.owner for one in lines}
        for at, owner in enumerate(owners):
            if owner not in known:
                raise Invalid.field(f"owners[{at}]", "has no task of this campaign that was made")
        chosen = [one for one in lines if not owners or one.owner in owners]
        given = await reminders.of(conn, [one.id for one in chosen])
        asked = [_judged(one, given, campaign, now) for one in chosen]
        new = [
            Planned(one.task_id, campaign.id, len(given.get(one.task_id, ())) + 1, current().subject)
            for one in asked
            if not one.reason
        ]
        await reminders.plan(conn, new, now)
        await follows.hurry(conn, [one.task_id for one in new], now)
        self._database.wakeups.notify(conn, WAKEUP)
        return asked


def _judged(one: Line, given: Mapping[str, Sequence[Reminder]], campaign: Kept, now: datetime) -> Asked:
    """Whether the owner of a task may be reminded now."""
    had, window = given.get(one.id, ()), campaign.spec.window
    free = free_at(had, now)
    if one.confirmed_at is not None:
        return Asked(one.id, one.owner, one.msgid, "confirmed")
    if one.status not in follows.WAITING or one.confirm_by <= now:
        return Asked(one.id, one.owner, one.msgid, "over")
    if any(item.planned for item in had):
        return Asked(one.id, one.owner, one.msgid, "asked_already")
    if free > now:
        return Asked(one.id, one.owner, one.msgid, "reminded_enough", next_open(window, free))
    if hindrance(campaign, window, now):
        return Asked(one.id, one.owner, one.msgid, "window_shut", next_open(window, now))
    return Asked(one.id, one.owner, one.msgid, "")


def _read(row: Mapping[str, str | None]) -> Asked:
    free = row["free_at"]
    plain = {name: str(row[name]) for name in ("task_id", "owner", "msgid", "reason")}
    return Asked(**plain, free_at=None if free is None else datetime.fromisoformat(free))
