"""What a send says about the credential it was made with; the machine is tests/test_breaker.py."""

from __future__ import annotations

import pytest

from services.notifier.domain.breaker import sign
from services.notifier.domain.lifecycle import AttemptState
from services.notifier.domain.retry import Answer, RetryClass
from shared.breaker import Sign


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(AttemptState.ACCEPTED, errcode=0), Sign.WORKS),
        (Answer(AttemptState.ACCEPTED_PARTIAL, errcode=0), Sign.WORKS),
        (Answer(AttemptState.NOT_SENT, cause="refused"), Sign.FAILS),
        (Answer(AttemptState.UNKNOWN, cause="http_502"), Sign.FAILS),
        (Answer(AttemptState.REJECTED_RETRYABLE, RetryClass.RETRY, -1), Sign.FAILS),
        (Answer(AttemptState.REJECTED_PERMANENT, RetryClass.PERM_CONFIG, 93000), Sign.FAILS),
        (Answer(AttemptState.NOT_SENT, RetryClass.PERM_CONFIG, 40001), Sign.FAILS),
        (Answer(AttemptState.REJECTED_PERMANENT, RetryClass.PERM_CONFIG, 60020), Sign.FAILS),
        (Answer(AttemptState.REJECTED_RETRYABLE, RetryClass.REST, 45009), Sign.NEITHER),
        (Answer(AttemptState.REJECTED_PERMANENT, RetryClass.PERM_INPUT, 40058), Sign.NEITHER),
        (Answer(AttemptState.REJECTED_PERMANENT, RetryClass.PERM_TARGET, 81013), Sign.NEITHER),
        (Answer(AttemptState.REJECTED_PERMANENT, RetryClass.STATE, 95018), Sign.NEITHER),
        (Answer(AttemptState.NOT_SENT, cause="own_database"), Sign.NEITHER),
        (Answer(AttemptState.UNKNOWN, cause="defect"), Sign.NEITHER),
    ],
)
def test_what_a_try_says_about_its_credential(answer: Answer, said: Sign) -> None:
    assert sign(answer, refreshed=False) is said


def test_a_token_that_ended_is_no_failure_and_one_that_is_refused_again_is() -> None:
    refused = Answer(AttemptState.REJECTED_RETRYABLE, RetryClass.REFRESH, 42001)
    assert [sign(refused, refreshed=again) for again in (False, True)] == [Sign.NEITHER, Sign.FAILS]
