"""What WeCom's error codes mean and whether trying again helps."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum

from shared.values import value_class
from shared.wecom.errcode_table import ROWS


class RetryClass(StrEnum):
    """What has to change before the same request can succeed."""

    NONE = "none"
    """Nothing: errcode 0."""

    REFRESH = "refresh"
    """The access token: get a new one, try once more."""

    RETRY = "retry"
    """Nothing but time."""

    REST = "rest"
    """Time, during which nothing is sent with the same key: a frequency or concurrency limit."""

    PERM_CONFIG = "perm_config"
    """A setting, by an administrator: tell one, and stop sending."""

    PERM_INPUT = "perm_input"
    """The request itself."""

    PERM_TARGET = "perm_target"
    """The recipient; others may work."""

    STATE = "state"
    """What the person or the session does next."""


@value_class
class Entry:
    """One error code."""

    code: int
    retry_class: RetryClass
    meaning: str
    """A few English words; ``unlisted`` for a code the platform's list does not hold."""

    advice: str = ""
    """What an operator can do about it, in English; empty where nothing is known to help."""

    advice_zh: str = ""
    """The same in Chinese."""

    retry_after: timedelta | None = None
    """How long to wait at least, for the classes where waiting helps."""

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed later, with nobody changing it."""
        return self.retry_class in (RetryClass.REFRESH, RetryClass.RETRY, RetryClass.REST)


def _codes(spec: str) -> list[int]:
    """The codes in ``"40004 40005"`` or ``"42014-42020"``."""
    found: list[int] = []
    for part in spec.split():
        first, dash, last = part.partition("-")
        if first and dash:
            found.extend(range(int(first), int(last) + 1))
        else:
            found.append(int(part))
    return found


def _entries() -> dict[int, Entry]:
    entries: dict[int, Entry] = {}
    for spec, retry_class, meaning, advice, advice_zh, seconds in ROWS:
        wait = timedelta(seconds=seconds) if seconds is not None else None
        for code in _codes(spec):
            if code in entries:
                raise ValueError(f"errcode {code} is listed twice")
            entries[code] = Entry(code, RetryClass(retry_class), meaning, advice, advice_zh, wait)
    return entries


ENTRIES = _entries()
"""Every listed code. The table is data (``errcode_table``); no code elsewhere names a meaning."""


def classify(errcode: int) -> Entry:
    """The entry of any code; one that is not listed is permanent, as the request's own fault."""
    entry = ENTRIES.get(errcode)
    return entry or Entry(errcode, RetryClass.PERM_INPUT, "unlisted")
