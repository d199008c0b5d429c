"""What failed for good goes to somebody else, by the chain of its rule.

In the transaction that ends the delivery, so that there is no moment in which nobody has it. The recipients' key keeps
anybody from being told twice, whoever else hands the same event on.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.domain import fallback
from services.notifier.domain.alerts import spoken
from services.notifier.domain.fallback import Instead
from services.notifier.domain.lifecycle import DeliveryStatus
from services.notifier.domain.planning import Assignment, Recipient, plan
from services.notifier.domain.routing import Target, TargetKind
from services.notifier.domain.rules import Priority, Rule
from services.notifier.pipeline.books import Book, Books
from services.notifier.pipeline.job import Job
from services.notifier.pipeline.planning import PlannedPart, Planner
from services.notifier.pipeline.settling import Settled
from services.notifier.store import bins
from services.notifier.store.tables import recipient
from services.notifier.store.work import NewWork, Work
from shared.breaker import Sign
from shared.db.rows import dialect_of, insert_into
from shared.events.kinds import Event

Key = tuple[str, str, str]
_log = structlog.get_logger("reach.notifier.fallback")


class Fallbacks:
    """Hands on what failed."""

    def __init__(self, books: Books, planner: Planner, work: Work) -> None:
        self._books = books
        self._planner = planner
        self._work = work

    async def book(self, settled: Sequence[Settled]) -> Book | None:
        """What is to be known before the transaction; None where nothing of *settled* is to be handed on."""
        # As stored now: whoever set a role a moment ago, since something failed, means this one too.
        return await self._books.fresh() if any(_lost(one) for one in settled) else None

    async def hand_on(
        self, conn: AsyncConnection, settled: Sequence[Settled], book: Book, now: datetime
    ) -> list[str]:
        """Plan deliveries to others for what failed for good; their ids."""
        made: list[str] = []
        # In one order everywhere: two replicas that hand on the same events wait for each other's recipients.
        for one in sorted(filter(_lost, settled), key=lambda one: (one.job.store_id, one.job.event_id)):
            rule = book.rule(one.job.rule_id, one.job.event_type, one.job.store_id)
            if rule is not None:
                made += await self._hand_on(conn, one, rule, book, now)
        return made

    async def _hand_on(
        self, conn: AsyncConnection, failed: Settled, rule: Rule, book: Book, now: datetime
    ) -> list[str]:
        job = failed.job
        told = await _told(conn, job)
        # Another message of the failing credential would fail as well; where the person was at fault it need not.
        dead = {job.channel} if failed.sign is Sign.FAILS else set()
        for instead in fallback.held(rule.instead[job.fallback_step :], job.store_id, book.bindings):
            targets = [one for one in instead.targets if one.key not in told and one.address not in dead]
            if targets and (made := await self._insert(conn, job, rule, instead, targets, now)):
                _log.info(
                    "handed on", delivery_id=job.delivery_id, to=fallback.written(instead.step), by=made
                )
                return made
        return []

    async def _insert(
        self,
        conn: AsyncConnection,
        job: Job,
        rule: Rule,
        instead: Instead,
        targets: Sequence[Target],
        now: datetime,
    ) -> list[str]:
        content = fallback.noted(job.content, spoken(job.channel))
        event = Event(job.event_id, job.event_type, job.store_id, {}, "", now, traceparent=job.traceparent)
        used = {"fallback_of": job.delivery_id, "fallback_step": job.fallback_step + instead.number}
        made: list[str] = []
        assignments = [
            Assignment(Recipient(one, rule.id, instead.role), content, Priority(job.priority), rule.version)
            for one in targets
        ]
        for call in plan(assignments):
            new = NewWork()
            self._planner.wait_in_line(event, PlannedPart(call), now, new)
            if await _claim_recipients(conn, new.recipients):
                await self._work.insert_deliveries(conn, [one | used for one in new.deliveries])
                made += [str(one["id"]) for one in new.deliveries]
                # What a digest has gathered goes with it.
                await bins.copy(conn, [(job.delivery_id, str(one["id"])) for one in new.deliveries])
        return made


def _lost(one: Settled) -> bool:
    """Whether it failed for good and a rule says to whom it may go instead; a page of a report has none."""
    return one.next.status is DeliveryStatus.FAILED and bool(one.job.rule_id) and not one.job.part


async def _told(conn: AsyncConnection, job: Job) -> set[Key]:
    """Everybody whom this event was for so far, whatever became of it."""
    query = sa.select(recipient.c.channel, recipient.c.kind, recipient.c.target).where(
        recipient.c.event_id == job.event_id, recipient.c.store_id == job.store_id
    )
    return {_target(row.channel, row.kind, row.target).key for row in await conn.execute(query)}


def _target(channel: str, kind: str, ident: str) -> Target:
    found = TargetKind(kind)
    return Target(found, ident, "" if found is TargetKind.ROBOT else channel.partition(":")[2])


async def _claim_recipients(conn: AsyncConnection, wanted: Sequence[dict[str, object]]) -> int:
    """Insert those of *wanted* whom nobody else is telling at this moment; how many there are."""
    statement = insert_into(dialect_of(conn), recipient).values(list(wanted)).on_conflict_do_nothing()
    return len((await conn.execute(statement.returning(recipient.c.target))).all())
