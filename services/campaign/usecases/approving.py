"""From a draft to something that another person has said yes to."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.campaign import content_hash as hash_of
from services.campaign.domain.campaign import set_hash
from services.campaign.domain.lifecycle import Status, check_move
from services.campaign.domain.permit import is_author
from services.campaign.domain.window import next_open
from services.campaign.pipeline.holding import held, looked_at
from services.campaign.pipeline.moving import Moving
from services.campaign.pipeline.permitting import Permitting, recalculated, refuse_hits
from services.campaign.pipeline.ports import Groups
from services.campaign.store import approvals
from services.campaign.store.approvals import APPROVED, REJECTED, Approval, Snapshot
from services.campaign.store.campaigns import Kept
from shared.audit import AuditLog, NewEntry
from shared.clock import Clock
from shared.db.engine import Database
from shared.db.once import Once
from shared.errors import Conflict, Denied
from shared.ids import new_id
from shared.rpc.principal import Principal, current
from shared.text.instants import instant_text
from shared.values import value_class


@value_class
class Terms:
    """How fresh things have to be."""

    login_max_age: timedelta
    """How long ago whoever decides may have logged in."""
    approval_valid: timedelta
    """How long an approval holds."""


class Approving:
    """Submits, approves and rejects."""

    def __init__(
        self,
        database: Database,
        moving: Moving,
        permitting: Permitting,
        groups: Groups,
        audit: AuditLog,
        clock: Clock,
        terms: Terms,
    ) -> None:
        self._database = database
        self._moving = moving
        self._permitting = permitting
        self._groups = groups
        self._audit = audit
        self._clock = clock
        self._terms = terms

    async def submit(self, campaign_id: str, *, expected: int, once: Once) -> Snapshot:
        """Freeze its groups and wait for an approval; what was frozen.

        Raises NotFound, Overtaken (VERSION_CONFLICT), Invalid (BLOCK_WORD, URL_NOT_ALLOWED), Conflict (STATE_INVALID,
        AUDIENCE_EMPTY).
        """

        async def write(conn: AsyncConnection) -> Snapshot | None:
            now = self._clock.now()
            if not await once.is_first(conn, now):
                found = await looked_at(conn, campaign_id)
                return await approvals.snapshot(conn, found.id, found.version)
            campaign = await held(conn, campaign_id, expected)
            frozen = await self.put_forward(conn, campaign, now, by=current().subject)
            await self._note(conn, once, campaign, frozen.content_hash, now)
            return frozen

        # A repeat may find a newer version, of which nothing is frozen.
        return await self._database.transact(write) or Snapshot("", "", 0, 0, self._clock.now())

    async def put_forward(
        self, conn: AsyncConnection, campaign: Kept, now: datetime, *, by: str, as_of: datetime | None = None
    ) -> Snapshot:
        """The same, of a campaign that is held, as *by* wants; its groups are judged as they will be at *as_of*.

        Whoever calls tells the audit log, where a person did it. Nothing is written before the last refusal.
        """
        check_move(campaign.status, Status.PENDING_APPROVAL)
        _check_sayable(campaign, now)
        if hits := await self._permitting.hits(conn, campaign):
            refuse_hits(hits)
        frozen = await self._freeze(conn, campaign, now, as_of or now)
        await self._moving.move(conn, campaign, Status.PENDING_APPROVAL, now, by=by)
        return frozen

    async def _freeze(
        self, conn: AsyncConnection, campaign: Kept, now: datetime, as_of: datetime
    ) -> Snapshot:
        chosen = await self._groups.select(conn, campaign.store_id, campaign.spec.audience, as_of)
        if not chosen.included:
            raise Conflict(
                "AUDIENCE_EMPTY",
                "no group is left that it could be sent to; PreviewCampaign says why",
                excluded=len(chosen.excluded),
            )
        pairs = set_hash([(group.chat_id, group.owner) for group in chosen.included])
        whole = hash_of(campaign.spec, campaign.store_id, pairs)
        await approvals.freeze(
            conn, campaign.id, campaign.version, chosen, set_hash=pairs, content_hash=whole, now=now
        )
        return Snapshot(pairs, whole, len(chosen.included), len(chosen.excluded), now)

    async def approve(self, campaign_id: str, seen_hash: str, comment: str, once: Once) -> Approval:
        """Say yes to what has *seen_hash*.

        Raises Denied (LOGIN_STALE), NotFound, Conflict (STATE_INVALID, FOUR_EYES, APPROVAL_STALE), Invalid (BLOCK_WORD,
        URL_NOT_ALLOWED).
        """

        async def write(conn: AsyncConnection) -> str:
            now = self._clock.now()
            login_at = self._present(now)
            before = await once.begin(conn, now)
            if before is not None:
                await looked_at(conn, campaign_id)
                return before.decode()
            campaign = await held(conn, campaign_id)
            check_move(campaign.status, Status.APPROVED)
            if is_author(current().subject, await approvals.authors(conn, campaign.id)):
                raise Conflict("FOUR_EYES", "whoever approves must not have written any of it")
            frozen = await approvals.snapshot(conn, campaign.id, campaign.version)
            stands = await recalculated(conn, campaign)
            if frozen is None or not (seen_hash == stands == frozen.content_hash):
                raise Conflict(
                    "APPROVAL_STALE",
                    "what was looked at is not what stands there now; look at it again",
                    cause="content_changed",
                )
            if hits := await self._permitting.hits(conn, campaign):
                refuse_hits(hits)
            begins = max(now, campaign.spec.schedule_at or now)
            decided = self._decision(
                campaign, APPROVED, stands, comment, login_at, now, begins + self._terms.approval_valid
            )
            await self._decide(conn, campaign, decided, Status.APPROVED, once)
            return decided.id

        return await self._decided(await self._database.transact(write))

    async def reject(self, campaign_id: str, comment: str, *, expected: int, once: Once) -> None:
        """Say no; it is a draft again.

        Raises Denied (LOGIN_STALE), NotFound, Overtaken (VERSION_CONFLICT), Conflict (STATE_INVALID).
        """

        async def write(conn: AsyncConnection) -> None:
            now = self._clock.now()
            login_at = self._present(now)
            if not await once.is_first(conn, now):
                return
            campaign = await held(conn, campaign_id, expected)
            if campaign.status is not Status.PENDING_APPROVAL:
                raise Conflict(
                    "STATE_INVALID",
                    f"a campaign that is {campaign.status.value} cannot be rejected; it can from: pending_approval",
                    state=campaign.status.value,
                )
            stands = await recalculated(conn, campaign)
            decided = self._decision(campaign, REJECTED, stands, comment, login_at, now, now)
            await self._decide(conn, campaign, decided, Status.DRAFT, once)

        await self._database.transact(write)

    def _present(self, now: datetime) -> datetime:
        """When the caller, a person, has logged in, which was lately. Raises Denied (LOGIN_STALE)."""
        caller: Principal = current()
        if caller.kind != "human" or caller.login_at is None or caller.token_id is None:
            raise Denied("LOGIN_STALE", "only a person may decide this", kind=caller.kind)
        if now - caller.login_at > self._terms.login_max_age:
            raise Denied(
                "LOGIN_STALE",
                "the login is too long ago; reach token login renews it",
                kind=caller.kind,
                login_time=instant_text(caller.login_at),
            )
        return caller.login_at

    @staticmethod
    def _decision(
        campaign: Kept,
        decision: str,
        content_hash: str,
        comment: str,
        login_at: datetime,
        now: datetime,
        expires_at: datetime,
    ) -> Approval:
        caller = current()
        return Approval(
            id=new_id(),
            campaign_id=campaign.id,
            version=campaign.version,
            store_id=campaign.store_id,
            content_hash=content_hash,
            approver=caller.subject,
            token_id=caller.token_id or "",
            decision=decision,
            comment=comment,
            login_at=login_at,
            decided_at=now,
            expires_at=expires_at,
        )

    async def _decide(
        self, conn: AsyncConnection, campaign: Kept, decided: Approval, after: Status, once: Once
    ) -> None:
        now = decided.decided_at
        await approvals.add(conn, decided)
        reason = "" if decided.decision == APPROVED else REJECTED
        await self._moving.move(
            conn, campaign, after, now, by=decided.approver, reason=reason, comment=decided.comment
        )
        if decided.decision == APPROVED:
            await once.finish(conn, decided.id.encode())
        await self._note(conn, once, campaign, decided.content_hash, now)

    async def _decided(self, approval_id: str) -> Approval:
        async with self._database.read() as conn:
            return await approvals.get(conn, approval_id)

    async def _note(
        self, conn: AsyncConnection, once: Once, campaign: Kept, content_hash: str, now: datetime
    ) -> None:
        detail = {"version": campaign.version, "content_hash": content_hash}
        await self._audit.record(
            conn, NewEntry(once.name, campaign.id, campaign.store_id, campaign.spec.document(), detail), now
        )


def _check_sayable(campaign: Kept, now: datetime) -> None:
    """Raises Conflict (STATE_INVALID) where nobody could ever send it as it is."""
    spec = campaign.spec
    problem = ""
    if spec.content.empty:
        problem = "it says nothing yet"
    elif spec.schedule_at is not None and spec.schedule_at <= now:
        problem = "its time is over"
    elif next_open(spec.window, max(now, spec.schedule_at or now)) is None:
        problem = "its window does not open any more"
    if problem:
        raise Conflict("STATE_INVALID", f"{problem}; edit it first", state=campaign.status.value)
