"""The daily summary: at nine on the customer's clocks, what waits to be told is told in one message.

A customer's message schedules it. Whoever comes first, of any number of replicas, takes the day with a row whose key
is (account, customer, day); the push, the end of what it merges and the next schedule are in the same transaction. So
a process that dies in between has done nothing, and one that comes late finds the day taken.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import date, datetime, timedelta
from functools import partial
from typing import Final, Protocol

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.daily import Outcome, Wish, day_due, is_missed, next_due
from services.kf_session.domain.lifecycle import PushStatus
from services.kf_session.domain.message import Inbound, Origin
from services.kf_session.domain.push import Item, NewPush, Purpose
from services.kf_session.domain.rendering import Rendered
from services.kf_session.domain.window import CLOSING, is_open, window_end
from services.kf_session.pipeline.admitting import Admit
from services.kf_session.pipeline.push_announcing import announce
from services.kf_session.store import outgoing
from services.kf_session.store import summaries as store
from services.kf_session.store.ledger import SessionKey, Standing, lock
from shared.clock import Clock
from shared.db.engine import Database
from shared.errors import Invalid
from shared.supervise import Turn

BATCH: Final = 100
EVERY: Final = 15.0
"""Seconds between looks; a summary is so late at most."""
WAKEUP: Final = "summaries"
"""Given when summaries are due that were not."""

_log = structlog.get_logger("reach.kf_session.summaries")

Wishes = Callable[[AsyncConnection, str, str], Awaitable[Wish]]
"""What a customer (store, external_userid) wants."""


class Unsent(Protocol):
    """Matches of a customer that no push carries."""

    async def find(self, conn: AsyncConnection, standing: Standing, now: datetime) -> Sequence[Item]:
        """What there is."""
        ...

    async def told(self, conn: AsyncConnection, items: Sequence[Item], push_id: str, now: datetime) -> None:
        """A push carries them now."""
        ...


Words = Callable[[AsyncConnection, str, str, Sequence[Item]], Awaitable[Rendered]]
"""From a store, a customer and items to what is sent."""


class Summaries:
    """Schedules and makes them; `listen` is a listener of the page, `run` a loop."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        wishes: Wishes,
        words: Words,
        admit: Admit,
        unsent: Unsent,
    ) -> None:
        self._database = database
        self._clock = clock
        self._wishes = wishes
        self._words = words
        self._admit = admit
        self._unsent = unsent

    async def listen(self, conn: AsyncConnection, inbound: Inbound, standing: Standing) -> None:
        """Schedule the next summary of who just wrote."""
        if inbound.origin is not Origin.CUSTOMER or await store.next_at(conn, standing.key) is not None:
            return
        wish = await self._wishes(conn, standing.store_id, standing.key.external_userid)
        due = next_due(self._clock.now(), wish)
        await store.schedule(conn, self._database.dialect, standing.key, due)

    async def run(self, turn: Turn) -> None:
        """Make what is due until cancelled."""
        signal = self._database.wakeups.listen(WAKEUP)
        while True:
            made = await self.make_due()
            turn()
            if made < BATCH:
                await signal.wait(EVERY)

    async def make_due(self) -> int:
        """One batch; how many were due."""
        async with self._database.read() as conn:
            keys = await store.due(conn, self._clock.now(), BATCH)
        for key in keys:
            try:
                await self._database.transact(partial(self.make, key=key))
            except Invalid as refused:
                # One that cannot be said must not keep the others waiting; its day says so.
                _log.error("summary cannot be made", open_kfid=key.open_kfid, reason=refused.reason)
                await self._database.transact(partial(self._give_up, key=key))
        return len(keys)

    async def _give_up(self, conn: AsyncConnection, key: SessionKey) -> None:
        now = self._clock.now()
        standing = await lock(conn, key)
        if standing is None:
            return
        wish = await self._wishes(conn, standing.store_id, key.external_userid)
        day, due = day_due(now, wish)
        if await store.decide(conn, self._database.dialect, key, day, due, now):
            await store.record(conn, key, day, Outcome.FAILED, None)
        await store.move_on(conn, key, next_due(now, wish))

    async def make(self, conn: AsyncConnection, key: SessionKey) -> Outcome | None:
        """One session's summary, if it still is due; what became of it."""
        now = self._clock.now()
        standing = await lock(conn, key)
        scheduled = await store.next_at(conn, key)
        if standing is None or scheduled is None or scheduled > now:
            return None
        wish = await self._wishes(conn, standing.store_id, key.external_userid)
        day, due = day_due(now, wish)
        # What was due before that was not yet wanted: scheduled for another zone or time, or not written to then. And of
        # several days in which nothing ran only the last is one that anybody would still want.
        outcome = await self._decide(conn, standing, wish, day, due, now) if due >= scheduled else None
        if outcome is Outcome.WINDOW_CLOSED:
            await store.unschedule(conn, key)
        else:
            await store.move_on(conn, key, next_due(now, wish))
        return outcome

    async def _decide(
        self, conn: AsyncConnection, standing: Standing, wish: Wish, day: date, due: datetime, now: datetime
    ) -> Outcome | None:
        if not await store.decide(conn, self._database.dialect, standing.key, day, due, now):
            return None
        outcome, push_id = await self._outcome(conn, standing, wish, day, due, now)
        await store.record(conn, standing.key, day, outcome, push_id)
        return outcome

    async def _outcome(
        self, conn: AsyncConnection, standing: Standing, wish: Wish, day: date, due: datetime, now: datetime
    ) -> tuple[Outcome, str | None]:
        if not is_open(standing.customer_at, now) or standing.blocked_at is not None:
            return Outcome.WINDOW_CLOSED, None
        if is_missed(due, now):
            return Outcome.MISSED, None
        if not wish.enabled:
            return Outcome.SWITCHED_OFF, None
        ids, items = await store.waiting(conn, standing.key, now)
        unsent = await self._unsent.find(conn, standing, now)
        items += unsent
        if not items:
            return Outcome.NOTHING_PENDING, None
        push_id = await self._push(conn, standing, _best_first(items), day, now)
        await self._carry(conn, ids, push_id, now)
        await self._unsent.told(conn, unsent, push_id, now)
        return Outcome.SENT, push_id

    async def _carry(self, conn: AsyncConnection, ids: Sequence[str], push_id: str, now: datetime) -> None:
        """Pushes that waited are lines of the summary from now on."""
        told = {"into": push_id, "of": len(ids)}
        for one in await store.merge(conn, ids, push_id, now):
            await outgoing.write_note(
                conn, one.id, now, gate="summary", verdict="merge", reason="in_summary", facts=told
            )
            await announce(conn, self._database, one, PushStatus.SUPPRESSED, store.MERGED, None, now)

    async def _push(
        self, conn: AsyncConnection, standing: Standing, items: Sequence[Item], day: date, now: datetime
    ) -> str:
        key = standing.key
        end = window_end(standing.customer_at)
        assert end is not None, "the window is open"
        rendered = await self._words(conn, standing.store_id, key.external_userid, items)
        new = NewPush(
            store_id=standing.store_id,
            open_kfid=key.open_kfid,
            external_userid=key.external_userid,
            purpose=Purpose.SUMMARY,
            dedupe_key=dedupe_key(key, day),
            content=rendered.content,
            expires_at=min(end - CLOSING, now + timedelta(days=1)),
            items=tuple(items),
            score=max((one.score for one in items if one.score is not None), default=None),
            template_id=rendered.template_id,
            template_version=rendered.template_version,
            variant=rendered.variant,
        )
        return await self._admit(conn, new, now)


def dedupe_key(key: SessionKey, day: date) -> str:
    """One summary for an account, a customer and a day of their calendar."""
    return f"summary:{key.open_kfid}:{key.external_userid}:{day.isoformat()}"


def _best_first(items: Sequence[Item]) -> list[Item]:
    once = {one.item_id: one for one in items}
    return sorted(once.values(), key=lambda one: (-(one.score or 0.0), one.item_id))
