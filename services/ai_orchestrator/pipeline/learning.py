"""What an event or a load tells, kept, in the transaction that takes it; what was made without it is stale from then on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.facts.events import TYPES, fact_of
from services.ai_orchestrator.domain.facts.kinds import Fact, Kind, key_of, member_of
from services.ai_orchestrator.domain.insights import NEWER_FACTS
from services.ai_orchestrator.store import facts, insights
from services.ai_orchestrator.store.stores import store_of
from shared.events.kinds import Event

__all__ = ["TYPES", "learn", "load"]


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
    await insights.note_news(conn, event.store_id, _members([fact]), NEWER_FACTS, now)
    return True


async def load(conn: AsyncConnection, store_id: str, kind: Kind, given: Sequence[Fact], now: datetime) -> int:
    """Keep facts from elsewhere, and let what was made without those that are new be stale; how many are new."""
    new = await facts.save(conn, store_id, kind, given, now)
    told = _members([one for one in given if key_of(one) in new])
    await insights.note_news(conn, store_id, told, NEWER_FACTS, now)
    return len(new)


def _members(given: Sequence[Fact]) -> set[str]:
    return {member_id for one in given if (member_id := member_of(one))}
