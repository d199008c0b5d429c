"""Looks for a task that a request of unknown outcome may have made: by when it was made, its words and its sender."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final, Protocol

from services.campaign.domain.making import Sight
from services.campaign.domain.message import same_words
from services.campaign.pipeline.deciding import Look
from services.campaign.pipeline.pacing import Pacer
from services.campaign.pipeline.settling import Seen
from services.campaign.store import tasks
from shared.clock import Clock
from shared.db.engine import Database
from shared.wecom.mass_send import Listed, ListPage, MemberPage
from shared.wecom.outcome import Outcome, State

BEFORE: Final = timedelta(minutes=1)
"""By so much the platform's clock may be behind ours."""
SPAN: Final = timedelta(days=30)
"""The platform lists what was made within a month, and no more."""
MOST_PAGES: Final = 100
"""Of the list, in one look; a hundred tasks each."""
DEADLINE: Final = 10.0
_MOST_KNOWN: Final = 10_000


class Lists(Protocol):
    """What can be read at the platform; one request each."""

    async def listed(self, look: Look, cursor: str, deadline: float) -> ListPage:
        """A page of the tasks that were made since shortly before the request, the words unread."""
        ...

    async def members(self, look: Look, msgid: str, cursor: str, deadline: float) -> MemberPage:
        """A page of those whom a task asks."""
        ...


class Looker:
    """Looks once."""

    def __init__(self, database: Database, lists: Lists, pacer: Pacer, clock: Clock) -> None:
        self._database = database
        self._lists = lists
        self._pacer = pacer
        self._clock = clock
        self._asked: dict[str, frozenset[str]] = {}
        """Whom the tasks of the platform ask, which never changes: many looks meet the same ones."""
        self._asking = asyncio.Lock()

    async def look(self, look: Look, within: float) -> Seen:
        """What is there. A look that could not be finished within *within* seconds tells nothing, and is made again."""
        try:
            async with asyncio.timeout(within):
                return await self._look(look)
        except TimeoutError:
            return Seen(
                Sight.UNSEEN, detail="the look took too long, or no slot for a call came free in time"
            )

    async def _look(self, look: Look) -> Seen:
        candidates: list[Listed] = []
        cursor = ""
        for _ in range(MOST_PAGES):
            await self._pacer.wait()
            page = await self._lists.listed(look, cursor, DEADLINE)
            if page.outcome.state is not State.ACCEPTED:
                return _unseen(page.outcome)
            # One that names its creator was made by a person in a client.
            candidates += [
                one
                for one in page.tasks
                if not one.creator and same_words(look.content, one.text, one.attachments)
            ]
            cursor = page.next_cursor
            if not cursor:
                break
        else:
            return Seen(Sight.UNSEEN, detail="the list of tasks does not end")
        return await self._among(look, candidates)

    async def _among(self, look: Look, candidates: list[Listed]) -> Seen:
        async with self._database.read() as conn:
            known = await tasks.known(conn, {one.msgid for one in candidates})
        found: list[Listed] = []
        for one in candidates:
            if one.msgid in known:
                continue
            senders = await self._senders(look, one.msgid)
            if isinstance(senders, Seen):
                return senders
            if look.task.owner in senders:
                found.append(one)
        if not found:
            return Seen(Sight.NOTHING)
        if len(found) > 1 and not look.task.take_first:
            named = ", ".join(sorted(one.msgid for one in found)[:5])
            return Seen(Sight.SEVERAL, detail=f"{len(found)} tasks could be it: {named}")
        first = min(found, key=lambda one: (one.created_at, one.msgid))
        return Seen(Sight.FOUND, first.msgid, first.created_at)

    async def _senders(self, look: Look, msgid: str) -> frozenset[str] | Seen:
        """Whom a task asks. One look at a time finds out, and the others know: they share the platform's rate."""
        async with self._asking:
            known = self._asked.get(msgid)
            if known is not None:
                return known
            found = await self._members(look, msgid)
            if not isinstance(found, Seen):
                if len(self._asked) >= _MOST_KNOWN:
                    self._asked.clear()
                self._asked[msgid] = found
            return found

    async def _members(self, look: Look, msgid: str) -> frozenset[str] | Seen:
        named: set[str] = set()
        cursor = ""
        for _ in range(MOST_PAGES):
            await self._pacer.wait()
            page = await self._lists.members(look, msgid, cursor, DEADLINE)
            if page.outcome.state is not State.ACCEPTED:
                return _unseen(page.outcome)
            named.update(member.userid for member in page.members)
            cursor = page.next_cursor
            if not cursor:
                return frozenset(named)
        return Seen(Sight.UNSEEN, detail="the members of a task do not end")


def _unseen(outcome: Outcome) -> Seen:
    told = outcome.errmsg if outcome.errcode else outcome.detail
    return Seen(Sight.UNSEEN, detail=f"{outcome.state.value} {outcome.errcode or outcome.cause}: {told}")
