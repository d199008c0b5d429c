"""What one finished call does to its push, its credit and what we know of its session: one transaction."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from datetime import datetime

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.lifecycle import Came, Credit, Next, PushStatus, Tries, after
from services.kf_session.domain.window import SessionState
from services.kf_session.pipeline import hearing
from services.kf_session.pipeline.admitting import WAKEUP
from services.kf_session.pipeline.correcting import correct
from services.kf_session.pipeline.deciding import Job
from services.kf_session.pipeline.push_announcing import announce
from services.kf_session.store import ledger, outgoing
from services.kf_session.store.ledger import SessionKey, Standing
from services.kf_session.store.outgoing import Claimed
from shared.clock import Clock
from shared.db.engine import Database
from shared.db.queue import DueQueue, Settlement
from shared.telemetry import metrics
from shared.telemetry.metrics import Metrics
from shared.wecom.errcodes import RetryClass
from shared.wecom.kf_sending import COUNT_REACHED, STATE_FORBIDS, WINDOW_OVER, Sent
from shared.wecom.outcome import Outcome, State

_log = structlog.get_logger("reach.kf_session.push")

LOST = Sent(Outcome(State.UNKNOWN, cause="lost", detail="the sender stopped before an answer came"))
"""What became of a call whose sender is gone."""

ReadState = Callable[[SessionKey], Awaitable[int | None]]
"""Asks the platform where a session is; None where it did not say."""

_CAME = {
    COUNT_REACHED: Came.FULL,
    WINDOW_OVER: Came.CLOSED,
    95031: Came.CLOSED,
    STATE_FORBIDS: Came.STATE,
    95013: Came.STATE,
}


def came_of(sent: Sent) -> Came:
    """The answer in one word."""
    outcome = sent.outcome
    if outcome.state in (State.ACCEPTED, State.ACCEPTED_PARTIAL):
        return Came.ACCEPTED
    if outcome.state is State.UNKNOWN:
        return Came.UNKNOWN
    if outcome.errcode in _CAME:
        return _CAME[outcome.errcode]
    if sent.says_repeated:
        return Came.REPEATED
    if outcome.retry_class is RetryClass.REST:
        return Came.REST
    if outcome.retry_class is RetryClass.REFRESH:
        return Came.TOKEN
    if outcome.state is State.NOT_SENT:
        permanent = outcome.retry_class not in (RetryClass.NONE, RetryClass.RETRY)
        return Came.REFUSED if permanent else Came.NOT_SENT
    return Came.BUSY if outcome.state is State.REJECTED_RETRYABLE else Came.REFUSED


class Settler:
    """Writes how calls ended."""

    def __init__(
        self,
        database: Database,
        queue: DueQueue,
        clock: Clock,
        numbers: Metrics,
        read_state: ReadState,
        *,
        on_settled: Callable[[], None] = lambda: None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._queue = queue
        self._clock = clock
        self._numbers = numbers
        self._read_state = read_state
        self._on_settled = on_settled
        self._jitter = jitter

    async def settle(self, job: Job, sent: Sent) -> PushStatus | None:
        """What became of the push; None where another replica has taken it over meanwhile."""
        came = came_of(sent)
        # The platform says that the state forbids it: which one it is in, only it can say. Asked outside the transaction.
        state = await self._read_state(job.push.key) if came is Came.STATE and not job.by_code else None
        drawn = self._jitter()

        async def write(conn: AsyncConnection) -> PushStatus | None:
            return await self._write(conn, job, sent, came, state, drawn)

        status = await self._database.transact(write)
        outcome = sent.outcome.state.value
        self._numbers.add(metrics.ATTEMPTS, service="kf_session", channel="kf", outcome=outcome)
        if status is None:
            self._numbers.add(metrics.WRITES_FENCED, service="kf_session")
        if came is not Came.ACCEPTED:
            told = {"outcome": outcome, "errcode": sent.outcome.errcode, "detail": sent.outcome.detail}
            _log.warning(
                "attempt", push_id=job.push.id, attempt_no=job.push.attempts + 1, then=status, **told
            )
        self._on_settled()
        return status

    async def _write(
        self, conn: AsyncConnection, job: Job, sent: Sent, came: Came, state: int | None, drawn: float
    ) -> PushStatus | None:
        one, outcome, now = job.push, sent.outcome, self._clock.now()
        standing = await ledger.lock(conn, one.key)
        following = after(
            came,
            Tries(one.retries, one.refreshes, job.unclear),
            one.purpose,
            now,
            jitter=drawn,
            errcode=outcome.errcode,
            cause=outcome.cause or str(outcome.retry_class),
            wait=outcome.retry_after,
            by_code=job.by_code,
        )
        kept = await self._queue.settle(conn, [_settlement(one, following, now)])
        if one.id not in kept:
            # Whoever took it over counts it as unknown, and keeps the credit: nothing is given back here.
            # Its attempt is whoever's who took it over, too.
            return None
        await outgoing.finish_attempt(
            conn,
            one,
            state=outcome.state.value,
            http_status=outcome.http_status or 0,
            errcode=outcome.errcode,
            detail=outcome.errmsg or outcome.detail,
            now=now,
        )
        await self._account(conn, one, following, came, sent.platform_at, now)
        if standing is not None and not job.by_code and not _overtaken(job, standing, came, state):
            await correct(conn, standing, came, state, now, sent.platform_at)
        status, reason, attempts = following.status, following.reason, one.attempts + 1
        if status is PushStatus.ACCEPTED and (fail := await hearing.overtook(conn, one.id)) is not None:
            status, reason = PushStatus.FAILED, fail
        await announce(conn, self._database, one, status, reason, outcome.errcode, now, attempts=attempts)
        self._database.wakeups.notify(conn, WAKEUP)
        return status

    @staticmethod
    async def _account(
        conn: AsyncConnection,
        one: Claimed,
        following: Next,
        came: Came,
        platform_at: datetime | None,
        now: datetime,
    ) -> None:
        match following.credit:
            case Credit.SPEND:
                # Of a repeat the answer's time is not the time at which the first try was taken, unless that was lost.
                at = platform_at if came is Came.ACCEPTED else None
                await ledger.spend(conn, {one.id: at}, now)
            case Credit.GIVE_BACK:
                await ledger.give_back(conn, [one.id])
            case Credit.KEEP:
                pass


def _overtaken(job: Job, standing: Standing, came: Came, state: int | None) -> bool:
    """Whether a refusal is about a window that the customer has ended by writing since."""
    if job.window_no is None or job.window_no == standing.window_no:
        return False
    return came in (Came.FULL, Came.CLOSED) or (
        came is Came.STATE and state is not None and SessionState(state).ours
    )


def _settlement(one: Claimed, following: Next, now: datetime) -> Settlement:
    accepted = following.status is PushStatus.ACCEPTED
    return Settlement(
        one.id,
        one.epoch,
        following.status.value,
        one.attempts + 1,
        following.due_at,
        following.hold_reason or None,
        {
            "retries": one.retries + following.counts_as_retry,
            "refreshes": one.refreshes + following.counts_as_refresh,
            "reason": following.reason,
            "accepted_at": now if accepted else None,
            "updated_at": now,
        },
    )
