"""Merging as a table of a file: ``{ mode = "window", length = "60s", key = ["member_name"], line = "{member_name}" }``."""

from __future__ import annotations

import re
from datetime import timedelta

from services.notifier.domain.merging import LINES_MOST, MergeMode, Merging
from services.notifier.toml_tables import Table

KEYS = ("mode", "length", "key", "line", "top_lines")
"""What the table may say, in the order in which it is written."""

_SPAN = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)(ms|s|m|h)")
_UNITS = {
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
}


def span(table: Table, key: str) -> timedelta:
    """A length of time: ``60s``, ``5m``, ``1h``. Raises Invalid with its place and the fix."""
    found = _SPAN.fullmatch(table.text(key))
    if not found:
        raise table.wrong(key, "must be a number with a unit: 90s, 5m, 1h")
    return float(found[1]) * _UNITS[found[2]]


def span_words(length: timedelta) -> str:
    """*length* as ``span`` reads it: the largest unit that has no remainder."""
    for unit, one in _UNITS.items():
        if not length % one:
            return f"{length // one}{unit}"
    return f"{length.total_seconds():.6f}s"


def read_merging(table: Table) -> Merging:
    """How messages are brought together, not checked as a whole yet. Raises Invalid with its place and the fix."""
    table.only(KEYS, {"top": "write top_lines", "window": 'write mode = "window" and length = "60s"'})
    mode = table.choice("mode", MergeMode)
    length = span(table, "length") if "length" in table.plain else timedelta(0)
    if mode is not MergeMode.OFF and not length:
        raise table.wrong("length", "is missing: how long they gather, such as 60s or 5m")
    top = table.plain.get("top_lines", 0)
    if not isinstance(top, int) or isinstance(top, bool):
        raise table.wrong("top_lines", f"must be a whole number from 0 (as many as fit) to {LINES_MOST}")
    return Merging(mode, length, tuple(table.texts("key", [])), table.text("line", ""), top)


def write_merging(merging: Merging) -> dict[str, object]:
    """The table, without what it leaves out; ``read_merging`` reads the same from it."""
    plain: dict[str, object] = {
        "mode": merging.mode.value,
        "length": span_words(merging.length) if merging.length else "",
        "key": list(merging.key),
        "line": merging.line,
        "top_lines": merging.top,
    }
    return {key: value for key, value in plain.items() if value}
