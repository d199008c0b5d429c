"""What one finished attempt does to its delivery: pure translation between answers, policy and rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from services.notifier.domain import breaker, retry
from services.notifier.domain.lifecycle import AttemptState, DeliveryStatus
from services.notifier.domain.recipients import Refused, exceptions
from services.notifier.domain.retry import Answer, Next, RetryClass, Spent
from services.notifier.domain.routing import Channel
from services.notifier.domain.rules import Priority
from services.notifier.pipeline.job import Finished, Job
from services.notifier.store.work import AttemptOutcome, RecipientOutcome
from shared.breaker import Sign
from shared.db.queue import Settlement
from shared.values import value_class
from shared.wecom.errcodes import RetryClass as WireClass
from shared.wecom.outcome import Outcome

_UNDELIVERED: Final = frozenset(
    state.value
    for state in (
        AttemptState.NOT_SENT,
        AttemptState.REJECTED_RETRYABLE,
        AttemptState.REJECTED_PERMANENT,
    )
)

LOST: Final = "the sender stopped before an answer came"
"""Detail of an attempt whose sender died or lost its lease."""

LATE: Final = "known only after the lease was lost: "
"""Begins the detail of an attempt that was called unknown and then answered: why another may have followed it."""


_RETRY: Final[Mapping[WireClass, RetryClass]] = {
    word: RetryClass(word.value) for word in WireClass if word is not WireClass.NONE
}


@value_class
class Settled:
    """Everything to be written about one attempt."""

    job: Job
    settlement: Settlement
    attempt: AttemptOutcome
    marks: tuple[RecipientOutcome, ...]
    next: Next
    errcode: int | None
    began: datetime
    sign: Sign = Sign.NEITHER
    """What it says about the credential."""
    response_code: str | None = None
    """What updates a card with buttons."""

    @property
    def final(self) -> bool:
        """Whether the delivery is over."""
        return not self.next.status.open

    @property
    def unsent(self) -> bool:
        """Whether certainly nothing left, so that what was reserved for it is free again."""
        return self.attempt.state == AttemptState.NOT_SENT.value

    @property
    def undelivered(self) -> bool:
        """Whether certainly nobody got it, so that what was counted for people is free again."""
        return self.attempt.state in _UNDELIVERED


def settle(finished: Finished, now: datetime, jitter: float) -> Settled:
    """What follows from an attempt that was made, or from one that was not for a reason of our own."""
    job, outcome = finished.job, finished.outcome
    if outcome is None:
        released = Next(DeliveryStatus.PENDING)
        state = AttemptState.NOT_SENT
        return _settled(job, released, _attempt(job, state, now, detail=finished.why), (), now, None)
    answer = _answer(outcome)
    said = breaker.sign(answer, refreshed=job.refreshes > 0)
    following = _policy(job, answer, now, finished.started_at, jitter)
    if said is Sign.FAILS and job.others:
        following = retry.by_another(following, job.retries, now)
    marks = _marks(job, outcome, following) if answer.state is not AttemptState.ACCEPTED else ()
    unclear = _unclear_since(job, answer.state, finished.started_at)
    attempt = AttemptOutcome(
        job.delivery_id,
        job.attempt_no,
        answer.state.value,
        outcome.http_status or 0,
        outcome.errcode,
        outcome.errmsg or outcome.detail,
        outcome.msgid or "",
        finished.finished_at,
    )
    settlement = _settlement(job, following, now, unclear)
    began, code = finished.started_at, outcome.response_code
    return Settled(job, settlement, attempt, marks, following, outcome.errcode, began, said, code)


def settle_lost(job: Job, started_at: datetime, now: datetime, jitter: float) -> Settled:
    """What follows from an attempt whose sender is gone: nobody can tell whether it was made."""
    answer = Answer(AttemptState.UNKNOWN)
    following = _policy(job, answer, now, started_at, jitter)
    unclear = _unclear_since(job, AttemptState.UNKNOWN, started_at)
    return _settled(job, following, _attempt(job, AttemptState.UNKNOWN, now, detail=LOST), (), now, unclear)


def end_late(job: Job, now: datetime) -> Settled:
    """The end of a claimed delivery that was unclear once and came too late to be tried again; no attempt was made."""
    made = replace(job, attempt_no=job.attempt_no - 1)
    attempt = _attempt(made, AttemptState.NOT_SENT, now, detail="")
    return _settled(made, retry.LOST, attempt, (), now, job.unclear_since)


def end_dropped(job: Job, now: datetime, reason: str) -> Settled:
    """The end of a claimed delivery for which a budget has no room and wants none made; no attempt was made."""
    made = replace(job, attempt_no=job.attempt_no - 1)
    attempt = _attempt(made, AttemptState.NOT_SENT, now, detail="")
    return _settled(made, Next(DeliveryStatus.SUPPRESSED, reason), attempt, (), now, job.unclear_since)


def late(attempt: AttemptOutcome) -> AttemptOutcome:
    """*attempt* as it is recorded when its delivery was meanwhile taken over."""
    if attempt.state == AttemptState.UNKNOWN.value:
        return attempt
    return replace(attempt, detail=LATE + attempt.detail)


def _policy(job: Job, answer: Answer, now: datetime, started_at: datetime, jitter: float) -> Next:
    spent = Spent(job.retries, job.refreshes, job.resend_mark, job.unclear_since)
    return retry.after(
        answer,
        channel=Channel(job.channel.partition(":")[0]),
        priority=Priority(job.priority),
        spent=spent,
        now=now,
        started_at=started_at,
        jitter=jitter,
    )


def _answer(outcome: Outcome) -> Answer:
    return Answer(
        state=AttemptState(outcome.state),
        retry_class=_RETRY.get(outcome.retry_class),
        errcode=outcome.errcode,
        cause=outcome.cause,
        retry_after=outcome.retry_after,
    )


def _unclear_since(job: Job, state: AttemptState, started_at: datetime) -> datetime | None:
    return job.unclear_since or (started_at if state is AttemptState.UNKNOWN else None)


def _marks(job: Job, outcome: Outcome, following: Next) -> tuple[RecipientOutcome, ...]:
    # Marked recipients are left out of later attempts, so only an end may mark them.
    if following.status.open:
        return ()
    refused = Refused.of(
        users=outcome.invalid_users,
        unlicensed=outcome.unlicensed_users,
        parties=outcome.invalid_parties,
        tags=outcome.invalid_tags,
    )
    return tuple(
        RecipientOutcome(job.delivery_id, target.kind.value, target.id, "failed", reason)
        for target, reason in exceptions(job.targets, refused).items()
    )


def _attempt(job: Job, state: AttemptState, now: datetime, *, detail: str) -> AttemptOutcome:
    return AttemptOutcome(job.delivery_id, job.attempt_no, state.value, 0, None, detail, "", now)


def _settled(
    job: Job,
    following: Next,
    attempt: AttemptOutcome,
    marks: tuple[RecipientOutcome, ...],
    now: datetime,
    unclear_since: datetime | None,
) -> Settled:
    settlement = _settlement(job, following, now, unclear_since)
    return Settled(job, settlement, attempt, marks, following, None, now)


def _settlement(job: Job, following: Next, now: datetime, unclear_since: datetime | None) -> Settlement:
    return Settlement(
        id=job.delivery_id,
        epoch=job.epoch,
        status=following.status.value,
        attempt_no=job.attempt_no,
        due_at=following.due_at,
        hold_reason=following.hold_reason or None,
        extra={
            "retries": job.retries + following.counts_as_retry,
            "refreshes": job.refreshes + following.counts_as_refresh,
            "resend_mark": following.resend_mark if following.status.open else job.resend_mark,
            "unclear_since": unclear_since,
            "reason": following.reason,
            "updated_at": now,
        },
    )


def put_off(job: Job, now: datetime, until: datetime, hold_reason: str) -> Settlement:
    """The settlement of a claimed delivery that may not go yet; no attempt was made."""
    return Settlement(
        id=job.delivery_id,
        epoch=job.epoch,
        status=DeliveryStatus.DEFERRED.value,
        attempt_no=job.attempt_no - 1,
        due_at=max(until, now + timedelta(milliseconds=1)),
        hold_reason=hold_reason,
        extra=_unchanged(job, now),
    )


def _unchanged(job: Job, now: datetime) -> dict[str, object]:
    return {
        "retries": job.retries,
        "refreshes": job.refreshes,
        "resend_mark": job.resend_mark,
        "unclear_since": job.unclear_since,
        "reason": "",
        "updated_at": now,
    }
