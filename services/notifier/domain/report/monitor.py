"""What a monitor found in one run, as facts.

Lengths of single values are bounded by the contract, so that a row always fits a page; what one value alone cannot
tell is checked here.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from enum import StrEnum

from shared.errors import Invalid, Violation
from shared.values import value_class


class CheckStatus(StrEnum):
    """How one check ended."""

    OK = "ok"
    SLOW = "slow"
    FAILED = "failed"
    TIMEOUT = "timeout"
    SKIPPED = "skipped"


@value_class
class Totals:
    """The figures of a whole run."""

    total: int
    success: int
    failure: int
    given_rate: float | None = None
    """Percent of successes as the monitor has it; None leaves it to be worked out."""

    @property
    def success_rate(self) -> float | None:
        """Percent of successes; None when nothing was to be checked and nobody says."""
        if self.given_rate is not None:
            return self.given_rate
        return 100 * self.success / self.total if self.total else None


@value_class
class Item:
    """One check of one interface."""

    name: str
    status: CheckStatus
    latency: timedelta | None = None
    http_status: int = 0
    """0 when there was no answer."""
    error_code: str = ""
    error: str = ""


@value_class
class Statistic:
    """A figure the monitor worked out, as it is to be read."""

    name: str
    value: str


@value_class
class Table:
    """A table of the publisher's own."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    """Each at most as wide as ``columns``."""


@value_class
class CodeBlock:
    """Lines that are to be read letter by letter."""

    title: str
    language: str
    code: str


@value_class
class MonitorReport:
    """The report of one run."""

    title: str
    observed_at: datetime | None = None
    totals: Totals | None = None
    items: tuple[Item, ...] = ()
    statistics: tuple[Statistic, ...] = ()
    tables: tuple[Table, ...] = ()
    code_blocks: tuple[CodeBlock, ...] = ()
    footer: str = ""

    def checked(self, field: str = "report") -> MonitorReport:
        """Itself. Raises Invalid naming every part of *field* that contradicts another."""
        wrong = [Violation(f"{field}{path}", words) for path, words in self._objections()]
        if wrong:
            raise Invalid("FIELD_INVALID", f"{wrong[0].field}: {wrong[0].description}", violations=wrong)
        return self

    def _objections(self) -> Iterator[tuple[str, str]]:
        if not self.title.strip():
            yield ".title", "is blank; it heads every page"
        if self.totals is None and not (self.items or self.statistics or self.tables or self.code_blocks):
            yield "", "says nothing; give totals, items, statistics, tables or code blocks"
        totals = self.totals
        if totals is not None and totals.success + totals.failure > totals.total:
            yield (
                ".totals",
                f"{totals.success} right and {totals.failure} wrong are more than {totals.total} in all",
            )
        for at, table in enumerate(self.tables):
            for number, row in enumerate(table.rows):
                if len(row) > len(table.columns):
                    yield (
                        f".tables[{at}].rows[{number}]",
                        f"{len(row)} cells for {len(table.columns)} columns; name the others' columns",
                    )
