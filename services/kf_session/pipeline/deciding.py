"""Which of the claimed pushes go now: the gates, asked under the session's lock, and a credit before every call.

Sessions are locked before pushes, and in the order of their keys, here and wherever both are changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import groupby

from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.content import payload, picture_of, with_picture
from services.kf_session.domain.eligibility import (
    Candidate,
    Facts,
    Gate,
    Verdict,
    Word,
    first_no,
    free_credits,
    judge,
)
from services.kf_session.domain.lifecycle import PushStatus
from services.kf_session.domain.push import Purpose
from services.kf_session.domain.rendering import Renderer
from services.kf_session.pipeline.customer_facts import CustomerFacts
from services.kf_session.pipeline.merging import BEST, merge, plain_list
from services.kf_session.pipeline.push_announcing import announce
from services.kf_session.store import ledger, matches, outgoing, pictures, questions
from services.kf_session.store.ledger import SessionKey, Standing
from services.kf_session.store.outgoing import Claimed, Code, Past
from services.kf_session.store.pictures import Found
from shared.db.engine import Database
from shared.db.queue import DueQueue, Settlement
from shared.values import value_class

_HARD = frozenset({Gate.SESSION, Gate.CODE, Gate.WINDOW, Gate.CREDITS, Gate.PICTURE})
"""What still counts for a repeat of a try that may have arrived: the others have been answered once."""


@value_class
class Job:
    """A push whose attempt is written and whose credit is taken."""

    push: Claimed
    body: Mapping[str, object] = field(repr=False)
    """What is posted."""
    by_code: bool = False
    unclear: bool = False
    """Whether an earlier try may have arrived."""

    window_no: int | None = None
    """The window its credit was taken from."""


@dataclass(slots=True)
class _Turn:
    """What is known of one session while its pushes are judged."""

    key: SessionKey
    standing: Standing | None
    facts: Facts
    credited: frozenset[str]
    pushes: list[Claimed]

    def seen_by(self, one: Claimed) -> Facts:
        """The facts for *one*, whose own credit is not in its way."""
        own = 1 if one.id in self.credited else 0
        return replace(self.facts, used=self.facts.used - own)

    def took(self, one: Claimed) -> None:
        """*one* goes."""
        used = self.facts.used + (0 if one.id in self.credited or one.code_id is not None else 1)
        counted = 0 if one.purpose.asked_for else 1
        self.facts = replace(self.facts, used=used, today=self.facts.today + counted)


class Decider:
    """Judges claimed pushes; *render* puts several matches into one list."""

    def __init__(
        self,
        database: Database,
        queue: DueQueue,
        facts: CustomerFacts,
        owner: str,
        *,
        render: Renderer = plain_list,
        best: int = BEST,
    ) -> None:
        self._database = database
        self._queue = queue
        self._facts = facts
        self._owner = owner
        self._render = render
        self._best = best

    async def decide(self, conn: AsyncConnection, claimed: Sequence[Claimed], now: datetime) -> list[Job]:
        """Those of *claimed* that go, their credits reserved and their attempts written; the others are settled."""
        by_key = sorted(claimed, key=lambda one: (_key(one), one.id))
        groups = {key: list(each) for key, each in groupby(by_key, key=lambda one: one.key)}
        standings = {key: await ledger.lock(conn, key) for key in groups}
        mine = {one.id: one for one in await outgoing.still_held(conn, claimed)}
        ids = sorted(mine)
        past = await outgoing.past(conn, ids)
        void = await matches.void(conn, [one.id for one in claimed if one.purpose is Purpose.MATCH])
        awaited = await questions.awaited(conn, ids)
        codes = await outgoing.codes(conn, {one.code_id for one in claimed if one.code_id is not None})
        jobs: list[Job] = []
        for key, pushes in groups.items():
            held = [mine[one.id] for one in pushes if one.id in mine]
            if held:
                turn = await self._turn(conn, key, standings[key], held, now)
                jobs += await _Session(self, conn, turn, past, codes, void, awaited, now).judge()
        return jobs

    async def _turn(
        self,
        conn: AsyncConnection,
        key: SessionKey,
        standing: Standing | None,
        pushes: list[Claimed],
        now: datetime,
    ) -> _Turn:
        facts = await self._facts.read(conn, standing, pushes[0].store_id, key, now)
        none: frozenset[str] = frozenset()
        credited = none if standing is None else await outgoing.credited(conn, key, standing.window_no)
        return _Turn(key, standing, facts, credited, pushes)


class _Session:
    """The pushes of one session in one transaction."""

    def __init__(
        self,
        decider: Decider,
        conn: AsyncConnection,
        turn: _Turn,
        past: Past,
        codes: Mapping[str, Code],
        void: frozenset[str],
        awaited: frozenset[str],
        now: datetime,
    ) -> None:
        self._own = decider
        self._conn = conn
        self._turn = turn
        self._past = past
        self._codes = codes
        self._void = void
        self._awaited = awaited
        self._now = now
        self._pictures: dict[tuple[str, str], Found] = {}
        self._jobs: list[Job] = []

    async def judge(self) -> list[Job]:
        offered: list[Claimed] = []
        for one in sorted(self._turn.pushes, key=_first):
            if one.expires_at <= self._now:
                await self._end(one, PushStatus.EXPIRED, "expired")
            elif one.id in self._void:
                await self._end(one, PushStatus.SUPPRESSED, "match_withdrawn")
            elif one.purpose is Purpose.MATCH and one.id not in self._turn.credited | self._past.unclear:
                offered.append(one)
            elif await self._passes(one):
                await self._go(one)
        await self._matches([one for one in offered if await self._passes(one)])
        return self._jobs

    async def _matches(self, waiting: list[Claimed]) -> None:
        """Best first; where there are fewer credits than matches, the best of them in one list."""
        waiting.sort(key=lambda one: (-(one.score or 0.0), one.id))
        while waiting:
            best = waiting[0]
            if not await self._passes(best):
                waiting = waiting[1:]
                continue
            free = free_credits(await self._candidate(best), self._turn.seen_by(best))
            kept = [one for one in waiting if (one.id, "quiet_digest") in self._past.holds]
            together = waiting if len(waiting) > free else kept if best in kept else []
            chosen = together[: self._own._best] if len(together) > 1 else [best]
            carrier = best if len(chosen) == 1 else await self._merged(chosen)
            # The words of a list may show another picture than those of the match did.
            if carrier is best or await self._passes(carrier):
                await self._go(carrier)
            waiting = [one for one in waiting if one not in chosen]

    async def _merged(self, pushes: Sequence[Claimed]) -> Claimed:
        carrier, others = pushes[0], pushes[1:]
        content = await merge(self._conn, pushes, self._own._render)
        for one in others:
            await outgoing.write_note(
                self._conn,
                one.id,
                self._now,
                gate=Gate.CREDITS.value,
                verdict="merge",
                reason="merged",
                facts={"into": carrier.id, "of": len(pushes), "used": self._turn.facts.used},
            )
            await self._end(one, PushStatus.SUPPRESSED, "merged", merged_into=carrier.id)
        return replace(carrier, content=content)

    async def _candidate(self, one: Claimed) -> Candidate:
        code = self._codes.get(one.code_id or "")
        waited = {(one.id, "session_human"), (one.id, "session_pool")}
        return Candidate(
            one.purpose,
            one.score,
            one.expires_at,
            one.created_at,
            one.code_id is not None,
            None if code is None else code.expires_at,
            awaited_human=not waited.isdisjoint(self._past.holds),
            kept=(one.id, "quiet_digest") in self._past.holds,
            picture=picture_of(one.content),
            picture_missing=(await self._picture(one)).missing,
            words_awaited=one.id in self._awaited,
        )

    async def _passes(self, one: Claimed) -> bool:
        """Whether *one* may go; if not, it is settled."""
        verdicts = judge(await self._candidate(one), self._turn.seen_by(one), self._now)
        unclear = one.id in self._past.unclear
        if unclear:
            verdicts = tuple(each for each in verdicts if each.gate in _HARD)
        no = first_no(verdicts)
        if no is None:
            return True
        await outgoing.note(self._conn, one.id, no, self._past, self._now)
        if no.word is Word.HOLD:
            await self._hold(one, no)
        else:
            await self._end(one, PushStatus.SUPPRESSED, no.reason)
        return False

    async def _go(self, one: Claimed) -> None:
        """Take the credit, write the attempt."""
        turn, unclear = self._turn, one.id in self._past.unclear
        if one.code_id is None:
            if (
                turn.standing is None
                or await ledger.reserve(self._conn, turn.standing, one.id, self._now) is None
            ):
                # The gates counted five free slots; the ledger has the last word.
                no = Verdict(
                    Gate.CREDITS, Word.HOLD, "KF_WINDOW_FULL", until=self._now + timedelta(seconds=1)
                )
                await self._hold(one, no)
                return
            shown = (await self._picture(one)).media_id
            content = with_picture(one.content, shown) if shown else one.content
            body = payload(
                content, msgid=one.msgid, to=turn.key.external_userid, open_kfid=turn.key.open_kfid
            )
        else:
            body = payload(one.content, msgid=one.msgid, code=self._codes[one.code_id].code)
        await outgoing.start_attempt(self._conn, one, self._own._owner, self._now)
        turn.took(one)
        window_no = None if turn.standing is None else turn.standing.window_no
        self._jobs.append(Job(one, body, one.code_id is not None, unclear, window_no))

    async def _picture(self, one: Claimed) -> Found:
        """The kept picture that *one* shows, if any; the same for all who ask in this transaction."""
        name = picture_of(one.content)
        if name and (one.store_id, name) not in self._pictures:
            self._pictures[one.store_id, name] = await pictures.find(
                self._conn, one.store_id, name, self._now
            )
        return self._pictures[one.store_id, name] if name else Found()

    async def _hold(self, one: Claimed, no: Verdict) -> None:
        until = max(no.until or self._now, self._now + timedelta(milliseconds=1))
        await self._settle(one, PushStatus.DEFERRED, due_at=min(until, one.expires_at), hold_reason=no.reason)

    async def _end(
        self, one: Claimed, status: PushStatus, reason: str, merged_into: str | None = None
    ) -> None:
        """End *one* without a call; what may have arrived ends as unknown, and its credit stays spent."""
        if one.id in self._past.unclear:
            await ledger.spend(self._conn, {one.id: None}, self._now)
            status, reason = PushStatus.UNKNOWN, "outcome_unknown"
        elif one.id in self._turn.credited:
            await ledger.give_back(self._conn, [one.id])
        await self._settle(one, status, reason=reason, merged_into=merged_into)
        await announce(self._conn, self._own._database, one, status, reason, None, self._now)

    async def _settle(
        self,
        one: Claimed,
        status: PushStatus,
        *,
        reason: str = "",
        due_at: datetime | None = None,
        hold_reason: str | None = None,
        merged_into: str | None = None,
    ) -> None:
        extra = {
            "retries": one.retries,
            "refreshes": one.refreshes,
            "reason": reason,
            "merged_into": merged_into,
            "updated_at": self._now,
        }
        settlement = Settlement(one.id, one.epoch, status.value, one.attempts, due_at, hold_reason, extra)
        await self._own._queue.settle(self._conn, [settlement])


def _key(one: Claimed) -> tuple[str, str]:
    return one.key.open_kfid, one.key.external_userid


def _first(one: Claimed) -> tuple[int, datetime, str]:
    """Answers first, then what somebody wants sent, then what we offer."""
    offered = one.purpose in (Purpose.MATCH, Purpose.SUMMARY)
    return (0 if one.purpose.asked_for else 2 if offered else 1, one.created_at, one.id)
