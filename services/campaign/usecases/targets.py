"""What became of each group of a run."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from services.campaign.domain.outcomes import TargetStatus
from services.campaign.store import campaigns, targets, tasks
from services.campaign.store.targets import Target
from services.campaign.store.tasks import Run
from shared.db.engine import Database
from shared.errors import NotFound


class Targets:
    """Reads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self,
        stores: Collection[str] | None,
        campaign_id: str,
        run_id: str,
        statuses: Collection[TargetStatus],
        after: str,
        limit: int,
    ) -> tuple[Run, Sequence[Target]]:
        """A run and a page of its groups, by chat id, those behind *after*; without *run_id* the last real run, or the
        last dry one where there is none. NotFound where the campaign is not of *stores*, or has no such run."""
        async with self._database.read() as conn:
            held = await campaigns.get(conn, campaign_id)
            if held is None or (stores is not None and held.store_id not in stores):
                raise NotFound("NOT_FOUND", "no such campaign", resource="campaign")
            known = await tasks.runs(conn, campaign_id)
            wanted = [one for one in known if one.id == run_id] if run_id else sorted(known, key=_dry)
            if not wanted:
                raise NotFound("NOT_FOUND", "it has not been run", resource="run")
            return wanted[0], await targets.page(conn, wanted[0].id, statuses, after, limit)


def _dry(run: Run) -> bool:
    return run.dry
