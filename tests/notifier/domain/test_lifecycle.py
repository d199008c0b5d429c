"""The life of a delivery: every pair of state and verb is decided."""

from __future__ import annotations

import itertools

import pytest

from services.notifier.domain.lifecycle import TRANSITIONS, DeliveryStatus, RecipientStatus, Verb, after
from services.notifier.domain.recipients import Refused, exceptions, follows
from services.notifier.domain.routing import Target, TargetKind
from shared.errors import Conflict
from tests.notifier.domain.builders import robot, user


@pytest.mark.parametrize(("status", "verb"), list(itertools.product(DeliveryStatus, Verb)), ids=str)
def test_every_pair_is_decided(status, verb):
    if (status, verb) in TRANSITIONS:
        assert after(status, verb) is TRANSITIONS[status, verb]
    else:
        with pytest.raises(Conflict) as refusal:
            after(status, verb)
        assert refusal.value.reason == "STATE_INVALID"
        assert refusal.value.facts == {"state": status, "verb": verb}


def test_every_verb_leads_somewhere_and_every_open_state_can_end():
    assert {verb for _, verb in TRANSITIONS} == set(Verb)
    assert {status for status, _ in TRANSITIONS if status.open} == {s for s in DeliveryStatus if s.open}


def test_what_was_accepted_or_suppressed_stays_so():
    left = {status for status, _ in TRANSITIONS}
    assert set(DeliveryStatus) - left == {DeliveryStatus.ACCEPTED, DeliveryStatus.SUPPRESSED}


@pytest.mark.parametrize("status", DeliveryStatus)
def test_a_recipient_without_an_outcome_of_its_own_follows_its_delivery(status):
    assert follows(status) in RecipientStatus
    assert (follows(status) is RecipientStatus.PENDING) == status.open


def test_recipients_named_by_the_platform_are_told_apart_from_the_rest():
    party, tag = Target(TargetKind.PARTY, "2", "default"), Target(TargetKind.TAG, "7", "default")
    refused = Refused.of(users=["zhangSAN"], unlicensed=["wang"], parties=["2"], tags=["7"])
    assert exceptions([user("ZhangSan"), user("li"), user("Wang"), party, tag, robot("2")], refused) == {
        user("ZhangSan"): "invalid_user",
        user("Wang"): "unlicensed_user",
        party: "invalid_party",
        tag: "invalid_tag",
    }
