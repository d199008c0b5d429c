"""The port ``Groups``: whom a filter chooses, and why nothing may go to some of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain import audience
from services.campaign.domain.audience import Filter
from services.campaign.domain.eligibility import Reason, Verdict, judged
from services.campaign.pipeline.ports import Caps, Group, LeftOut, Selection
from services.campaign.store import group_lists
from services.campaign.store.group_lists import GroupView, Wish
from shared.errors import Invalid

PAGE: Final = 2000
"""Groups looked at at once."""
MOST_CHOSEN: Final = 100_000
"""Groups of one selection."""


class StoredGroups:
    """Answers from what the last syncs left behind; the platform is not asked."""

    def __init__(self, caps: Caps | None = None) -> None:
        """*caps* tells which groups have received as much as they may; without it none has.

        An audience is chosen without asking it, but where room is asked for: who has none today may have some when the
        campaign begins. A preview foretells it, and the last moment decides."""
        self._caps = caps

    async def select(
        self,
        conn: AsyncConnection,
        store_id: str,
        audience: Mapping[str, Any],
        now: datetime,
        *,
        with_room: bool = False,
    ) -> Selection:
        """Whom *audience* chooses now, by chat id. Raises Invalid where it cannot be read, or names a group that the
        store does not have.

        *with_room* leaves out, with the reason, those that have received all they may in the period of *now*.
        """
        chosen = _read(audience, "audience")
        included: list[Group] = []
        excluded: list[LeftOut] = []
        async for page in self._pages(conn, store_id, chosen):
            chosen_here = [one for one in page if chosen.chooses(one.facts, now)]
            verdicts = await self._verdicts(
                conn,
                store_id,
                chosen_here,
                now,
                silent_days=chosen.leave_out_silent_days,
                caps=self._caps if with_room else None,
            )
            for view, verdict in zip(chosen_here, verdicts, strict=True):
                if verdict.reason:
                    excluded.append(LeftOut(_group(view), verdict.reason, verdict.detail))
                else:
                    included.append(_group(view))
            if len(included) + len(excluded) > MOST_CHOSEN:
                raise Invalid.field("audience", f"chooses more than {MOST_CHOSEN:,} groups; narrow it")
        return Selection(tuple(included), tuple(excluded))

    def check(self, audience: Mapping[str, Any], field: str) -> None:
        """Raises Invalid, naming the part of *field*, where it cannot be read."""
        _read(audience, field)

    async def standing(
        self, conn: AsyncConnection, store_id: str, chat_ids: Collection[str], now: datetime
    ) -> Mapping[str, Group | str]:
        """Each of *chat_ids* as it is now, or the reason for which nothing may be sent to it."""
        found = await group_lists.some(conn, chat_ids)
        views = list(found.values())
        verdicts = await self.verdicts(conn, store_id, views, now)
        told: dict[str, Group | str] = dict.fromkeys(chat_ids, str(Reason.NOT_IN_RANGE))
        for view, verdict in zip(views, verdicts, strict=True):
            told[view.facts.chat_id] = verdict.reason or _group(view)
        return told

    async def verdict(self, conn: AsyncConnection, view: GroupView, now: datetime) -> Verdict:
        """Whether a campaign may go to one group now."""
        [verdict] = await self.verdicts(conn, view.store_id, [view], now)
        return verdict

    async def verdicts(
        self, conn: AsyncConnection, store_id: str, views: list[GroupView], now: datetime
    ) -> list[Verdict]:
        """The same of several of one store, in order."""
        return await self._verdicts(conn, store_id, views, now, caps=self._caps)

    async def _verdicts(
        self,
        conn: AsyncConnection,
        store_id: str,
        views: list[GroupView],
        now: datetime,
        *,
        caps: Caps | None,
        silent_days: int = 0,
    ) -> list[Verdict]:
        full: Mapping[str, str] = {}
        if caps is not None and views:
            full = await caps.full(conn, store_id, [one.facts.chat_id for one in views], now)
        return [
            Verdict(Reason.OTHER_STORE, "it belongs to another store")
            if view.store_id != store_id
            else judged(
                view.facts,
                view.standing,
                now,
                silent_days=silent_days,
                full=full.get(view.facts.chat_id, ""),
            )
            for view in views
        ]

    async def _pages(
        self, conn: AsyncConnection, store_id: str, chosen: Filter
    ) -> AsyncIterator[list[GroupView]]:
        wish = Wish(True, "join_state" in chosen.asks, "not_sent_for_days" in chosen.asks)
        if chosen.chat_ids:
            found = await group_lists.some(conn, chosen.chat_ids, store_id=store_id, wish=wish)
            for at, chat_id in enumerate(chosen.chat_ids):
                if chat_id not in found:
                    raise Invalid.field(f"audience.chat_ids[{at}]", "is no group of the store")
            yield [found[chat_id] for chat_id in sorted(found)]
            return
        after = ""
        while True:
            page = await group_lists.of_store(
                conn, store_id, after=after, limit=PAGE, owners=chosen.owners, wish=wish
            )
            # Whom a filter chooses are those that are here; one that is gone has to be named to be told of.
            yield [one for one in page if not one.standing.gone_reason]
            if len(page) < PAGE:
                return
            after = page[-1].facts.chat_id


def _read(document: Mapping[str, Any], field: str) -> Filter:
    return audience.read(document, field)


def _group(view: GroupView) -> Group:
    return Group(view.facts.chat_id, view.facts.owner, view.facts.name, view.facts.members)
