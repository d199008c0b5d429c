"""What became of each group of a run."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.outcomes import TargetStatus
from services.campaign.pipeline.holding import looked_at
from services.campaign.store import targets, tasks
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
        campaign_id: str,
        run_id: str,
        statuses: Collection[TargetStatus],
        owner: str,
        after: str,
        limit: int,
    ) -> tuple[Run, Sequence[Target]]:
        """A run (see ``run_of``) and a page of its groups, by chat id, those behind *after*. Raises NotFound."""
        async with self._database.read() as conn:
            held = await looked_at(conn, campaign_id)
            run = await run_of(conn, held.id, run_id)
            return run, await targets.page(conn, run.id, statuses, after, limit, owner=owner)


async def run_of(conn: AsyncConnection, campaign_id: str, run_id: str = "") -> Run:
    """The run that is asked for; without *run_id* the last real one, or the last dry one where there is none.

    Raises NotFound where the campaign has no such run.
    """
    known = await tasks.runs(conn, campaign_id)
    wanted = [one for one in known if one.id == run_id] if run_id else sorted(known, key=_dry)
    if not wanted:
        raise NotFound("NOT_FOUND", "it has no such run" if run_id else "it has not been run", resource="run")
    return wanted[0]


def _dry(run: Run) -> bool:
    return run.dry
