"""The cheapest calls that keep a report's form, its mentions and its length.

What the platform allows (page 91770) decides:

    text           carries lists of userids and mobiles, and everybody
    markdown       mentions by ``<@userid>`` among its words; no mobiles, not everybody
    markdown_v2    mentions nobody

So people are mentioned among the words, or in the lists of the text itself, or by one short text that follows.
They are mentioned once, in the last call: when their telephones ring, the whole report is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby

from services.notifier.domain.content import LIMITS, Content, Format, room
from services.notifier.domain.paging import paginate
from services.notifier.domain.report.outline import Feature
from services.notifier.domain.report.render import Draft
from services.notifier.domain.routing import EVERYONE, Channel, Target, TargetKind
from shared.errors import Invalid
from shared.text.neutral import Dialect, neutralise
from shared.values import value_class

PAGES_MOST = 100
"""Pages of one report and channel; a robot sends 19 a minute."""

WEIGHT: Mapping[Feature, int] = {
    Feature.TABLES: 4,
    Feature.CODE: 4,
    Feature.HEADINGS: 2,
    Feature.COLOUR: 1,
}
"""How much is lost with a feature: columns and indentation carry meaning, a colour has a sign beside it."""

_SIMPLEST = (Format.MARKDOWN, Format.MARKDOWN_V2, Format.TEXT)
"""Among equals the form that every client shows well; old ones show markdown_v2 as its source."""


@value_class
class Mentions:
    """Whom a robot's post calls by name."""

    userids: tuple[str, ...] = ()
    mobiles: tuple[str, ...] = ()
    everyone: bool = False

    def __bool__(self) -> bool:
        return bool(self.userids or self.mobiles or self.everyone)

    def checked(self, field: str = "mentions") -> Mentions:
        """Itself. Raises Invalid for what is no userid."""
        for at, userid in enumerate(self.userids):
            if userid.lower() == EVERYONE:
                raise Invalid.field(f"{field}.userids[{at}]", f"is everybody; set {field}.all")
            Target.checked(TargetKind.USER, userid, field=f"{field}.userids[{at}]")
        return self

    def known(self, userids: Mapping[str, str]) -> Mentions:
        """With the members whose numbers are all among *userids* in their place; else itself."""
        if any(mobile not in userids for mobile in self.mobiles):
            return self
        everybody = (*self.userids, *(userids[mobile] for mobile in self.mobiles))
        once = {userid.lower(): userid for userid in reversed(everybody)}
        return replace(self, userids=tuple(once.values())[::-1], mobiles=())

    @property
    def inline(self) -> str:
        """As words of classic markdown; empty where it cannot carry them all."""
        if self.mobiles or self.everyone:
            return ""
        return " ".join(f"<@{userid}>" for userid in self.userids)

    @property
    def listed(self) -> tuple[str, ...]:
        """As text's list of userids."""
        return (*self.userids, EVERYONE) if self.everyone else self.userids


@value_class
class ReportPlan:
    """What is sent on one channel."""

    form: Format
    pages: tuple[Content, ...]
    companion: Content | None
    """The text that mentions people where the pages cannot; sent last."""
    lost: frozenset[Feature]
    """What the report needs and the form cannot show."""

    @property
    def calls(self) -> int:
        """How many calls it takes to one receiver."""
        return len(self.pages) + (self.companion is not None)

    def parts(self) -> Iterator[tuple[int, Content]]:
        """In the order of sending: pages with their numbers, then the companion, which is no page, with 0."""
        yield from enumerate(self.pages, start=1)
        if self.companion is not None:
            yield 0, self.companion


def choose(drafts: Sequence[Draft], channel: Channel, mentions: Mentions, *, field: str) -> ReportPlan:
    """The plan that loses least of the report and then needs the fewest calls.

    Mentions are for robots' groups; on other channels they are left out. Raises Invalid where the channel has none of
    the drafts' forms, or *field* (what the drafts were made of) needs more than ``PAGES_MOST`` pages in each.
    """
    possible = [draft for draft in drafts if (channel, draft.form) in LIMITS]
    if not possible:
        room(channel, drafts[0].form)
    if channel is not Channel.ROBOT:
        mentions = Mentions()
    ranked = sorted(possible, key=lambda one: (_loss(one), _SIMPLEST.index(one.form)))
    for _, alike in groupby(ranked, key=_loss):
        plans = [plan for draft in alike if (plan := _made(draft, channel, mentions)) is not None]
        if plans:
            return min(plans, key=lambda plan: plan.calls)
    raise Invalid.field(field, f"needs more than {PAGES_MOST} pages; shorten or split it")


def _loss(draft: Draft) -> int:
    return sum(WEIGHT[feature] for feature in draft.lost)


def _made(draft: Draft, channel: Channel, mentions: Mentions) -> ReportPlan | None:
    """The plan for one draft; None where it has too many pages."""
    form, text = draft.form, draft.text
    inline = mentions.inline if form is Format.MARKDOWN else ""
    if inline:
        text = f"{text}\n\n{inline}"
    pages = [
        page.text
        for page in paginate(text, room(channel, form), markdown=form.is_markdown, title=draft.title)
    ]
    if len(pages) > PAGES_MOST:
        return None
    contents = [Content(form, page) for page in pages]
    companion = None
    if mentions and form is Format.TEXT:
        contents[-1] = _mentioning(pages[-1], mentions)
    elif mentions and not inline:
        companion = _mentioning(_pointer(draft.title), mentions)
    return ReportPlan(form, tuple(contents), companion, draft.lost)


def _pointer(title: str) -> str:
    """What the companion says: which report it points at."""
    name = neutralise(title.lstrip("#"), Dialect.PLAIN)
    return f"{name}：请查看以上报告" if name else "请查看以上报告"


def _mentioning(text: str, mentions: Mentions) -> Content:
    return Content(Format.TEXT, text, mentioned=mentions.listed, mentioned_mobiles=mentions.mobiles)
