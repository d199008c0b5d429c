"""Which events kf_session hears, and how a message from the bus becomes a match and a push."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.pipeline.announcing_matches import SOURCE, TYPE
from services.kf_session.pipeline.telling import NO_SESSION, Telling
from services.kf_session.store import matches
from services.kf_session.store.heard import outside
from services.kf_session.store.matches import OWN
from shared.clock import Clock
from shared.db.engine import Database
from shared.events.canonical import Unreadable
from shared.events.kinds import Event
from shared.hosting.intake import EventIntake
from shared.telemetry.metrics import Metrics

TYPES: Final = (TYPE,)
"""What others tell us."""

OUR_OWN: Final = "our_own"
"""An announcement of ours that came back."""
KNOWN: Final = "known"
"""The match is there already: an event told of it, or we found it ourselves."""


class Intake(EventIntake):
    """Takes messages from the bus."""

    service = "kf_session"

    def __init__(
        self,
        database: Database,
        telling: Telling,
        clock: Clock,
        numbers: Metrics,
        *,
        default_store: str | None,
        max_bytes: int,
    ) -> None:
        super().__init__(database, clock, numbers, default_store=default_store, max_bytes=max_bytes)
        self._telling = telling

    def check(self, event: Event) -> None:
        """Whether it is one of ours."""
        if event.type != TYPE:
            raise Unreadable("schema", f"type: {event.type} is nothing that kf_session hears")

    async def act(self, conn: AsyncConnection, event: Event) -> Mapping[str, object]:
        """Store the match and tell its customer; what was decided, for Explain."""
        now = self._clock.now()
        match_id = str(event.data["match_id"])
        if event.source == SOURCE:
            return {"reason": OUR_OWN, "match_id": match_id.partition(".")[0]}
        if (there := await matches.by_external_id(conn, event.store_id, match_id)) is not None:
            return {"reason": KNOWN, "match_id": there.id}
        new = outside(event)
        pair = (new.intent_id, new.profile_id)
        old = (await matches.known(conn, event.store_id, [pair])).get(pair)
        if old is not None and old.source == OWN and old.withdrawn_at is None:
            return {"reason": KNOWN, "match_id": old.id}
        saved = await matches.save(conn, new, now)
        (told,) = await self._telling.tell(conn, [saved], now)
        decided: dict[str, Any] = {"match_id": saved.id, "push_id": told.push_id}
        return decided | ({"reason": NO_SESSION} if told.push_id is None else {})
