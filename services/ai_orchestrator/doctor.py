"""What ai_orchestrator checks when somebody asks whether all is well, with the fix for each failure."""

from __future__ import annotations

from collections.abc import Sequence

from services.ai_orchestrator.domain.diagnosis import applications_finding
from shared.clock import Clock
from shared.db.engine import Database
from shared.db.migrate import Location
from shared.ops.finding import Finding
from shared.ops.ground import Ground
from shared.ops.part import Check
from shared.settings import DashScope


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
        self._ground = Ground(database, locations, clock, prefix="ai_")
        self._apps = apps
        self._dashscope = dashscope

    @property
    def checks(self) -> Sequence[Check]:
        """In the order they are told: what everything stands on comes first."""
        return (self._ground.database, self.applications, self._ground.backlog)

    async def applications(self) -> Sequence[Finding]:
        """Can each application be called?"""
        known = self._dashscope
        return [applications_finding(self._apps, known.app_ids, has_key=known.api_key is not None)]
