"""Cards within the platform's limits, and what a rule may say of escalation."""

from __future__ import annotations

from datetime import UTC, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.notifier.domain.cards import (
    BUTTON_CHARACTERS,
    CLIPPED,
    TEXT_CHARACTERS,
    TITLE_CHARACTERS,
    answered,
    card,
    card_text,
)
from services.notifier.domain.climbing import Opening, climb, openings, spoken
from services.notifier.domain.content import Content, Format, app_payload, fit
from services.notifier.domain.decide import decide
from services.notifier.domain.escalation import Action, Escalation, Level, parse_after, spell_after
from services.notifier.domain.routing import Channel, Role, Target, TargetKind
from services.notifier.domain.rules import Priority, RuleBook, check
from shared.errors import Invalid
from tests.notifier.domain.builders import NOW, TYPES, event, rule

REFERENCE = "#abc123"
OPENING = Opening("r", 1, "断电", "停电了", (Role.CASHIER, Role.TECH_SUPPORT), timedelta(minutes=5))


def _user(name: str) -> Target:
    return Target.checked(TargetKind.USER, name)


@given(st.text(max_size=400))
def test_a_card_never_exceeds_its_characters_and_says_when_it_was_clipped(words: str) -> None:
    text = card_text(words, REFERENCE)
    assert len(text) <= TEXT_CHARACTERS
    assert text.endswith("\n" + REFERENCE)
    if len(words) <= TEXT_CHARACTERS - len(REFERENCE) - 1:
        assert text == f"{words}\n{REFERENCE}"
    else:
        assert text.endswith(f"{CLIPPED}\n{REFERENCE}")


@given(st.text(min_size=1, max_size=100), st.sampled_from([Action.ACKNOWLEDGE, Action.IN_PROGRESS]))
def test_whatever_somebody_is_called_the_answer_fits_the_button(name: str, action: Action) -> None:
    assert len(answered(name, action)) <= BUTTON_CHARACTERS
    assert answered("张三", Action.ACKNOWLEDGE) == "张三 已确认"


def test_the_platforms_form_of_it() -> None:
    made = card("名" * 40, "text", "task-1")
    assert made["card_type"] == "button_interaction"
    assert made["task_id"] == "task-1"
    assert made["main_title"] == {"title": "名" * (TITLE_CHARACTERS - 1) + "…"}
    assert [one["text"] for one in made["button_list"]] == ["收到", "处理中", "转派"]  # type: ignore[attr-defined]


def test_a_message_is_built_the_same_each_time_with_the_delivery_as_its_task() -> None:
    content = Content.from_json(Content(Format.TEMPLATE_CARD, "停电了", "断电").to_json())
    payload = app_payload(content, [_user("tom")], agent_id=7, delivery_id="d-1")
    assert payload == app_payload(content, [_user("tom")], agent_id=7, delivery_id="d-1")
    assert payload["msgtype"] == "template_card"
    assert payload["template_card"]["task_id"] == "d-1"  # type: ignore[index]
    fitted = fit(Content(Format.TEMPLATE_CARD, "长" * 500, "断电"), Channel.APP, "d-1")
    assert fitted.cut
    assert fitted.byte_count <= fitted.byte_limit


def test_robots_and_rules_without_escalation_keep_their_words() -> None:
    words = Content(Format.TEXT, "停电了")
    escalating = rule(priority=Priority.URGENT, escalation=Escalation(timedelta(minutes=5)))
    robot = Target.checked(TargetKind.ROBOT, "hall")
    assert spoken(escalating, words, _user("tom"), cards=True).format is Format.TEMPLATE_CARD
    assert spoken(escalating, words, _user("tom"), cards=False) == words
    assert spoken(escalating, words, robot, cards=True) == words
    assert spoken(rule(), words, _user("tom"), cards=True) == words


def test_two_rules_that_say_the_same_in_one_call_wait_for_an_answer_each() -> None:
    urgent = {"priority": Priority.URGENT, "escalation": Escalation(timedelta(minutes=5))}
    rules = [rule("a", **urgent), rule("b", **urgent, roles=(Role.CASHIER,))]
    book = RuleBook(rules, TYPES)
    holders = {("", Role.MANAGER): (_user("ann"),), ("", Role.CASHIER): (_user("bob"),)}
    happened = event()
    decision = decide(happened, book, holders, zone=UTC, now=NOW, cards=False)
    assert len(decision.calls) == 1
    opened = openings(book.entries(happened.type, happened.store_id), decision)
    assert [one.rule_id for one in opened] == ["a", "b"]


def test_a_level_tells_each_once_and_nobody_twice() -> None:
    holders = {("", Role.MANAGER): (_user("boss"),)}
    deputies = {
        ("", Role.CASHIER): (_user("dora"), _user("TOM")),
        ("", Role.TECH_SUPPORT): (_user("dora"),),
        ("s1", Role.TECH_SUPPORT): (_user("dan"),),
    }
    told = {_user("tom").key}
    first = climb(OPENING, Level.ROLES, "s1", holders, deputies, told, cards=True)
    assert first is not None
    assert (first.level, [one.id for one in first.told]) == (Level.DEPUTIES, ["dora", "dan"])
    second = climb(OPENING, Level.DEPUTIES, "s1", holders, deputies, told, cards=True)
    assert second is not None
    assert (second.level, [one.id for one in second.told]) == (Level.MANAGER, ["boss"])
    assert climb(OPENING, Level.MANAGER, "s1", holders, deputies, told, cards=True) is None
    assert climb(OPENING, Level.DEPUTIES, "s1", holders, deputies, {_user("boss").key}, cards=True) is None


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({}, []),
        ({"escalation": Escalation(timedelta(seconds=59))}, ["escalation.after"]),
        ({"escalation": Escalation(timedelta(hours=24, seconds=1))}, ["escalation.after"]),
        ({"escalation": Escalation(timedelta(seconds=60, microseconds=1))}, ["escalation.after"]),
        ({"priority": Priority.HIGH}, ["escalation"]),
        ({"format": Format.MARKDOWN}, ["format"]),
    ],
)
def test_what_does_not_go_with_it_is_named(changes: dict[str, object], fields: list[str]) -> None:
    values = {"priority": Priority.URGENT, "escalation": Escalation(timedelta(minutes=1))} | changes
    made = rule(**values)
    if not fields:
        check(made, TYPES)
        return
    with pytest.raises(Invalid) as refusal:
        check(made, TYPES)
    assert [one.field for one in refusal.value.violations] == fields


@given(st.integers(1, 86_400))
def test_a_time_is_written_as_it_is_read(seconds: int) -> None:
    after = timedelta(seconds=seconds)
    assert parse_after(spell_after(after)) == after


@pytest.mark.parametrize("text", ["", "m", "5", "5d", "-5m", "5 m", "٥m", "1.5h", "9999999s"])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        parse_after(text)


def test_a_rule_that_escalates_speaks_to_nobody_by_name() -> None:
    """Whoever it climbs to would be told the words, and the attributes, of whoever was told first."""
    made = rule(
        priority=Priority.URGENT, escalation=Escalation(timedelta(minutes=5)), template="{to.name}，出事了"
    )
    with pytest.raises(Invalid) as refused:
        check(made, TYPES)
    assert [one.field for one in refused.value.violations] == ["template"]
