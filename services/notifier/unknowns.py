"""Deliveries whose outcome nobody can tell, for the operators' desk."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import sqlalchemy as sa
import structlog

from services.notifier.domain.lifecycle import DeliveryStatus, Verb, after
from services.notifier.pipeline.recording import WAKEUP
from services.notifier.pipeline.waiting import Settling
from services.notifier.store import reading
from services.notifier.store.tables import delivery
from shared.audit import AuditLog, NewEntry
from shared.clock import Clock
from shared.db.engine import Database
from shared.db.once import Once
from shared.errors import Overtaken
from shared.ops.part import UnknownSend, Verdict

_log = structlog.get_logger("reach.notifier.unknowns")

_VERBS = {Verdict.SENT: Verb.ACCEPT, Verdict.NOT_SENT: Verb.FAIL, Verdict.RESEND: Verb.RESEND}
_REASONS = {
    Verdict.SENT: "",
    Verdict.NOT_SENT: "resolved_not_sent",
    Verdict.RESEND: "",
}


class DeliveryDesk:
    """See ``shared.ops.part.UnknownDesk``."""

    def __init__(self, database: Database, settling: Settling, audit: AuditLog, clock: Clock) -> None:
        self._database = database
        self._settling = settling
        self._audit = audit
        self._clock = clock

    async def list_unknown(
        self, stores: Collection[str] | None, after_id: str, limit: int
    ) -> Sequence[UnknownSend]:
        """The unknown deliveries, oldest first."""
        async with self._database.read() as conn:
            found = await reading.list_unknown(conn, stores, after_id, limit)
        return [
            UnknownSend(
                id=view.id,
                kind="delivery",
                store_id=view.store_id,
                event_id=view.event_id,
                channel=view.channel,
                detail=view.attempts[-1].detail if view.attempts else view.reason,
                unknown_at=view.updated_at,
            )
            for view in found
        ]

    async def resolve(
        self,
        id: str,  # noqa: A002  # the contract's word
        verdict: Verdict,
        *,
        stores: Collection[str] | None,
        by: str,
        comment: str,
        once: Once,
    ) -> str | None:
        """Record what was found out; a resend starts anew with all its tries."""
        now = self._clock.now()
        async with self._database.write() as conn:
            found = await reading.get_deliveries(conn, [id], stores)
            if not found:
                return None
            if (earlier := await once.begin(conn, now)) is not None:
                return earlier.decode()
            status = after(DeliveryStatus(found[0].status), _VERBS[verdict])
            values: dict[str, object] = {
                "status": status.value,
                "reason": _REASONS[verdict],
                "updated_at": now,
            }
            if status is DeliveryStatus.PENDING:
                # A person decided to send it once more: it is a new message, and says so where it can.
                values |= {"retries": 0, "unclear_since": None, "resend_mark": True, "due_at": now}
            changed = await conn.execute(
                sa.update(delivery)
                .where(delivery.c.id == id, delivery.c.status == DeliveryStatus.UNKNOWN.value)
                .values(values)
            )
            if not changed.rowcount:
                raise Overtaken("VERSION_CONFLICT", "somebody resolved it at the same moment; look again")
            await once.finish(conn, status.value.encode())
            if status is DeliveryStatus.PENDING:
                self._database.wakeups.notify(conn, WAKEUP)
            told = {"event_id": found[0].event_id, "resolution": verdict.value, "comment": comment}
            await self._audit.record(conn, NewEntry(once.name, id, found[0].store_id, detail=told), now)
        _log.info("unknown resolved", delivery_id=id, verdict=verdict.value, by=by, comment=comment)
        self._settling.announce([id])
        return status.value
