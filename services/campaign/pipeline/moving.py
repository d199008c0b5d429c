"""The one way from state to state: checked, written, told."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from reach.events.v1 import campaign_events_pb2
from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.lifecycle import Status, check_move
from services.campaign.store import campaigns
from services.campaign.store.campaigns import Kept
from shared.db import outbox
from shared.db.engine import Database
from shared.db.outbox import NewEvent
from shared.events.envelope import PROTOBUF, binary_headers
from shared.ids import new_id

_WORDS: Final = {
    Status.PENDING_APPROVAL: "submitted",
    Status.APPROVED: "approved",
    Status.SCHEDULED: "scheduled",
    Status.PAUSED: "paused",
    Status.RECONCILING: "reconciling",
    Status.FINISHED: "finished",
    Status.FAILED: "failed",
    Status.CANCELLED: "cancelled",
    Status.MISSED: "missed",
}


class Moving:
    """Moves campaigns in the caller's transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def move(
        self,
        conn: AsyncConnection,
        held: Kept,
        after: Status,
        now: datetime,
        *,
        by: str,
        reason: str = "",
        comment: str = "",
        **values: Any,
    ) -> Kept:
        """Take *held* (from ``campaigns.hold``) to *after*, write it into its log and announce it; as it then stands.

        *by* is a subject, '' the service itself; *values* are further columns. Raises Conflict (STATE_INVALID).
        """
        check_move(held.status, after)
        changed: dict[str, Any] = {"status": after.value, "reason": reason, "updated_at": now, **values}
        if after is Status.RUNNING and held.started_at is None:
            changed["started_at"] = now
        if after.over:
            changed["finished_at"] = now
        await campaigns.change(conn, held.id, **changed)
        await campaigns.log(conn, held, after, now, by=by, reason=reason, comment=comment)
        await self._announce(conn, held, after, reason, now)
        known = {name: value for name, value in changed.items() if name in Kept.__dataclass_fields__}
        return replace(held, **{**known, "status": after})

    async def explain(self, conn: AsyncConnection, held: Kept, now: datetime, *, reason: str) -> Kept:
        """Say of *held* (from ``campaigns.hold``) why it is where it is, in its log and in an event; as it then stands."""
        await campaigns.change(conn, held.id, reason=reason, updated_at=now)
        await campaigns.log(conn, held, held.status, now, by="", reason=reason)
        await self._announce(conn, held, held.status, reason, now)
        return replace(held, reason=reason, updated_at=now)

    async def _announce(
        self, conn: AsyncConnection, held: Kept, after: Status, reason: str, now: datetime
    ) -> None:
        word = _word(held.status, after)
        if not word:
            return
        name, event_id = f"campaign.{word}", new_id()
        told = campaign_events_pb2.CampaignMoved(
            campaign_id=held.id,
            version=held.version,
            status=after.value,
            reason=reason or None,
            name=held.spec.name,
        )
        headers = binary_headers(
            name, event_id, held.store_id, "reach/campaign", now, traceparent=held.traceparent
        )
        body = told.SerializeToString()
        await outbox.add(conn, [NewEvent(event_id, name, held.store_id, body, PROTOBUF, headers, now)])
        self._database.wakeups.notify(conn, outbox.WAKEUP, others=False)


def _word(before: Status, after: Status) -> str:
    if after is Status.RUNNING:
        return "resumed" if before is Status.PAUSED else "started"
    if after is Status.DRAFT:
        return "reopened" if before is not Status.DRAFT else ""
    return _WORDS[after]
