"""Deciding: who is told, once, by which rule, in how few calls; and every "no" with its reason."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.notifier.domain.content import Content, Format
from services.notifier.domain.decide import decide
from services.notifier.domain.decision import Decision, RuleResult, Verdict
from services.notifier.domain.fallback import read
from services.notifier.domain.planning import MOST_PER_CALL, Assignment, Recipient, plan
from services.notifier.domain.routing import Channel, Role, Target, TargetKind, resolve
from services.notifier.domain.rules import Priority, RuleBook, check
from shared.errors import Invalid
from shared.events.kinds import Event, EventType, Field, FieldKind
from shared.text.template import MissingPolicy
from tests.notifier.domain.builders import NOW, SECOND, SHANGHAI, TYPES, event, robot, rule, user

MANAGER = {("", Role.MANAGER): (user("li"),)}


def made(*rules, bindings=MANAGER, what=None):
    return decide(what or event(), RuleBook(rules, TYPES, version=7), bindings, zone=SHANGHAI, now=NOW)


def told(decision):
    return {(str(r.target), r.rule_id) for call in decision.calls for r in call.recipients}


def test_a_matching_rule_tells_the_holders_of_its_role():
    decision = made(rule())
    assert decision.verdict is Verdict.PLANNED
    (call,) = decision.calls
    assert (call.address, call.channel, call.account, call.content.text) == (
        "app:default",
        Channel.APP,
        "default",
        "订单 A1",
    )
    assert call.recipients == (Recipient(user("li"), "r1", Role.MANAGER),)
    assert decision.outcomes[0].result is RuleResult.PLANNED


def test_no_rule_is_a_verdict():
    assert made().verdict is Verdict.NO_RULE


def test_a_disabled_rule_says_by_whom_since_when_and_until_when():
    decision = made(rule(enabled=False, disabled_by="wang", disabled_at=NOW, disabled_until=NOW + SECOND))
    assert decision.verdict is Verdict.RULE_DISABLED
    assert decision.calls == ()
    (outcome,) = decision.outcomes
    assert (outcome.disabled_by, outcome.disabled_at, outcome.disabled_until) == ("wang", NOW, NOW + SECOND)


def test_a_role_nobody_holds_is_an_outcome_beside_those_that_are_held():
    decision = made(rule(roles=(Role.CASHIER, Role.MANAGER)))
    assert [(one.role, one.targets) for one in decision.outcomes[0].roles] == [
        (Role.CASHIER, 0),
        (Role.MANAGER, 1),
    ]
    assert decision.verdict is Verdict.PLANNED


def test_nobody_at_all_is_a_verdict():
    decision = made(rule(), bindings={})
    assert (decision.verdict, decision.outcomes[0].result) == (Verdict.NO_RECIPIENT, RuleResult.NO_RECIPIENT)


def test_a_missing_field_fails_its_rule_and_no_other():
    decision = made(rule("a", template="{note} {other} {note}"), rule("b"))
    assert decision.outcomes[0].reason == "template_field_missing:note,other"
    assert told(decision) == {("user:li", "b")}


def test_only_a_failed_template_is_a_verdict():
    assert made(rule(template="{note}")).verdict is Verdict.TEMPLATE_FAILED
    assert (
        made(rule(template="{note}", missing=MissingPolicy.OMIT_LINE)).outcomes[0].reason == "template_empty"
    )
    broken = made(rule(template="{gone}")).outcomes[0]
    assert broken.reason == "template_invalid"
    assert "gone" in broken.detail


def test_overlapping_rules_tell_a_target_once_by_the_most_urgent_then_by_id():
    decision = made(rule("c"), rule("a"), rule("b", priority=Priority.HIGH))
    assert told(decision) == {("user:li", "b")}
    assert [(m.rule_id, m.into_rule_id) for m in decision.merged] == [("a", "b"), ("c", "b")]
    assert [o.result for o in decision.outcomes] == [
        RuleResult.PLANNED,
        RuleResult.SUPPRESSED,
        RuleResult.SUPPRESSED,
    ]


def test_a_rule_that_loses_some_targets_tells_the_others():
    bindings = MANAGER | {("", Role.CASHIER): (user("li"), user("wang"))}
    decision = made(rule("a"), rule("b", roles=(Role.CASHIER,)), bindings=bindings)
    assert told(decision) == {("user:li", "a"), ("user:wang", "b")}


def test_one_person_with_two_roles_of_a_rule_is_told_once_without_a_merge():
    bindings = MANAGER | {("", Role.CASHIER): (user("LI"),)}
    decision = made(rule(roles=(Role.MANAGER, Role.CASHIER)), bindings=bindings)
    assert told(decision) == {("user:li", "r1")}
    assert decision.merged == ()


def test_the_same_userid_in_two_apps_is_two_targets():
    bindings = {("", Role.MANAGER): (user("li"), user("li", "kitchen"))}
    assert {call.address for call in made(rule(), bindings=bindings).calls} == {"app:default", "app:kitchen"}


def test_a_stores_own_holders_stand_even_when_there_are_none():
    bindings = MANAGER | {("s1", Role.MANAGER): ()}
    assert made(rule(), bindings=bindings).verdict is Verdict.NO_RECIPIENT
    assert resolve(Role.MANAGER, "s2", bindings).inherited
    assert not resolve(Role.MANAGER, "s1", bindings).inherited


def test_markdown_values_are_made_harmless_for_markdown():
    (call,) = made(rule(template="**{note}**", format=Format.MARKDOWN), what=event(note="<@all>**x**")).calls
    assert call.content.text == "**＜＠all＞＊＊x＊＊**"


@st.composite
def decisions(draw):
    targets = st.sampled_from(
        [user("li"), user("wang"), user("li", "b"), robot("r"), Target(TargetKind.PARTY, "1", "default")]
    )
    bindings = draw(
        st.dictionaries(
            st.tuples(st.sampled_from(["", "s1"]), st.sampled_from(Role)),
            st.lists(targets, max_size=4).map(tuple),
        )
    )
    rules = draw(
        st.lists(
            st.builds(
                lambda ident, roles, priority, enabled, store, template, steps: rule(
                    ident, roles=tuple(roles), priority=priority, enabled=enabled, store_id=store, template=template,
                    disabled_by="" if enabled else "wang", disabled_at=None if enabled else NOW,
                    fallback=steps,
                ),
                st.sampled_from("abcdef"), st.lists(st.sampled_from(Role), min_size=1, max_size=3, unique=True),
                st.sampled_from(Priority), st.booleans(), st.sampled_from(["", "s1", "s2"]),
                st.sampled_from(["{order_number}", "同样的话", "{note}", "{gone}"]),
                st.one_of(st.none(), st.lists(st.sampled_from(Role) | targets, max_size=3, unique=True).map(tuple)),
            ),
            max_size=6, unique_by=lambda one: (one.id, one.store_id),
        )
    )  # fmt: skip
    return made(*rules, bindings=bindings), bindings, rules


def meant(role, bindings):
    """Those a role of a rule means: its holders, or those of the step that stands in for it."""
    step = read(role.fallback) if role.fallback else role.role
    return resolve(step, "s1", bindings).targets if isinstance(step, Role) else (step,)


@given(decisions())
def test_each_target_is_told_once_and_every_other_wish_is_accounted_for(case):
    decision, bindings, _ = case
    keys = [r.target.key for call in decision.calls for r in call.recipients]
    assert len(keys) == len(set(keys))
    by_rule = {r.rule_id for call in decision.calls for r in call.recipients}
    assert by_rule == {o.rule_id for o in decision.outcomes if o.result is RuleResult.PLANNED}
    assert {m.into_rule_id for m in decision.merged} <= by_rule
    wanted = {
        (o.rule_id, target.key)
        for o in decision.outcomes
        if o.result in (RuleResult.PLANNED, RuleResult.SUPPRESSED)
        for role in o.roles
        for target in meant(role, bindings)
    }
    given_to = {(r.rule_id, r.target.key) for call in decision.calls for r in call.recipients}
    assert wanted == given_to | {(m.rule_id, m.target.key) for m in decision.merged}


@given(decisions())
def test_a_decision_survives_its_json(case):
    decision = case[0]
    assert Decision.from_json(json.loads(json.dumps(decision.to_json()))) == decision


@given(decisions())
def test_the_order_in_which_rules_are_stored_does_not_matter(case):
    decision, bindings, rules = case
    assert made(*reversed(rules), bindings=bindings) == decision


def test_one_call_takes_a_thousand_people_a_hundred_departments_and_a_hundred_tags():
    content = Content(Format.TEXT, "x")
    targets = [user(f"u{n}") for n in range(2001)]
    targets += [
        Target(kind, str(n), "default") for kind in (TargetKind.PARTY, TargetKind.TAG) for n in range(101)
    ]
    calls = plan(Assignment(Recipient(target), content, Priority.NORMAL) for target in targets)
    assert len(calls) == 3
    for call in calls:
        for kind, most in MOST_PER_CALL.items():
            assert sum(target.kind is kind for target in call.targets) <= most
    assert sorted(map(str, targets)) == sorted(str(target) for call in calls for target in call.targets)


def test_robots_and_everyone_are_calls_of_their_own():
    targets = [user("li"), user("@all"), robot("a"), robot("b"), Target(TargetKind.TAG, "1", "default")]
    calls = plan(Assignment(Recipient(t), Content(Format.TEXT, "x"), Priority.LOW) for t in targets)
    assert [[str(t) for t in call.targets] for call in calls] == [
        ["user:li", "tag:1"],
        ["user:@all"],
        ["robot:a"],
        ["robot:b"],
    ]


def test_the_most_urgent_call_comes_first():
    content = Content(Format.TEXT, "x")
    calls = plan([Assignment(Recipient(user(p.word)), content, p) for p in reversed(Priority)])
    assert [call.priority for call in calls] == list(Priority)


@pytest.mark.parametrize(
    ("kind", "ident"),
    [
        (TargetKind.USER, "a|b"),
        (TargetKind.USER, ""),
        (TargetKind.USER, "x" * 65),
        (TargetKind.USER, "张三"),
        (TargetKind.PARTY, "two"),
        (TargetKind.TAG, "１"),
        (TargetKind.ROBOT, "https://x/send?key=1"),
    ],
)
def test_an_id_that_cannot_be_one_of_its_kind_is_refused(kind, ident):
    with pytest.raises(Invalid):
        Target.checked(kind, ident)


def test_a_target_without_an_account_belongs_to_the_default_app():
    assert Target.checked(TargetKind.USER, "li").account == "default"
    assert Target.checked(TargetKind.ROBOT, "kitchen", "x").account == ""


OWN = EventType(
    "ai.insight.updated", (Field("assistant_id", FieldKind.USERID, required=False),), announced=True
)
TELLS_PERSON = {"event_type": OWN.name, "roles": (), "person_field": "assistant_id", "template": "更新"}


def _told_person(named: object, **changes: object) -> Decision:
    happened = Event("e1", OWN.name, "s1", {"assistant_id": named} if named else {}, "hash", NOW)
    book = RuleBook([rule(**{**TELLS_PERSON, **changes})], {OWN.name: OWN})
    return decide(happened, book, {("", Role.MANAGER): (user("boss"),)}, zone=SHANGHAI, now=NOW)


def test_a_rule_tells_the_person_that_the_event_names_beside_its_roles():
    alone = _told_person("a7")
    assert [str(one.target) for call in alone.calls for one in call.recipients] == ["user:a7"]
    both = _told_person("a7", roles=(Role.MANAGER,))
    assert {str(one.target) for call in both.calls for one in call.recipients} == {"user:a7", "user:boss"}


@pytest.mark.parametrize("named", [None, "@all", "@ALL", "张三", "a|b"])
def test_an_event_that_names_nobody_or_everybody_tells_no_person(named):
    decision = _told_person(named)
    assert (decision.verdict, decision.calls) == (Verdict.NO_RECIPIENT, ())
    assert decision.outcomes[0].detail == "assistant_id"


@pytest.mark.parametrize("changes", [{"person_field": "missing"}, {"person_field": ""}])
def test_a_rule_for_a_person_names_a_userid_of_the_event(changes):
    with pytest.raises(Invalid, match=r"person_field|roles"):
        check(rule(**{**TELLS_PERSON, **changes}), {OWN.name: OWN})


def test_a_rule_may_hear_what_other_services_announce_but_not_the_notifier():
    check(rule(**TELLS_PERSON), {OWN.name: OWN})
    own = EventType("notifier.delivery.failed", (), announced=True)
    with pytest.raises(Invalid, match="event_type"):
        check(rule(event_type=own.name, template="x"), {own.name: own})
