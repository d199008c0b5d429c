"""When a rule acts: what a condition may say, what it answers, and how it is refused."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.notifier.domain.condition import CONDITION_MOST, Condition, Unanswerable
from services.notifier.domain.decide import decide
from services.notifier.domain.decision import Decision, RuleResult, Verdict
from services.notifier.domain.explain import Story, explain
from services.notifier.domain.routing import Role
from services.notifier.domain.rules import RuleBook, check
from shared.errors import Invalid
from shared.events.kinds import EventType, Field, FieldKind
from tests.notifier.domain.builders import FIELDS, NOW, SHANGHAI, TYPES, event, rule, user

DATA = {
    "order_number": "A1",
    "total": "280.00",
    "stock": 5,
    "people": 4,
    "happy": True,
    "tags": ["vip", "辣"],
    "items": [{"price": 3}],
}


@pytest.mark.parametrize(
    ("words", "true"),
    [
        ("total > 100.0", True),
        ("total == 280.0", True),
        ("stock < 5.5 && people >= 4", True),
        ("stock > 5.0", False),
        ('order_number.startsWith("B")', False),
        ('order_number.matches("^A[0-9]$")', True),
        ("happy", True),
        ('"vip" in tags', True),
        ("tags.exists(t, t == '辣')", True),
        ("items.exists(i, i.price > 2)", True),
        ('store_id == "s1"', True),
        ('note == ""', True),
        ('"note" in given', False),
        ('"total" in given', True),
        ('day == "" && other == ""', True),
    ],
)
def test_a_condition_asks_about_the_fields_by_their_kinds(words: str, true: bool) -> None:
    assert Condition(words, FIELDS).holds(DATA, "s1") is true


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("totl > 1.0", "line 1, column 1: undeclared reference to 'totl'"),
        ("total > 'a'", "no matching overload for '_>_' applied to '(double, string)'"),
        ("total > 100", "like 100.0"),
        ("total >", "Syntax error"),
        ("people + 1", "must be true or false"),
        ("total > 1.0 &&\n  nothing", "line 2, column 3"),
        ("x" * (CONDITION_MOST + 1), "shorten it"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_its_place_and_remedy(words: str, says: str) -> None:
    with pytest.raises(Invalid, match="condition") as caught:
        Condition(words, FIELDS)
    assert says in caught.value.message
    assert {one.field for one in caught.value.violations} == {"condition"}


@pytest.mark.parametrize("words", ["1 / (people - people) == 1", "[1][people] == 1", "items[7].price > 1"])
def test_a_question_without_an_answer_says_so(words: str) -> None:
    with pytest.raises(Unanswerable):
        Condition(words, FIELDS).holds(DATA, "s1")


def test_a_field_of_another_kind_than_declared_has_no_answer() -> None:
    declared = {"level": Field("level", FieldKind.QUANTITY, required=False)}
    condition = Condition("level > 3.0", declared)
    assert condition.holds({"level": 4}, "s1")
    with pytest.raises(Unanswerable):
        condition.holds({"level": "hot"}, "s1")


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(FIELDS)), _ANY))
def test_whatever_an_event_holds_there_is_an_answer_or_none(data: dict[str, object]) -> None:
    words = (
        'total > 1.0 || stock > 1.0 || people > 1 || happy || "x" in tags || note == "x" || items.size() > 1'
    )
    with contextlib.suppress(Unanswerable):
        assert Condition(words, FIELDS).holds(data, "s1") in (True, False)


def _decided(words: str, **data: object) -> Decision:
    book = RuleBook([rule(condition=words)], TYPES)
    return decide(event(**data), book, {("", Role.MANAGER): (user("li"),)}, zone=SHANGHAI, now=NOW)


def test_a_rule_whose_condition_is_false_tells_nobody_and_says_what_it_looked_at() -> None:
    decision = _decided("total > 100.0", total="80.00", phone="13800138000")
    assert decision.verdict is Verdict.CONDITION_UNMET
    assert decision.calls == ()
    (outcome,) = decision.outcomes
    assert outcome.result is RuleResult.UNMET
    assert outcome.detail == "total > 100.0 [total = 80.00]"
    assert [step.code for step in explain(Story(None, "grpc", decision))] == ["condition_unmet"]
    assert Decision.from_json(decision.to_json()) == decision


def test_a_condition_shows_nobodys_telephone_number() -> None:
    decision = _decided('phone == "1"', phone="13800138000")
    assert "138" not in str(decision.to_json())


def test_a_condition_without_an_answer_is_a_failed_rule_and_no_silent_no() -> None:
    (outcome,) = _decided("items[3].price > 1", items=[]).outcomes
    assert (outcome.result, outcome.reason) == (RuleResult.FAILED, "condition_failed")


def test_a_rule_acts_in_its_stores_only() -> None:
    book = RuleBook([rule(stores=("s2",))], TYPES)
    assert book.entries("shop.thing", "s1") == []
    assert [entry.rule.id for entry in book.entries("shop.thing", "s2")] == ["r1"]


def test_everything_wrong_with_a_rule_is_said_at_once() -> None:
    with pytest.raises(Invalid) as caught:
        check(rule(roles=(), condition="x > 1", template="{gone}"), TYPES)
    assert {one.field for one in caught.value.violations} == {"roles", "condition", "template"}


def test_what_the_suite_announces_and_what_the_contract_knows_cannot_be_declared_anew() -> None:
    own = EventType("notifier.x", (), announced=True)
    with pytest.raises(Invalid, match="event_type"):
        check(rule(event_type="notifier.x", template="x"), {"notifier.x": own})
    with pytest.raises(Invalid, match="variables"):
        check(rule(variables=(Field("a", FieldKind.TEXT, required=False),)), TYPES)


def test_a_type_the_contract_does_not_know_has_the_fields_that_its_rule_declares() -> None:
    level = Field("level", FieldKind.QUANTITY, required=False)
    check(
        rule(event_type="boiler.hot", template="{level}", condition="level > 3.0", variables=(level,)), TYPES
    )
    with pytest.raises(Invalid, match="no field 'heat'"):
        check(rule(event_type="boiler.hot", template="{heat}", variables=(level,)), TYPES)
