"""A report's blocks in each of WeCom's forms (page 91770), every value of the publisher's made harmless.

                text              markdown               markdown_v2
    heading     the words         ### words              ### words
    fact        label：value      **label**：value       - **label**：value
    colour      (the sign)        font info / warning    (the sign)
    checks      one a line        one a line             a table
    table       cells with ｜     cells with ｜          a table
    code        the lines         `inline`, each line    a fence
    closing     the words         grey                   a rule, italics

What a form lacks becomes the nearest it has; no value is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import tzinfo
from itertools import pairwise
from typing import ClassVar

from services.notifier.domain.content import Format
from services.notifier.domain.report.monitor import MonitorReport
from services.notifier.domain.report.outline import (
    Block,
    Checks,
    Closing,
    Fact,
    Facts,
    Feature,
    Grid,
    Heading,
    Listing,
    Row,
    Tone,
    headline,
    needed,
    outline,
)
from shared.errors import Invalid
from shared.text.cutting import head, size
from shared.text.neutral import Dialect, neutralise
from shared.text.present import MISSING_MARK
from shared.values import value_class

TEXT_MOST = 200_000
"""Bytes a report may have in one form."""

CODE_LINE_MOST = 1000
"""Bytes of one line of inline code; a longer one goes on in the next line, so that no page has to cut it."""

KEEPS: Mapping[Format, frozenset[Feature]] = {
    Format.TEXT: frozenset(),
    Format.MARKDOWN: frozenset({Feature.HEADINGS, Feature.COLOUR}),
    Format.MARKDOWN_V2: frozenset({Feature.HEADINGS, Feature.TABLES, Feature.CODE}),
}
"""The forms a report can take, and what each is able to show."""

_COLOURS: Mapping[Tone, str] = {Tone.GOOD: "info", Tone.BAD: "warning", Tone.FAINT: "comment"}
_FENCE = "```"


@value_class
class Draft:
    """The words of a report in one form, before anything is cut into pages."""

    form: Format
    title: str
    """Heads every page, in markup of the form; may be empty."""
    text: str
    lost: frozenset[Feature] = frozenset()
    """What the report needs and the form cannot show."""


def drafts(report: MonitorReport, zone: tzinfo, wanted: Format | None = None) -> tuple[Draft, ...]:
    """*report* in the form that is *wanted*, or in each it can take.

    Raises Invalid where it has more than ``TEXT_MOST`` bytes in one of them.
    """
    blocks, title = outline(report, zone), headline(report)
    needs = needed(blocks)
    made = []
    for form in KEEPS if wanted is None else (wanted,):
        writer = _WRITERS[form]()
        text = _joined(blocks, [writer.block(block) for block in blocks])
        if size(text) > TEXT_MOST:
            raise Invalid.field(
                "report",
                f"has {size(text)} bytes as {form}; at most {TEXT_MOST} are sent, so shorten or split it",
            )
        made.append(Draft(form, writer.title(title), text, needs - KEEPS[form]))
    return tuple(made)


def _joined(blocks: Sequence[Block], texts: Sequence[str]) -> str:
    """A heading directly above its block, everything else with a blank line between."""
    gaps = ["\n" if isinstance(before, Heading) else "\n\n" for before, _ in pairwise(blocks)]
    return "".join(text + gap for text, gap in zip(texts, [*gaps, ""], strict=True))


class _Writer:
    """Plain text, and what the forms have in common."""

    dialect: ClassVar[Dialect] = Dialect.PLAIN

    def title(self, words: str) -> str:
        """The line that heads each page."""
        return self.value(words)

    def block(self, block: Block) -> str:
        """One block, in lines."""
        match block:
            case Heading(text):
                return self.heading(text)
            case Facts(facts):
                return "\n".join(self.fact(fact) for fact in facts)
            case Checks(rows):
                return "\n".join(self.checks(rows))
            case Grid():
                return "\n".join([*self.caption(block.title), *self.grid(block)])
            case Listing():
                return "\n".join([*self.caption(block.title), *self.listing(block)])
            case Closing(text):
                return self.closing(text)

    def value(self, words: str) -> str:
        """Words from outside, as they may stand in this form."""
        return neutralise(words, self.dialect) or MISSING_MARK

    def strong(self, text: str) -> str:
        """With emphasis, where the form has it."""
        return text

    def coloured(self, text: str, tone: Tone | None) -> str:
        """With the colour of *tone*, where the form has it."""
        return text

    def heading(self, text: str) -> str:
        """A heading of our own."""
        return text

    def caption(self, title: str) -> Iterable[str]:
        """What stands above a table or code; nothing for an empty title."""
        return [self.strong(self.value(title))] if title.strip() else []

    def fact(self, fact: Fact) -> str:
        """One labelled value."""
        return f"{self.strong(self.value(fact.label))}：{self.coloured(self.value(fact.value), fact.tone)}"

    def checks(self, rows: Sequence[Row]) -> Iterable[str]:
        """The checks, one a line."""
        for row in rows:
            name, word = self.strong(self.value(row.name)), self.coloured(row.word, row.tone)
            rest = [self.value(part) for part in (row.latency, row.cause) if part]
            yield " · ".join([f"{row.mark} {name} {word}", *rest]) + _alike(row.times)

    def grid(self, grid: Grid) -> Iterable[str]:
        """The head and rows of a table, one a line."""
        yield self.strong(" ｜ ".join(self.value(column) for column in grid.columns))
        for cells, times in grid.rows:
            yield " ｜ ".join(self.value(cell) for cell in cells) + _alike(times)

    def listing(self, listing: Listing) -> Iterable[str]:
        """The lines of code."""
        return [self.code(line) for line in listing.lines]

    def code(self, line: str) -> str:
        """A line of code, its indentation kept; markup means nothing where it will stand."""
        bare = line.lstrip(" ")
        return " " * (len(line) - len(bare)) + neutralise(bare, Dialect.PLAIN)

    def closing(self, text: str) -> str:
        """The last line."""
        return self.value(text)


class _Markdown(_Writer):
    """Classic markdown: headings, bold, three colours, inline code."""

    dialect = Dialect.MARKDOWN

    def title(self, words: str) -> str:
        return f"## {self.value(words)}"

    def heading(self, text: str) -> str:
        return f"### {text}"

    def strong(self, text: str) -> str:
        return f"**{text}**"

    def coloured(self, text: str, tone: Tone | None) -> str:
        return text if tone is None else f'<font color="{_COLOURS[tone]}">{text}</font>'

    def listing(self, listing: Listing) -> Iterable[str]:
        for line in listing.lines:
            yield from self._inline(self.code(line).replace("`", "｀"))

    def _inline(self, line: str) -> Iterator[str]:
        if not line.strip():
            yield ""
            return
        while line:
            piece = head(line, CODE_LINE_MOST)
            yield f"`{piece}`"
            line = line[len(piece) :]

    def closing(self, text: str) -> str:
        return self.coloured(self.value(text), Tone.FAINT)


class _MarkdownV2(_Markdown):
    """markdown_v2: lists, tables, fences, rules; no colours."""

    def coloured(self, text: str, tone: Tone | None) -> str:
        return text

    def fact(self, fact: Fact) -> str:
        # Lines that only follow each other may run together in this dialect; the items of a list do not.
        return f"- {super().fact(fact)}"

    def caption(self, title: str) -> Iterable[str]:
        # A heading ends where its line does; a table right behind any other line might be taken for its continuation.
        return [f"#### {self.value(title)}"] if title.strip() else []

    def checks(self, rows: Sequence[Row]) -> Iterable[str]:
        timed, caused = any(row.latency for row in rows), any(row.cause for row in rows)
        shown = [
            [
                f"{row.mark} {row.word}",
                self.value(row.name) + _alike(row.times),
                *([self._cell(row.latency)] if timed else []),
                *([self._cell(row.cause)] if caused else []),
            ]
            for row in rows
        ]
        return _table(["状态", "接口", *(["耗时"] if timed else []), *(["原因"] if caused else [])], shown)

    def grid(self, grid: Grid) -> Iterable[str]:
        rows = [
            [*(self._cell(cell) for cell in cells[:-1]), self._cell(cells[-1]) + _alike(times)]
            for cells, times in grid.rows
        ]
        return _table([self._cell(column) for column in grid.columns], rows)

    def listing(self, listing: Listing) -> Iterable[str]:
        yield _FENCE + listing.language
        # Three in a row would end the fence, wherever in a line they stand.
        yield from (self.code(line).replace(_FENCE, "｀｀｀") for line in listing.lines)
        yield _FENCE

    def closing(self, text: str) -> str:
        return f"---\n*{self.value(text)}*"

    def _cell(self, words: str) -> str:
        return neutralise(words, self.dialect)


_WRITERS: Mapping[Format, type[_Writer]] = {
    Format.TEXT: _Writer,
    Format.MARKDOWN: _Markdown,
    Format.MARKDOWN_V2: _MarkdownV2,
}


def _alike(times: int) -> str:
    return f"（同类 ×{times}）" if times > 1 else ""


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield "|" + " --- |" * len(columns)
    for row in rows:
        yield f"| {' | '.join(row)} |"
