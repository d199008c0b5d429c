"""Tables for people: rich's on a terminal, the same plain text without escape codes in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

PIPE_WIDTH = 160
"""Columns where there is no terminal to ask: wide enough that ids and sentences stay whole."""


def console(stream: TextIO | None = None) -> Console:
    """A console on *stream* (stdout); colours and terminal width only where a person looks."""
    from rich.console import Console

    out = stream or sys.stdout
    if out.isatty():
        return Console(file=out, highlight=False)
    return Console(file=out, highlight=False, no_color=True, force_terminal=False, width=PIPE_WIDTH)


def table(heads: Sequence[str], rows: Iterable[Sequence[str | RenderableType]]) -> RenderableType:
    """A plain table; cells are texts as they are (no markup) or renderables."""
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for head in heads:
        drawn.add_column(head, overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    return drawn


def show(heads: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> None:
    """Print a table, or *empty* when there are no rows."""
    if rows:
        console().print(table(heads, rows))
    else:
        print(empty)
