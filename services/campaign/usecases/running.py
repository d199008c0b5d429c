"""Running campaigns, for show and for good; holding, resuming and stopping them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.campaign import content_hash as hash_of
from services.campaign.domain.campaign import set_hash
from services.campaign.domain.lifecycle import Status, check_move
from services.campaign.domain.permit import BLOCK_WORD
from services.campaign.domain.window import next_open
from services.campaign.pipeline.audiences import Audiences
from services.campaign.pipeline.beginning import Beginning
from services.campaign.pipeline.holding import held, looked_at
from services.campaign.pipeline.moving import Moving
from services.campaign.pipeline.permitting import Permitting, refuse, refuse_live
from services.campaign.pipeline.ports import Follow, Start
from services.campaign.pipeline.scheduling import WAKEUP
from services.campaign.store import approvals, reporting
from services.campaign.store.campaigns import Kept
from shared.audit import AuditLog, NewEntry
from shared.clock import Clock
from shared.db.engine import Database
from shared.db.once import Once
from shared.errors import Conflict
from shared.rpc.principal import current
from shared.values import value_class

BY_HAND: Final = "by_hand"
"""Why a campaign is paused or cancelled that somebody paused or cancelled."""


@value_class
class Ran:
    """What RunCampaign began."""

    run_id: str
    """'' where it begins by itself at its time."""
    dry: bool


class Running:
    """See RunCampaign, PauseCampaign, ResumeCampaign and CancelCampaign."""

    def __init__(
        self,
        database: Database,
        moving: Moving,
        permitting: Permitting,
        beginning: Beginning,
        audiences: Audiences,
        start: Start,
        follow: Follow,
        audit: AuditLog,
        clock: Clock,
        *,
        live: bool,
        grace: timedelta,
    ) -> None:
        """*live* is whether the deployment sends at all, *grace* how late a campaign may begin."""
        self._database = database
        self._moving = moving
        self._permitting = permitting
        self._beginning = beginning
        self._audiences = audiences
        self._start = start
        self._follow = follow
        self._audit = audit
        self._clock = clock
        self._live = live
        self._grace = grace

    async def run(self, campaign_id: str, *, live: bool, expected: int, once: Once) -> Ran:
        """Begin a run; *live* is what the caller has confirmed. Raises as RunCampaign says."""

        async def write(conn: AsyncConnection) -> Ran:
            now = self._clock.now()
            before = await once.begin(conn, now)
            if before is not None:
                await looked_at(conn, campaign_id)
                return Ran(**orjson.loads(before))
            campaign = await held(conn, campaign_id, expected)
            if live:
                ran = Ran(await self._for_good(conn, campaign, now), dry=False)
            else:
                ran = Ran(await self._for_show(conn, campaign, now), dry=True)
            await once.finish(conn, orjson.dumps({"run_id": ran.run_id, "dry": ran.dry}))
            detail: dict[str, object] = {"version": campaign.version, "run_id": ran.run_id, "dry": ran.dry}
            frozen = await approvals.snapshot(conn, campaign.id, campaign.version) if live else None
            if frozen is not None:
                # What goes to whom from here on, by itself or at its time; nothing else can.
                detail |= {"content_hash": frozen.content_hash, "groups": frozen.included}
            await self._note(conn, once, campaign, now, detail)
            return ran

        return await self._database.transact(write)

    async def _for_show(self, conn: AsyncConnection, campaign: Kept, now: datetime) -> str:
        if campaign.status.over:
            state = campaign.status.value
            raise Conflict("STATE_INVALID", f"a campaign that is {state} is not run any more", state=state)
        chosen = await self._audiences.of(conn, campaign, now)
        if not chosen.selection.included:
            raise Conflict(
                "AUDIENCE_EMPTY",
                "no group is left that it could be sent to",
                excluded=len(chosen.selection.excluded),
            )
        pairs = [(group.chat_id, group.owner) for group in chosen.selection.included]
        run_id = await self._start.plan(
            conn,
            campaign,
            dry=True,
            groups=chosen.selection.included,
            content_hash=hash_of(campaign.spec, campaign.store_id, set_hash(pairs)),
            by=current().subject,
            now=now,
        )
        # Its report tells of them like that of a real run, whose groups are frozen.
        await reporting.leave_out(conn, run_id, chosen.selection.excluded)
        return run_id

    async def _for_good(self, conn: AsyncConnection, campaign: Kept, now: datetime) -> str:
        if not self._live:
            refuse_live()
        if campaign.status is not Status.APPROVED:
            raise Conflict(
                "STATE_INVALID",
                f"a campaign that is {campaign.status.value} cannot be run; it can from: approved",
                state=campaign.status.value,
                allowed=Status.APPROVED.value,
            )
        await self._check_consent(conn, campaign, now)
        begins = campaign.spec.schedule_at
        if begins is not None and now - begins > self._grace:
            # The time was approved as well.
            raise Conflict("APPROVAL_STALE", "its time is over; edit it", cause="schedule_over")
        if next_open(campaign.spec.window, now) is None:
            raise Conflict(
                "STATE_INVALID", "its window does not open any more; edit it", state=campaign.status.value
            )
        if begins is None or begins <= now:
            return await self._beginning.begin(conn, campaign, now, by=current().subject)
        await self._moving.move(conn, campaign, Status.SCHEDULED, now, by=current().subject)
        self._database.wakeups.notify(conn, WAKEUP)
        return ""

    async def pause(self, campaign_id: str, comment: str, once: Once) -> None:
        """Let nobody be asked any more. Raises NotFound, Conflict (STATE_INVALID)."""

        async def change(conn: AsyncConnection, campaign: Kept, now: datetime) -> None:
            check_move(campaign.status, Status.PAUSED)
            await self._turn(conn, campaign, Status.PAUSED, now, reason=BY_HAND, comment=comment)

        await self._do(campaign_id, once, change)

    async def resume(self, campaign_id: str, comment: str, once: Once) -> None:
        """Let it go on. Raises NotFound, Conflict (STATE_INVALID and those of ``refuse``)."""

        async def change(conn: AsyncConnection, campaign: Kept, now: datetime) -> None:
            if campaign.status is not Status.PAUSED:
                state = campaign.status.value
                text = f"a campaign that is {state} cannot be resumed; it can from: paused"
                raise Conflict("STATE_INVALID", text, state=state, allowed=Status.PAUSED.value)
            await self._check_consent(conn, campaign, now)
            await self._turn(conn, campaign, Status.RUNNING, now, reason="", comment=comment)

        await self._do(campaign_id, once, change)

    async def cancel(self, campaign_id: str, comment: str, once: Once) -> None:
        """Stop it for good. Raises NotFound, Conflict (STATE_INVALID)."""

        async def change(conn: AsyncConnection, campaign: Kept, now: datetime) -> None:
            check_move(campaign.status, Status.CANCELLED)
            await self._turn(conn, campaign, Status.CANCELLED, now, reason=BY_HAND, comment=comment)

        await self._do(campaign_id, once, change)

    async def _do(
        self,
        campaign_id: str,
        once: Once,
        change: Callable[[AsyncConnection, Kept, datetime], Awaitable[None]],
    ) -> None:
        async def write(conn: AsyncConnection) -> None:
            now = self._clock.now()
            if not await once.is_first(conn, now):
                return
            campaign = await held(conn, campaign_id)
            await change(conn, campaign, now)
            await self._note(conn, once, campaign, now, {"version": campaign.version})

        await self._database.transact(write)

    async def _turn(
        self,
        conn: AsyncConnection,
        campaign: Kept,
        after: Status,
        now: datetime,
        *,
        reason: str,
        comment: str,
    ) -> None:
        by = current().subject
        await self._moving.move(conn, campaign, after, now, by=by, reason=reason, comment=comment)
        if after is Status.CANCELLED:
            await self._start.stop(conn, campaign.id, now)
        if after is Status.RUNNING:
            await self._start.resumed(conn, campaign.id, now)
        await self._follow.run_changed(conn, campaign.id, now)

    async def _check_consent(self, conn: AsyncConnection, campaign: Kept, now: datetime) -> None:
        refused = await self._permitting.consent_refusal(conn, campaign, now)
        if refused:
            hits = await self._permitting.hits(conn, campaign) if refused == BLOCK_WORD else ()
            refuse(refused, hits)

    async def _note(
        self, conn: AsyncConnection, once: Once, campaign: Kept, now: datetime, detail: dict[str, object]
    ) -> None:
        await self._audit.record(conn, NewEntry(once.name, campaign.id, campaign.store_id, None, detail), now)
