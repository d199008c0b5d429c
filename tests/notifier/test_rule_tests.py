"""Rule tests as files: what they may say, and that each expectation fails when the world is another."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.notifier.domain.rules import Rule, parse_presets
from services.notifier.rule_files import parse_rules
from services.notifier.rule_tests import Outcome, parse_suite, run_suite, together
from shared.errors import Invalid
from shared.events.catalogue import EVENT_TYPES

PRESET_FILE = Path(__file__).parents[2] / "services/notifier/presets.toml"
PRESETS = parse_presets(PRESET_FILE.read_text("utf-8"), EVENT_TYPES)
OWN_TESTS = parse_suite(PRESET_FILE.with_name("presets.test.toml").read_text("utf-8"))
SHIPPED = [preset.rule for preset in PRESETS]
BIG = """
[big]
event_type = "order.created"
name = "大单"
priority = "urgent"
roles = ["manager"]
condition = "total >= 1000.0"
template = "大单 {order_number} {order_time}"
"""
ORDER = 'event = "order.created"\ndata = {{ order_number = "A1", table_number = "V1", total = {total}, order_time = {at} }}\n'


def case(*wishes: str, total: object = 1280, at: str = '"2026-02-20T12:30:00"') -> str:
    return '[[case]]\nname = "c"\n' + ORDER.format(total=total, at=at) + "\n".join(wishes) + "\n"


def run(document: str, rules: str = BIG) -> Outcome:
    suite = parse_suite(document)
    files: dict[str, tuple[Rule, ...]] = {"big.toml": parse_rules(rules, EVENT_TYPES)} if rules else {}
    (outcome,) = run_suite(suite, together(suite, SHIPPED, files), EVENT_TYPES)
    return outcome


def failed(outcome: Outcome) -> dict[str, tuple[str, str]]:
    return {one.what: (one.expected, one.actual) for one in outcome.differences}


def refused(document: str) -> tuple[str, str]:
    with pytest.raises(Invalid) as caught:
        run(document)
    (one,) = caught.value.violations
    return one.field, one.description


def test_each_preset_has_its_case_with_its_example_and_its_words() -> None:
    assert [
        (one.rule, one.happens[0].event_type, one.happens[0].data, one.text) for one in OWN_TESTS.cases
    ] == [(preset.rule.id, preset.rule.event_type, preset.example, preset.says) for preset in PRESETS]
    outcomes = run_suite(OWN_TESTS, SHIPPED, EVENT_TYPES)
    assert [failed(one) for one in outcomes] == [{}] * len(PRESETS)


@pytest.mark.parametrize("number", range(len(PRESETS)))
def test_a_preset_that_says_or_tells_otherwise_fails_its_case(number: int) -> None:
    changed = list(SHIPPED)
    changed[number] = replace(SHIPPED[number], template=SHIPPED[number].template + "。")
    outcomes = run_suite(OWN_TESTS, changed, EVENT_TYPES)
    assert [list(failed(one)) for one in outcomes] == [
        ["text"] if at == number else [] for at in range(len(PRESETS))
    ]
    changed[number] = replace(SHIPPED[number], roles=SHIPPED[number].roles[1:], person_field="")
    assert "to" in failed(run_suite(OWN_TESTS, changed, EVENT_TYPES)[number])


@pytest.mark.parametrize(
    ("wish", "difference"),
    [
        ('verdict = "planned"', None),
        ('verdict = "no_rule"', ("no_rule", "planned")),
        ('to = ["user:kitchen_staff", "user:MANAGER"]', None),
        ('to = ["user:manager"]', ("user:manager", "user:kitchen_staff, user:manager")),
        ("to = []", ("nobody", "user:kitchen_staff, user:manager")),
        ('to = ["party:2"]', ("party:2", "user:kitchen_staff, user:manager")),
        ('contains = ["A1"]', None),
        ('contains = ["A1", "大单"]', ("大单", "大单 A1 2026-02-20 12:30:00\n— and —\n【新订单】\n订单号：A1\n桌号：V1\n金额：¥1280.00\n时间：2026-02-20 12:30:00")),
        ('rule = "big"\ntext = "大单 A1 2026-02-20 12:30:00"', None),
        ('rule = "big"\ntext = "大单 A1"', ("大单 A1", "大单 A1 2026-02-20 12:30:00")),
        ('rule = "big"\ntext = ""', ("", "大单 A1 2026-02-20 12:30:00")),
        ('rule = "big"\nto = ["user:manager"]', None),
        ('rule = "big"\nto = []', ("nobody", "user:manager")),
        ('rule = "big"\nverdict = "condition_unmet"', ("condition_unmet", "planned")),
        ('off = ["big"]\nrule = "big"', ("planned", "rule_disabled")),
        ('off = ["big"]\nrule = "big"\nto = []', None),
        ('off = ["big"]\nrule = "big"\nverdict = "rule_disabled"', None),
        ('off = ["big"]\nto = ["user:kitchen_staff"]', None),
        ('off = ["big", "order.created"]\nverdict = "rule_disabled"', None),
        ('off = ["big", "order.created"]\ncontains = ["A"]', ("A", "nothing")),
        ('off = ["big", "order.created"]\ntext = ""', ("", "nothing")),
    ],
)  # fmt: skip
def test_an_expectation_holds_or_says_what_there_is_instead(
    wish: str, difference: tuple[str, str] | None
) -> None:
    found = failed(run(case(wish)))
    assert list(found.values()) == ([] if difference is None else [difference])


def test_a_rule_whose_condition_is_not_met_says_so_beside_one_that_speaks() -> None:
    outcome = run(case('rule = "big"', total=80))
    assert failed(outcome) == {"verdict": ("planned", "condition_unmet")}
    assert outcome.why == ("big unmet: total >= 1000.0 [total = 80.00]", "order.created planned")
    assert not run(case('rule = "big"\nverdict = "condition_unmet"', total=80)).differences


def test_a_rule_whose_people_hear_it_from_another_is_suppressed() -> None:
    late = BIG.replace("[big]", "[late]").replace("urgent", "low")
    assert failed(run(case('rule = "late"\nverdict = "suppressed"\nto = []'), BIG + late)) == {}
    assert failed(run(case('rule = "late"'), BIG + late)) == {"verdict": ("planned", "suppressed")}


def test_words_are_cut_as_they_are_sent() -> None:
    long = BIG.replace("大单 {order_number} {order_time}", "长" * 1000)
    (difference,) = run(case(f'rule = "big"\ntext = "{"长" * 1000}"'), long).differences
    assert len(difference.actual.encode()) <= 2048


def test_an_event_that_no_rule_hears_is_a_verdict() -> None:
    document = '[[case]]\nname = "c"\nevent = "boiler.hot"\nverdict = "no_rule"\n'
    assert not run(document).differences
    assert failed(run(case('rule = "big"', 'store = "s2"'), BIG + 'stores = ["s1"]\n')) == {
        "verdict": ("planned", "no_rule")
    }
    assert not run("presets = false\n" + case('verdict = "no_rule"'), "").differences


def test_holders_are_those_that_are_named_and_nobody_else() -> None:
    holders = '[holders]\nmanager = ["user:zhangsan", "party:2", "tag:3", "robot:front"]\n'
    told = 'to = ["robot:front", "tag:3", "party:2", "user:zhangsan"]'
    assert not run(holders + case(told)).differences
    assert not run(holders + case('rule = "order.created"\nverdict = "suppressed"')).differences


def test_an_event_that_does_not_fit_its_type_fails_its_case_with_the_reason() -> None:
    outcome = run(case('verdict = "template_failed"', total='"much"'))
    assert "total: must be yuan" in failed(outcome)["event"][1]


def test_times_are_those_of_the_case_and_shown_in_the_zone_of_the_file() -> None:
    at = "at = 2026-02-20T12:00:00+08:00"
    (read,) = parse_suite(case(at, "to = []")).cases
    assert read.happens[0].at == datetime(2026, 2, 20, 4, tzinfo=UTC)
    wish = 'rule = "big"\ntext = "大单 A1 2026-02-20 05:30:00"'
    instant = "2026-02-20T12:30:00+08:00"
    assert not run('zone = "Europe/Berlin"\n' + case(wish, at=instant)).differences
    assert failed(run(case(wish, at=instant)))["text"][1].endswith("12:30:00")


def test_a_file_of_rules_takes_the_place_of_a_preset() -> None:
    own = BIG.replace("[big]", '["order.created"]')
    assert not run(case('to = ["user:manager"]'), own).differences


def test_two_files_with_one_rule_are_refused() -> None:
    suite, rules = parse_suite(case("to = []")), parse_rules(BIG, EVENT_TYPES)
    with pytest.raises(Invalid, match=r"big is in a\.toml and in b\.toml"):
        together(suite, SHIPPED, {"a.toml": rules, "b.toml": rules})


@pytest.mark.parametrize(
    ("document", "place", "fix"),
    [
        ("holder = 1\n" + case("to = []"), "holder", "write holders"),
        ("[holders]\nboss = []\n" + case("to = []"), "holders boss", "kitchen_staff"),
        ('[holders]\nmanager = ["zhangsan"]\n' + case("to = []"), "holders manager", "user:…"),
        ('[holders]\nmanager = ["party:two"]\n' + case("to = []"), "holders manager", "by its number"),
        ('zone = "Shanghai"\n' + case("to = []"), "zone", "Asia/Shanghai"),
        ('presets = "no"\n' + case("to = []"), "presets", "true or false"),
        (case("to = []") + case("to = []"), "case", "stands twice"),
        (case(), "case 1 (c)", "expects nothing"),
        (case("contains = []", 'rule = ""'), "case 1 (c)", "expects nothing"),
        (case("[case.data.x]", "to = []").replace("data = ", "dat = "), "case 1 (c) dat", "write data"),
        (case('expect = "planned"'), "case 1 (c) expect", "is not known"),
        (case('verdict = "sent"'), "case 1 (c) verdict", "condition_unmet"),
        (case('verdict = "suppressed"'), "case 1 (c) verdict", "name it with rule"),
        (case('rule = "bigg"'), "case 1 (c) rule", ", big, "),
        (case("to = []", 'off = ["bigg"]'), "case 1 (c) off", "no rule is called bigg"),
        (case("to = []", 'at = "12:30"'), "case 1 (c) at", "with a zone"),
        (case("to = []", "at = 2026-02-20T12:30:00"), "case 1 (c) at", "with a zone"),
        (case("to = []", 'store = "a b"'), "case 1 (c) store", "letters"),
        (case("to = []").replace("order.created", "a b"), "case 1 (c) event", "dots"),
        (case('to = ["zhangsan"]'), "case 1 (c) to", "user:…"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_test_file_is_named_by_its_place_and_its_fix(
    document: str, place: str, fix: str
) -> None:
    where, what = refused(document)
    assert where == place
    assert fix in what


def test_a_file_without_a_case_is_refused() -> None:
    with pytest.raises(Invalid, match="tests nothing"):
        parse_suite("presets = true\n")


def test_words_for_single_recipients_are_compared_one_by_one() -> None:
    rules = BIG.replace("大单 {order_number} {order_time}", "{to.name} {order_number}")
    holders = '[holders]\nmanager = ["user:zhang[name=张三]", "user:li[name=李四]"]\n'
    right = '[case.says]\n"user:zhang" = "张三 A1"\n"user:li" = "李四 A1"'
    assert not failed(run(f'rules = ["big.toml"]\n{holders}{case(right)}', rules))
    wrong = '[case.says]\n"user:zhang" = "李四 A1"\n"user:wang" = "王 A1"'
    assert failed(run(f'rules = ["big.toml"]\n{holders}{case(wrong)}', rules)) == {
        "says user:zhang": ("李四 A1", "张三 A1"),
        "says user:wang": ("王 A1", "nothing"),
    }


def test_attributes_that_cannot_be_are_named_by_their_place() -> None:
    document = '[holders]\nmanager = ["user:zhang[Name=x]"]\n' + case('verdict = "planned"')
    assert "a-z" in refused(document)[1]
