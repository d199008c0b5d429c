"""What a prompt is made from, and the prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from typing import Any

from shared.values import value_class


@value_class
class Reference:
    """A fact a result was made from."""

    kind: str
    """visit, note, member, assistant, task, insight, clue or aggregate."""
    id: str
    at: datetime | None = None


@value_class
class Material:
    """The facts of a subject, as an app's definition names them."""

    views: Mapping[str, Any] = field(hash=False)
    """By name, as JSON values: what a view of the facts shows. Amounts are decimal strings in yuan."""
    references: tuple[Reference, ...]
    empty: bool
    """Whether there is nothing to ask about: the step is skipped with `no_facts`."""
    as_of: str = ""
    """The store's local time; shown, and no part of the fingerprint."""


@value_class
class Input:
    """What another app contributes."""

    app_type: str
    result: Mapping[str, Any] | None = field(hash=False)
    """None: it is missing."""
    made_at: datetime | None = None
    stale: str = ""
    """Why it is not fresh, as a stable word; empty: it is."""
    missing: str = ""
    """Why there is none: the end of its step, or ``never_made``."""


@value_class
class Prompt:
    """What is asked."""

    text: str
    fingerprint: str
    """A digest of the app's version and everything variable in the text but the instant it was made: the same facts and
    inputs give the same."""
    references: tuple[Reference, ...]
    missing: tuple[str, ...] = ()
    """``app3_clue:failed``: inputs that are missing or stale, and why; the prompt says so as well."""
