"""The loop that reads KF accounts: each by one process at a time, from where the last page ended.

A callback only rings; what it rang for is read here, and what no callback told of is found by a slow poll. A page
counts only under the lease that it was asked for with, so a process that was frozen and wakes up changes nothing.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.diagnosis import BEHIND
from services.kf_session.pipeline.taking import Taken, Taking
from services.kf_session.store.accounts import WAKEUP, Accounts, Bell, Held
from shared.clock import Clock
from shared.credentials import FIRST, Credentials
from shared.db.engine import Database
from shared.supervise import Turn
from shared.telemetry import metrics
from shared.telemetry.metrics import Metrics
from shared.wecom.client import WeComClient
from shared.wecom.errcodes import RetryClass
from shared.wecom.kf import KfApi, Page, Pulled
from shared.wecom.outcome import Outcome, State

ABREAST: Final = 8
"""Accounts read at once by one process."""

PAGE: Final = 500
"""Items asked for at once; after a failure fewer, since the page itself may be what fails."""

TOKEN_REFUSED: Final = 95007
_PAUSES: Final = tuple(timedelta(seconds=pause) for pause in (2, 5, 15, 30, 60, 120, 300))
_ANEW_AFTER: Final = 2
"""Refusals of the request in a row after which the cursor is taken for the reason."""
_LOOK = 60.0
_POLL = 1.0
_log = structlog.get_logger("reach.kf_session.puller")


class _LeaseLost(Exception):
    """Somebody else reads the account by now; what we have read is theirs to read again."""


class Puller:
    """See the module. *jitter* gives a random number in [0, 1)."""

    def __init__(
        self,
        database: Database,
        accounts: Accounts,
        taking: Taking,
        credentials: Credentials,
        wecom: WeComClient,
        clock: Clock,
        numbers: Metrics,
        owner: str,
        *,
        lease: timedelta,
        poll: timedelta,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._taking = taking
        self._credentials = credentials
        self._wecom = wecom
        self._clock = clock
        self._numbers = numbers
        self._owner = owner
        self._lease = lease
        self._poll = poll
        self._jitter = jitter
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        self._looked_at: datetime | None = None

    async def run(self, turn: Turn) -> None:
        """Read until cancelled."""
        signal = self._database.wakeups.listen(WAKEUP)
        try:
            while True:
                room = ABREAST - len(self._tasks)
                for held in await self.claim(room) if room and not self._closing else []:
                    task = asyncio.create_task(self._keep(held), name=f"kf pull {held.id}")
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
                    task.add_done_callback(lambda _: signal.set())
                await self._look()
                turn()
                await signal.wait(_POLL)
        finally:
            await self._stop()

    async def claim(self, limit: int = ABREAST) -> list[Held]:
        """Take accounts that are due; none where there is nothing to read them with."""
        if await self._credentials.kf(FIRST) is None:
            return []
        now = self._clock.now()
        return await self._database.transact(
            lambda conn: self._accounts.claim(conn, self._owner, now, self._lease, limit)
        )

    async def pull(self, held: Held) -> None:
        """Read an account to its end, or until it fails; either way its row says when to go on."""
        try:
            await self._pull(held)
        except _LeaseLost:
            self._numbers.add(metrics.WRITES_FENCED, service="kf_session")
            _log.warning("an account was read by somebody else meanwhile", open_kfid=held.id)

    async def drain(self, timeout: float) -> None:
        """Take no more accounts, and wait for those in hand."""
        self._closing = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout)

    async def _keep(self, held: Held) -> None:
        try:
            await self.pull(held)
        except Exception as error:
            # Its lease runs out, and whoever takes it then begins at the last page that was committed.
            _log.error("reading an account failed", open_kfid=held.id, exc_info=error)

    async def _stop(self) -> None:
        """Cancel what is in hand: it reads again from the last page."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _pull(self, held: Held) -> None:
        async with self._database.read() as conn:
            bells = await self._accounts.bells(conn, held.id)
        bell = bells[0] if bells else None
        while True:
            pulled = await self._ask(held, bell)
            if pulled.page is None:
                await self._failed(held, pulled.outcome)
                return
            if await self._take(held, pulled.page, [one.id for one in bells]):
                return
            held = replace(held, cursor=pulled.page.next_cursor)

    async def _ask(self, held: Held, bell: Bell | None) -> Pulled:
        """Ask for a page; once more with another access token, or without the bell's, where that was refused."""
        token = bell.token if bell is not None and bell.opens(self._clock.now()) else ""
        pulled = await self._call(held, token)
        for _ in range(2):
            refreshes = pulled.outcome.retry_class is RetryClass.REFRESH
            if not refreshes and not (token and pulled.outcome.errcode == TOKEN_REFUSED):
                break
            token = token if refreshes else ""
            await self._renew(held)
            pulled = await self._call(held, token)
        return pulled

    async def _call(self, held: Held, token: str) -> Pulled:
        app = await self._credentials.kf(FIRST)
        if app is None:
            return Pulled(Outcome(State.NOT_SENT, "no_secret", "the secret of WeChat KF is gone"))
        limit = max(1, PAGE >> min(2 * held.attempt_no, 16))
        pulled = await KfApi(self._wecom, app).sync(held.id, held.cursor, token, limit)
        self._numbers.add(metrics.KF_PULLS, outcome=_word(pulled.outcome))
        return pulled

    async def _renew(self, held: Held) -> None:
        until = self._clock.now() + self._lease
        pair = [(held.id, held.epoch)]
        if not await self._database.transact(lambda conn: self._accounts.queue.renew(conn, pair, until)):
            raise _LeaseLost

    async def _take(self, held: Held, page: Page, served: list[str]) -> bool:
        """Take a page; whether it was the last one, so that the account rests."""

        async def work(conn: AsyncConnection) -> Taken:
            now = self._clock.now()
            if not await self._accounts.advance(conn, held, page.next_cursor, now, now + self._lease):
                raise _LeaseLost
            taken = await self._taking.take(conn, held, page.items, now)
            if not page.has_more and not await self._accounts.done(conn, held, served, now, now + self._poll):
                raise _LeaseLost
            return taken

        taken = await self._database.transact(work)
        for kind, number in taken.counts.items():
            if number:
                self._numbers.add(metrics.KF_ITEMS, number, kind=kind)
        return not page.has_more

    async def _failed(self, held: Held, outcome: Outcome) -> None:
        pause = _PAUSES[min(held.attempt_no, len(_PAUSES) - 1)]
        pause = max(pause * (0.5 + self._jitter() / 2), outcome.retry_after or timedelta())
        reason = _word(outcome)
        anew = (
            bool(held.cursor)
            and held.attempt_no >= _ANEW_AFTER
            and outcome.retry_class is RetryClass.PERM_INPUT
        )
        _log.error(
            "an account could not be read",
            open_kfid=held.id,
            reason=reason,
            errcode=outcome.errcode,
            errmsg=outcome.errmsg,
            detail=outcome.detail,
            attempt=held.attempt_no + 1,
            again_in_seconds=round(pause.total_seconds(), 1),
            begins_anew=anew,
        )

        async def work(conn: AsyncConnection) -> None:
            now = self._clock.now()
            # What comes a second time is known by its msgid, so beginning anew repeats nothing.
            if anew and not await self._accounts.advance(conn, held, "", now, now + self._lease):
                raise _LeaseLost
            if not await self._accounts.failed(conn, held, reason, now, now + pause):
                raise _LeaseLost

        await self._database.transact(work)

    async def _look(self) -> None:
        """Once a minute: how far behind are we?"""
        now = self._clock.now()
        if self._looked_at is not None and abs((now - self._looked_at).total_seconds()) < _LOOK:
            return
        self._looked_at = now
        async with self._database.read() as conn:
            views = await self._accounts.list(conn)
        behind = {view.id: now - view.read_until for view in views}
        worst = max(behind.values(), default=timedelta())
        self._numbers.set(metrics.KF_BEHIND, max(0.0, worst.total_seconds()))
        for open_kfid, since in behind.items():
            if since > BEHIND:
                _log.error(
                    "an account is far behind, and the platform keeps messages for three days",
                    open_kfid=open_kfid,
                    hours=round(since.total_seconds() / 3600, 1),
                )


def _word(outcome: Outcome) -> str:
    """The outcome in a word that is one of few."""
    if outcome.state is State.ACCEPTED:
        return "accepted"
    if outcome.state in (State.REJECTED_RETRYABLE, State.REJECTED_PERMANENT):
        return outcome.retry_class.value
    return outcome.state.value
