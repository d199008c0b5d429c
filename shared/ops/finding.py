"""What a check says: no I/O, so that decisions may be written in it."""

from __future__ import annotations

from enum import StrEnum

from shared.values import value_class


class CheckStatus(StrEnum):
    """How a check went; the words of the contract."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@value_class
class Finding:
    """What a check found, and what to do about it."""

    name: str
    """Stable; ``kind:subject`` where there are several of a kind."""
    status: CheckStatus
    found: str
    """One line, no secrets."""
    fix: str = ""
    """What to do and where; empty when all is well."""
