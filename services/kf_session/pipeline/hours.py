"""Learning when customers write."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.hours import Histogram, learn
from services.kf_session.domain.message import Inbound, Origin
from services.kf_session.pipeline.summaries import Wishes
from services.kf_session.store import hours as store
from services.kf_session.store.ledger import Standing
from shared.clock import Clock
from shared.db.types import DialectName

COHORT_KEPT: Final = timedelta(minutes=10)
"""How long a store's histogram is taken to be as it was: it is a sum over all of its customers."""

_STORES_MOST = 1000


class Hours:
    """`listen` is a listener of the page; `histogram` is asked where a customer wants the best hour."""

    def __init__(self, dialect: DialectName, clock: Clock, wishes: Wishes) -> None:
        self._dialect = dialect
        self._clock = clock
        self._wishes = wishes
        self._cohorts: dict[str, tuple[datetime, list[float]]] = {}

    async def listen(self, conn: AsyncConnection, inbound: Inbound, standing: Standing) -> None:
        """A customer wrote."""
        if inbound.origin is not Origin.CUSTOMER:
            return
        customer = standing.key.external_userid
        zone = (await self._wishes(conn, standing.store_id, customer)).zone
        await store.add(conn, self._dialect, standing.store_id, customer, inbound.sent_at, zone)

    async def histogram(
        self, conn: AsyncConnection, store_id: str, customer: str, zone: ZoneInfo
    ) -> Histogram:
        """When a customer is likely to answer, on the clocks of *zone*; who has written little is like the others."""
        now = self._clock.now()
        own = await store.of_customer(conn, store_id, customer)
        return learn(own, await self._cohort(conn, store_id, now), now, zone)

    async def _cohort(self, conn: AsyncConnection, store_id: str, now: datetime) -> list[float]:
        at, weights = self._cohorts.get(store_id, (None, []))
        if at is None or now - at >= COHORT_KEPT:
            weights = await store.of_store(conn, store_id)
            if len(self._cohorts) >= _STORES_MOST:
                self._cohorts.clear()
            self._cohorts[store_id] = (now, weights)
        return weights
