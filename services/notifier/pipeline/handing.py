"""From a transaction that claimed jobs to the senders, without losing any on the way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.pipeline.job import Job
from services.notifier.pipeline.sending import Senders
from shared.db.engine import Database
from shared.errors import Unavailable

UNCONFIRMED: Final = "nothing was sent: the database did not confirm the claim"


class Claims(Protocol):
    """What a transaction brought about."""

    @property
    def jobs(self) -> Sequence[Job]:
        """Those it claimed."""
        ...


C = TypeVar("C", bound=Claims)


async def claim_for(
    senders: Senders, database: Database, work: Callable[[AsyncConnection], Awaitable[C]]
) -> C:
    """Run *work* as a transaction and submit the jobs it claimed; see ``Database.transact``.

    When nobody can tell whether it was committed, nothing is sent and the claims are given up, if there are any.
    """
    last: list[C] = []

    async def remembered(conn: AsyncConnection) -> C:
        last[:] = [await work(conn)]
        return last[0]

    try:
        claimed = await database.transact(remembered)
    except Unavailable as error:
        if error.reason == "COMMIT_UNCLEAR":
            senders.withdraw(last[0].jobs, UNCONFIRMED)
        raise
    senders.submit(claimed.jobs)
    return claimed
