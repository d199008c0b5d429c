"""What it takes to record a message that somebody wrote: room in the writer's limit, and a line in the audit log."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.pipeline.admission import Plan
from services.notifier.pipeline.limits import Rates
from shared.audit import AuditLog, NewEntry
from shared.db.limits import Request, reserve_many
from shared.errors import Throttled
from shared.limits import Wait
from shared.rpc.principal import current
from shared.values import value_class

_SPANS = {"minute": "a minute", "day": "24 hours"}


@value_class
class ByHand:
    """See ``pipeline.admission.Beside``."""

    rates: Rates
    audit: AuditLog
    note: NewEntry
    """What is known before it is decided to whom it goes."""

    async def before(self, conn: AsyncConnection, now: datetime) -> None:
        """Take one from the writer's limits. Raises Throttled (RATE_LIMITED), naming the limit."""
        subject = current().subject
        # Nobody locks this row behind those of members and robots, which come later in the transaction.
        wish = Request(self.rates.operator_key(subject), self.rates.operator)
        (verdict,) = await reserve_many(conn, [wish], now)
        if isinstance(verdict, Wait):
            most = next(one.max for one in self.rates.operator if one.name == verdict.limit_name)
            span = _SPANS[verdict.limit_name]
            raise Throttled(
                "RATE_LIMITED",
                f"{subject} has sent {most} messages within {span}, which is the limit; "
                f"the next may go at {verdict.until:%Y-%m-%dT%H:%M:%SZ}",
                retry_after=verdict.until - now,
                limit=f"operator_per_{verdict.limit_name}",
            )

    async def after(self, conn: AsyncConnection, plan: Plan, now: datetime) -> None:
        """Write who sent what to whom."""
        note = self.note
        decided = {
            "verdict": plan.decision.verdict.value,
            "calls": len(plan.parts),
            "recipients": len({one.target.key for part in plan.parts for one in part.call.recipients}),
        }
        whole = NewEntry(
            note.method, note.object_id, note.store_id, note.content, {**(note.detail or {}), **decided}
        )
        await self.audit.record(conn, whole, now)
