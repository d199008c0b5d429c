"""What becomes of a task that was claimed: it leaves now, waits, is looked for, or ends; one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.brake import OWN_CHECK, WINDOW_OVER
from services.campaign.domain.campaign import Content
from services.campaign.domain.lifecycle import Status
from services.campaign.domain.message import body_of
from services.campaign.domain.outcomes import TargetStatus, TaskStatus
from services.campaign.domain.permit import PASSING
from services.campaign.domain.window import next_open, open_until
from services.campaign.pipeline.pacing import Pacer, Slot
from services.campaign.pipeline.ports import Group, Groups, Permit
from services.campaign.store import campaigns, targets, tasks
from services.campaign.store.campaigns import Kept
from services.campaign.store.tasks import Claimed, Run
from shared.clock import Clock
from shared.db.queue import DEFERRED, PENDING, DueQueue, Settlement
from shared.telemetry.traces import parse
from shared.values import value_class

SHUTTING: Final = timedelta(milliseconds=500)
"""So long before a window shuts nothing leaves any more: it could arrive when it is shut."""
LOOK_AGAIN: Final = timedelta(seconds=30)
"""How soon a task that waits for somebody comes up again, should nobody wake it."""
PAUSED_FOR: Final = timedelta(minutes=2)
"""The same for those of a campaign that is paused: whoever lets it go on wakes the first thousand of them."""

_GONE: Final = frozenset({"dismissed", "gone", "owner_left", "being_inherited", "not_in_range", "no_owner"})
"""Reasons of ``Groups.standing`` that say that the sender cannot reach the group any more."""
_LIMIT: Final = "no_slot_today"


@value_class
class Job:
    """A task whose request may leave now."""

    task: Claimed
    content: Content
    body: Mapping[str, object] = field(repr=False)
    media_ids: Mapping[str, str]
    confirm_within: timedelta
    traceparent: str | None
    trace_id: str
    began_at: datetime
    slot: Slot | None
    """None in a dry run, which asks nobody."""

    @property
    def chat_ids(self) -> list[str]:
        """The groups that it is for."""
        found: Any = self.body["chat_id_list"]
        return list(found)


@value_class
class Look:
    """A task that may exist and has to be looked for."""

    task: Claimed
    content: Content
    confirm_within: timedelta


@value_class
class Over:
    """A task for which nothing leaves any more."""

    task: Claimed
    status: TaskStatus
    """Refused or cancelled."""
    reason: str


@value_class
class Barred:
    """The one check says that the campaign may not send; it has to pause. The task waits."""

    task: Claimed
    reason: str


Verdict = Job | Look | Over | Barred


@value_class
class _Wait:
    """A task has to wait, and with it what is ready of its run."""

    until: datetime
    reason: str
    alone: bool = False
    canary_goes: bool = False
    """Whether the first owners' tasks need not wait."""


class Decider:
    """Asks all that has to be asked at the last moment."""

    def __init__(
        self,
        queue: DueQueue,
        groups: Groups,
        permit: Permit,
        pacer: Pacer,
        clock: Clock,
        owner: str,
    ) -> None:
        self._queue = queue
        self._groups = groups
        self._permit = permit
        self._pacer = pacer
        self._clock = clock
        self._owner = owner

    async def decide(
        self, conn: AsyncConnection, one: Claimed, media_ids: Mapping[str, str]
    ) -> Verdict | None:
        """What is to be done with a task; None: nothing now. The request that may leave is written down.

        The campaign is kept from changing until the transaction ends: what was asked here is still so when it does.
        """
        held = await (campaigns.get if one.dry else campaigns.share)(conn, one.campaign_id)
        run = await tasks.run_of(conn, one.run_id)
        if held is None or run is None or not await tasks.still_held(conn, one):
            return None
        spec = await campaigns.spec_of(conn, one.campaign_id, one.version)
        if spec is None:
            return Over(one, TaskStatus.CANCELLED, "version_gone")
        if one.unclear_at is not None:
            return Look(one, spec.content, spec.confirm_within)
        if not one.dry:
            verdict = await self._may(conn, one, held, run)
            if isinstance(verdict, _Wait):
                await self._defer(conn, one, verdict)
                return None
            if verdict is not None:
                return verdict
        left = await self._left(conn, one)
        if not left:
            return Over(one, TaskStatus.REFUSED, OWN_CHECK)
        slot = None
        body = body_of(spec.content, one.owner, left, media_ids)
        if not one.dry:
            found = await self._pacer.take(conn)
            if not isinstance(found, Slot):
                await self._defer(conn, one, _Wait(found, "pace", alone=True))
                return None
            slot = found
        trace, now = parse(held.traceparent), self._clock.now()
        trace_id = format(trace.trace_id, "032x") if trace is not None else ""
        await tasks.start_attempt(conn, one, self._owner, trace_id, now)
        within = spec.confirm_within
        return Job(one, spec.content, body, media_ids, within, held.traceparent, trace_id, now, slot)

    async def _may(
        self, conn: AsyncConnection, one: Claimed, held: Kept, run: Run
    ) -> Over | Barred | _Wait | None:
        """None where it may leave now."""
        now = self._clock.now()
        if held.status is Status.PAUSED:
            return _Wait(now + PAUSED_FOR, "paused")
        if held.status is not Status.RUNNING:
            return Over(one, TaskStatus.CANCELLED, f"campaign_{held.status.value}")
        reason = await self._permit.refusal(conn, held, one.version, run.content_hash, now)
        if reason in PASSING:
            return _Wait(now + LOOK_AGAIN, reason)
        if reason:
            return Barred(one, reason)
        shuts = open_until(held.spec.window, now)
        if shuts is None or shuts - now < SHUTTING:
            opens = next_open(held.spec.window, now if shuts is None else shuts)
            if opens is None:
                return Over(one, TaskStatus.REFUSED, WINDOW_OVER)
            return _Wait(opens, "send_window")
        if (until := await self._pacer.rests(conn, now)) is not None:
            return _Wait(until, "rest")
        if not one.canary and (until := await self._canary(conn, one, held, now)) is not None:
            return _Wait(until, "canary", canary_goes=True)
        if one.lane is not None and await tasks.unresolved(conn, one.lane, one.id):
            return _Wait(now + LOOK_AGAIN, "unknown_before", alone=True)
        return None

    @staticmethod
    async def _canary(conn: AsyncConnection, one: Claimed, held: Kept, now: datetime) -> datetime | None:
        """When to come back, as long as the first owners are not done; None where they are."""
        first = await tasks.canary(conn, one.run_id)
        if any(task.status.value in tasks.OPEN for task in first):
            return now + LOOK_AGAIN
        made = [task.made_at for task in first if task.made_at is not None]
        until = max(made, default=now) + held.spec.canary.wait
        return until if made and until > now else None

    async def _left(self, conn: AsyncConnection, one: Claimed) -> list[str]:
        """The groups of a task that can still be sent to by its sender; what is wrong with the others is written."""
        wanted, now = await targets.chat_ids(conn, one.id), self._clock.now()
        standing = await self._groups.standing(conn, one.store_id, wanted, now)
        left: list[str] = []
        out: dict[tuple[TargetStatus, str], list[str]] = {}
        for chat_id in wanted:
            verdict = _left_out(standing.get(chat_id, "gone"), one.owner)
            if verdict is None:
                left.append(chat_id)
            else:
                out.setdefault(verdict, []).append(chat_id)
        for (status, reason), chat_ids in out.items():
            await targets.mark(conn, one.id, status, now, only=chat_ids, reason=reason)
        return left

    async def _defer(self, conn: AsyncConnection, one: Claimed, wait: _Wait) -> None:
        now = self._clock.now()
        if not wait.alone:
            await tasks.hold_run(conn, one.run_id, wait.until, wait.reason, now, others_only=wait.canary_goes)
        await self._queue.settle(
            conn,
            [Settlement(one.id, one.epoch, DEFERRED, one.attempts, wait.until, wait.reason, kept(one, now))],
        )


def kept(one: Claimed, now: datetime) -> dict[str, object]:
    """The columns of a task that changes nothing but its place in the line."""
    return {
        "msgid": "",
        "reason": "",
        "errcode": None,
        "error": "",
        "updated_at": now,
        "made_at": None,
        "retries": one.tries.retries,
        "renewals": one.tries.renewals,
        "looks": one.tries.looks,
        "unclear_at": one.unclear_at,
        "take_first": one.take_first,
    }


def back(one: Claimed, now: datetime, until: datetime | None = None, reason: str | None = None) -> Settlement:
    """A task that was claimed and no more, as it was; it waits until *until*, where that is given."""
    status = PENDING if until is None else DEFERRED
    return Settlement(one.id, one.epoch, status, one.attempts, until, reason, kept(one, now))


def _left_out(standing: Group | str, owner: str) -> tuple[TargetStatus, str] | None:
    """What becomes of a group that is left out; None where it is not."""
    if isinstance(standing, Group):
        # What was approved names its sender: another one is never asked in its stead.
        return None if standing.owner == owner else (TargetStatus.GROUP_GONE, "owner_changed")
    if standing == _LIMIT:
        return TargetStatus.LIMIT_REACHED, standing
    return (TargetStatus.GROUP_GONE if standing in _GONE else TargetStatus.REFUSED), standing
