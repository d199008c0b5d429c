"""A run as a table for spreadsheets: comma-separated values (RFC 4180), one line a group.

Names of groups and words of the platform are other people's: what a spreadsheet would take for a formula is told to be
text by an apostrophe before it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from shared.values import value_class

EXCLUDED: Final = "excluded"
"""Where a group stands that was left out."""
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"

_FORMULA: Final = tuple("=+-@＝＋－＠")
_CONTROL: Final = tuple("\t\r\n\0")


@value_class
class Line:
    """One group; the names are those of the columns."""

    campaign_id: str
    version: int
    run_id: str
    dry: bool
    chat_id: str
    name: str
    owner: str
    labels: tuple[str, ...]
    status: str
    reason: str
    error: str
    updated_at: datetime
    raw_status: int | None = None
    errcode: int | None = None
    task_id: str = ""
    task_status: str = ""
    msgid: str = ""
    asked_at: datetime | None = None
    confirmed_at: datetime | None = None
    sent_at: datetime | None = None


COLUMNS: Final = (
    "chat_id", "name", "owner", "labels", "status", "raw_status", "reason", "errcode", "error", "asked_at", "confirmed_at",
    "sent_at", "task_id", "task_status", "msgid", "updated_at", "campaign_id", "version", "run_id", "dry",
)  # fmt: skip
"""Of the table, in order."""


def head() -> str:
    """The line that names the columns."""
    return _written(COLUMNS)


def line(one: Line) -> str:
    """One line, with its end."""
    return _written(_cell(getattr(one, name)) for name in COLUMNS)


def harmless(text: str) -> str:
    """*text* as a spreadsheet shows it, whatever it begins with."""
    begins = text.lstrip()[:1]
    if text.startswith(_CONTROL) or begins.startswith(_FORMULA):
        return f"'{text}"
    return text


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    if isinstance(value, tuple):
        return harmless(";".join(map(str, value)))
    # A number of ours is a number, also below zero.
    return str(value) if isinstance(value, int) else harmless(str(value))


def _written(cells: Iterable[str]) -> str:
    written = io.StringIO()
    csv.writer(written, lineterminator="\r\n").writerow(cells)
    return written.getvalue()
