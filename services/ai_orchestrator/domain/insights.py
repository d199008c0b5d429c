"""Insights: which result stands for what, how old it may be, and when it is stale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime, timedelta
from string import Formatter
from typing import Any, Final

from services.ai_orchestrator.domain.definitions import AppDefinition, Subject
from services.ai_orchestrator.domain.material import Input, Reference
from shared.errors import Invalid
from shared.values import value_class

NEWER_FACTS: Final = "newer_facts"
"""Why what is kept of a member is stale: something became known since."""
TOO_OLD: Final = "too_old"
NEVER_MADE: Final = "never_made"
_SCORE_MOST: Final = 2**31


@value_class
class Insight:
    """The newest result of an application about one target."""

    store_id: str
    cache_type: str
    target: str
    app_type: str
    app_version: str
    member_id: str
    assistant_id: str
    time_dimension: str
    area: str
    result: Mapping[str, Any] = field(hash=False)
    score: int | None
    fingerprint: str
    references: tuple[Reference, ...]
    missing: tuple[str, ...]
    triggered_by: str
    run_id: str
    made_at: datetime
    known_at: datetime
    """When its facts were read."""
    revision: int
    stale: str
    """Why it is not fresh; empty: it is."""


def aim(app: AppDefinition, subject: Subject) -> tuple[str, Subject]:
    """The insight's target, and the parts of *subject* that it names: the others are nothing to it.

    Raises Invalid when the subject lacks one.
    """
    names = [name for _, name, _, _ in Formatter().parse(app.target) if name]
    parts = subject.parts
    for name in names:
        if name not in parts:
            raise Invalid.field(name, f"{app.app_type} cannot do without it; name one")
    own = Subject(subject.store_id, **{name: parts[name] for name in names})
    return app.target.format(**parts), own


def score_of(result: Mapping[str, Any]) -> int | None:
    """The score that a result gives, where it gives one."""
    found = result.get("score")
    if isinstance(found, bool) or not isinstance(found, int | float) or not abs(found) < _SCORE_MOST:
        return None
    return round(found)


def as_input(app_type: str, found: Insight | None, longest: timedelta, now: datetime) -> Input:
    """What another application is shown of *found*."""
    if found is None:
        return Input(app_type, None, missing=NEVER_MADE)
    stale = found.stale or (TOO_OLD if now - found.made_at > longest else "")
    return Input(app_type, found.result, found.made_at, stale)
