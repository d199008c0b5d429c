"""What a person may do to a delivery: have it sent once more, or take it back."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.domain.lifecycle import DeliveryStatus, Verb, after
from services.notifier.pipeline.announcing import cancelled
from services.notifier.pipeline.recording import WAKEUP
from services.notifier.pipeline.waiting import Settling
from services.notifier.store import bins, reading
from services.notifier.store.reading import DeliveryView
from services.notifier.store.tables import delivery, recipient
from shared.audit import AuditLog, NewEntry
from shared.clock import Clock
from shared.db import outbox
from shared.db.engine import Database
from shared.db.once import Once
from shared.errors import NotFound, Overtaken
from shared.rpc.principal import current

CANCELLED = "cancelled_by"
"""Begins the reason of a delivery that somebody took back; the subject follows."""

_log = structlog.get_logger("reach.notifier.deliveries")


class Deliveries:
    """Changes deliveries one by one; who is sending one at that moment wins."""

    def __init__(self, database: Database, settling: Settling, audit: AuditLog, clock: Clock) -> None:
        self._database = database
        self._settling = settling
        self._audit = audit
        self._clock = clock

    async def replay(self, delivery_id: str, stores: Collection[str] | None, *, once: Once) -> DeliveryView:
        """Send once more what did not go out, with all its tries. Raises NotFound, Conflict (STATE_INVALID)."""
        # Whoever was named as not reached is asked for again: that may be what has been put right.
        values: dict[str, object] = {
            "retries": 0,
            "refreshes": 0,
            "unclear_since": None,
            "reason": "",
            "hold_reason": None,
        }
        return await self._change(delivery_id, Verb.REPLAY, values, stores, once)

    async def cancel(self, delivery_id: str, stores: Collection[str] | None, *, once: Once) -> DeliveryView:
        """Take back what still waits. Raises NotFound, Conflict (STATE_INVALID)."""
        values: dict[str, object] = {"reason": f"{CANCELLED}:{current().subject}", "hold_reason": None}
        return await self._change(delivery_id, Verb.CANCEL, values, stores, once)

    async def _change(
        self,
        delivery_id: str,
        verb: Verb,
        values: dict[str, object],
        stores: Collection[str] | None,
        once: Once,
    ) -> DeliveryView:
        now, by = self._clock.now(), current().subject

        async def write(conn: AsyncConnection) -> bool:
            (view,) = await self._found(conn, delivery_id, stores)
            if not await once.is_first(conn, now):
                return False
            status = after(DeliveryStatus(view.status), verb)
            again = {"due_at": now} if status is DeliveryStatus.PENDING else {}
            changed = await conn.execute(
                sa.update(delivery)
                .where(delivery.c.id == delivery_id, delivery.c.status == view.status)
                .values(status=status.value, updated_at=now, **again, **values)
            )
            if not changed.rowcount:
                raise Overtaken("VERSION_CONFLICT", "it changed at the same moment; look again")
            if status is DeliveryStatus.PENDING:
                asked = sa.update(recipient).where(recipient.c.delivery_id == delivery_id)
                await conn.execute(asked.values(status=None, reason=None))
            else:
                await bins.abandon(conn, delivery_id)  # what comes from now on gathers anew
                await outbox.add(conn, [cancelled(view, now)])
                self._database.wakeups.notify(conn, outbox.WAKEUP, others=False)
            # A lane that was blocked by what is gone now may go on.
            self._database.wakeups.notify(conn, WAKEUP)
            told = {"event_id": view.event_id, "was": view.status}
            await self._audit.record(conn, NewEntry(once.name, delivery_id, view.store_id, detail=told), now)
            return True

        if await self._database.transact(write):
            _log.info("delivery changed by hand", delivery_id=delivery_id, verb=verb.value, by=by)
            self._settling.announce([delivery_id])
        async with self._database.read() as conn:
            return (await self._found(conn, delivery_id, stores))[0]

    async def _found(
        self, conn: AsyncConnection, delivery_id: str, stores: Collection[str] | None
    ) -> list[DeliveryView]:
        found = await reading.get_deliveries(conn, [delivery_id], stores)
        if not found:
            raise NotFound("NOT_FOUND", f"there is no delivery {delivery_id}", resource="delivery")
        return found
