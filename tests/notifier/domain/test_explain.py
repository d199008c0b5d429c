"""The story of an event: every "no" has a sentence, in both languages, over the same facts."""

from __future__ import annotations

from datetime import timedelta

import pytest

from services.notifier.domain.decide import decide
from services.notifier.domain.decision import Decision, RuleOutcome, RuleResult
from services.notifier.domain.explain import AttemptTold, DeliveryTold, RecipientTold, Story, explain
from services.notifier.domain.lifecycle import AttemptState, DeliveryStatus
from services.notifier.domain.routing import Role
from services.notifier.domain.rules import Priority, RuleBook
from tests.notifier.domain.builders import NOW, SHANGHAI, TYPES, event, rule, user

MANAGER = {("", Role.MANAGER): (user("li"),)}


def tell(*rules, bindings=MANAGER, **story):
    decision = decide(event(), RuleBook(rules, TYPES), bindings, zone=SHANGHAI, now=NOW)
    steps = explain(Story(NOW, "amqp", decision, **story))
    assert all(step.zh and step.en for step in steps)
    return steps


def codes(steps):
    return [step.code for step in steps]


def delivery(status, **changes):
    return DeliveryTold("d1", "app:default", status, 1, NOW, NOW, **changes)


def test_tells_an_event_from_its_arrival_to_its_end():
    attempt = AttemptTold(1, AttemptState.ACCEPTED, NOW, NOW, errcode=0)
    steps = tell(rule(), deliveries=[delivery(DeliveryStatus.ACCEPTED, attempts=[attempt])])
    assert codes(steps) == ["received", "rule_matched", "planned", "attempt", "accepted"]


def test_says_that_no_rule_listens():
    assert codes(tell()) == ["received", "no_rule"]


def test_says_who_disabled_a_rule_and_until_when():
    (_, step) = tell(
        rule(enabled=False, disabled_by="wang", disabled_at=NOW, disabled_until=NOW + timedelta(hours=1))
    )
    assert step.code == "rule_disabled"
    assert step.facts["disabled_by"] == "wang"
    assert "wang" in step.zh
    assert "wang" in step.en
    assert step.facts["disabled_until"] in step.zh


def test_says_which_role_nobody_holds():
    step = tell(rule(), bindings={})[-1]
    assert (step.code, step.facts["role"]) == ("no_recipient", "manager")
    assert "店长" in step.zh


def test_says_which_field_a_template_missed():
    step = tell(rule(template="{note}"))[-1]
    assert (step.code, step.facts["reason"]) == ("template_failed", "template_field_missing:note")


def test_says_into_which_rule_a_wish_was_merged():
    steps = tell(rule("a"), rule("b", priority=Priority.HIGH))
    (merged,) = [step for step in steps if step.code == "merged"]
    assert (merged.facts["rule_id"], merged.facts["merged_into"]) == ("a", "b")


def test_says_that_copies_came_and_that_the_id_was_derived():
    steps = tell(rule(), duplicates=2, derived_id=True)
    assert codes(steps)[:3] == ["received", "derived_id", "duplicate"]
    assert steps[2].facts == {"count": "2", "duplicate_of": "e1"}


def test_says_what_a_held_delivery_waits_for_and_until_when():
    held = delivery(DeliveryStatus.DEFERRED, hold_reason="rate:member", due_at=NOW + timedelta(seconds=30))
    step = tell(rule(), deliveries=[held])[-1]
    assert step.code == "deferred"
    assert (step.facts["hold_reason"], step.facts["until"]) == ("rate:member", "2026-02-20 04:30:30+00:00")


def test_names_recipients_that_were_not_reached():
    accepted = delivery(DeliveryStatus.ACCEPTED, exceptions=[RecipientTold(user("gone"), "invalid_user")])
    step = tell(rule(), deliveries=[accepted])[-1]
    assert (step.code, step.facts["target"]) == ("recipient_failed", "user:gone")


@pytest.mark.parametrize("status", DeliveryStatus)
@pytest.mark.parametrize("state", AttemptState)
def test_has_words_for_every_state(status, state):
    attempt = AttemptTold(1, state, NOW, detail="x", http_status=502)
    tell(rule(), deliveries=[delivery(status, attempts=[attempt], reason="newer_than_this")])


def test_a_preview_has_no_arrival():
    decision = decide(event(), RuleBook([rule()], TYPES), MANAGER, zone=SHANGHAI, now=NOW)
    assert codes(explain(Story(None, "", decision))) == ["rule_matched", "planned"]


def test_what_somebody_wrote_matches_no_rule():
    outcome = RuleOutcome("", 0, "", RuleResult.PLANNED, Priority.NORMAL)
    assert not explain(Story(None, "", Decision("m1", "message", "s1", 1, (outcome,), (), ())))


@pytest.mark.parametrize(
    ("held", "change"),
    [
        (delivery(DeliveryStatus.DEFERRED, hold_reason="breaker:open", due_at=NOW), "ResetBreaker"),
        (delivery(DeliveryStatus.DEFERRED, hold_reason="budget:30/1h:role:manager", due_at=NOW), "30/1h"),
        (delivery(DeliveryStatus.SUPPRESSED, reason="budget:30/1h:role:manager@s1"), "role:manager@s1"),
    ],
)
def test_says_what_would_let_a_delivery_through_that_a_breaker_or_a_budget_keeps(held, change):
    step = tell(rule(), deliveries=[held])[-1]
    assert change in step.change_zh
    assert change in step.change_en
    assert "budget:" not in step.zh + step.en


def test_says_no_change_for_a_delivery_that_only_waits_its_turn():
    held = delivery(DeliveryStatus.DEFERRED, hold_reason="rate:member", due_at=NOW)
    step = tell(rule(), deliveries=[held])[-1]
    assert (step.change_zh, step.change_en) == ("", "")


def test_sentences_give_times_on_the_stores_clocks_and_facts_in_utc():
    off = rule(enabled=False, disabled_by="wang", disabled_at=NOW)
    (_, step) = tell(off, zone=SHANGHAI)
    assert step.facts["disabled_at"].endswith("+00:00")
    assert NOW.astimezone(SHANGHAI).isoformat(" ", "seconds") in step.zh
    assert "+08:00" in step.en
