"""What becomes of a step of a playbook on its day: campaigns that wait for somebody's approval, or a reason why not.

Whoever started the playbook is their author. All of it is one transaction of the caller, who holds the run: the groups,
the campaigns, and the ledger that lets no group have a step twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.audience import MOST_CHATS
from services.campaign.domain.campaign import Content, Spec
from services.campaign.domain.candidates import Form, SetStatus
from services.campaign.domain.lifecycle import Status
from services.campaign.domain.playbook import Anchor, Step
from services.campaign.domain.playbook_calendar import Calendar, Occurrence
from services.campaign.domain.playbook_drafts import Order, draft_of, order_of
from services.campaign.pipeline.moving import Moving
from services.campaign.pipeline.ports import Groups
from services.campaign.store import campaigns as campaign_rows
from services.campaign.store import candidates as candidate_rows
from services.campaign.store import playbooks
from services.campaign.store.campaigns import Kept
from services.campaign.store.candidates import KeptSet
from services.campaign.store.playbook_tables import WRITING
from services.campaign.store.playbooks import LEFT, SUBMITTED, Draft, Happened, Run
from services.campaign.usecases.approving import Approving
from services.campaign.usecases.campaigns import AI_TEXT, PLAYBOOK, Campaigns, Origin
from services.campaign.usecases.candidates import Candidates, Wish
from shared.errors import Conflict, Invalid, ReachError
from shared.ids import new_id

MADE: Final = "made"
EMPTY: Final = "empty"
"""No group was left."""
FAILED: Final = "failed"
"""Its groups could not be chosen."""
EDITED: Final = "edited"
"""Somebody changed the draft before its words were there; it is theirs."""
PLAYBOOK_STOPPED: Final = "playbook_stopped"
NO_CANDIDATE: Final = "block_word"
"""All that an application wrote holds what may not be said."""

_DETAIL: Final = 500
_log = structlog.get_logger("reach.campaign.playbooks")


class Making:
    """Makes drafts, and goes on with those whose words were asked for."""

    def __init__(
        self,
        campaigns: Campaigns,
        candidates: Candidates,
        approving: Approving,
        groups: Groups,
        moving: Moving,
        *,
        most_groups: int = MOST_CHATS,
    ) -> None:
        """One campaign is for *most_groups* at most."""
        self._campaigns = campaigns
        self._candidates = candidates
        self._approving = approving
        self._groups = groups
        self._moving = moving
        self._most = most_groups

    async def make(
        self, conn: AsyncConnection, run: Run, calendar: Calendar, began: Happened, now: datetime
    ) -> Happened:
        """The drafts of one occurrence, which has *began*; what became of it."""
        step, as_of = calendar.playbook.steps[began.step], max(now, began.opens_at)
        try:
            document = calendar.audience(step, began.day)
            chosen = await self._groups.select(conn, run.store_id, document, as_of, with_room=True)
        except Invalid as refusal:
            return replace(began, status=FAILED, reason=_word(refusal), detail=_said(refusal))
        before = await playbooks.told(conn, run.id, began.step)
        may = await self._after(conn, run, calendar, step, began)
        here = [one.chat_id for one in chosen.included if may is None or one.chat_id in may]
        left = [chat_id for chat_id in here if chat_id not in before]
        excluded = Counter(
            str(one.reason)
            for one in chosen.excluded
            if one.group.chat_id not in before and (may is None or one.group.chat_id in may)
        )
        parts = [left[at : at + self._most] for at in range(0, len(left), self._most)]
        for number, chat_ids in enumerate(parts, 1):
            said = f"（{number}/{len(parts)}）" if len(parts) > 1 else ""
            spec = draft_of(calendar, step, began.day, chat_ids, said)
            order = order_of(calendar, step, began.day)
            kept = await self._draft(conn, run, began, number, spec, order, now)
            await playbooks.tell(conn, run.id, began.step, began.day, kept.id, chat_ids)
        return replace(
            began,
            status=MADE if left else EMPTY,
            groups=len(left),
            told_before=len(here) - len(left),
            excluded=dict(sorted(excluded.items())),
        )

    @staticmethod
    async def _after(
        conn: AsyncConnection, run: Run, calendar: Calendar, step: Step, began: Happened
    ) -> frozenset[str] | None:
        """Of a step that follows another one: those that had that one long enough ago. None: any group may."""
        if step.anchor is not Anchor.STEP:
            return None
        names = [one.name for one in calendar.playbook.steps]
        return await playbooks.told(conn, run.id, names.index(step.after), calendar.told_by(step, began.day))

    async def _draft(
        self,
        conn: AsyncConnection,
        run: Run,
        began: Happened,
        part: int,
        spec: Spec,
        order: Order | None,
        now: datetime,
    ) -> Kept:
        kept, refusal = await self._added(conn, run, spec, now)
        status, set_id = LEFT, ""
        if refusal is None and order is not None:
            set_id, status = new_id(), WRITING
            wish = Wish(kept.id, Form.TEXT, 0, order.max_chars, order.audience, order.rules)
            await self._candidates.add(conn, set_id, kept, wish, run.started_by, now)
        elif refusal is None:
            refusal = await self._put_forward(conn, run, kept, began.opens_at, now)
            status = SUBMITTED if refusal is None else LEFT
        reason, detail = ("", "") if refusal is None else (_word(refusal), _said(refusal))
        draft = Draft(
            campaign_id=kept.id,
            run_id=run.id,
            day=began.day,
            step=began.step,
            part=part,
            set_id=set_id,
            status=status,
            reason=reason,
            detail=detail,
            opens_at=began.opens_at,
            updated_at=now,
        )
        await playbooks.add_draft(conn, draft)
        if reason:
            await self._leave(conn, kept, reason, now)
        return kept

    async def _added(
        self, conn: AsyncConnection, run: Run, spec: Spec, now: datetime
    ) -> tuple[Kept, ReachError | None]:
        """The draft; where it may not say what it says, without that, and why."""
        origin = Origin(PLAYBOOK, run.playbook, run.started_by)
        try:
            self._campaigns.check(spec, None)
            return await self._campaigns.add(conn, run.store_id, spec, origin, now), None
        except Invalid as refusal:
            bare = replace(spec, content=Content(), tone="")
            return await self._campaigns.add(conn, run.store_id, bare, origin, now), refusal

    async def _put_forward(
        self, conn: AsyncConnection, run: Run, kept: Kept, opens_at: datetime, now: datetime
    ) -> ReachError | None:
        """Have it wait for an approval; why it cannot."""
        try:
            await self._approving.put_forward(conn, kept, now, by=run.started_by, as_of=max(now, opens_at))
        except (Conflict, Invalid) as refusal:
            return refusal
        return None

    async def _leave(self, conn: AsyncConnection, kept: Kept, reason: str, now: datetime) -> None:
        """It stays a draft, which says why."""
        await self._moving.move(conn, kept, Status.DRAFT, now, by="", reason=reason)
        _log.warning("a playbook's campaign stays a draft", campaign_id=kept.id, reason=reason)

    async def go_on(self, conn: AsyncConnection, campaign_id: str, now: datetime) -> bool:
        """Go on with a draft whose words were asked for; whether it moved."""
        draft = await playbooks.hold_draft(conn, campaign_id)
        found = None if draft is None else await candidate_rows.get(conn, draft.set_id)
        if draft is None or draft.status != WRITING or found is None:
            return False
        held = await campaign_rows.hold(conn, campaign_id)
        run = await playbooks.get(conn, draft.run_id)
        if held is None or run is None:
            return False
        if held.status is not Status.DRAFT or held.version != found.version:
            reason = EDITED if held.status.editable else held.status.value
            await playbooks.settle_draft(conn, campaign_id, LEFT, reason, "", now)
            return True
        if found.status not in (SetStatus.READY, SetStatus.FAILED):
            return False
        reason, detail = await self._worded(conn, run, draft, held, found, now)
        await playbooks.settle_draft(conn, campaign_id, LEFT if reason else SUBMITTED, reason, detail, now)
        if reason:
            await self._leave(conn, await _as_it_is(conn, campaign_id), reason, now)
        return True

    async def _worded(
        self, conn: AsyncConnection, run: Run, draft: Draft, held: Kept, found: KeptSet, now: datetime
    ) -> tuple[str, str]:
        """Make the best candidate its words and put it forward; why that cannot be, as a word and in words."""
        words = next((one for one in found.candidates if not one.hits), None)
        if words is None:
            return found.reason or NO_CANDIDATE, f"nothing that may be said was written, see {found.id}"
        wanted = replace(held.spec, content=replace(held.spec.content, text=words.text))
        try:
            self._campaigns.check(wanted, held.spec)
            spec = await self._campaigns.bound(conn, held.store_id, wanted)
        except Invalid as refusal:
            return _word(refusal), _said(refusal)
        version = held.version + 1
        editor = {"editor": run.started_by, "how": AI_TEXT}
        await campaign_rows.add_version(conn, held.id, version, spec, **editor, now=now)
        await self._moving.move(conn, held, Status.DRAFT, now, by=run.started_by, version=version)
        await candidate_rows.used(conn, found.id, words.number, version)
        if run.status == playbooks.STOPPED:
            return PLAYBOOK_STOPPED, ""
        whole = await _as_it_is(conn, held.id)
        refused = await self._put_forward(conn, run, whole, draft.opens_at, now)
        return ("", "") if refused is None else (_word(refused), _said(refused))


def begun(run: Run, found: Occurrence, now: datetime) -> Happened:
    """An occurrence of which nothing is known yet."""
    return Happened(
        run_id=run.id,
        day=found.day,
        step=found.step,
        status=EMPTY,
        reason="",
        detail="",
        due_at=found.due_at,
        opens_at=found.opens_at,
        closes_at=found.closes_at,
        groups=0,
        told_before=0,
        excluded={},
        at=now,
    )


async def _as_it_is(conn: AsyncConnection, campaign_id: str) -> Kept:
    found = await campaign_rows.get(conn, campaign_id)
    if found is None:
        raise LookupError(f"campaign {campaign_id} is held and gone")
    return found


def _word(refusal: ReachError) -> str:
    return refusal.reason.lower()


def _said(refusal: ReachError) -> str:
    said: Sequence[str] = [f"{one.field}: {one.description}" for one in refusal.violations]
    return ("; ".join(said) or refusal.message)[:_DETAIL]
