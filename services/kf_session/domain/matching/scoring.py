"""An intent, and how well a profile meets it.

The score is the share of the weight: ``(sum of the weights of the met conditions) / (sum of all weights)``. It is a
match when every required condition is met and the score is at least the intent's ``min_score``. Weights are whole
numbers, so that the same facts give the same score on every machine. No model has a say in it.
"""

from __future__ import annotations

from typing import Final

from services.kf_session.domain.matching import conditions as kinds
from services.kf_session.domain.matching.conditions import Among, Condition, Keywords
from services.kf_session.domain.matching.profile import Profile
from shared.errors import Invalid
from shared.values import value_class

MIN_SCORE: Final = 0.7
"""Where an intent does not say."""
CONDITIONS_MOST: Final = 50
EXPLANATION_MOST: Final = 1000
"""Characters."""


@value_class
class Intent:
    """What somebody looks for."""

    id: str
    name: str
    conditions: tuple[Condition, ...]
    min_score: float = MIN_SCORE

    def anchors(self) -> frozenset[str]:
        """Terms of which every profile that matches has at least one (``check`` sees that there are some).

        Those of a required condition, if one has any: of several the fewest, which find the fewest profiles.
        """
        tellers = [(one.required, found) for one in self.conditions if (found := one.anchors())]
        required = [found for needed, found in tellers if needed]
        if required:
            return min(required, key=lambda found: (_vague(found), len(found)))
        return frozenset().union(*(found for _, found in tellers))


def _vague(found: frozenset[str]) -> bool:
    return any(term.startswith("h:") for term in found)


@value_class
class Verdict:
    """What a comparison came to."""

    score: float
    matched: bool
    met: tuple[str, ...]
    """The conditions that are met, in words."""
    explanation: str
    """Why, in one sentence made of the facts; empty unless it matched."""


def compare(intent: Intent, profile: Profile) -> Verdict:
    """How well *profile* meets *intent*."""
    results = [(one, one.met(profile)) for one in intent.conditions]
    total = sum(one.weight for one in intent.conditions)
    score = sum(one.weight for one, met in results if met) / total
    matched = score >= intent.min_score and all(met for one, met in results if one.required)
    met = tuple(one for one, holds in results if holds)
    words = tuple(one.say() for one in met)
    return Verdict(score, matched, words, _explain(intent, profile, met, score) if matched else "")


def _explain(intent: Intent, profile: Profile, met: tuple[Condition, ...], score: float) -> str:
    facts = "；".join(one.evidence(profile) for one in met)
    share = f"{len(intent.conditions)}项条件中满足{len(met)}项"
    said = f"{share}（匹配度{percent(score)}）：{facts}。"
    return said if len(said) <= EXPLANATION_MOST else said[: EXPLANATION_MOST - 1] + "…"


def percent(score: float) -> str:
    """A score for people; 100% only for what is whole."""
    return f"{int(score * 100 + 1e-9)}%"


def check(intent: Intent, place: str) -> None:
    """Raise Invalid unless *intent* can be matched, and found by an index."""
    if not 1 <= len(intent.conditions) <= CONDITIONS_MOST:
        raise Invalid.field(f"{place}.conditions", f"from 1 to {CONDITIONS_MOST}")
    if not 0 < intent.min_score <= 1:
        raise Invalid.field(f"{place}.min_score", "must be above 0 and at most 1")
    kinds.check(intent.conditions, f"{place}.conditions")
    absent = [one for one in intent.conditions if isinstance(one, Keywords) and one.among is Among.NONE]
    if any(one.required for one in intent.conditions if one not in absent):
        return
    total = sum(one.weight for one in intent.conditions)
    if sum(one.weight for one in absent) / total >= intent.min_score:
        raise Invalid.field(
            f"{place}.conditions",
            "what is absent would be enough for a match; require something, or weigh it more",
        )
