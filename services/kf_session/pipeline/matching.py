"""Compares what changed with its candidates, a batch in a transaction, until nothing is due."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain import asking
from services.kf_session.domain.asking import digest, score_facts
from services.kf_session.domain.matching.profile import Profile
from services.kf_session.domain.matching.scoring import Verdict, compare
from services.kf_session.pipeline.announcing_matches import matched
from services.kf_session.pipeline.telling import Telling
from services.kf_session.store import intents, match_work, matches, profiles, questions
from services.kf_session.store.intents import KeptIntent
from services.kf_session.store.match_work import WAKEUP, Kind, Work
from services.kf_session.store.matches import OWN, Match
from services.kf_session.store.profiles import KeptProfile
from shared.clock import Clock
from shared.db import outbox
from shared.db.engine import Database
from shared.errors import ReachError
from shared.supervise import Turn

BATCH: Final = 100
"""Candidates of one transaction."""
BEST: Final = 3
"""How many matches of a new intent its customer is told of."""
_IDLE: Final = 5.0
_BACKOFF: Final = timedelta(seconds=5)

_log = structlog.get_logger("reach.kf_session.matching")


class Matching:
    """The loop, and the step that a caller who waits may take himself."""

    def __init__(self, database: Database, telling: Telling, clock: Clock, *, batch: int = BATCH) -> None:
        self._database = database
        self._telling = telling
        self._clock = clock
        self._batch = batch

    async def run(self, turn: Turn) -> None:
        """Work until cancelled."""
        signal = self._database.wakeups.listen(WAKEUP)
        while True:
            while await self.step():
                turn()
            turn()
            await signal.wait(_IDLE)

    async def step(self) -> bool:
        """One batch of what has been due longest; whether there was any."""
        taken: list[Work] = []

        async def work(conn: AsyncConnection) -> bool:
            taken[:] = []
            found = await match_work.take(conn, self._clock.now())
            if found is None:
                return False
            taken.append(found)
            await self.advance(conn, found)
            return True

        try:
            return await self._database.transact(work)
        except ReachError as error:
            if error.transient or not taken:
                raise
            await self._put_off(taken[0], error)
        except Exception as error:
            if not taken:
                raise
            await self._put_off(taken[0], error)
        return True

    async def _put_off(self, work: Work, error: Exception) -> None:
        """One that cannot be compared must not keep the others waiting."""
        _log.error(
            "could not compare",
            kind=work.kind.value,
            object_id=work.object_id,
            store=work.store_id,
            exc_info=error,
        )
        wait = min(_BACKOFF * 2 ** min(work.failures, 16), match_work.PUT_OFF_MOST)
        until = self._clock.now() + wait
        await self._database.transact(lambda conn: match_work.put_off(conn, work, until))

    async def advance(self, conn: AsyncConnection, work: Work) -> bool:
        """One batch of *work*, which this transaction holds; whether more is left."""
        now = self._clock.now()
        if work.kind is Kind.INTENT:
            left = await self._intent(conn, work, now)
        else:
            left = await self._profile(conn, work, now)
        self._database.wakeups.notify(conn, outbox.WAKEUP, others=False)
        self._database.wakeups.notify(conn, questions.WAKEUP)
        return left

    async def _intent(self, conn: AsyncConnection, work: Work, now: datetime) -> bool:
        intent = (await intents.get(conn, work.store_id, [work.object_id])).get(work.object_id)
        if intent is None or not intent.lives(now):
            await match_work.finish(conn, work)
            return False
        ids = await match_work.profiles_for(conn, work.store_id, work.object_id, work.cursor, self._batch)
        # Held, so that none of them is another one, or gone, when its match is written.
        found = await profiles.get(conn, work.store_id, ids, hold=True)
        await self._compare(conn, [(intent, found[one]) for one in ids if one in found], now)
        if len(ids) == self._batch:
            await match_work.go_on(conn, work, ids[-1], now)
            return True
        await match_work.finish(conn, work)
        if intent.auto_push:
            # Of the many that a new intent may match at once, the best; the others are there to be asked for.
            best = await matches.untold(conn, work.store_id, BEST, now, intent_id=work.object_id)
            await self._telling.tell(conn, best, now)
        return False

    async def _profile(self, conn: AsyncConnection, work: Work, now: datetime) -> bool:
        profile = (await profiles.get(conn, work.store_id, [work.object_id])).get(work.object_id)
        if profile is None:
            await match_work.finish(conn, work)
            return False
        ids = await match_work.intents_for(conn, work.store_id, work.object_id, work.cursor, self._batch)
        found = await intents.get(conn, work.store_id, ids)
        living = [found[one] for one in ids if one in found and found[one].lives(now)]
        saved = await self._compare(conn, [(intent, profile) for intent in living], now)
        wanted = {intent.intent.id for intent in living if intent.auto_push}
        await self._telling.tell(conn, [one for one in saved if one.intent_id in wanted], now)
        if len(ids) == self._batch:
            await match_work.go_on(conn, work, ids[-1], now)
            return True
        await match_work.finish(conn, work)
        return False

    async def _compare(
        self, conn: AsyncConnection, pairs: Sequence[tuple[KeptIntent, KeptProfile]], now: datetime
    ) -> list[Match]:
        """Save the matches among *pairs* and withdraw those that are none any more; those that stand."""
        if not pairs:
            return []
        store_id = pairs[0][0].store_id
        before = await matches.known(conn, store_id, [(i.intent.id, p.profile.id) for i, p in pairs])
        standing: list[Match] = []
        gone: list[str] = []
        for intent, kept in pairs:
            old = before.get((intent.intent.id, kept.profile.id))
            verdict = compare(intent.intent, kept.profile)
            if verdict.matched:
                standing.append(await self._save(conn, intent, kept, verdict, old, now))
            elif old is not None and old.source == OWN and old.withdrawn_at is None:
                gone.append(old.id)
        await matches.withdraw(conn, gone, now)
        return standing

    async def _save(
        self,
        conn: AsyncConnection,
        intent: KeptIntent,
        kept: KeptProfile,
        verdict: Verdict,
        old: Match | None,
        now: datetime,
    ) -> Match:
        saved = await matches.save(conn, made(intent, kept.profile, kept.fingerprint, verdict), now)
        if (
            old is None
            or old.source != OWN
            or old.withdrawn_at is not None
            or old.profile_fingerprint != kept.fingerprint
        ):
            await outbox.add(conn, [matched(saved, now)])
        if intent.ai_score:
            shown = score_facts(
                intent.intent, intent.description, kept.profile, saved.conditions, saved.score
            )
            await questions.ask(conn, saved.id, asking.Kind.SCORE, digest(shown), now)
        elif old is not None:
            await questions.drop(conn, saved.id, asking.Kind.SCORE)
        return saved


def made(intent: KeptIntent, profile: Profile, fingerprint: str, verdict: Verdict) -> Match:
    """The match of the two, not stored yet: it has no id."""
    return Match(
        id="",
        store_id=intent.store_id,
        intent_id=intent.intent.id,
        profile_id=profile.id,
        source=OWN,
        external_id=None,
        intent_name=intent.intent.name,
        profile_name=profile.name,
        score=verdict.score,
        ai_score=None,
        conditions=verdict.met,
        explanation=verdict.explanation,
        profile_fingerprint=fingerprint,
        intent_version=intent.version,
        open_kfid=intent.open_kfid,
        external_userid=intent.external_userid,
        expires_at=intent.expires_at,
    )
