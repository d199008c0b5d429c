"""What must hold of a history at rest. Each rule names what it protects; a violation shows the slice it was seen in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from services.notifier.domain.content import RESEND_MARK
from services.notifier.pipeline.settling import LATE
from tests.chaos.history import Attempt, Delivery, History

TERMINAL: Final = frozenset({"accepted", "failed", "unknown", "suppressed", "expired", "cancelled"})
_SENT: Final = frozenset({"accepted", "accepted_partial"})
_GOES_ON: Final = frozenset({"unknown", "rejected_retryable", "not_sent"})
"""States of an attempt after which another may follow."""

_HIGH: Final = 1
"""The lowest priority whose robot post is sent once more when its outcome is unknown."""


@dataclass(frozen=True)
class Violation:
    """A promise that was broken."""

    invariant: str
    text: str
    slice: str

    def __str__(self) -> str:
        return f"{self.invariant}: {self.text}\n    {self.slice}"


Found = Iterator[Violation]


def check(history: History) -> list[Violation]:
    """Everything that is wrong with *history*; empty when all is well."""
    return [violation for rule in RULES for violation in rule(history)]


def lost_events(history: History) -> Found:
    """I1: what was accepted is recorded, and planned for exactly those it must reach."""
    planned: dict[str, list[tuple[str, str, str]]] = {}
    for one in history.deliveries.values():
        planned.setdefault(one.event_id, []).extend(history.recipients.get(one.id, []))
    for event_id, wanted in history.accepted.items():
        if event_id not in history.recorded:
            yield Violation(
                "I1 lost", f"{event_id} was accepted and is not recorded", "\n    ".join(history.log)
            )
            continue
        got = planned.get(event_id, [])
        if sorted(got) != sorted(wanted):
            text = f"{event_id} must reach {sorted(wanted)} and was planned for {sorted(got)}"
            yield Violation(
                "I1 lost" if set(wanted) - set(got) else "I4 doubled", text, "\n    ".join(history.log)
            )


def parked_events(history: History) -> Found:
    """I8: nothing healthy is parked because processes died around it."""
    for letter in history.parked:
        yield Violation("I8 parked", letter, "\n    ".join(history.log))


def stuck_work(history: History) -> Found:
    """I1: at rest nothing is under way."""
    for one in history.deliveries.values():
        if one.status not in TERMINAL:
            yield Violation("I1 stuck", f"{one.id} is {one.status}", history.tell(one.id))
    for delivery_id, attempts in history.attempts.items():
        if any(attempt.state == "started" for attempt in attempts):
            yield Violation(
                "I12 stuck", f"an attempt of {delivery_id} is still started", history.tell(delivery_id)
            )
    if history.unpublished:
        text = f"{history.unpublished} events wait in the outbox"
        yield Violation("I1 stuck", text, "\n    ".join(history.log))


def numbered_attempts(history: History) -> Found:
    """I2: attempts are numbered without a gap, as many as the delivery counts."""
    for one in history.deliveries.values():
        numbers = [attempt.number for attempt in history.attempts.get(one.id, ())]
        if numbers != list(range(1, one.attempt_no + 1)):
            text = f"{one.id} counts {one.attempt_no} attempts and has {numbers}"
            yield Violation("I2 numbers", text, history.tell(one.id))


def one_post_per_attempt(history: History) -> Found:
    """I2: at most one request for each attempt that may have made one."""
    for post in history.strays:
        yield Violation("I2 stray", f"a post belongs to no delivery: {post}", "\n    ".join(history.log))
    for delivery_id, posts in history.posts.items():
        may = [one for one in history.attempts.get(delivery_id, ()) if one.state != "not_sent"]
        if len(posts) > len(may):
            text = f"{delivery_id}: {len(posts)} posts for {len(may)} attempts that may have made one"
            yield Violation("I2 second post", text, history.tell(delivery_id))


def explained_attempts(history: History) -> Found:
    """I2, I3: a further attempt has a reason on record: the one before was not sent, was refused, or nobody knew."""
    for delivery_id, attempts in history.attempts.items():
        one = history.deliveries[delivery_id]
        for before, after in pairwise(attempts):
            if not _explains(before):
                text = f"attempt {after.number} of {delivery_id} follows one that was {before.state}"
                yield Violation("I2 unexplained", text, history.tell(delivery_id))
        yield from _robot_policy(history, one, attempts)


def _explains(before: Attempt) -> bool:
    # What was decided on while it was unknown, and became known later, says so.
    return before.state in _GOES_ON or before.detail.startswith(LATE)


def _robot_policy(history: History, one: Delivery, attempts: list[Attempt]) -> Found:
    """A robot cannot tell a repeat: urgent and high go once more, marked; the others stay unknown."""
    unclear = [attempt.number for attempt in attempts if attempt.state == "unknown"]
    if not one.channel.startswith("robot:") or not unclear:
        return
    posted = len(history.posts.get(one.id, ()))
    if one.priority > _HIGH and len(attempts) > unclear[0]:
        yield Violation("I3 policy", f"{one.id} was tried again after an unknown", history.tell(one.id))
    if len(unclear) > 2 or posted > 2:
        yield Violation("I3 policy", f"{one.id} was repeated more than once", history.tell(one.id))
    if posted == 2 and RESEND_MARK not in history.posts[one.id][-1].text:
        yield Violation("I3 policy", f"the repeat of {one.id} is not marked", history.tell(one.id))


def honest_outcomes(history: History) -> Found:
    """I3: a delivery's status is what its attempts and the platform say."""
    for one in history.deliveries.values():
        attempts = history.attempts.get(one.id, [])
        taken = any(post.errcode == 0 for post in history.posts.get(one.id, ()))
        if one.status == "accepted" and not (taken and attempts and attempts[-1].state in _SENT):
            yield Violation("I3 outcome", f"{one.id} is accepted, which nobody did", history.tell(one.id))
        if one.status == "unknown" and all(
            attempt.state != "unknown" and not attempt.detail.startswith(LATE) for attempt in attempts
        ):
            yield Violation(
                "I3 outcome", f"{one.id} is unknown without an unknown attempt", history.tell(one.id)
            )
        if one.status == "failed":
            yield Violation("I1 failed", f"{one.id} failed, and nothing refused it", history.tell(one.id))


def arrivals(history: History) -> Found:
    """Who was promised a message has it, and an app's message once: the platform recognised every repeat."""
    for one in history.deliveries.values():
        if not one.channel.startswith("app:") or one.status != "accepted":
            continue
        for _, kind, target in history.recipients.get(one.id, ()):
            shown = history.arrivals[one.id, target if kind == "user" else f"{kind}:{target}"]
            if shown != 1:
                yield Violation(
                    "I1 arrival", f"{one.id} was shown {shown} times to {target}", history.tell(one.id)
                )


RULES: Final[tuple[Callable[[History], Found], ...]] = (
    lost_events,
    parked_events,
    stuck_work,
    numbered_attempts,
    one_post_per_attempt,
    explained_attempts,
    honest_outcomes,
    arrivals,
)


def sums(history: History) -> dict[str, int]:
    """The totals that must agree, for the report."""
    found = {
        "accepted events": len(history.accepted),
        "recorded events": len(history.recorded),
        "deliveries": len(history.deliveries),
        "attempts": sum(map(len, history.attempts.values())),
        "posts": sum(map(len, history.posts.values())) + len(history.strays),
    }
    for one in history.deliveries.values():
        found[one.status] = found.get(one.status, 0) + 1
    unclear = sum(a.state == "unknown" for attempts in history.attempts.values() for a in attempts)
    return found | {"unknown attempts": unclear}
