"""Two checks that every service makes alike: what it stands on, and what piles up in it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from shared.clock import Clock
from shared.db import dead, outbox
from shared.db.engine import Database
from shared.db.migrate import Location
from shared.db.migrate import check as check_schema
from shared.errors import ReachError
from shared.ops.finding import CheckStatus, Finding

_OLD_OUTBOX: Final = timedelta(seconds=60)


class Ground:
    """The database of one service, its outbox and its dead letters; names begin with *prefix*."""

    def __init__(
        self, database: Database, locations: Sequence[Location], clock: Clock, *, prefix: str
    ) -> None:
        self._database = database
        self._locations = locations
        self._clock = clock
        self._prefix = prefix

    async def database(self) -> Sequence[Finding]:
        """Does the database answer, and has it the tables this release needs?"""
        name = f"{self._prefix}database"
        try:
            await self._database.ping()
            await check_schema(self._database, self._locations)
        except ReachError as error:
            fix = "start the database, or correct REACH_DATABASE_URL; run `reach migrate` of this release"
            return [Finding(name, CheckStatus.FAILED, error.message, fix)]
        return [Finding(name, CheckStatus.OK, f"{self._database.place} answers")]

    async def backlog(self) -> Sequence[Finding]:
        """Does anything pile up?"""
        async with self._database.read() as conn:
            waiting = await outbox.backlog(conn)
            letters = sum((await dead.counts(conn)).values())
        name, oldest = f"{self._prefix}outbox", waiting.oldest_created_at
        if oldest is not None and self._clock.now() - oldest > _OLD_OUTBOX:
            words = f"{waiting.pending} events wait to be published, the oldest since {oldest.isoformat()}"
            first = Finding(name, CheckStatus.WARNING, words, "see the line of the broker")
        else:
            first = Finding(name, CheckStatus.OK, f"{waiting.pending} waiting")
        return [first, self._letters(letters)]

    def _letters(self, count: int) -> Finding:
        name = f"{self._prefix}dead_letters"
        if not count:
            return Finding(name, CheckStatus.OK, "none")
        fix = "look with `reach dead list`, replay with `reach dead replay ID`"
        return Finding(name, CheckStatus.WARNING, f"{count}: parked", fix)
