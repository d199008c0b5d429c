"""What may name an event, its type and its store, and the name of an event whose publisher gave none."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime, timedelta

from shared.errors import Violation
from shared.events.canonical import Unreadable

DERIVED_WINDOW = timedelta(seconds=60)
"""For how long a body without an id is recognised when it comes again."""

_TYPE = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*", re.ASCII)
_STORE = re.compile(r"[A-Za-z0-9_.:@-]{1,64}", re.ASCII)


def check_id(value: object) -> str:
    """*value* as an event's id: 1 to 256 printable characters. Raises ``Unreadable`` ("id_invalid")."""
    if isinstance(value, str) and 0 < len(value) <= 256 and value.isprintable() and not value.isspace():
        return value
    raise Unreadable(
        "id_invalid", "id must be 1 to 256 printable characters", [Violation("id", "is not usable")]
    )


def check_type(value: object) -> str:
    """*value* as a type: up to 128 letters, digits, ``_`` and ``-`` in words joined by dots. Raises ``Unreadable``."""
    if isinstance(value, str) and len(value) <= 128 and _TYPE.fullmatch(value):
        return value
    raise Unreadable.listing([Violation("type", "must be words of letters, digits, _ and - joined by dots")])


def check_store(value: object) -> str:
    """*value* as a store's id: 1 to 64 letters, digits and ``_.:@-``. Raises ``Unreadable``."""
    if isinstance(value, str) and _STORE.fullmatch(value):
        return value
    raise Unreadable.listing([Violation("store_id", "must be 1 to 64 letters, digits and _ . : @ -")])


def derived_ids(
    event_type: str, store_id: str, digest: str, timestamp: datetime | None, now: datetime
) -> tuple[str, ...]:
    """Ids for content without one: by the publisher's time stamp, else by this minute and the one before.

    The first is the event's own; an event that is there under any of them is the same.
    """
    if timestamp is not None:
        stamps = [timestamp.astimezone(UTC).isoformat()]
    else:
        minute = int(now.timestamp() // DERIVED_WINDOW.total_seconds())
        stamps = [f"minute {minute}", f"minute {minute - 1}"]
    return tuple(_derive(event_type, store_id, digest, stamp) for stamp in stamps)


def _derive(*parts: str) -> str:
    return "derived-" + hashlib.sha256("\0".join(parts).encode()).hexdigest()[:40]
