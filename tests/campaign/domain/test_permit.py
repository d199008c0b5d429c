"""The one question before anything is sent, over facts alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.campaign.domain.lifecycle import Status
from services.campaign.domain.permit import (
    PASSING,
    Consent,
    Facts,
    canonical,
    claim_refusal,
    consent_refusal,
    is_author,
)

NOW = datetime(2026, 3, 2, 4, tzinfo=UTC)
CONSENT = Consent(True, 3, "s1", "h", "ben", "t", NOW, NOW + timedelta(hours=1))
GOOD = Facts(
    store_id="s1",
    version=3,
    frozen_hash="h",
    content_hash="h",
    authors=frozenset({"ann"}),
    consent=CONSENT,
    approver_stands=True,
    clean=True,
    live=True,
)

WRONG = {
    "not_submitted": {"frozen_hash": ""},
    "not_approved": {"consent": None},
    "version_changed": {"version": 4},
    "content_changed": {"content_hash": "g"},
    "approval_expired": {"consent": replace(CONSENT, expires_at=NOW)},
    "four_eyes": {"authors": frozenset({"ann", "ben"})},
    "approver_unknown": {"approver_stands": None},
    "approver_gone": {"approver_stands": False},
    "block_word": {"clean": False},
    "dry_run_only": {"live": False},
}


def asked(facts, status=Status.RUNNING, version=3, content_hash="h"):
    return claim_refusal(facts, status, version, content_hash, NOW)


def test_what_was_approved_and_runs_may_be_sent():
    assert asked(GOOD) == ""
    assert consent_refusal(GOOD, NOW) == ""


@pytest.mark.parametrize("reason", WRONG)
def test_each_thing_that_is_wrong_has_its_reason(reason):
    assert consent_refusal(replace(GOOD, **WRONG[reason]), NOW) == reason


@given(st.sets(st.sampled_from(sorted(WRONG)), min_size=1))
def test_nothing_that_is_wrong_makes_up_for_something_else(reasons):
    facts = GOOD
    for reason in sorted(reasons):
        facts = replace(facts, **WRONG[reason])
    assert asked(facts, version=facts.version, content_hash=facts.content_hash) in reasons


@pytest.mark.parametrize("status", [one for one in Status if one is not Status.RUNNING])
def test_only_what_runs_is_sent(status):
    assert asked(GOOD, status) == ("paused" if status is Status.PAUSED else "not_running")


def test_a_task_of_another_version_or_of_other_words_is_refused():
    assert asked(GOOD, version=2) == "version_changed"
    assert asked(GOOD, content_hash="g") == "content_changed"


def test_an_approval_of_another_store_or_version_holds_for_nothing():
    for changes in ({"store_id": "s2"}, {"version": 2}):
        assert asked(replace(GOOD, consent=replace(CONSENT, **changes))) == "version_changed"
    assert asked(replace(GOOD, consent=replace(CONSENT, approved=False))) == "not_approved"
    assert asked(replace(GOOD, consent=replace(CONSENT, content_hash="g"))) == "content_changed"


def test_only_what_can_pass_by_itself_is_waited_for():
    assert {"paused", "dry_run_only", "approver_unknown"} == PASSING


@pytest.mark.parametrize("other", ["Ben", "ＢＥＮ", " ben ", "bEN\u3000", "ﬂora"])
def test_a_subject_is_the_same_however_it_is_written(other):
    assert is_author(other, {"ben", "flora"})


def test_nobody_is_an_author_of_what_the_service_wrote():
    assert not is_author("", {""})
    assert not is_author("ben", {"ann"})


@given(st.text())
def test_the_canonical_form_of_a_canonical_form_is_itself(text):
    assert canonical(canonical(text)) == canonical(text)
