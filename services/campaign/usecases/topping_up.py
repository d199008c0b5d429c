"""A campaign for exactly those groups that another one could have reached and has not."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from typing import Final, NoReturn

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain import report
from services.campaign.domain.audience import MOST_CHATS
from services.campaign.domain.campaign import Spec
from services.campaign.domain.lifecycle import Status
from services.campaign.domain.outcomes import TargetStatus
from services.campaign.domain.report import Cell
from services.campaign.pipeline.holding import held, looked_at
from services.campaign.store import approvals, reporting, tasks, top_ups
from services.campaign.store.campaigns import Kept
from services.campaign.store.tasks import Run
from services.campaign.usecases.campaigns import TOP_UP, Campaigns, Origin
from shared.audit import AuditLog, NewEntry
from shared.clock import Clock
from shared.db.engine import Database
from shared.db.once import Once
from shared.errors import Conflict, Invalid
from shared.values import value_class

DEFAULT: Final = frozenset({TargetStatus.OWNER_NEVER_CONFIRMED})
"""Whom a top-up is for unless somebody says otherwise."""
POSSIBLE: Final = DEFAULT | {TargetStatus.LIMIT_REACHED, TargetStatus.CANCELLED, TargetStatus.REFUSED}
"""Whom it can be for: none that got it, is gone, or of which nobody knows."""

MARK: Final = "（补发）"
"""Behind the name of a campaign that is one."""
_NAME_CHARS: Final = 100
_AFTER: Final = (Status.RECONCILING, Status.FINISHED, Status.CANCELLED, Status.FAILED)


@value_class
class Made:
    """A top-up."""

    campaign_id: str
    groups: int
    left: int
    """Groups that found no place in it."""


class ToppingUp:
    """See TopUpCampaign."""

    def __init__(
        self,
        database: Database,
        writing: Campaigns,
        audit: AuditLog,
        clock: Clock,
        *,
        most: int = MOST_CHATS,
    ) -> None:
        """*most* groups go into one campaign."""
        self._database = database
        self._writing = writing
        self._audit = audit
        self._clock = clock
        self._most = most

    async def make(
        self, campaign_id: str, outcomes: Collection[TargetStatus], name: str, *, once: Once
    ) -> Made:
        """Write it, for groups with one of *outcomes* (``DEFAULT`` where there is none). Raises as TopUpCampaign says."""
        wanted = frozenset(outcomes) or DEFAULT
        if not wanted <= POSSIBLE:
            known = ", ".join(sorted(POSSIBLE))
            raise Invalid.field("outcomes", f"only these can be asked for once more: {known}")

        async def write(conn: AsyncConnection) -> Made:
            now = self._clock.now()
            before = await once.begin(conn, now)
            if before is not None:
                await looked_at(conn, campaign_id)
                return Made(**orjson.loads(before))
            # Whoever else tops it up waits here, and then finds nothing left.
            made = await self._make(conn, await held(conn, campaign_id), wanted, name, once, now)
            answer = {"campaign_id": made.campaign_id, "groups": made.groups, "left": made.left}
            await once.finish(conn, orjson.dumps(answer))
            return made

        return await self._database.transact(write)

    async def _make(
        self,
        conn: AsyncConnection,
        parent: Kept,
        outcomes: frozenset[TargetStatus],
        name: str,
        once: Once,
        now: datetime,
    ) -> Made:
        run = await _live_run(conn, parent)
        cells = await reporting.cells(conn, run.id)
        _check_settled(cells)
        await top_ups.give_back(conn, parent.id)
        chats, count = await top_ups.remaining(conn, parent.id, run.id, outcomes, self._most)
        if not chats:
            await _refuse_empty(conn, parent, cells, outcomes)
        spec = _spec(parent.spec, name, list(chats))
        self._writing.check(spec, None)
        authors = await approvals.authors(conn, parent.id)
        origin = Origin(TOP_UP, top_up_of=parent.id, authors=authors)
        kept = await self._writing.add(conn, parent.store_id, spec, origin, now)
        await top_ups.hand_on(conn, parent.id, kept.id, chats)
        detail = {
            "top_up_of": parent.id,
            "run_id": run.id,
            "version": kept.version,
            "outcomes": sorted(outcomes),
            "groups": len(chats),
        }
        entry = NewEntry(once.name, kept.id, kept.store_id, content=kept.spec.document(), detail=detail)
        await self._audit.record(conn, entry, now)
        return Made(kept.id, len(chats), count - len(chats))


async def _live_run(conn: AsyncConnection, parent: Kept) -> Run:
    live = [one for one in await tasks.runs(conn, parent.id) if not one.dry]
    if parent.status not in _AFTER or not live:
        allowed = ", ".join(status.value for status in _AFTER)
        raise Conflict(
            "STATE_INVALID",
            f"only a campaign that was really run can be topped up; it can while it is: {allowed}",
            state=parent.status.value,
            allowed=allowed,
        )
    return live[0]


def _check_settled(cells: Collection[Cell]) -> None:
    """Raises Conflict while a group may still get it: whoever asked for it again would ask twice."""
    still = report.open_groups(cells)
    if still:
        unknown = sum(one.count for one in cells if one.status is TargetStatus.UNKNOWN)
        raise Conflict(
            "TARGETS_OPEN",
            f"it is not known yet what becomes of {still} groups; of {unknown} an operator has to say (ListUnknown)",
            open=still - unknown,
            unknown=unknown,
        )


async def _refuse_empty(
    conn: AsyncConnection, parent: Kept, cells: Collection[Cell], outcomes: frozenset[TargetStatus]
) -> NoReturn:
    handed = await reporting.handed_on(conn, parent.id)
    if handed and any(one.status in outcomes for one in cells):
        latest = handed[-1].campaign_id
        raise Conflict(
            "TOP_UP_EXISTS", f"all of them are in another top-up already: {latest}", campaign_id=latest
        )
    words = ", ".join(sorted(outcomes))
    raise Conflict("AUDIENCE_EMPTY", f"no group of it is {words}: nothing is left to ask for", excluded=0)


def _spec(before: Spec, name: str, chats: list[str]) -> Spec:
    """What was said, to these groups alone; it begins when somebody runs it."""
    if not name:
        bare = before.name.removesuffix(MARK)
        name = f"{bare[: _NAME_CHARS - len(MARK)]}{MARK}"
    return replace(before, name=name, audience={"chat_ids": chats}, schedule_at=None)
