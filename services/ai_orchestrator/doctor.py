"""What ai_orchestrator checks when somebody asks whether all is well, with the fix for each failure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from services.ai_orchestrator.domain.diagnosis import applications_finding
from shared.clock import Clock
from shared.db import dead, outbox
from shared.db.engine import Database
from shared.db.migrate import Location
from shared.db.migrate import check as check_schema
from shared.errors import ReachError
from shared.ops.finding import CheckStatus, Finding
from shared.ops.part import Check
from shared.settings import DashScope

_OLD_OUTBOX: Final = timedelta(seconds=60)


class Doctor:
    """ai_orchestrator's checks; DashScope is not asked, since it answers nothing for free."""

    def __init__(
        self,
        database: Database,
        locations: Sequence[Location],
        apps: Sequence[str],
        dashscope: DashScope,
        clock: Clock,
    ) -> None:
        self._database = database
        self._locations = locations
        self._apps = apps
        self._dashscope = dashscope
        self._clock = clock

    @property
    def checks(self) -> Sequence[Check]:
        """In the order they are told: what everything stands on comes first."""
        return (self.database, self.applications, self.backlog)

    async def database(self) -> Sequence[Finding]:
        """Does the database answer, and has it the tables this release needs?"""
        try:
            await self._database.ping()
            await check_schema(self._database, self._locations)
        except ReachError as error:
            fix = "start the database, or correct REACH_DATABASE_URL; run `reach migrate` of this release"
            return [Finding("ai_database", CheckStatus.FAILED, error.message, fix)]
        return [Finding("ai_database", CheckStatus.OK, f"{self._database.place} answers")]

    async def applications(self) -> Sequence[Finding]:
        """Can each application be called?"""
        known = self._dashscope
        return [applications_finding(self._apps, known.app_ids, has_key=known.api_key is not None)]

    async def backlog(self) -> Sequence[Finding]:
        """Does anything pile up?"""
        async with self._database.read() as conn:
            waiting = await outbox.backlog(conn)
            letters = sum((await dead.counts(conn)).values())
        oldest = waiting.oldest_created_at
        if oldest is not None and self._clock.now() - oldest > _OLD_OUTBOX:
            words = f"{waiting.pending} events wait to be published, the oldest since {oldest.isoformat()}"
            first = Finding("ai_outbox", CheckStatus.WARNING, words, "see the line of the broker")
        else:
            first = Finding("ai_outbox", CheckStatus.OK, f"{waiting.pending} waiting")
        fix = "look with `reach dead list`, replay with `reach dead replay ID`"
        parked = (
            [Finding("ai_dead_letters", CheckStatus.WARNING, f"{letters}: parked", fix)] if letters else []
        )
        return [first, *parked]
