"""Why something went out, or did not: whatever has an id, from the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final, Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain import telling
from services.campaign.domain.lifecycle import Status
from services.campaign.domain.story import (
    About,
    Decided,
    Frozen,
    GroupTold,
    Moved,
    Ran,
    Step,
    Story,
    Written,
)
from services.campaign.store import approvals, campaigns, explaining, reporting, targets, tasks, top_ups
from services.campaign.store.approvals import APPROVED
from services.campaign.store.campaigns import Kept
from services.campaign.store.tasks import Run
from shared.clock import Clock
from shared.db.engine import Database
from shared.errors import NotFound
from shared.rpc.principal import current, visible_stores

CAMPAIGNS: Final = 10
"""Campaigns of a group that are told of."""
RUNS: Final = 20
"""Runs of a campaign that are told of, the last ones."""


class Consent(Protocol):
    """Whether somebody who may has approved what stands there now (room: approval)."""

    async def consent_refusal(self, conn: AsyncConnection, campaign: Kept, now: datetime) -> str:
        """'' where that is so; else the stable reason."""
        ...


class Explaining:
    """See Explain."""

    def __init__(self, database: Database, consent: Consent, clock: Clock) -> None:
        self._database = database
        self._consent = consent
        self._clock = clock

    async def of(self, subject: str, campaign_id: str = "") -> Sequence[Story]:
        """The stories of a campaign, a run, a task or a group, whichever has *subject* as its id; of a group only
        *campaign_id* where it is given. Raises NotFound where the caller can see none of the kind."""
        async with self._database.read() as conn:
            if (held := await _seen(conn, subject)) is not None:
                return [await self._campaign(conn, held)]
            run = await tasks.run_of(conn, subject)
            if run is not None and (held := await _seen(conn, run.campaign_id)) is not None:
                return [await self._campaign(conn, held)]
            task = await explaining.task(conn, subject)
            if task is not None and (held := await _seen(conn, task.campaign_id)) is not None:
                return [telling.of_task(await self._about(conn, held), await _history(conn, held), task.told)]
            found = await self._groups(conn, subject, campaign_id)
        if not found:
            raise NotFound(
                "NOT_FOUND", "no campaign, run, task or group of a campaign has this id", resource="campaign"
            )
        return found

    async def _campaign(self, conn: AsyncConnection, held: Kept) -> Story:
        frozen = await approvals.snapshot(conn, held.id, held.version)
        runs = (await tasks.runs(conn, held.id))[:RUNS]
        return telling.of_campaign(
            await self._about(conn, held),
            await _written(conn, held.id),
            None if frozen is None else Frozen(frozen.included, frozen.excluded, frozen.taken_at),
            await _decided(conn, held.id),
            await _moved(conn, held.id),
            [await _ran(conn, one) for one in runs],
        )

    async def _groups(self, conn: AsyncConnection, chat_id: str, campaign_id: str) -> list[Story]:
        ids = await explaining.campaigns_of(conn, chat_id, visible_stores(), CAMPAIGNS, only=campaign_id)
        found = []
        for one in ids:
            held = await campaigns.get(conn, one)
            if held is not None:
                found.append(await self._group(conn, held, chat_id))
        return found

    async def _group(self, conn: AsyncConnection, held: Kept, chat_id: str) -> Story:
        about, past = await self._about(conn, held, chat_id), await _history(conn, held)
        runs = sorted(await tasks.runs(conn, held.id), key=lambda one: one.dry)
        for run in runs:
            if run.dry and held.started_at is not None:
                continue  # what was for show says nothing of what was really sent
            target = await targets.get(conn, run.id, chat_id)
            if target is not None and (task := await explaining.task(conn, target.task_id)) is not None:
                outcome = GroupTold(
                    target.status,
                    target.raw_status,
                    target.reason,
                    target.errcode,
                    target.error,
                    target.sent_at,
                    target.updated_at,
                )
                return telling.of_group(about, chat_id, past, None, outcome, task.told)
        return telling.of_group(about, chat_id, past, await _left_out(conn, held, runs, chat_id), None, None)

    async def _about(self, conn: AsyncConnection, held: Kept, chat_id: str = "") -> About:
        waits = held.status in (Status.APPROVED, Status.SCHEDULED, Status.PAUSED)
        now = self._clock.now()
        refused = await self._consent.consent_refusal(conn, held, now) if waits else ""
        return replace(_told(held), refused=refused, topped_up_by=await top_ups.taker(conn, held.id, chat_id))


async def _left_out(
    conn: AsyncConnection, held: Kept, runs: Sequence[Run], chat_id: str
) -> tuple[str, str, datetime] | None:
    """Why, by which fact and when a group was left out; None where it was not."""
    frozen = await explaining.frozen_group(conn, held.id, held.version, chat_id)
    taken = await approvals.snapshot(conn, held.id, held.version)
    if frozen is not None and taken is not None:
        return (frozen.reason, frozen.detail, taken.taken_at) if frozen.reason else None
    for run in runs:
        left = await reporting.excluded_of(conn, run, chat_id)
        if left is not None:
            return left.reason, left.detail, run.started_at
    return None


async def _seen(conn: AsyncConnection, campaign_id: str) -> Kept | None:
    held = await campaigns.get(conn, campaign_id)
    return held if held is not None and current().may_touch(held.store_id) else None


async def _history(conn: AsyncConnection, held: Kept) -> Sequence[Step]:
    wrote, decided = await _written(conn, held.id), await _decided(conn, held.id)
    return telling.history(_told(held), wrote, decided, await _moved(conn, held.id))


async def _written(conn: AsyncConnection, campaign_id: str) -> Sequence[Written]:
    found = await campaigns.edits(conn, campaign_id)
    return [Written(one.version, one.how, one.editor, one.created_at) for one in found]


async def _decided(conn: AsyncConnection, campaign_id: str) -> Sequence[Decided]:
    found = await approvals.decisions(conn, campaign_id)
    return [
        Decided(
            one.version,
            one.approver,
            one.decision == APPROVED,
            one.comment,
            one.decided_at,
            one.expires_at,
        )
        for one in found
    ]


async def _moved(conn: AsyncConnection, campaign_id: str) -> Sequence[Moved]:
    found = await campaigns.moves(conn, campaign_id)
    return [Moved(one.before, one.after, one.by, one.reason, one.comment, one.at) for one in found]


async def _ran(conn: AsyncConnection, run: Run) -> Ran:
    groups = await explaining.run_groups(conn, run.id)
    holds = await explaining.run_holds(conn, run.id)
    return Ran(run.id, run.dry, run.started_by, run.started_at, groups, holds)


def _told(held: Kept) -> About:
    return About(held.id, held.spec, held.status, held.reason, held.version, held.finished_at)
