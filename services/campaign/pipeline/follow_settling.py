"""What one look at a task does to its groups, the ledger of what they received, the run and the campaign: one transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.following import (
    Fault,
    FollowStatus,
    Policy,
    after_fault,
    next_look,
    next_reminder,
    status_of,
)
from services.campaign.domain.lifecycle import Status
from services.campaign.domain.outcomes import TargetStatus
from services.campaign.domain.window import SendWindow, open_until
from services.campaign.pipeline.asking_after import Sight
from services.campaign.pipeline.ports import Group, Groups
from services.campaign.pipeline.reconciling import Reconciler
from services.campaign.store import campaigns, follows, receipts, reminders, tasks
from services.campaign.store.campaigns import Kept
from services.campaign.store.follows import Followed, Found
from services.campaign.store.receipts import Receipt
from shared.clock import Clock
from shared.db.engine import Database
from shared.db.queue import DEFERRED, PENDING, DueQueue, Settlement
from shared.telemetry import metrics
from shared.telemetry.metrics import Metrics
from shared.telemetry.traces import parse
from shared.values import value_class

_log = structlog.get_logger("reach.campaign.following")

SHUTTING: Final = timedelta(milliseconds=500)
"""So long before a window shuts nobody is reminded any more: it could arrive when it is shut."""
AGAIN: Final = timedelta(seconds=5)
"""The wait before a reminder that could not leave."""
UNKNOWN_STATUS: Final = "unknown_status"
"""Why a group has no outcome of which the platform says a number that nobody knows."""
_REASONS: Final = {
    TargetStatus.LIMIT_REACHED: "platform_limit",
    TargetStatus.GROUP_GONE: "platform_gone",
}
_RESTS: Final = {
    FollowStatus.NEVER_CONFIRMED: (TargetStatus.OWNER_NEVER_CONFIRMED, ""),
    FollowStatus.CANCELLED: (TargetStatus.CANCELLED, "cancelled_at_platform"),
    FollowStatus.NOT_FOUND: (TargetStatus.REFUSED, "task_not_found"),
}
"""What becomes of the groups without an outcome when the following of their task ends so."""
_GONE: Final = frozenset({"dismissed"})


@value_class
class Noted:
    """What was written of a look."""

    changed: Mapping[str, TargetStatus]
    left: Collection[str]
    """Groups that have no outcome yet."""
    confirmed_at: datetime | None


class FollowSettler:
    """Writes how looks ended."""

    def __init__(
        self,
        database: Database,
        queue: DueQueue,
        reconciler: Reconciler,
        groups: Groups,
        policy: Policy,
        clock: Clock,
        numbers: Metrics,
    ) -> None:
        self._database = database
        self._queue = queue
        self._reconciler = reconciler
        self._groups = groups
        self._policy = policy
        self._clock = clock
        self._numbers = numbers

    async def note(self, one: Followed, sight: Sight) -> Noted | None:
        """Write what was seen and keep the task; None where another replica has taken it over meanwhile."""

        async def write(conn: AsyncConnection) -> Noted | None:
            held = await campaigns.hold(conn, one.campaign_id)
            if held is None or not await follows.still_held(conn, one):
                return None
            return await self._take(conn, one, sight)

        return self._told(one, sight, await self._database.transact(write))

    async def settle(self, one: Followed, sight: Sight, end: FollowStatus | None = None) -> None:
        """A look brought an answer, or *end*: the task is told of no more."""

        async def write(conn: AsyncConnection) -> Noted | None:
            held = await campaigns.hold(conn, one.campaign_id)
            if held is None or not await follows.still_held(conn, one):
                return None
            noted = await self._take(conn, one, sight)
            if noted.left and end is not None:
                noted = await self._end_rest(conn, one, noted, end)
            if noted.left:
                await self._queue.settle(conn, [await self._again(conn, held, one, noted)])
                return noted
            now = self._clock.now()
            over = FollowStatus.CONFIRMED if end is None else end
            await self._queue.settle(conn, [_settled(one, over.value, now, noted, ended_at=now)])
            await reminders.drop(conn, one.id, over.value, now)
            await self._reconciler.end_runs(conn, held, now)
            return noted

        self._told(one, sight, await self._database.transact(write))

    async def failed(self, one: Followed, sight: Sight, fault: Fault) -> None:
        """A call came to nothing; what was seen before it is written."""
        now, outcome = self._clock.now(), sight.outcome
        due = after_fault(fault, outcome, one.failures, now)
        told = outcome.errmsg if outcome.errcode else outcome.detail

        async def write(conn: AsyncConnection) -> Noted | None:
            held = await campaigns.hold(conn, one.campaign_id)
            if held is None or not await follows.still_held(conn, one):
                return None
            noted = await self._take(conn, one, sight)
            failure = {"errcode": outcome.errcode, "error": told[:300], "failures": one.failures + 1}
            kept = _settled(one, DEFERRED, now, noted, due=due, reason=f"failed_{fault}", **failure)
            await self._queue.settle(conn, [kept])
            if fault is Fault.REST:
                await follows.rest(conn, due, now)
            return noted

        noted = self._told(one, sight, await self._database.transact(write))
        _log.log(
            40 if fault is Fault.SETTING else 30,
            "task not followed",
            **told_of(one),
            api=sight.api,
            errcode=outcome.errcode,
            cause=outcome.cause,
            error=told,
            again_at=due.isoformat(),
            ours=noted is not None,
        )

    async def back(self, one: Followed) -> None:
        """Whoever had the task in hand is gone: it goes back as it was, and reminders that had begun count."""

        async def write(conn: AsyncConnection) -> None:
            now = self._clock.now()
            if await follows.still_held(conn, one):
                await reminders.lost(conn, one.id, now)
                noted = Noted({}, (), one.confirmed_at)
                await self._queue.settle(conn, [_settled(one, PENDING, now, noted, due=now)])

        await self._database.transact(write)

    async def _take(self, conn: AsyncConnection, one: Followed, sight: Sight) -> Noted:
        """Write the groups that the platform tells of, and what they received."""
        now = self._clock.now()
        found = [
            _found(result.chat_id, result.status, result.sent_at, sight, now) for result in sight.results
        ]
        unique = {item.chat_id: item for item in found}
        changed = await follows.write(conn, one, list(unique.values()), now)
        # Which day a full group was full on is not told: since the owner pressed, and since the look before.
        since = min(now, max(one.looked_at or one.made_at, sight.confirmed_at or one.made_at))
        await receipts.add(
            conn,
            [
                Receipt(one.id, item.chat_id, one.store_id, received, item.sent_at or since)
                for item in unique.values()
                if item.chat_id in changed
                and (
                    (received := item.status is TargetStatus.SENT)
                    or item.status is TargetStatus.LIMIT_REACHED
                )
            ],
        )
        stand = await follows.targets(conn, one.id)
        left = [chat_id for chat_id, status in stand.items() if not status.over]
        return Noted(
            {chat_id: unique[chat_id].status for chat_id in changed},
            left,
            one.confirmed_at or sight.confirmed_at,
        )

    async def _end_rest(self, conn: AsyncConnection, one: Followed, noted: Noted, end: FollowStatus) -> Noted:
        """Give the groups without an outcome the one that follows from how it ended."""
        now = self._clock.now()
        status, reason = _RESTS.get(end, _RESTS[FollowStatus.NEVER_CONFIRMED])
        odd = await follows.odd(conn, one.id)
        standing = await self._groups.standing(conn, one.store_id, noted.left, now)
        ended: list[Found] = []
        for chat_id in noted.left:
            gone = _gone(standing.get(chat_id), one.owner) if end is FollowStatus.NEVER_CONFIRMED else ""
            if chat_id in odd:  # nobody can say that it was not sent: no top-up may hold it
                ended.append(Found(chat_id, TargetStatus.REFUSED, odd[chat_id], UNKNOWN_STATUS))
            elif gone:
                ended.append(Found(chat_id, TargetStatus.GROUP_GONE, None, gone))
            else:
                ended.append(Found(chat_id, status, None, reason))
        await follows.write(conn, one, ended, now)
        told = {item.chat_id: item.status for item in ended}
        return Noted({**noted.changed, **told}, (), noted.confirmed_at)

    async def _again(self, conn: AsyncConnection, held: Kept, one: Followed, noted: Noted) -> Settlement:
        """When the task is looked at again, or its owner reminded, whichever comes first."""
        now = self._clock.now()
        fresh = bool(noted.changed) or (noted.confirmed_at is not None and one.confirmed_at is None)
        looks = 0 if fresh else one.looks + 1
        due, reason = next_look(looks, now, one.confirm_by), "look"
        reminder = None if noted.confirmed_at else await self._reminder_due(conn, held, one, now)
        if noted.confirmed_at:
            await reminders.drop(conn, one.id, "confirmed", now)
        if reminder is not None and reminder < due:
            due, reason = reminder, "remind"
        if await follows.stopping(conn, one.id):
            due, reason = now, "stop"
        return _settled(one, DEFERRED, now, noted, due=due, reason=reason, looks=looks, looked_at=now)

    async def _reminder_due(
        self, conn: AsyncConnection, held: Kept, one: Followed, now: datetime
    ) -> datetime | None:
        window = await window_of(conn, one)
        if window is None:
            return None
        given = (await reminders.of(conn, [one.id])).get(one.id, ())
        why = hindrance(held, window, now)
        if any(item.planned for item in given):
            if not why:
                return now + AGAIN
            await reminders.drop(conn, one.id, why, now)
        if held.status not in (Status.RUNNING, Status.RECONCILING):
            return None
        return next_reminder(self._policy, window, given, one.made_at, one.confirm_by, now)

    def _told(self, one: Followed, sight: Sight, noted: Noted | None) -> Noted | None:
        if noted is None:
            self._numbers.add(metrics.WRITES_FENCED, service="campaign")
            return None
        for status, count in Counter(noted.changed.values()).items():
            if status.over:
                self._numbers.add(metrics.CAMPAIGN_TARGETS, count, status=status.value)
        if noted.confirmed_at is not None and one.confirmed_at is None:
            seconds = (noted.confirmed_at - one.made_at).total_seconds()
            self._numbers.observe(metrics.CAMPAIGN_CONFIRM_SECONDS, max(0.0, seconds))
        odd = sorted({r.status for r in sight.results if status_of(r.status) is None})
        if odd:
            _log.warning("the platform tells of states that nobody knows", **told_of(one), raw=odd)
        if noted.changed:
            counts = Counter(status.value for status in noted.changed.values())
            _log.info("task looked at", **told_of(one), api=sight.api, left=len(noted.left), **counts)
        return noted


async def window_of(conn: AsyncConnection, one: Followed) -> SendWindow | None:
    """When the owner may be asked, as was approved."""
    run = await tasks.run_of(conn, one.run_id)
    spec = None if run is None else await campaigns.spec_of(conn, one.campaign_id, run.version)
    return None if spec is None else spec.window


def hindrance(held: Kept, window: SendWindow, now: datetime) -> str:
    """Why nobody may be reminded now; '' where they may."""
    if held.status not in (Status.RUNNING, Status.RECONCILING):
        return f"campaign_{held.status.value}"
    shuts = open_until(window, now)
    return "window_shut" if shuts is None or shuts - now < SHUTTING else ""


def told_of(one: Followed) -> dict[str, object]:
    """What every line about a task tells."""
    return {
        "campaign_id": one.campaign_id,
        "task_id": one.id,
        "owner": one.owner,
        "msgid": one.msgid,
    }


def trace_of(held: Kept) -> str:
    """The trace that a campaign belongs to; '' where it has none."""
    trace = parse(held.traceparent)
    return "" if trace is None else format(trace.trace_id, "032x")


def _found(chat_id: str, raw: int, sent_at: datetime | None, sight: Sight, now: datetime) -> Found:
    status = status_of(raw)
    if status is None:
        return Found(chat_id, TargetStatus.AWAITING_OWNER, raw, UNKNOWN_STATUS)
    at = (sent_at or sight.confirmed_at or now) if status is TargetStatus.SENT else None
    return Found(chat_id, status, raw, _REASONS.get(status, ""), at)


def _gone(standing: Group | str | None, owner: str) -> str:
    """Why an owner can never have sent to a group; '' where they could."""
    if isinstance(standing, Group):
        return "" if standing.owner == owner else "owner_changed"
    return standing if standing in _GONE else ""


def _settled(
    one: Followed,
    status: str,
    now: datetime,
    noted: Noted,
    *,
    due: datetime | None = None,
    reason: str | None = None,
    **values: object,
) -> Settlement:
    own: dict[str, object] = {
        "confirmed_at": noted.confirmed_at,
        "looks": one.looks,
        "failures": 0,
        "looked_at": one.looked_at,
        "errcode": None,
        "error": "",
        "ended_at": None,
        "updated_at": now,
        "rank": due or now,
        **values,
    }
    return Settlement(one.id, one.epoch, status, one.attempts, due, reason, own)
