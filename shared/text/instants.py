"""Instants as text that sorts as time does."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache


@lru_cache(maxsize=4096)  # the rows of a batch share their instants
def instant_text(value: datetime) -> str:
    """*value* as fixed-width UTC text (``2026-03-01T08:00:00.000000Z``), which sorts as time does.

    Raises ``ValueError`` for a naive datetime: nobody knows when that is.
    """
    if value.tzinfo is None:
        raise ValueError("an instant needs a time zone")
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
