"""Rules as files: read with every mistake named by place and fix, and written so that the same is read again."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.notifier.domain.content import Format
from services.notifier.domain.merging import MergeMode, Merging
from services.notifier.domain.routing import Role
from services.notifier.domain.rules import Priority, Rule
from services.notifier.rule_files import parse_rules, write_rule
from shared.errors import Invalid
from shared.events.catalogue import EVENT_TYPES
from shared.events.kinds import Field, FieldKind
from shared.text.template import MissingPolicy

PLAIN = 'name = "x"\nroles = ["manager"]\ntemplate = "x"\n'


def read(document: str) -> tuple[Rule, ...]:
    return parse_rules(document, EVENT_TYPES)


def refused(document: str) -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        read(document)
    return {one.field: one.description for one in caught.value.violations}


def test_a_table_is_a_rule_whose_event_is_its_name() -> None:
    (rule,) = read('["order.created"]\n' + PLAIN)
    assert (rule.id, rule.event_type, rule.roles) == ("order.created", "order.created", (Role.MANAGER,))
    assert (rule.priority, rule.format, rule.missing) == (Priority.NORMAL, Format.TEXT, MissingPolicy.FAIL)


def test_everything_a_rule_can_say_is_read_and_written() -> None:
    (rule,) = read(
        '[boiler]\nevent_type = "boiler.hot"\nname = "锅 \\"炉\\""\npriority = "low"\n'
        'roles = ["tech_support", "manager"]\ncondition = " degrees > 90.0 "\nstores = ["s2", "s1"]\n'
        'format = "markdown"\nmissing = "omit_line"\ntemplate = """\n甲 \\\\ "{degrees}"\n\n\\"\\"\\"{note}"""\n'
        'variables = { degrees = "quantity", note = "text" }\n'
        'merging = { mode = "window", length = "90s", key = ["note"], line = "{note} \\"热\\"", top_lines = 10 }\n'
    )
    assert rule == Rule(
        id="boiler",
        version=0,
        event_type="boiler.hot",
        name='锅 "炉"',
        priority=Priority.LOW,
        roles=(Role.TECH_SUPPORT, Role.MANAGER),
        template='甲 \\ "{degrees}"\n\n"""{note}',
        format=Format.MARKDOWN,
        missing=MissingPolicy.OMIT_LINE,
        condition="degrees > 90.0",
        stores=("s1", "s2"),
        variables=(Field("degrees", FieldKind.QUANTITY, False), Field("note", FieldKind.TEXT, False)),
        merging=Merging(MergeMode.WINDOW, timedelta(seconds=90), ("note",), '{note} "热"', 10),
    )
    assert read(write_rule(rule)) == (rule,)


LENGTHS = st.timedeltas(timedelta(seconds=1), timedelta(hours=24))
WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="{}"), max_size=20).filter(
    lambda words: not words or bool(words.strip())
)
MERGINGS = st.builds(
    Merging,
    st.sampled_from([MergeMode.WINDOW, MergeMode.COOLDOWN]),
    LENGTHS | st.integers(1, 86400).map(lambda seconds: timedelta(seconds=seconds)),
    st.lists(st.sampled_from(["total", "order_number"]), unique=True).map(tuple),
    WORDS,
    st.integers(0, 100),
)


@given(st.none() | st.just(Merging(MergeMode.OFF)) | MERGINGS)
def test_merging_survives_being_written(merging: Merging | None) -> None:
    (plain,) = read('["order.created"]\n' + PLAIN)
    rule = replace(plain, merging=merging)
    assert read(write_rule(rule)) == (rule,)


@pytest.mark.parametrize(
    "template", ["\n先空一行", "末尾\n", "\ttab", '"""', "\\", "一行", '"a" \\n', "\"a\" 'b'", '"a"\nb']
)
def test_words_survive_being_written(template: str) -> None:
    (rule,) = read('["x.y"]\n' + PLAIN)
    rule.template = template  # type: ignore[misc]
    assert read(write_rule(rule))[0].template == template


@pytest.mark.parametrize(
    ("body", "place", "fix"),
    [
        (PLAIN + 'prioritty = "high"', "[r] prioritty", "is not known; write priority"),
        (PLAIN + "example = { total = 1 }", "[r] example", "test file"),
        (PLAIN + 'priority = "hihg"', "[r] priority", "urgent, high, normal, low"),
        (PLAIN + "priority = 1", "[r] priority", "text in quotes"),
        (PLAIN.replace("manager", "boss"), "[r] roles", "kitchen_staff"),
        (PLAIN.replace('["manager"]', '"manager"'), "[r] roles", '["one", "two"]'),
        (PLAIN.replace('["manager"]', "[]"), "[r] roles", "at least one"),
        (PLAIN.replace('name = "x"', ""), "[r] name", "is missing"),
        (PLAIN.replace('name = "x"', f'name = "{"长" * 34}"'), "[r] name", "100 bytes"),
        (PLAIN + 'format = "textcard"', "[r] format", "one of text, markdown, not"),
        (PLAIN + 'format = "markdown_v2"', "[r] format", "one of text, markdown, not"),
        (PLAIN + 'stores = ["a b"]', "[r] stores", "letters"),
        (PLAIN + 'event_type = "a b"', "[r] event_type", "dots"),
        (PLAIN + 'variables = { a = "number" }', "[r] variables a", "quantity"),
        (PLAIN + 'variables = { "a-b" = "text" }', "[r] variables a-b", "letters"),
        (PLAIN + 'event_type = "order.created"\nvariables = { a = "text" }', "[r] variables", "leave them out"),
        (PLAIN + 'event_type = "order.created"\ncondition = "totl > 1.0"', "[r] condition", "total"),
        (PLAIN.replace('template = "x"', 'template = "{x}"'), "[r] template", "x"),
        (PLAIN + 'merging = "window"', "[r] merging", "must be a table"),
        (PLAIN + 'merging = { window = "60s" }', "[r] merging window", 'mode = "window"'),
        (PLAIN + 'merging = { mode = "windw" }', "[r] merging mode", "off, window, cooldown"),
        (PLAIN + 'merging = { mode = "window" }', "[r] merging length", "is missing"),
        (PLAIN + 'merging = { mode = "window", length = 60 }', "[r] merging length", "text in quotes"),
        (PLAIN + 'merging = { mode = "window", length = "60" }', "[r] merging length", "90s, 5m, 1h"),
        (PLAIN + 'merging = { mode = "window", length = "25h" }', "[r] merging length", "24 hours"),
        (PLAIN + 'merging = { mode = "off", length = "60s" }', "[r] merging mode", "leave the rest out"),
        (PLAIN + 'merging = { mode = "window", length = "60s", top_lines = true }', "[r] merging top_lines", "whole number"),
        (PLAIN + 'merging = { mode = "window", length = "60s", top_lines = 101 }', "[r] merging top_lines", "100"),
        (PLAIN + 'merging = { mode = "window", length = "60s", key = ["a"] }', "[r] merging key", "no field a"),
        (PLAIN + 'merging = { mode = "window", length = "60s", line = "{a}" }', "[r] merging line", "a"),
        (PLAIN + 'priority = "urgent"\nmerging = { mode = "window", length = "60s" }', "[r] merging", "urgent"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_by_its_place_and_its_fix(body: str, place: str, fix: str) -> None:
    found = refused("[r]\n" + body)
    assert list(found) == [place]
    assert fix in found[place]


def test_every_wrong_rule_is_named_at_once() -> None:
    assert list(refused("[a]\n" + PLAIN + "x = 1\n[b]\n" + PLAIN + "[c]\n" + PLAIN + "y = 1\n")) == [
        "[a] x",
        "[c] y",
    ]


def test_an_id_with_a_point_that_lacks_its_quotes_is_recognised() -> None:
    assert '["order.created"]' in refused("[order.created]\n" + PLAIN)["[order] created"]


@pytest.mark.parametrize(
    ("document", "fix"),
    [("", "has no rule"), ('name = "x"', "stands outside a rule"), ('["a b"]\n' + PLAIN, "a rule's id has")],
)
def test_a_file_without_a_proper_rule_is_refused(document: str, fix: str) -> None:
    with pytest.raises(Invalid, match=fix):
        read(document)


def test_what_is_no_toml_is_refused_with_line_and_column() -> None:
    with pytest.raises(Invalid, match=r"is no TOML: .*line 2, column"):
        read("[a]\nname = x\n")


def test_a_file_keeps_a_chain_no_chain_and_an_empty_one_apart() -> None:
    head = '["a.b"]\nevent_type = "order.created"\nname = "n"\nroles = ["cashier"]\ntemplate = "x"\n'
    lines = ("", "fallback = []\n", 'fallback = ["robot:bar", "manager", "user:anna/second"]\n')
    rules = [read(head + line)[0] for line in lines]
    assert [one.fallback if one.fallback is None else len(one.fallback) for one in rules] == [None, 0, 3]
    for one in rules:
        assert read(write_rule(one))[0] == one
    with pytest.raises(Invalid, match="neither a role") as refusal:
        parse_rules(head + 'fallback = ["boss"]\n', EVENT_TYPES)
    assert refusal.value.violations[0].field == '["a.b"] fallback'


def test_what_a_rule_says_of_escalation_is_read_and_written() -> None:
    urgent = '[x]\nevent_type = "order.created"\npriority = "urgent"\n' + PLAIN
    (rule,) = read(urgent + 'escalation = { after = "90m" }\n')
    assert rule.escalation is not None
    assert rule.escalation.after == timedelta(minutes=90)
    assert 'escalation = { after = "90m" }' in write_rule(rule)
    assert read(write_rule(rule)) == (rule,)
    assert "escalation" not in write_rule(read(urgent)[0])
    assert list(refused(urgent + 'escalation = { after = "5" }\n')) == ["[x] escalation after"]
    assert list(refused(urgent + 'escalation = { before = "5m" }\n')) == ["[x] escalation before"]
    assert list(refused(urgent + 'escalation = { after = "59s" }\n')) == ["[x] escalation after"]
