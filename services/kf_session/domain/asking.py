"""What a model is asked about a match, what it is shown, and which of its answers counts.

The score is its opinion beside the deterministic one; the text takes the place of the template's words. Neither is needed:
without an answer everything goes as if nobody had asked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

import orjson

from services.kf_session.domain.eligibility import WORDS_WAIT
from services.kf_session.domain.matching.profile import Profile
from services.kf_session.domain.matching.scoring import Intent, percent
from shared.values import value_class

TRIES: Final = 4
"""How often one question is asked at most, all under one key."""
DEADLINE: Final = 10.0
"""Bound on one call, in seconds."""
REASON_MOST: Final = 200
"""Characters of a reason."""

_PAUSES: Final = (timedelta(seconds=1), timedelta(seconds=5), timedelta(seconds=30))

ANSWERED: Final = "answered"
OUTDATED: Final = "outdated"
"""What was to be asked about has changed since, or nobody wants to know any more."""
TOO_LATE: Final = "too_late"
"""The push could not wait any longer."""
INVALID: Final = "invalid_answer"
NOT_CONFIGURED: Final = "not_configured"
"""Nobody here answers: no ai_orchestrator is configured, nor served by this process."""


class Kind(StrEnum):
    """What is asked, by the name of the application that answers."""

    SCORE = "kf_match_score"
    TEXT = "kf_match_text"


@value_class
class Answer:
    """How one call ended."""

    result: Mapping[str, Any] | None = field(default=None, repr=False)
    reason: str = ""
    """Why there is no result, as a stable word."""
    again: bool = False
    """Whether the same question may have a result later."""


@value_class
class Opinion:
    """What a model thinks of a match."""

    score: float
    reason: str = field(repr=False)


def score_facts(
    intent: Intent, description: str, profile: Profile, met: Sequence[str], score: float
) -> dict[str, Any]:
    """What the model is shown to judge a match by: nobody's name."""
    conditions = [{"条件": one.say(), "权重": one.weight, "必须": one.required} for one in intent.conditions]
    return {
        "意图": {"名称": intent.name, "说明": description, "条件": conditions},
        "资料": {"正文": profile.text, "字段": profile.to_json()},
        "满足的条件": list(met),
        "规则评分": round(score, 3),
    }


def text_facts(
    profile_name: str, intent_name: str, score: float, explanation: str, met: Sequence[str]
) -> dict[str, Any]:
    """What the model may say of a match."""
    return {
        "联系人": profile_name,
        "意图": intent_name,
        "匹配度": percent(score),
        "说明": explanation,
        "满足的条件": list(met),
    }


def digest(facts: Mapping[str, Any]) -> str:
    """Tells one state of the facts from another."""
    return hashlib.sha256(orjson.dumps(facts, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]


def opinion_of(result: Mapping[str, Any]) -> Opinion | None:
    """The opinion of an answer; None where it is none."""
    score, reason = result.get("score"), result.get("reason")
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        return None
    if not isinstance(reason, str) or not reason.strip():
        return None
    plain = "".join(char if char.isprintable() else " " for char in reason)
    return Opinion(float(score), " ".join(plain.split())[:REASON_MOST])


def next_try(kind: Kind, tries: int, asked_at: datetime, now: datetime) -> datetime | None:
    """When to ask once more after *tries* without an answer; None: not any more."""
    if tries >= TRIES:
        return None
    at = now + (_PAUSES[0] if kind is Kind.TEXT else _PAUSES[min(tries, len(_PAUSES)) - 1])
    return None if kind is Kind.TEXT and at >= asked_at + WORDS_WAIT else at
