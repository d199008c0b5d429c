"""Which robot of a pool posts: several keys serve one group, each with its rate, its rests and its breaker.

The lane stays the group's, so that posts keep their order whichever robot makes them; only one of a lane is under way,
and so the choice, made without a lock, is rarely overtaken. Where it is, the post waits for the robot chosen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.pipeline.breakers import Breakers
from services.notifier.pipeline.job import Job
from services.notifier.pipeline.limits import Rates
from services.notifier.pipeline.rests import Rests
from shared.db.limits import peek_many
from shared.limits import Granted, Wait

Pools = Mapping[str, tuple[str, ...]]
"""By the address of a group (``robot:<name>``), the robots that serve it where there are several."""


async def choose(
    conn: AsyncConnection,
    jobs: Sequence[Job],
    pools: Pools,
    now: datetime,
    rates: Rates,
    rests: Rests,
    breakers: Breakers,
) -> None:
    """Give each of *jobs* that is for a pool the first robot that may post, or the one that may soonest.

    One whose breaker is open and whose time has come is tried first: if it still fails, another one takes over.
    """
    wishes = [(job, member) for job in jobs for member in _in_turn(job, pools)]
    if not wishes:
        return
    asked = [(member, rates.limits_of(member)) for _, member in wishes]
    free_at: dict[str, dict[str, datetime]] = {}
    for (job, member), verdict in zip(wishes, await peek_many(conn, asked, now), strict=True):
        at = _free_at(member, verdict, now, rests, breakers)
        free_at.setdefault(job.delivery_id, {})[member] = at
    for job in jobs:
        if job.delivery_id in free_at:
            waits = free_at[job.delivery_id]
            probes = [one for one in waits if breakers.may_probe(one, now) and waits[one] <= now]
            job.member = probes[0] if probes else min(waits, key=lambda one: waits[one])
            job.others = len(waits) > 1


def _in_turn(job: Job, pools: Pools) -> Sequence[str]:
    """The robots of its pool; after a try that failed it is the next one's turn."""
    members = pools.get(job.channel, ())
    turn = job.retries % len(members) if members else 0
    return (*members[turn:], *members[:turn])


def _free_at(
    member: str, verdict: Granted | Wait, now: datetime, rests: Rests, breakers: Breakers
) -> datetime:
    waits = [now, rests.until(member, now) or now, breakers.held_until(member, now)]
    if isinstance(verdict, Wait):
        waits.append(verdict.until)
    return max(waits)
