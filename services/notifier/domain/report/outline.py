"""A report as blocks: in the order it is read, the worst first, and what repeats collapsed. No form has a say here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta, tzinfo
from enum import Enum, StrEnum, auto

from services.notifier.domain.report.monitor import CheckStatus, CodeBlock, Item, MonitorReport, Totals
from shared.text.present import instant
from shared.values import value_class


class Tone(StrEnum):
    """What a value means for whoever reads it; a form with colours shows it."""

    GOOD = "good"
    BAD = "bad"
    FAINT = "faint"


class Feature(Enum):
    """What a block needs of a form in order to look as it should."""

    HEADINGS = auto()
    COLOUR = auto()
    TABLES = auto()
    CODE = auto()


@value_class
class Fact:
    """``label：value``."""

    label: str
    value: str
    tone: Tone | None = None


@value_class
class Row:
    """Checks of one name that ended alike."""

    mark: str
    """One sign that is seen from afar."""
    word: str
    """How they ended, in a word."""
    tone: Tone
    name: str
    latency: str
    """Empty when none was measured."""
    cause: str
    """HTTP status, code and words of the error; empty when all was well."""
    times: int
    """How many they are."""


@value_class
class Heading:
    """What the following block is about."""

    text: str


@value_class
class Facts:
    """Labelled values, one a line."""

    facts: tuple[Fact, ...]


@value_class
class Checks:
    """Checks, one a line or row."""

    rows: tuple[Row, ...]


@value_class
class Grid:
    """A table."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[tuple[str, ...], int], ...]
    """Cells, as many as columns, and how often the row came."""


@value_class
class Listing:
    """Lines of code."""

    title: str
    language: str
    lines: tuple[str, ...]


@value_class
class Closing:
    """The last line."""

    text: str


Block = Heading | Facts | Checks | Grid | Listing | Closing

_STATUS: Mapping[CheckStatus, tuple[int, str, str, Tone]] = {
    CheckStatus.FAILED: (0, "❌", "失败", Tone.BAD),
    CheckStatus.TIMEOUT: (1, "⌛", "超时", Tone.BAD),
    CheckStatus.SLOW: (2, "🐢", "缓慢", Tone.BAD),
    CheckStatus.SKIPPED: (3, "⏭", "跳过", Tone.FAINT),
    CheckStatus.OK: (4, "✅", "正常", Tone.GOOD),
}
_FINE = (CheckStatus.OK, CheckStatus.SKIPPED)


def headline(report: MonitorReport) -> str:
    """The title, with a sign that says whether anything is wrong."""
    failures = report.totals.failure if report.totals is not None else 0
    alarm = failures > 0 or any(item.status not in _FINE for item in report.items)
    return f"{'🔔' if alarm else '✅'} {report.title}"


def outline(report: MonitorReport, zone: tzinfo) -> list[Block]:
    """The blocks of *report*, its times on the clocks of *zone*."""
    return list(_blocks(report, zone))


def needed(blocks: Iterable[Block]) -> frozenset[Feature]:
    """What a form must have to show *blocks* as they should look."""
    found: set[Feature] = set()
    for block in blocks:
        match block:
            case Heading():
                found.add(Feature.HEADINGS)
            case Facts(facts) if any(fact.tone is Tone.BAD for fact in facts):
                found.add(Feature.COLOUR)
            case Checks(rows) if any(row.tone is Tone.BAD for row in rows):
                found.add(Feature.COLOUR)
            case Grid():
                found.add(Feature.TABLES)
            case Listing():
                found.add(Feature.CODE)
    return frozenset(found)


def _blocks(report: MonitorReport, zone: tzinfo) -> Iterator[Block]:
    opening: list[Fact] = []
    if report.observed_at is not None:
        opening.append(Fact("监控时间", instant(report.observed_at.isoformat(), zone)))
    if report.totals is not None:
        opening += _totals(report.totals)
    if opening:
        yield Facts(tuple(opening))
    if report.items:
        wrong = any(item.status not in _FINE for item in report.items)
        yield Heading("⚠️ 异常详情" if wrong else "📋 检查明细")
        yield Checks(tuple(_rows(report.items)))
    if report.statistics:
        yield Heading("📊 统计信息")
        yield Facts(tuple(Fact(one.name, one.value) for one in report.statistics))
    for table in report.tables:
        width = len(table.columns)
        padded = [row + ("",) * (width - len(row)) for row in table.rows]
        counted: dict[tuple[str, ...], int] = {}
        for row in padded:
            counted[row] = counted.get(row, 0) + 1
        yield Grid(table.title, table.columns, tuple(counted.items()))
    for block in report.code_blocks:
        yield Listing(block.title, block.language, _code_lines(block))
    if report.footer.strip():
        yield Closing(report.footer)


def _totals(totals: Totals) -> Iterator[Fact]:
    yield Fact("总接口数", str(totals.total))
    yield Fact("成功数", str(totals.success))
    yield Fact("失败数", str(totals.failure), Tone.BAD if totals.failure else None)
    rate = totals.success_rate
    if rate is not None:
        yield Fact("成功率", _percent(rate), Tone.BAD if totals.failure else Tone.GOOD)


def _percent(rate: float) -> str:
    # A single failure among a million must not read as none.
    return "99.99%" if 99.99 < rate < 100 else f"{rate:.2f}%"


def _rows(items: Sequence[Item]) -> Iterator[Row]:
    alike: dict[tuple[object, ...], list[Item]] = {}
    for item in sorted(items, key=lambda one: _STATUS[one.status][0]):
        alike.setdefault((item.status, item.name, item.http_status, item.error_code, item.error), []).append(
            item
        )
    for group in alike.values():
        first = group[0]
        _, mark, word, tone = _STATUS[first.status]
        latencies = [one.latency for one in group if one.latency is not None]
        yield Row(mark, word, tone, first.name, _span(latencies), _cause(first), len(group))


def _span(latencies: Sequence[timedelta]) -> str:
    if not latencies:
        return ""
    least, most = _milliseconds(min(latencies)), _milliseconds(max(latencies))
    return f"{least} ms" if least == most else f"{least}–{most} ms"


def _milliseconds(span: timedelta) -> str:
    ms = span / timedelta(milliseconds=1)
    return "<1" if 0 < ms < 1 else f"{ms:.0f}"


def _cause(item: Item) -> str:
    parts = (f"HTTP {item.http_status}" if item.http_status else "", item.error_code, item.error)
    return " · ".join(part for part in parts if part.strip())


def _code_lines(block: CodeBlock) -> tuple[str, ...]:
    return tuple(block.code.replace("\r\n", "\n").expandtabs(4).strip("\n").split("\n"))
