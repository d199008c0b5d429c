"""What a send says about its credential; how the breaker of one moves is ``shared.breaker``."""

from __future__ import annotations

from services.notifier.domain.lifecycle import AttemptState
from services.notifier.domain.retry import Answer, RetryClass
from shared.breaker import Sign

HELD = "breaker:open"
"""What a delivery waits for whose credential's breaker is open."""


def sign(answer: Answer, *, refreshed: bool) -> Sign:
    """What *answer* says about the credential; *refreshed*: its token had been renewed for this delivery before."""
    if answer.state in (AttemptState.ACCEPTED, AttemptState.ACCEPTED_PARTIAL):
        return Sign.WORKS
    if answer.cause in _OURS or answer.retry_class in _ABOUT_THE_MESSAGE:
        return Sign.NEITHER
    if answer.retry_class is RetryClass.REFRESH and not refreshed:
        return Sign.NEITHER  # tokens end: all that were under way meet it at once, and a fresh one mends it
    return Sign.FAILS


_OURS = frozenset({"own_database", "content_unsuitable", "stopped", "defect", "pool_unknown"})
_ABOUT_THE_MESSAGE = frozenset(
    # An account that was too fast rests, which is a wait of its own.
    {RetryClass.PERM_INPUT, RetryClass.PERM_TARGET, RetryClass.STATE, RetryClass.REST}
)
