"""Every word of ours has its words for people."""

from __future__ import annotations

import pytest

from services.campaign.domain import brake, making, permit
from services.campaign.domain.eligibility import Reason
from services.campaign.domain.following import Reminded
from services.campaign.domain.lifecycle import Status
from services.campaign.domain.outcomes import TargetStatus, TaskStatus
from services.campaign.domain.words import HOLDS, REASONS, REMINDED, STATUSES, TARGETS, TASKS, told


@pytest.mark.parametrize(
    ("words", "known"),
    [
        (STATUSES, set(Status)),
        (TARGETS, {*TargetStatus, "excluded"}),
        (TASKS, set(TaskStatus)),
        (REMINDED, {"", *Reminded}),
    ],
)
def test_each_state_has_a_name_and_no_other_has(words, known):
    assert set(words) == {str(one) for one in known}


def test_each_reason_has_its_words():
    own = {brake.BRAKE, brake.CANARY_FAILED, brake.OWN_CHECK}
    refusals = {
        value
        for name, value in vars(permit).items()
        if name.isupper() and isinstance(value, str) and name not in ("PAUSED", "NOT_RUNNING")
    }
    platform = {*making._OF_OWNER.values(), *making._OF_TASK.values()}
    assert {*map(str, Reason), *own, *refusals, *platform} <= set(REASONS)


def test_each_has_both_languages():
    for words in (STATUSES, TARGETS, TASKS, REMINDED, REASONS, HOLDS):
        for zh, en in words.values():
            assert any("\u4e00" <= letter <= "\u9fff" for letter in zh)
            assert en.isascii()


def test_what_is_not_known_stands_for_itself():
    assert told(REASONS, "something_new") == ("something_new", "something_new")
