"""Whom to tell instead: where a role is empty, and what a chain may say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.notifier.domain.content import Content, Format
from services.notifier.domain.decide import decide
from services.notifier.domain.decision import Decision, Verdict
from services.notifier.domain.explain import Story, explain
from services.notifier.domain.fallback import MOST_STEPS, Step, chain, noted, read, written
from services.notifier.domain.routing import Role, Target, TargetKind
from services.notifier.domain.rules import Rule, RuleBook, check
from shared.errors import Invalid
from tests.notifier.domain.builders import NOW, SHANGHAI, TYPES, event, robot, rule, user

KITCHEN = (Role.KITCHEN_STAFF,)
BINDINGS = {("", Role.MANAGER): (user("li"),), ("", Role.FRONT_DESK): (user("wang"),)}


def made(*rules: Rule, bindings: dict[tuple[str, Role], tuple[Target, ...]] | None = None) -> Decision:
    book = RuleBook(rules, TYPES, version=1)
    return decide(event(), book, BINDINGS if bindings is None else bindings, zone=SHANGHAI, now=NOW)


def told(decision: Decision) -> list[str]:
    return [str(one.target) for call in decision.calls for one in call.recipients]


def test_a_rule_that_says_nothing_tells_the_manager_instead() -> None:
    decision = made(rule(roles=KITCHEN))
    assert (decision.verdict, told(decision)) == (Verdict.PLANNED, ["user:li"])
    (outcome,) = decision.outcomes[0].roles
    assert (outcome.targets, outcome.fallback) == (0, "manager")
    steps = {step.code: step for step in explain(Story(None, "grpc", decision))}
    assert steps["no_recipient"].facts["role"] == "kitchen_staff"
    assert steps["fallback_used"].zh == "岗位「后厨」没有接收人，改为通知「店长」"
    assert steps["fallback_used"].facts["fallback"] == "manager"


def test_a_rule_that_wants_nobody_instead_tells_nobody() -> None:
    decision = made(rule(roles=KITCHEN, fallback=()))
    assert (decision.verdict, told(decision)) == (Verdict.NO_RECIPIENT, [])


def test_the_manager_does_not_stand_in_for_himself() -> None:
    assert made(rule(), bindings={}).verdict is Verdict.NO_RECIPIENT
    assert chain(None, (Role.MANAGER, Role.CASHIER)) == ()


def test_the_first_step_that_leads_to_anybody_is_taken() -> None:
    steps: tuple[Step, ...] = (Role.CASHIER, Role.FRONT_DESK, robot("kitchen"))
    assert told(made(rule(roles=KITCHEN, fallback=steps))) == ["user:wang"]
    assert told(made(rule(roles=KITCHEN, fallback=steps), bindings={})) == ["robot:kitchen"]


def test_whoever_is_told_already_is_told_once() -> None:
    both = (Role.KITCHEN_STAFF, Role.FRONT_DESK)
    decision = made(rule(roles=both, fallback=(Role.FRONT_DESK,)))
    assert told(decision) == ["user:wang"]
    assert [one.fallback for one in decision.outcomes[0].roles] == ["front_desk", ""]


def test_a_role_beside_one_that_is_held_has_its_stand_in_too() -> None:
    decision = made(rule(roles=(Role.KITCHEN_STAFF, Role.FRONT_DESK)))
    assert sorted(told(decision)) == ["user:li", "user:wang"]


@pytest.mark.parametrize(
    ("steps", "wrong"),
    [
        ((Role.MANAGER, Role.MANAGER), "twice"),
        ((robot("a"), robot("a")), "twice"),
        (tuple(Role)[: MOST_STEPS + 1], "at most"),
    ],
)
def test_what_a_chain_may_not_say(steps: tuple[Step, ...], wrong: str) -> None:
    with pytest.raises(Invalid, match=wrong) as refusal:
        check(rule(fallback=steps), TYPES)
    assert refusal.value.violations[0].field == "fallback"


@given(
    st.sampled_from(Role)
    | st.sampled_from(
        [robot("kitchen"), user("a@b.c"), user("anna", "second"), Target(TargetKind.TAG, "7", "default")]
    )
)
def test_a_step_is_read_as_it_was_written(step: Step) -> None:
    assert read(written(step)) == step


@pytest.mark.parametrize("text", ["boss", "group:1", "user:", "party:x", "robot:a b", "user:a/b/c d"])
def test_a_step_that_is_none_is_refused_with_its_field(text: str) -> None:
    with pytest.raises(Invalid) as refusal:
        read(text, "fallback")
    assert refusal.value.violations[0].field.startswith("fallback")


def test_the_note_names_the_last_way_that_failed_and_stands_once() -> None:
    once = noted(Content(Format.TEXT, "订单\nA1", mentioned=("li",)), "机器人 kitchen ")
    assert once.text == "【改送】原发送通道（机器人 kitchen）发送失败，请代为处理\n订单\nA1"
    assert once.mentioned == ()
    assert noted(once, "应用 default ").text.count("【改送】") == 1


def test_a_rule_keeps_its_chain_in_its_json_and_the_two_kinds_of_none_apart() -> None:
    for steps in (None, (), (Role.CASHIER, robot("kitchen"))):
        one = rule(fallback=steps)
        assert Rule.from_json(one.to_json(), id=one.id, version=1, preset=False).fallback == steps
    assert "fallback" not in rule().to_json()
