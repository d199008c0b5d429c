"""Which calls carry a report: mentions × format × length, the least lost first and then the fewest."""

from __future__ import annotations

import pytest

from services.notifier.domain.content import Content, Format
from services.notifier.domain.report.monitor import MonitorReport
from services.notifier.domain.report.planner import PAGES_MOST, Mentions, ReportPlan, choose
from services.notifier.domain.report.render import Draft, drafts
from services.notifier.domain.routing import Channel
from shared.errors import Invalid
from tests.notifier.domain.builders import SHANGHAI
from tests.notifier.domain.reports import FULL, QUIET, long_report

TEXT, MARKDOWN, V2 = Format.TEXT, Format.MARKDOWN, Format.MARKDOWN_V2
NOBODY = Mentions()
MEMBER = Mentions(userids=("lisi", "wang"))
MOBILE = Mentions(mobiles=("13800138000",))
BOTH = Mentions(("lisi", "wang"), ("13800138000",))
ALL = Mentions(everyone=True)

CHECKS = MonitorReport(FULL.title, FULL.observed_at, FULL.totals, FULL.items, FULL.statistics)
"""With headings and colours, without tables and code."""
LONG_CHECKS = MonitorReport("全量巡检", items=long_report(90).items)


def planned(
    report: MonitorReport, who: Mentions, form: Format | None = None, channel: Channel = Channel.ROBOT
) -> ReportPlan:
    return choose(drafts(report, SHANGHAI, form), channel, who, field="report")


def carrier(plan: ReportPlan) -> str:
    """Where people are mentioned."""
    if plan.companion is not None:
        assert not any("<@" in page.text or page.mentioned for page in plan.pages)
        return "companion"
    *before, last = plan.pages
    assert not any("<@" in page.text or page.mentioned or page.mentioned_mobiles for page in before)
    if last.mentioned or last.mentioned_mobiles:
        return "lists"
    return "inline" if "<@" in last.text else "none"


@pytest.mark.parametrize(
    ("report", "wanted", "who", "form", "where"),
    [
        # Tables and code want markdown_v2, which mentions nobody.
        (FULL, None, NOBODY, V2, "none"),
        (FULL, None, MEMBER, V2, "companion"),
        (FULL, None, MOBILE, V2, "companion"),
        (FULL, None, BOTH, V2, "companion"),
        (FULL, None, ALL, V2, "companion"),
        # Colours want markdown, which mentions members among its words and nobody else.
        (CHECKS, None, NOBODY, MARKDOWN, "none"),
        (CHECKS, None, MEMBER, MARKDOWN, "inline"),
        (CHECKS, None, MOBILE, MARKDOWN, "companion"),
        (CHECKS, None, BOTH, MARKDOWN, "companion"),
        (CHECKS, None, ALL, MARKDOWN, "companion"),
        # Where nothing is lost in text, its lists save the companion.
        (QUIET, None, NOBODY, MARKDOWN, "none"),
        (QUIET, None, MEMBER, MARKDOWN, "inline"),
        (QUIET, None, MOBILE, TEXT, "lists"),
        (QUIET, None, BOTH, TEXT, "lists"),
        (QUIET, None, ALL, TEXT, "lists"),
        # A wish is kept.
        (FULL, TEXT, BOTH, TEXT, "lists"),
        (FULL, MARKDOWN, MEMBER, MARKDOWN, "inline"),
        (FULL, MARKDOWN, BOTH, MARKDOWN, "companion"),
        (QUIET, V2, MEMBER, V2, "companion"),
        # Length changes the pages, not the means.
        (LONG_CHECKS, None, MEMBER, MARKDOWN, "inline"),
        (LONG_CHECKS, None, BOTH, MARKDOWN, "companion"),
        (LONG_CHECKS, TEXT, BOTH, TEXT, "lists"),
        (long_report(), None, BOTH, V2, "companion"),
    ],
)
def test_the_plan_loses_least_and_then_takes_the_fewest_calls(report, wanted, who, form, where):
    plan = planned(report, who, wanted)
    assert (plan.form, carrier(plan)) == (form, where)
    assert plan.calls == len(list(plan.parts())) == len(plan.pages) + (where == "companion")
    assert (len(plan.pages) > 1) == (report in (LONG_CHECKS, long_report()))


@pytest.mark.parametrize(
    ("who", "userids", "mobiles"),
    [
        (MEMBER, ("lisi", "wang"), ()),
        (BOTH, ("lisi", "wang"), ("13800138000",)),
        (ALL, ("@all",), ()),
        (Mentions(("lisi",), (), everyone=True), ("lisi", "@all"), ()),
    ],
)
def test_a_companion_is_one_short_text_that_comes_last_and_is_no_page(who, userids, mobiles):
    *pages, (number, companion) = planned(FULL, who).parts()
    assert [at for at, _ in pages] == [1]
    assert number == 0
    words = "🔔 接口监控告警：请查看以上报告"
    assert companion == Content(TEXT, words, mentioned=userids, mentioned_mobiles=mobiles)


def test_an_inline_mention_is_the_last_line_of_the_last_page():
    plan = planned(LONG_CHECKS, MEMBER)
    assert plan.pages[-1].text.endswith("\n<@lisi> <@wang>")


@pytest.mark.parametrize("report", [FULL, CHECKS, QUIET])
def test_an_app_message_mentions_nobody_and_never_takes_markdown_v2(report):
    plan = planned(report, BOTH, channel=Channel.APP)
    assert (plan.form, carrier(plan)) == (MARKDOWN, "none")


def test_a_form_that_the_channel_lacks_is_refused_with_what_to_do():
    with pytest.raises(Invalid, match="an app cannot send markdown_v2; choose text or markdown") as refusal:
        planned(FULL, NOBODY, V2, Channel.APP)
    assert [one.field for one in refusal.value.violations] == ["format"]


def test_a_form_with_too_many_pages_gives_way_to_one_that_fits():
    page = "字" * 600 + "\n"
    plain, rich = Draft(TEXT, "", page * (PAGES_MOST + 1)), Draft(MARKDOWN, "", page * 10)
    assert choose([plain, rich], Channel.ROBOT, NOBODY, field="body").form is MARKDOWN
    with pytest.raises(Invalid, match=f"needs more than {PAGES_MOST} pages") as refusal:
        choose([plain], Channel.ROBOT, NOBODY, field="body")
    assert [one.field for one in refusal.value.violations] == ["body"]


def test_words_that_somebody_wrote_are_mentioned_with_as_well():
    draft = Draft(MARKDOWN, "日报", "**好**")
    assert choose([draft], Channel.ROBOT, MEMBER, field="body").pages == (
        Content(MARKDOWN, "日报\n**好**\n\n<@lisi> <@wang>"),
    )
    assert choose([draft], Channel.ROBOT, MOBILE, field="body").companion == Content(
        TEXT, "日报：请查看以上报告", mentioned_mobiles=("13800138000",)
    )


@pytest.mark.parametrize("userid", ["@all", "@ALL", "a b", "", "<x>"])
def test_a_userid_that_is_none_is_refused(userid):
    with pytest.raises(Invalid) as refusal:
        Mentions(("lisi", userid)).checked()
    assert refusal.value.violations[0].field.startswith("mentions.userids[1]")
