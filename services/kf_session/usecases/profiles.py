"""Who is there: profiles are written in batches, and what changed is compared."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.matching.profile import Profile, check
from services.kf_session.pipeline.admitting import WAKEUP as PUSHES
from services.kf_session.store import match_work, matches, profiles
from services.kf_session.store.match_work import WAKEUP, Kind
from services.kf_session.store.profiles import KeptProfile
from shared.audit import AuditLog, NewEntry
from shared.clock import Clock
from shared.db.engine import Database
from shared.db.once import Once
from shared.errors import Invalid, NotFound


class Profiles:
    """What callers may do with profiles."""

    def __init__(self, database: Database, audit: AuditLog, clock: Clock) -> None:
        self._database = database
        self._audit = audit
        self._clock = clock

    async def upsert(self, store_id: str, given: Sequence[Profile], *, once: Once) -> list[str]:
        """Write all of *given*; the ids whose content changed. Raises Invalid for an id that comes twice."""
        seen: set[str] = set()
        for at, one in enumerate(given):
            check(one, f"profiles[{at}]")
            if one.id in seen:
                raise Invalid.field(f"profiles[{at}].profile_id", f"{one.id} comes twice")
            seen.add(one.id)
        now = self._clock.now()

        async def write(conn: AsyncConnection) -> list[str]:
            answered = await once.begin(conn, now)
            if answered is not None:
                return [str(one) for one in orjson.loads(answered)]
            # Whoever holds the work of a profile locks no profile, so that may be held while this is written.
            changed = sorted(await profiles.save(conn, store_id, given, now))
            await match_work.enqueue(conn, store_id, Kind.PROFILE, changed, now)
            self._database.wakeups.notify(conn, WAKEUP)
            await once.finish(conn, orjson.dumps(changed))
            return changed

        return await self._database.transact(write)

    async def delete(self, store_id: str, profile_id: str, *, once: Once) -> None:
        """Forget a profile: its matches are none any more, and what waits to tell of one is ended. Raises NotFound."""
        now = self._clock.now()

        async def write(conn: AsyncConnection) -> None:
            if not await once.is_first(conn, now):
                return
            # Who compares the profile holds its work: its matches are written before they are ended.
            await match_work.enqueue(conn, store_id, Kind.PROFILE, [profile_id], now)
            if not await profiles.delete(conn, store_id, profile_id):
                raise NotFound("NOT_FOUND", "there is no such profile", resource="profile")
            if await matches.end(conn, store_id, now, profile_id=profile_id):
                self._database.wakeups.notify(conn, PUSHES)
            self._database.wakeups.notify(conn, WAKEUP)
            await self._audit.record(conn, NewEntry(once.name, profile_id, store_id), now)

        await self._database.transact(write)

    async def page(self, store_id: str, after: str, limit: int) -> list[KeptProfile]:
        """By id, those after *after*."""
        async with self._database.read() as conn:
            return await profiles.page(conn, store_id, after, limit)
