"""The figures of a selection of visits: exact sums, and what is told of them."""

from __future__ import annotations

from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

from shared.values import value_class

_CENT: Final = Decimal("0.01")
_TENTH: Final = Decimal("0.1")


@value_class
class Selection:
    """Which visits are meant; None does not narrow it."""

    store_id: str
    member_id: str | None = None
    assistant_id: str | None = None


@value_class
class Figures:
    """What the visits of a selection come to."""

    visits: int = 0
    """Without refunds."""
    gross_cents: int = 0
    refunds: int = 0
    refund_cents: int = 0
    """Not negative."""
    seconds: int = 0
    members: int = 0
    """Different ones; guests are none."""
    assisted: int = 0
    """Visits that an assistant looked after."""
    assisted_cents: int = 0
    first_at: datetime | None = None
    """Of the visits."""
    last_at: datetime | None = None

    @property
    def revenue_cents(self) -> int:
        """What stayed in the till."""
        return self.gross_cents - self.refund_cents

    @property
    def ticket_cents(self) -> Decimal | None:
        """The mean visit, before refunds."""
        return Decimal(self.gross_cents) / self.visits if self.visits else None

    @property
    def empty(self) -> bool:
        """Whether nothing happened."""
        return not self.visits and not self.refunds


@value_class
class Share:
    """The figures of one part of a selection: an area, an item, a step of time."""

    name: str
    count: int
    """Visits, or thousandths of an item."""
    cents: int


def yuan(cents: int | Decimal) -> str:
    """Cents as yuan with two decimals."""
    return f"{(Decimal(cents) / 100).quantize(_CENT, ROUND_HALF_UP):f}"


def hours(seconds: int) -> str:
    """Seconds as hours with one decimal."""
    return f"{(Decimal(seconds) / 3600).quantize(_TENTH, ROUND_HALF_UP):f}"


def number(thousandths: int) -> str:
    """Thousandths as a number without needless zeros."""
    return f"{(Decimal(thousandths) / 1000).normalize():f}"


def change(now: int | Decimal | None, before: int | Decimal | None) -> str | None:
    """How much more *now* is than *before*, in percent; None where there is nothing to measure it by."""
    if now is None or not before or before < 0:
        return None
    percent = ((Decimal(now) / Decimal(before) - 1) * 100).quantize(_TENTH, ROUND_HALF_UP)
    return f"{percent:+f}%" if percent else "0.0%"
