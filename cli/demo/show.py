"""What the demo prints: a line for each moment, then the table. Plain text where nobody's terminal is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from cli.demo.cast import PEOPLE, STORE, STORE_NAME, Moment
from cli.demo.verdict import Arrival, Duty
from cli.tables import console, table

WIDE, GAP = 140, 2
LEAST_WORDS, MOST_WORDS = 12, 50
"""Columns that a message's words get in the table."""

_DOORS = {"bus": "the bus", "rpc": "TriggerPush"}


class Show:
    """The demo's voice."""

    def __init__(self) -> None:
        self._out: Console = console()

    def title(self) -> None:
        """The first line."""
        self._out.print(
            Text.assemble(("触达 Reach", "bold"), f" · an evening at {STORE_NAME} (store {STORE})")
        )

    def line(self, text: str) -> None:
        """Something that was set up or done."""
        self._out.print(Text(f"  {text}"))

    def good(self, text: str) -> None:
        """Something that went as it should."""
        self._out.print(Text.assemble(("  ✓ ", "green"), text))

    def moment(self, moment: Moment) -> None:
        """Something that happens at the restaurant."""
        door = f"by {_DOORS[moment.door]}"
        self._out.print(
            Text.assemble(
                f"  {moment.at}  ", (f"{moment.event_type:<24}", "bold"), f"{door:<16}", (moment.line, "dim")
            )
        )

    @contextmanager
    def waiting(self, text: str) -> Iterator[Callable[[str], None]]:
        """Says what is waited for, turning on a terminal; what it gives says how far it is."""
        if not self._out.is_terminal:
            yield lambda _: None
            return
        with self._out.status(text) as status:
            yield status.update

    def heading(self, text: str) -> None:
        """Begins a part."""
        self._out.print()
        self._out.print(Text(text, style="bold"))

    def table(
        self,
        evening: Sequence[Moment],
        duties: Mapping[str, Duty],
        rules: Mapping[str, str],
        roles: Mapping[str, Sequence[str]],
        found: Mapping[str, Sequence[Arrival]],
        fired: Mapping[str, datetime],
    ) -> None:
        """Event → rule → people → what arrived → how long; the roles too where there is room."""
        wide = self._out.width >= WIDE
        rows: list[tuple[str, ...]] = []
        for kind in (moment.event_type for moment in evening):
            people = "、".join(PEOPLE[who].name for who in duties[kind].people)
            rest = ("、".join(roles[kind]),) if wide else ()
            rows.append((kind, rules[kind], people, *rest, _how_long(fired[kind], found.get(kind, ()))))
        heads = ("event", "rule", "people", *(("roles",) if wide else ()), "after")
        taken = sum(max(map(cell_len, column)) + GAP for column in zip(heads, *rows, strict=True))
        room = max(LEAST_WORDS, min(MOST_WORDS, self._out.width - taken - GAP))
        shown = [
            (*row[:-1], _words(found.get(row[0], ()), room), row[-1])  # how long goes last
            for row in rows
        ]
        self._out.print()
        self._out.print(table((*heads[:-1], "what arrived", heads[-1]), shown))

    def failure(self, lines: Sequence[str]) -> None:
        """What is not as it should be."""
        self._out.print()
        for line in lines:
            self._out.print(Text.assemble(("  ✗ ", "red"), line))


def brief(text: str, room: int) -> str:
    """The first words of a message on one line of at most *room* columns; a Chinese character takes two."""
    line = Text(" ".join(text.split()))
    line.truncate(room, overflow="ellipsis")
    return line.plain


def _words(arrived: Sequence[Arrival], room: int) -> str:
    return brief(f"{len(arrived)} × {arrived[0].text}", room) if arrived else "nothing"


def _how_long(fired: datetime, arrived: Sequence[Arrival]) -> str:
    if not arrived:
        return "-"
    last = max(arrival.at for arrival in arrived)
    return f"{max(0.0, (last - fired).total_seconds()) * 1000:,.0f} ms"
