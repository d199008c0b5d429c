"""Cards show who answered: an update is a row that becomes due with the answer, tried until it is done or hopeless.

The platform takes each code once and for 72 hours, so an update that may have arrived is simply made again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.domain.cards import answered
from services.notifier.domain.content import Format, payload_bytes
from services.notifier.domain.escalation import Action
from services.notifier.pipeline.settling import Settled
from services.notifier.store.cards import Cards, CardState, Due, Sent
from shared.clock import Clock
from shared.credentials import Credentials
from shared.db.engine import Database
from shared.db.queue import DEFERRED, Settlement
from shared.supervise import Turn
from shared.wecom.client import WeComClient
from shared.wecom.credentials import App
from shared.wecom.outcome import Outcome, State

WAKEUP: Final = "cards"
"""Given when updates become due."""

CODE_LIVES: Final = timedelta(hours=72)
PAUSES: Final = tuple(timedelta(seconds=pause) for pause in (1, 2, 5, 15, 60, 300, 900))
"""Between tries; after the last one it is given up."""

LEASE: Final = timedelta(seconds=60)
BATCH = 20
_DEADLINE = 10.0
_POLL = 1.0
_NAMES = 1000
_log = structlog.get_logger("reach.notifier.cards")


class CardUpdates:
    """The loop that updates cards."""

    def __init__(
        self,
        database: Database,
        cards: Cards,
        credentials: Credentials,
        wecom: WeComClient,
        clock: Clock,
        owner: str,
    ) -> None:
        self._database = database
        self._cards = cards
        self._credentials = credentials
        self._wecom = wecom
        self._clock = clock
        self._owner = owner
        self._names: dict[tuple[str, str], str] = {}

    async def keep(self, conn: AsyncConnection, settled: Sequence[Settled]) -> None:
        """Remember the cards among *settled* that the platform took, in the transaction that says so."""
        sent = [
            Sent(job.delivery_id, job.store_id, job.event_id, job.rule_id, job.channel, one.response_code)
            for one in settled
            if (job := one.job).content.format is Format.TEMPLATE_CARD and one.attempt.state in _TAKEN
        ]
        if sent and await self._cards.keep(conn, sent, self._clock.now()):
            self._database.wakeups.notify(conn, WAKEUP)

    async def run(self, turn: Turn) -> None:
        """Update until cancelled."""
        signal = self._database.wakeups.listen(WAKEUP)
        while True:
            if not await self.update_due():
                await signal.wait(_POLL)
            turn()

    async def update_due(self) -> int:
        """Update cards that are due, up to a batch of them; how many there were."""
        async with self._database.read() as conn:
            if not await self._cards.waiting(conn, self._clock.now()):
                return 0
        due = await self._database.transact(self._claim)
        if due:
            settlements = await asyncio.gather(*(self._update(one) for one in due))
            await self._database.transact(lambda conn: self._cards.queue.settle(conn, settlements))
        return len(due)

    async def _claim(self, conn: AsyncConnection) -> list[Due]:
        now = self._clock.now()
        await self._cards.take_back(conn, self._owner, now, LEASE)
        return await self._cards.claim(conn, self._owner, now, LEASE, BATCH)

    async def _update(self, one: Due) -> Settlement:
        now = self._clock.now()
        if not one.code or one.code_at is None:
            return self._end(one, CardState.GIVEN_UP, "no_code")
        if now - one.code_at >= CODE_LIVES:
            return self._end(one, CardState.GIVEN_UP, "code_expired")
        app = await self._credentials.app(one.channel.partition(":")[2])
        if app is None:
            return self._end(one, CardState.GIVEN_UP, "credential_missing")
        text = answered(await self._name(app, one), Action(one.action))
        body = {
            "atall": 1,
            "agentid": app.agent_id,
            "response_code": one.code,
            "button": {"replace_name": text},
        }
        return self._settled(one, await self._wecom.update_card(app, payload_bytes(body), deadline=_DEADLINE))

    def _settled(self, one: Due, outcome: Outcome) -> Settlement:
        if outcome.state in (State.ACCEPTED, State.ACCEPTED_PARTIAL):
            return self._end(one, CardState.UPDATED, "")
        if outcome.state is State.REJECTED_PERMANENT:
            if one.reason == "unknown":
                # Very likely the code is spent because the try before this one was made after all.
                return self._end(one, CardState.UPDATED, "presumed")
            reason = f"errcode:{outcome.errcode}" if outcome.errcode is not None else outcome.cause
            return self._end(one, CardState.GIVEN_UP, reason, outcome)
        if one.attempt_no >= len(PAUSES):
            return self._end(one, CardState.GIVEN_UP, "retries_exhausted", outcome)
        unknown = outcome.state is State.UNKNOWN or one.reason == "unknown"
        pause = max(PAUSES[one.attempt_no], outcome.retry_after or PAUSES[0])
        return self._settlement(one, DEFERRED, "unknown" if unknown else "", self._clock.now() + pause)

    def _end(self, one: Due, state: CardState, reason: str, outcome: Outcome | None = None) -> Settlement:
        if state is CardState.GIVEN_UP:
            detail = (outcome.errmsg or outcome.detail) if outcome is not None else ""
            _log.warning("a card keeps its buttons", delivery_id=one.id, reason=reason, detail=detail)
        return self._settlement(one, state.value, reason)

    def _settlement(self, one: Due, status: str, reason: str, due_at: datetime | None = None) -> Settlement:
        return Settlement(
            id=one.id,
            epoch=one.epoch,
            status=status,
            attempt_no=one.attempt_no + 1,
            due_at=due_at,
            hold_reason="retry" if due_at is not None else None,
            extra={"reason": reason, "updated_at": self._clock.now()},
        )

    async def _name(self, app: App, one: Due) -> str:
        """What people call who answered: a member's name as the platform knows it, or the id itself."""
        if one.via != "card":
            return one.who
        known = self._names.get((app.name, one.who))
        if known is not None:
            return known
        answer = await self._wecom.get(app, "/cgi-bin/user/get", {"userid": one.who}, deadline=_DEADLINE)
        name = answer.data.get("name")
        if answer.outcome.state is not State.ACCEPTED or not isinstance(name, str) or not name.strip():
            return one.who  # not within the app's range, say; the card must not wait for a nicer name
        if len(self._names) >= _NAMES:
            self._names.clear()
        self._names[app.name, one.who] = name.strip()
        return name.strip()


_TAKEN = (State.ACCEPTED.value, State.ACCEPTED_PARTIAL.value)
