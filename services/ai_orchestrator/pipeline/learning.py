"""What an event tells, kept: called by whoever takes events, in the transaction that takes them."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.facts.events import TYPES, fact_of
from services.ai_orchestrator.store import facts
from services.ai_orchestrator.store.stores import store_of
from shared.events.kinds import Event

__all__ = ["TYPES", "learn"]


async def learn(conn: AsyncConnection, event: Event, zone: ZoneInfo, now: datetime) -> bool:
    """Keep the fact of *event* (of any type; its id is the fact's); whether there was one.

    An event taken a second time is the same fact. *zone* is the deployment's. A store of which an event is heard is
    known from then on, whatever its type.
    """
    await facts.meet(conn, event.store_id, now)
    store = await store_of(conn, event.store_id, zone)
    told = fact_of(event, store.zone)
    if told is None:
        return False
    kind, fact = told
    await facts.save(conn, event.store_id, kind, [fact], now)
    return True
