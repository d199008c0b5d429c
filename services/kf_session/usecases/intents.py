"""What is looked for: intents are versioned, compared when they change, and their matches pushed on demand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Final

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.matching.scoring import check, compare
from services.kf_session.pipeline.admitting import WAKEUP as PUSHES
from services.kf_session.pipeline.matching import BATCH, Matching, made
from services.kf_session.pipeline.telling import Telling
from services.kf_session.store import intents, match_work, matches, profiles, questions
from services.kf_session.store.intents import KeptIntent
from services.kf_session.store.match_work import WAKEUP, Kind
from services.kf_session.store.matches import Match
from shared.audit import AuditLog, NewEntry
from shared.clock import Clock
from shared.db.engine import Database
from shared.db.once import Once
from shared.errors import Conflict, Invalid, NotFound, Overtaken
from shared.values import value_class

INLINE: Final = 10
"""Batches that a caller waits for; the rest is the loop's."""


@value_class
class Found:
    """Who matches an intent."""

    matches: tuple[Match, ...]
    """The best first."""
    complete: bool
    """Whether every candidate was compared."""


class Intents:
    """What callers may do with intents."""

    def __init__(
        self,
        database: Database,
        matching: Matching,
        telling: Telling,
        audit: AuditLog,
        clock: Clock,
    ) -> None:
        self._database = database
        self._matching = matching
        self._telling = telling
        self._audit = audit
        self._clock = clock

    async def create(self, given: KeptIntent, *, once: Once) -> KeptIntent:
        """Add an intent. Raises Conflict (STATE_INVALID) where its id is taken, Invalid for what it says."""
        self._check(given)
        now = self._clock.now()

        async def write(conn: AsyncConnection) -> KeptIntent:
            answered = await once.begin(conn, now)
            if answered is not None:
                return await _there(conn, given.store_id, answered.decode())
            intent_id = given.intent.id
            await match_work.enqueue(conn, given.store_id, Kind.INTENT, [intent_id], now)
            kept = replace(given, version=1, created_at=now, updated_at=now)
            if not await intents.add(conn, kept):
                raise Conflict("STATE_INVALID", f"the id {intent_id} is taken; update it", state="taken")
            await once.finish(conn, intent_id.encode())
            await self._changed(conn, once, kept, now)
            return kept

        return await self._database.transact(write)

    async def update(self, given: KeptIntent, expected: int, *, once: Once) -> KeptIntent:
        """Replace what an intent says. *expected* is the version the caller has seen; 0 does not ask.

        Raises NotFound, Overtaken (VERSION_CONFLICT), Invalid.
        """
        self._check(given)

        def change(before: KeptIntent, now: datetime) -> KeptIntent:
            if expected and expected != before.version:
                text = f"the intent is at version {before.version}; read it and decide again"
                raise Overtaken("VERSION_CONFLICT", text, version=before.version)
            return replace(given, version=before.version + 1, created_at=before.created_at, updated_at=now)

        return await self._change(given.store_id, given.intent.id, change, once)

    async def delete(self, store_id: str, intent_id: str, *, once: Once) -> None:
        """Have an intent match nothing any more. Raises NotFound."""

        def change(before: KeptIntent, now: datetime) -> KeptIntent:
            return replace(before, version=before.version + 1, deleted_at=now, updated_at=now)

        await self._change(store_id, intent_id, change, once)

    async def _change(
        self,
        store_id: str,
        intent_id: str,
        change: Callable[[KeptIntent, datetime], KeptIntent],
        once: Once,
    ) -> KeptIntent:
        now = self._clock.now()

        async def write(conn: AsyncConnection) -> KeptIntent:
            first = await once.is_first(conn, now)
            await match_work.enqueue(conn, store_id, Kind.INTENT, [intent_id], now)
            before = await intents.hold(conn, store_id, intent_id)
            if before is None:
                if first:
                    raise absent()
                return await _gone(conn, store_id, intent_id)
            if not first:
                return before
            kept = change(before, now)
            await intents.replace(conn, kept)
            gone = kept.deleted_at is not None
            if gone and await matches.end(conn, store_id, now, intent_id=intent_id):
                self._database.wakeups.notify(conn, PUSHES)
            await self._changed(conn, once, kept, now)
            return kept

        return await self._database.transact(write)

    async def _changed(self, conn: AsyncConnection, once: Once, kept: KeptIntent, now: datetime) -> None:
        self._database.wakeups.notify(conn, WAKEUP)
        done = NewEntry(once.name, kept.intent.id, kept.store_id, detail={"version": kept.version})
        await self._audit.record(conn, done, now)

    def _check(self, given: KeptIntent) -> None:
        check(given.intent, "spec")
        if given.expires_at is not None and given.expires_at <= self._clock.now():
            raise Invalid.field("spec.expire_time", "is over already")

    async def page(self, store_id: str, external_userid: str, after: str, limit: int) -> list[KeptIntent]:
        """By id, those after *after*."""
        async with self._database.read() as conn:
            return await intents.page(conn, store_id, external_userid, after, limit)

    async def match(self, store_id: str, intent_id: str, limit: int) -> Found:
        """Compare an intent with its candidates, at most so many that a caller can wait for; the best matches.

        Raises NotFound.
        """
        now = self._clock.now()

        async def begin(conn: AsyncConnection) -> None:
            await match_work.enqueue(conn, store_id, Kind.INTENT, [intent_id], now)
            if await intents.hold(conn, store_id, intent_id) is None:
                raise absent()
            self._database.wakeups.notify(conn, WAKEUP)

        async def go_on(conn: AsyncConnection) -> bool:
            work = await match_work.take_one(conn, store_id, Kind.INTENT, intent_id)
            return work is not None and await self._matching.advance(conn, work)

        await self._database.transact(begin)
        left = True
        for _ in range(INLINE):
            left = await self._database.transact(go_on)
            if not left:
                break
        async with self._database.read() as conn:
            best = await matches.of_intent(conn, store_id, intent_id, limit)
            left = left and await match_work.waits(conn, store_id, Kind.INTENT, intent_id)
        return Found(tuple(best), not left)

    async def preview(self, store_id: str, intent_id: str, limit: int) -> Found:
        """Who would match; nothing is stored. Raises NotFound."""
        async with self._database.read() as conn:
            intent = await _there(conn, store_id, intent_id)
            ids = await match_work.profiles_for(conn, store_id, intent_id, "", BATCH * INLINE + 1)
            found = await profiles.get(conn, store_id, ids[: BATCH * INLINE])
            stored = await matches.known(conn, store_id, [(intent_id, one) for one in found], hold=False)
        would: list[Match] = []
        for kept in found.values():
            verdict = compare(intent.intent, kept.profile)
            if verdict.matched:
                one = made(intent, kept.profile, kept.fingerprint, verdict)
                old = stored.get((intent_id, kept.profile.id))
                if old is not None:
                    one = replace(one, push_id=old.push_id, pushed_fingerprint=old.pushed_fingerprint)
                would.append(one)
        would.sort(key=lambda one: (-one.score, one.profile_id))
        return Found(tuple(would[:limit]), len(ids) <= BATCH * INLINE)

    async def push(
        self, store_id: str, limit: int, *, intent_id: str = "", customer: str = "", once: Once
    ) -> list[Match]:
        """Tell a customer of the best matches, of an intent or of all; each as it then stands. Raises NotFound."""
        now = self._clock.now()

        async def write(conn: AsyncConnection) -> list[Match]:
            answered = await once.begin(conn, now)
            if answered is not None:
                return await matches.get(conn, [str(one) for one in orjson.loads(answered)])
            if intent_id:
                await _there(conn, store_id, intent_id)
            best = await matches.untold(conn, store_id, limit, now, intent_id=intent_id, customer=customer)
            await self._telling.tell(conn, best, now)
            self._database.wakeups.notify(conn, questions.WAKEUP)
            ids = [one.id for one in best]
            await once.finish(conn, orjson.dumps(ids))
            done = NewEntry(once.name, intent_id, store_id, detail={"matches": len(ids)})
            await self._audit.record(conn, done, now)
            return await matches.get(conn, ids)

        return await self._database.transact(write)


def absent() -> NotFound:
    """No such intent here."""
    return NotFound("NOT_FOUND", "there is no such intent", resource="intent")


async def _there(conn: AsyncConnection, store_id: str, intent_id: str) -> KeptIntent:
    found = (await intents.get(conn, store_id, [intent_id])).get(intent_id)
    if found is None:
        raise absent()
    return found


async def _gone(conn: AsyncConnection, store_id: str, intent_id: str) -> KeptIntent:
    """The intent that the first call of this key took away."""
    found = await intents.deleted(conn, store_id, intent_id)
    if found is None:
        raise absent()
    return found
