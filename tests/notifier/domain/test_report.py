"""A report in words: what people see in each form, what no value can do, and that no page cuts or loses any of it."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.notifier.domain.content import LIMITS, RESEND_MARK, Format, fit
from services.notifier.domain.report.monitor import (
    CheckStatus,
    CodeBlock,
    Item,
    MonitorReport,
    Statistic,
    Table,
    Totals,
)
from services.notifier.domain.report.outline import Feature
from services.notifier.domain.report.planner import Mentions, ReportPlan, choose
from services.notifier.domain.report.render import KEEPS, TEXT_MOST, drafts
from services.notifier.domain.routing import Channel
from shared.errors import Invalid
from shared.text.cutting import size
from tests.notifier.domain.builders import SHANGHAI
from tests.notifier.domain.reports import FULL, QUIET, REPORTS, ms
from tests.support.golden import check_golden

GOLDEN = Path(__file__).parent.parent / "golden"
WAYS = [(channel, form) for channel, form in LIMITS if form in KEEPS]
PEOPLE = Mentions(("lisi",), ("13800138000",))


def words(report: MonitorReport, form: Format) -> str:
    (draft,) = drafts(report, SHANGHAI, form)
    return f"{draft.title}\n{draft.text}"


def planned(report: MonitorReport, channel: Channel, form: Format | None, who: Mentions) -> ReportPlan:
    return choose(drafts(report, SHANGHAI, form), channel, who, field="report")


def shown(plan: ReportPlan, channel: Channel) -> str:
    """A plan as a file that people read."""
    parts = []
    for number, content in plan.parts():
        fitted = fit(content, channel, "golden")
        called = ", ".join((*content.mentioned, *content.mentioned_mobiles)) or "nobody"
        what = f"page {number}" if number else "companion"
        parts.append(
            f"=== {what}: {content.format}, {fitted.byte_count} of {fitted.byte_limit} bytes, lists {called}\n"
            f"{fitted.text}\n"
        )
    return "".join(parts)


@pytest.mark.parametrize("name", REPORTS)
@pytest.mark.parametrize(("channel", "form"), WAYS)
def test_what_people_see_in_each_form_on_each_channel(name, channel, form):
    plan = planned(REPORTS[name], channel, form, PEOPLE)
    check_golden(GOLDEN / f"{name}.{channel}.{form}.txt", shown(plan, channel))


@pytest.mark.parametrize("name", REPORTS)
@pytest.mark.parametrize("channel", Channel)
def test_what_people_see_where_the_planner_chooses(name, channel):
    plan = planned(REPORTS[name], channel, None, PEOPLE)
    check_golden(GOLDEN / f"{name}.{channel}.open.txt", shown(plan, channel))


# --- What it says ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", KEEPS)
def test_checks_of_one_name_that_ended_alike_are_one_row_with_their_number(form):
    text = words(FULL, form)
    assert text.count("POST /orders") == 1
    assert "（同类 ×2）" in text
    assert "812–1204 ms" in text


def test_checks_that_differ_in_their_error_stay_apart():
    items = tuple(Item("GET /a", CheckStatus.FAILED, error=f"e{at}") for at in range(3))
    assert words(MonitorReport("t", items=items), Format.TEXT).count("GET /a") == 3


def test_the_worst_comes_first_and_equals_stay_in_order():
    items = tuple(
        Item(f"{at}-{status}", status) for at in range(2) for status in (CheckStatus.OK, CheckStatus.FAILED)
    )
    names = re.findall(r"[01]-[a-z]+", words(MonitorReport("t", items=items), Format.TEXT))
    assert names == ["0-failed", "1-failed", "0-ok", "1-ok"]


@pytest.mark.parametrize(
    ("totals", "rate"),
    [
        (Totals(20, 14, 6), "70.00%"),
        (Totals(20, 14, 6, 71.4), "71.40%"),
        (Totals(1_000_000, 999_999, 1), "99.99%"),
        (Totals(3, 3, 0), "100.00%"),
        (Totals(0, 0, 0), None),
    ],
)
def test_the_rate_is_as_given_or_worked_out(totals, rate):
    text = words(MonitorReport("t", totals=totals), Format.TEXT)
    assert (f"成功率：{rate}" in text) if rate else ("成功率" not in text)


def test_the_time_is_that_of_the_stores_clocks():
    assert "监控时间：2026-02-20 12:30:00" in words(QUIET, Format.TEXT)


@pytest.mark.parametrize("form", KEEPS)
def test_it_is_always_the_same(form):
    assert words(FULL, form) == words(replace(FULL), form)


def test_only_classic_markdown_has_colours_and_only_markdown_v2_tables_and_fences():
    has = {form: words(FULL, form) for form in KEEPS}
    assert [form for form, text in has.items() if "<font" in text] == [Format.MARKDOWN]
    assert [form for form, text in has.items() if "| --- |" in text] == [Format.MARKDOWN_V2]
    assert [form for form, text in has.items() if "\n```json\n" in text] == [Format.MARKDOWN_V2]
    lost = {draft.form: draft.lost for draft in drafts(FULL, SHANGHAI)}
    assert lost == {
        Format.TEXT: frozenset(Feature),
        Format.MARKDOWN: {Feature.TABLES, Feature.CODE},
        Format.MARKDOWN_V2: {Feature.COLOUR},
    }


@pytest.mark.parametrize(
    ("report", "field"),
    [
        (MonitorReport(" ", totals=Totals(1, 1, 0)), "report.title"),
        (MonitorReport("t", footer="x"), "report"),
        (MonitorReport("t", totals=Totals(3, 2, 2)), "report.totals"),
        (MonitorReport("t", tables=(Table("", ("a",), (("1",), ("1", "2"))),)), "report.tables[0].rows[1]"),
    ],
)
def test_facts_that_contradict_each_other_are_refused_by_their_field(report, field):
    with pytest.raises(Invalid) as refusal:
        report.checked()
    assert [one.field for one in refusal.value.violations] == [field]


def test_a_report_beyond_all_measure_is_refused():
    huge = MonitorReport("t", code_blocks=(CodeBlock("", "", "x" * TEXT_MOST + "y"),))
    with pytest.raises(Invalid, match="at most 200000"):
        drafts(huge, SHANGHAI)


# --- What no value can do --------------------------------------------------------------------------------

NASTY = [
    "<@all>",
    "<@lisi",
    "[a](https://evil.example)",
    "![a](https://evil.example/a.png)",
    '<font color="info">x</font>',
    '<a href="https://evil.example">x</a>',
    "**粗**",
    "# 题",
    "| a | b |",
    "|---|---|",
    "```",
    "````\n```",
    "~~~",
    "---",
    "> 引",
    "- 项",
    "1. 项",
    "`码`",
    "a\n# b",
    "\u202e反",
    "&lt;@all&gt;",
]


MARKUP = re.compile(
    r"[<>@`*_\[\]()~|\\#]|://|&[#A-Za-z]|\u202e|^(?:[-+=]+|[0-9]+\.)(?=\s)|^---$", re.MULTILINE
)
"""What has a meaning in some form, wherever it stands."""
TAGS = re.compile(r"<|>|@|://|&[#A-Za-z]|\u202e")


def everywhere(value: str) -> MonitorReport:
    """*value* in each place for words but code."""
    return MonitorReport(
        value,
        totals=Totals(2, 0, 2),
        items=(Item(value, CheckStatus.FAILED, None, 0, value, value), Item("b", CheckStatus.OK)),
        statistics=(Statistic(value, value),),
        tables=(Table(value, (value, value), ((value, value), ("c", "d"))),),
        code_blocks=(CodeBlock(value, "", "code"),),
        footer=value,
    )


@pytest.mark.parametrize("form", KEEPS)
@pytest.mark.parametrize("nasty", NASTY)
def test_no_value_mentions_links_or_formats(form, nasty):
    meaning = TAGS if form is Format.TEXT else MARKUP
    assert meaning.findall(words(everywhere(nasty), form)) == meaning.findall(words(everywhere("x"), form))
    assert words(everywhere(nasty), form).count("\n") == words(everywhere("x"), form).count("\n")


@pytest.mark.parametrize("form", KEEPS)
@pytest.mark.parametrize("nasty", NASTY)
def test_no_line_of_code_leaves_its_block_or_mentions_anybody(form, nasty):
    def coded(line: str) -> str:
        report = MonitorReport("t", code_blocks=(CodeBlock("", "", f"{line}\n    {line} {line}\nend"),))
        return words(report, form)

    lines = nasty.split("\n")
    harmless = "\n".join("x" for _ in lines)
    assert TAGS.findall(coded(nasty)) == TAGS.findall(coded(harmless)) == []
    if form is not Format.TEXT:
        assert coded(nasty).count("```") == coded(harmless).count("```")
    assert "\n    " in coded(nasty).replace("`    ", "    ")
    if form is Format.MARKDOWN:
        assert coded(nasty).count("`") == coded(harmless).count("`")


# --- Pages -----------------------------------------------------------------------------------------------

VALUES = st.one_of(
    st.sampled_from(NASTY),
    st.text(st.sampled_from("ab1字👍 |`<-\n"), min_size=1, max_size=40),
    st.sampled_from(["字", "👍"]).map(lambda c: c * 100),
)


def bounded(most):
    return VALUES.map(lambda value: value[:most])


ITEMS = st.builds(
    Item,
    bounded(100),
    st.sampled_from(CheckStatus),
    st.none() | st.integers(0, 86_400_000).map(lambda n: timedelta(milliseconds=n)),
    st.sampled_from([0, 200, 599]),
    bounded(32),
    st.one_of(bounded(100), st.just("👍" * 256)),
)
TABLES = st.integers(1, 8).flatmap(
    lambda width: st.builds(
        Table,
        bounded(40),
        st.tuples(*[bounded(50)] * width),
        st.lists(st.tuples(*[bounded(50)] * width), max_size=12).map(tuple),
    )
)
CODE = st.builds(
    CodeBlock,
    bounded(40),
    st.sampled_from(["", "json"]),
    st.lists(st.one_of(VALUES, st.just("Ω" * 5000)), min_size=1, max_size=40).map("\n".join),
)
ANY_REPORT = st.builds(
    MonitorReport,
    bounded(40).filter(lambda title: title.strip()),
    st.none(),
    st.just(Totals(9, 5, 4)),
    st.lists(ITEMS, max_size=12).map(tuple),
    st.lists(st.builds(Statistic, bounded(40), bounded(100)), max_size=5).map(tuple),
    st.lists(TABLES, max_size=2).map(tuple),
    st.lists(CODE, max_size=2).map(tuple),
    bounded(200),
)
MANY = st.builds(
    Mentions,
    st.lists(st.from_regex(r"[A-Za-z0-9_.-]{1,64}", fullmatch=True), max_size=80, unique=True).map(tuple),
    st.lists(st.from_regex(r"1[0-9]{10}", fullmatch=True), max_size=3, unique=True).map(tuple),
    st.booleans(),
)


@settings(max_examples=150, deadline=None)
@given(report=ANY_REPORT, who=MANY, way=st.sampled_from(WAYS))
def test_every_part_fits_nothing_is_cut_and_nothing_is_lost(report, who, way):
    channel, form = way
    (draft,) = drafts(report, SHANGHAI, form)
    plan = choose([draft], channel, who, field="report")
    fitted = [fit(content, channel, "d1", resend=True) for _, content in plan.parts()]
    assert all(one.byte_count <= one.byte_limit and not one.cut for one in fitted)
    pages = [content.text for content in plan.pages]
    total = len(pages)
    heads = [f"{draft.title} ({n}/{total})" if total > 1 else draft.title for n in range(1, total + 1)]
    assert [page.split("\n")[0] for page in pages] == heads
    lines = [line for page in pages for line in page.split("\n")[1:]]
    if form is Format.MARKDOWN_V2:
        for page in pages:
            fences = [line for line in page.split("\n") if line.startswith("```")]
            assert len(fences) % 2 == 0
            assert all(fence == "```" for fence in fences[1::2])
    # Every line stands whole on one page, but code that is longer than a page.
    own = [line for line in draft.text.split("\n") if size(line) < 1800 and line.strip()]
    assert set(own) <= set(lines)
    assert sum(line.count("Ω") for line in lines) == draft.text.count("Ω")
    if form is Format.MARKDOWN:
        assert all(line.count("`") % 2 == 0 for line in lines)
    left = iter(lines)
    for line in own:
        assert any(line == one for one in left), line
    called = {*who.listed, *who.mobiles}
    found = {name for _, content in plan.parts() for name in (*content.mentioned, *content.mentioned_mobiles)}
    found |= {name for page in pages for name in re.findall(r"<@([^<>]+)>", page)}
    assert found == (called if channel is Channel.ROBOT else set())


def test_a_repeat_of_a_page_fits_too():
    plan = planned(REPORTS["long"], Channel.ROBOT, Format.MARKDOWN_V2, PEOPLE)
    marked = [fit(content, Channel.ROBOT, "", resend=True) for content in plan.pages]
    assert all(one.text.startswith(RESEND_MARK) and one.byte_count <= 4096 for one in marked)


def test_latencies_are_in_milliseconds():
    spans = {
        ms(0): "0 ms",
        ms(0.2): "<1 ms".replace("<", "＜"),
        ms(12.6): "13 ms",
        timedelta(minutes=1): "60000 ms",
    }
    for span, expected in spans.items():
        report = MonitorReport("t", items=(Item("a", CheckStatus.OK, span),))
        assert expected in words(report, Format.TEXT)
