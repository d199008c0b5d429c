"""Who is there: profiles are written in batches, and what changed is compared."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.matching.profile import Profile, check
from services.kf_session.store import match_work, profiles
from services.kf_session.store.match_work import WAKEUP, Kind
from services.kf_session.store.profiles import KeptProfile
from shared.clock import Clock
from shared.db.engine import Database
from shared.db.once import Once
from shared.errors import Invalid


class Profiles:
    """What callers may do with profiles."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
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
            # A worker locks no profile, so it may hold the work of one while that is written here.
            changed = sorted(await profiles.save(conn, store_id, given, now))
            await match_work.enqueue(conn, store_id, Kind.PROFILE, changed, now)
            self._database.wakeups.notify(conn, WAKEUP)
            await once.finish(conn, orjson.dumps(changed))
            return changed

        return await self._database.transact(write)

    async def page(self, store_id: str, after: str, limit: int) -> list[KeptProfile]:
        """By id, those after *after*."""
        async with self._database.read() as conn:
            return await profiles.page(conn, store_id, after, limit)
