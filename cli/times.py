"""Instants of messages, as people read them: on this machine's clock."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any


def local(message: Any, field: str) -> str:
    """The instant of *field* to the second, or nothing when it is absent."""
    at = instant(message, field)
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S}" if at is not None else ""


def clock(message: Any, field: str) -> str:
    """The time of day of *field* to the millisecond, or nothing when it is absent."""
    at = instant(message, field)
    return f"{at.astimezone():%H:%M:%S.%f}"[:-3] if at is not None else ""


def instant(message: Any, field: str) -> datetime | None:
    """The instant of *field*, or None when it is absent."""
    if not message.HasField(field):
        return None
    at: datetime = getattr(message, field).ToDatetime(tzinfo=UTC)
    return at
