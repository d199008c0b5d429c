"""What the gates must know of a customer, read from the rows."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.eligibility import Facts, day_start
from services.kf_session.domain.preference import merged
from services.kf_session.pipeline.hours import Hours
from services.kf_session.store import outgoing
from services.kf_session.store.ledger import SessionKey, Standing


class CustomerFacts:
    """Reads them; *zone* is the deployment's."""

    def __init__(self, zone: ZoneInfo, hours: Hours) -> None:
        self._zone = zone
        self._hours = hours

    async def read(
        self, conn: AsyncConnection, standing: Standing | None, store_id: str, key: SessionKey, now: datetime
    ) -> Facts:
        """As they are at *now*; *standing* is the session's, read under its lock."""
        wishes = await outgoing.wishes(conn, store_id, key.external_userid)
        preference = merged(self._zone, *wishes.said)
        today = await outgoing.today(conn, key, day_start(preference, now))
        unsubscribed = wishes.unsubscribed_at is not None
        if standing is None:
            return Facts(preference, unsubscribed, today=today)
        hours = None
        if preference.send_at_best_hour:
            hours = await self._hours.histogram(conn, store_id, key.external_userid, preference.zone)
        return Facts(
            preference,
            unsubscribed,
            standing.blocked_at,
            standing.state,
            standing.customer_at,
            standing.used,
            today,
            hours,
        )
