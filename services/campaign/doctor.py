"""What campaign checks when somebody asks whether all is well, with the fix for each failure."""

from __future__ import annotations

from collections.abc import Sequence

from shared.clock import Clock
from shared.db.engine import Database
from shared.db.migrate import Location
from shared.ops.ground import Ground
from shared.ops.part import Check


class Doctor:
    """campaign's checks."""

    def __init__(
        self, database: Database, locations: Sequence[Location], clock: Clock, others: Sequence[Check] = ()
    ) -> None:
        self._ground = Ground(database, locations, clock, prefix="campaign_")
        self._others = tuple(others)

    @property
    def checks(self) -> Sequence[Check]:
        """In the order they are told: what everything stands on comes first."""
        return (self._ground.database, *self._others, self._ground.backlog)
