"""The loop that asks a model about matches: what is due is claimed, asked outside any transaction, and its answer kept.

Rows are locked in the order push, match, question, as by those who tell of matches.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final, Protocol

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.asking import (
    ANSWERED,
    DEADLINE,
    INVALID,
    OUTDATED,
    TOO_LATE,
    Answer,
    Kind,
    digest,
    next_try,
    opinion_of,
    score_facts,
    text_facts,
)
from services.kf_session.domain.eligibility import WORDS_WAIT
from services.kf_session.domain.matching.lines import TEXT_BYTES
from services.kf_session.domain.wording import objection
from services.kf_session.pipeline.admitting import WAKEUP as PUSHES
from services.kf_session.store import intents, matches, profiles, questions, wording
from services.kf_session.store.matches import Match
from services.kf_session.store.questions import WAKEUP, Held
from shared.clock import Clock
from shared.db.engine import Database
from shared.supervise import Turn
from shared.telemetry import metrics
from shared.telemetry.metrics import Metrics
from shared.values import value_class

AT_ONCE: Final = 8
"""Calls under way in one replica."""
LEASE: Final = timedelta(seconds=30)
_POLL: Final = 1.0
_RECALL_EVERY: Final = 30.0
_log = structlog.get_logger("reach.kf_session.asking")


class Model(Protocol):
    """Who answers."""

    async def ask(
        self, kind: Kind, store_id: str, given: Mapping[str, Any], key: str, deadline: float
    ) -> Answer:
        """At most one answer for a *key*, within *deadline* seconds; never raises for what the other side does."""
        ...


@value_class
class _Asked:
    """What is asked now, read from the rows."""

    match: Match
    given: Mapping[str, Any]
    seconds: float
    template: str = ""
    """The words that a text would take the place of."""


class Asking:
    """Its ``run`` is a loop."""

    def __init__(self, database: Database, model: Model, clock: Clock, numbers: Metrics, owner: str) -> None:
        self._database = database
        self._model = model
        self._clock = clock
        self._numbers = numbers
        self._owner = owner
        self._recalled_at = float("-inf")

    async def run(self, turn: Turn) -> None:
        """Ask what is due until cancelled."""
        signal = self._database.wakeups.listen(WAKEUP)
        while True:
            asked = await self.once()
            turn()
            if not asked:
                await signal.wait(_POLL)

    async def once(self) -> int:
        """Ask what is due, as much as is asked at once; how many that were."""
        if time.monotonic() - self._recalled_at >= _RECALL_EVERY:
            self._recalled_at = time.monotonic()
            await self._database.transact(lambda conn: questions.bring_back(conn, self._clock.now(), LEASE))
        held = await self._database.transact(
            lambda conn: questions.claim(conn, self._owner, self._clock.now(), LEASE, AT_ONCE)
        )
        await asyncio.gather(*map(self._ask, held))
        return len(held)

    async def _ask(self, held: Held) -> None:
        async with self._database.read() as conn:
            asked = await (self._score(conn, held) if held.kind is Kind.SCORE else self._text(conn, held))
        if isinstance(asked, str):
            await self._end(held, asked)
            return
        key = f"{held.kind.value}:{held.match_id}:{digest(asked.given)}"
        try:
            answer = await self._model.ask(held.kind, asked.match.store_id, asked.given, key, asked.seconds)
        except Exception:
            _log.exception("asking failed", kind=held.kind.value, match_id=held.match_id)
            answer = Answer(reason="internal")
        if answer.result is not None:
            await self._answered(held, asked, answer.result)
            return
        now = self._clock.now()
        again = next_try(held.kind, held.tries + 1, held.asked_at, now) if answer.again else None
        if again is None:
            await self._end(held, answer.reason)
        else:
            at, why = again, answer.reason
            await self._settled(lambda conn: questions.put_off(conn, held, why, at, now))

    async def _score(self, conn: AsyncConnection, held: Held) -> _Asked | str:
        """What is to be judged, or why nothing is."""
        match = next(iter(await matches.get(conn, [held.match_id])), None)
        if match is None or match.withdrawn_at is not None:
            return OUTDATED
        store = match.store_id
        intent = (await intents.get(conn, store, [match.intent_id])).get(match.intent_id)
        kept = (await profiles.get(conn, store, [match.profile_id])).get(match.profile_id)
        if intent is None or kept is None or not intent.ai_score:
            return OUTDATED
        given = score_facts(intent.intent, intent.description, kept.profile, match.conditions, match.score)
        return _Asked(match, given, DEADLINE)

    async def _text(self, conn: AsyncConnection, held: Held) -> _Asked | str:
        """What is to be worded, or why nothing is."""
        match = next(iter(await matches.get(conn, [held.match_id])), None)
        if match is None or match.withdrawn_at is not None:
            return OUTDATED
        left = (held.asked_at + WORDS_WAIT - self._clock.now()).total_seconds()
        template = await wording.replaceable(conn, held.push_id or "")
        if left <= 0 or template is None:
            return TOO_LATE
        facts = _facts(match)
        given = {**facts, "模板文字": template, "字节上限": TEXT_BYTES}
        return _Asked(match, given, min(DEADLINE, left), template)

    async def _answered(self, held: Held, asked: _Asked, result: Mapping[str, Any]) -> None:
        if held.kind is Kind.TEXT:
            text = str(result.get("text") or "").strip()
            wrong = objection(text, _facts(asked.match), asked.template, asked.match.profile_name)
            await (self._end(held, f"refused_{wrong}") if wrong else self._end(held, ANSWERED, text))
            return
        opinion = opinion_of(result)
        if opinion is None:
            await self._end(held, INVALID)
            return

        async def write(conn: AsyncConnection) -> bool:
            await matches.hold(conn, held.match_id)
            if not await questions.finish(conn, held, ANSWERED, self._clock.now()):
                return False
            await matches.judged(conn, held.match_id, opinion.score, opinion.reason)
            return True

        await self._settled(write)

    async def _end(self, held: Held, outcome: str, text: str = "") -> None:
        """It is over; of a text the push takes the words, or goes with those that it has."""

        async def write(conn: AsyncConnection) -> bool:
            now, push_id = self._clock.now(), held.push_id
            open_one = None if push_id is None else await wording.hold(conn, push_id)
            ended = outcome if not text or open_one else TOO_LATE
            if not await questions.finish(conn, held, ended, now):
                return False
            if push_id is not None:
                await wording.end(conn, push_id, ended, text if open_one else "", now)
                self._database.wakeups.notify(conn, PUSHES)
            return True

        await self._settled(write)

    async def _settled(self, write: Any) -> None:
        if not await self._database.transact(write):
            self._numbers.add(metrics.WRITES_FENCED, service="kf_session")


def _facts(match: Match) -> dict[str, Any]:
    return text_facts(match.profile_name, match.intent_name, match.score, match.explanation, match.conditions)
