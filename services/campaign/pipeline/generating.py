"""The loop that asks for words: what is due is claimed, asked outside any transaction, looked through, and kept."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Final, Protocol

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.campaign import Content
from services.campaign.domain.candidates import GENERATIONS, TOO_LATE, Answer, Asked, Written, next_try
from services.campaign.pipeline.linting import Linter
from services.campaign.store import candidates as store
from services.campaign.store.candidates import WAKEUP, Held, KeptCandidate
from shared.clock import Clock
from shared.db.engine import Database
from shared.supervise import Turn
from shared.telemetry import metrics
from shared.telemetry.metrics import Metrics

AT_ONCE: Final = 4
"""Calls under way in one replica."""
DEADLINE: Final = 120.0
"""Bound on one call, in seconds."""
LEASE: Final = timedelta(seconds=150)
_POLL: Final = 1.0
_log = structlog.get_logger("reach.campaign.generating")


class Writer(Protocol):
    """Who writes."""

    async def write(self, store_id: str, asked: Asked, key: str, deadline: float) -> Answer:
        """At most one answer for a *key*, within *deadline* seconds; never raises for what the other side does."""
        ...


class Generating:
    """Its ``run`` is a loop."""

    def __init__(
        self,
        database: Database,
        writer: Writer,
        linter: Linter,
        clock: Clock,
        numbers: Metrics,
        owner: str,
    ) -> None:
        self._database = database
        self._writer = writer
        self._linter = linter
        self._clock = clock
        self._numbers = numbers
        self._owner = owner

    async def run(self, turn: Turn) -> None:
        """Ask for what is due until cancelled."""
        signal = self._database.wakeups.listen(WAKEUP)
        while True:
            asked = await self.once()
            turn()
            if not asked:
                await signal.wait(_POLL)

    async def once(self) -> int:
        """Ask for what is due, as much as is asked for at once; how many that were."""
        held = await self._database.transact(
            lambda conn: store.claim(conn, self._owner, self._clock.now(), LEASE, AT_ONCE)
        )
        await asyncio.gather(*map(self._ask, held))
        return len(held)

    async def _ask(self, held: Held) -> None:
        began = time.monotonic()
        try:
            # Whoever held it before and got an answer gets the same one by its key.
            key = f"campaign:{held.id}:{held.generation}"
            answer = await self._writer.write(held.store_id, held.asked, key, DEADLINE)
        except Exception:
            _log.exception("words not asked for", campaign_id=held.campaign_id, candidate_set_id=held.id)
            answer = Answer(reason="internal")
        self._numbers.observe(metrics.COPY_SECONDS, time.monotonic() - began, service="campaign")
        await self._settle(held, answer)

    async def _settle(self, held: Held, answer: Answer) -> None:
        async def write(conn: AsyncConnection) -> bool:
            now = self._clock.now()
            if answer.candidates:
                return await store.finish(conn, held, answer, await self._looked_at(conn, held, answer), now)
            if answer.anew and held.generation < GENERATIONS:
                return await store.put_off(conn, held, answer, held.generation + 1, now)
            again = next_try(answer, held.created_at, now)
            if again is not None:
                return await store.put_off(conn, held, answer, held.generation, again)
            return await store.finish(conn, held, answer, (), now)

        if not await self._database.transact(write):
            self._numbers.add(metrics.WRITES_FENCED, service="campaign")
            return
        if answer.candidates:
            self._numbers.add(metrics.COPY_TOKENS, answer.total_tokens, service="campaign")
        else:
            _log.warning(
                "no words yet" if answer.again else "no words",
                campaign_id=held.campaign_id,
                candidate_set_id=held.id,
                api="GenerateCopy",
                reason=answer.reason or TOO_LATE,
                run_id=answer.run_id,
            )

    async def _looked_at(self, conn: AsyncConnection, held: Held, answer: Answer) -> list[KeptCandidate]:
        """What was written, the best first, those with hits last; each with its hits."""
        looked = [(one, await self._hits(conn, held, one)) for one in answer.candidates]
        looked.sort(key=lambda pair: bool(pair[1]))
        return [
            KeptCandidate(number, one.text, one.title, one.angle, one.tokens, hits)
            for number, (one, hits) in enumerate(looked, 1)
        ]

    async def _hits(self, conn: AsyncConnection, held: Held, one: Written) -> list[dict[str, object]]:
        hits: list[dict[str, object]] = []
        for field, said in (("text", one.text), ("title", one.title)):
            found = await self._linter.found(conn, held.store_id, Content(said), held.asked.banned_words)
            hits += [
                {
                    "field": field,
                    "word": hit.word,
                    "start": hit.start,
                    "end": hit.end,
                    "found": hit.found,
                    "reason": hit.reason,
                }
                for hit in found
            ]
        return hits
