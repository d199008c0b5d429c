"""Words that show something of their recipient: one call for those whose words are the same, own words for others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.notifier.domain.attributes import checked, joined, split
from services.notifier.domain.decide import decide
from services.notifier.domain.decision import RuleResult, Verdict
from services.notifier.domain.explain import Story, explain
from services.notifier.domain.routing import Role, Target, TargetKind
from services.notifier.domain.rules import RuleBook, check
from shared.errors import Invalid
from shared.text.template import MissingPolicy, Template
from tests.notifier.domain.builders import FIELDS, NOW, SHANGHAI, TYPES, event, robot, rule, user


def holder(ident: str, **attributes: str) -> Target:
    return Target.checked(TargetKind.USER, ident, attributes=attributes)


def made(*rules, holders):
    bindings = {("", Role.MANAGER): tuple(holders)}
    return decide(event(), RuleBook(rules, TYPES), bindings, zone=SHANGHAI, now=NOW)


def words(decision):
    return {call.content.text: [one.target.id for one in call.recipients] for call in decision.calls}


def test_those_with_the_same_words_share_a_call():
    people = [holder(f"u{at}", title="主管" if at % 2 else "店长") for at in range(10)]
    decision = made(rule(template="{to.title}：{order_number}"), holders=people)
    assert words(decision) == {
        "店长：A1": ["u0", "u2", "u4", "u6", "u8"],
        "主管：A1": ["u1", "u3", "u5", "u7", "u9"],
    }


def test_a_template_without_them_is_one_call_whatever_is_known_of_people():
    decision = made(rule(), holders=[holder("a", name="张三"), holder("b", name="李四")])
    assert len(decision.calls) == 1


def test_everybody_has_an_id_and_a_role():
    decision = made(rule(template="{to.role} {to.id|upper}"), holders=[user("li"), robot("front")])
    assert words(decision) == {"店长 LI": ["li"], "店长 FRONT": ["front"]}


def test_a_value_is_as_harmless_as_an_events():
    decision = made(rule(template="{to.name}"), holders=[holder("a", name="<@all>")])
    assert words(decision) == {"＜＠all＞": ["a"]}


def test_filters_work():
    template = "{to.name|truncate:5} {to.title|default:同事}"
    decision = made(rule(template=template), holders=[holder("a", name="Anna Maria")])
    assert words(decision) == {"Anna… 同事": ["a"]}


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        (MissingPolicy.PLACEHOLDER, {"你好 张三\nA1": ["a"], "你好 —\nA1": ["b"]}),
        (MissingPolicy.OMIT_LINE, {"你好 张三\nA1": ["a"], "A1": ["b"]}),
    ],
)
def test_a_missing_attribute_follows_the_rules_policy_for_that_recipient(policy, said):
    people = [holder("a", name="张三"), user("b")]
    template = "你好 {to.name}\n{order_number}"
    assert words(made(rule(template=template, missing=policy), holders=people)) == said


def test_who_cannot_be_spoken_to_is_left_out_and_named():
    people = [holder("a", name="张三"), user("b"), holder("c", name=" ")]
    decision = made(rule(template="你好 {to.name}"), holders=people)
    assert words(decision) == {"你好 张三": ["a"]}
    (outcome,) = decision.outcomes
    assert outcome.result is RuleResult.PLANNED
    assert (outcome.reason, outcome.detail) == ("template_field_missing:to.name", "user:b, user:c")
    (step,) = [one for one in explain(Story(NOW, "amqp", decision)) if one.code == "recipients_left_out"]
    assert "user:b" in step.zh
    assert "张三" not in str(step)


def test_nobody_to_speak_to_is_a_failure():
    decision = made(rule(template="你好 {to.name}"), holders=[user("b")])
    assert decision.verdict is Verdict.TEMPLATE_FAILED
    assert decision.outcomes[0].reason == "template_field_missing:to.name"


def test_a_less_urgent_rule_tells_whom_a_personal_one_cannot():
    people = [holder("a", name="张三"), user("b")]
    decision = made(rule("r1", template="你好 {to.name}"), rule("r2"), holders=people)
    assert words(decision) == {"你好 张三": ["a"], "订单 A1": ["b"]}


def test_a_holder_of_two_roles_may_be_told_by_the_second():
    both = decide(
        event(),
        RuleBook([rule(template="{to.name}", roles=(Role.CASHIER, Role.MANAGER))], TYPES),
        {("", Role.CASHIER): (user("a"),), ("", Role.MANAGER): (holder("a", name="张三"),)},
        zone=SHANGHAI,
        now=NOW,
    )
    assert words(both) == {"张三": ["a"]}
    assert both.outcomes[0].reason == ""


def test_what_a_publisher_sends_does_not_pass_for_an_attribute():
    what = replace(event(), data={"order_number": "A1", "to.name": "mallory", "to.role": "mallory"})
    bindings = {("", Role.MANAGER): (user("a"),)}
    book = RuleBook([rule(template="{to.name} {to.role}", missing=MissingPolicy.PLACEHOLDER)], TYPES)
    decision = decide(what, book, bindings, zone=SHANGHAI, now=NOW)
    assert words(decision) == {"— 店长": ["a"]}


def test_attributes_are_neither_part_of_an_address_nor_shown():
    one, other = holder("a", name="张三"), holder("a", name="李四")
    assert one == other
    assert one.key == other.key
    assert "张三" not in repr(one) + str(one)


@pytest.mark.parametrize(
    "text",
    [
        "{to.}",
        "{to.Name}",
        "{to.a.b}",
        "{to.1st}",
        "{to.name|nofilter}",
        "<@{to.id}>",
        "@{to.id}",
        "{ to.name}",
    ],
)
def test_a_template_may_not_ask_for_anything_else(text):
    with pytest.raises(Invalid) as refused:
        Template.compile(text, FIELDS)
    assert refused.value.reason == "TEMPLATE_UNSAFE"


def test_a_field_called_to_is_still_a_field():
    template = Template.compile("{total}{to.total}", FIELDS)
    assert (template.variables, template.personal) == ({"total"}, {"to.total"})


def test_a_condition_cannot_ask_for_them():
    with pytest.raises(Invalid) as refused:
        check(rule(condition='to.name == "张三"'), TYPES)
    assert refused.value.violations[0].field == "condition"


@pytest.mark.parametrize(
    "given",
    [
        {"Name": "x"},
        {"1a": "x"},
        {"": "x"},
        {"a" * 33: "x"},
        {"id": "x"},
        {"role": "x"},
        {"a": "字" * 86},
        {"a": "two\nlines"},
        {f"a{at}": "x" for at in range(17)},
    ],
)
def test_what_cannot_be_an_attribute_is_refused_without_its_value(given):
    with pytest.raises(Invalid) as refused:
        checked(given)
    assert "字" not in refused.value.message


@pytest.mark.parametrize(
    ("ident", "attributes"),
    [
        ("zhang", {}),
        ("zhang", {"name": "张三", "title": "主管"}),
        ("front", {"name": "a,b\\c=d]"}),
        ("zhang", {"name": ""}),
    ],
)
def test_what_is_written_is_read(ident, attributes):
    assert split(joined(ident, attributes)) == (ident, attributes)


@pytest.mark.parametrize("written", ["a[name]", "a[]", "a[name=x", "a]x[", "a[n=1,n=2]", "a[b[c=d]]x"])
def test_what_is_written_wrongly_is_refused(written):
    with pytest.raises(Invalid):
        split(written)
