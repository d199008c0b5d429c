"""Versions of a template against each other: who gets which, and when it is known that one is better.

Method: Lindon and Malek, "Anytime-Valid Inference for Multinomial Count Data" (NeurIPS 2022, arXiv:2011.03567). Whoever
takes part is assigned at random, so as long as the versions are alike, each customer who answers is of version i with
the probability of its share, whatever the share of customers that answer and however that changes with the hour. The
ratio of a Dirichlet mixture to that hypothesis is a martingale that begins at 1; that it ever reaches 1/alpha has, by
Ville's inequality, a probability of at most alpha. So it may be looked at after each answer, for ever.

The unit is a customer, who counts once: by the first push that they got in the experiment. See docs/adr/0023.
"""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

from shared.errors import Invalid
from shared.values import value_class

ALPHA: Final = 0.05
"""The probability that an experiment of versions that are alike names a winner, however often it is looked at."""
GUARD_ALPHA: Final = 0.05
"""The probability that a guardrail stops a version that does no harm."""
GUARD_LEAST: Final = 5
"""Customers of a version that must have been harmed before a guardrail stops it."""
VARIANTS_MOST: Final = 5
DURATION: Final = timedelta(days=30)
DURATION_MOST: Final = timedelta(days=180)

_CONCENTRATION: Final = 10.0
"""How near to the shares the mixture looks for differences: as if it had seen so many answers."""
_SEPARATOR: Final = "/"


@value_class
class Variant:
    """One version that takes part; the first is the control."""

    name: str
    version: int
    share: int
    stopped: bool = False


@value_class
class Seen:
    """What is known of a variant's customers, each counted once."""

    customers: int = 0
    engaged: int = 0
    """Who replied or clicked."""
    unsubscribed: int = 0
    late_failed: int = 0
    """Whose push the platform accepted and then failed."""


@value_class
class Verdict:
    """What a look at an experiment says."""

    winner: str | None
    """The variant that is better than every other one."""
    harmful: Mapping[str, str]
    """Variants to stop, with the guardrail."""


def check(variants: Sequence[Variant]) -> None:
    """Raises Invalid where *variants* make no experiment."""
    names = [one.name for one in variants]
    if not 2 <= len(variants) <= VARIANTS_MOST:
        raise Invalid.field("variants", f"an experiment has 2 to {VARIANTS_MOST} variants")
    if len(set(names)) < len(names):
        raise Invalid.field("variants", "each variant has a name of its own")
    if len({one.version for one in variants}) < len(variants):
        raise Invalid.field("variants", "each variant is another version")


def assign(key: bytes, experiment_id: str, customer: str, variants: Sequence[Variant]) -> Variant:
    """The variant of a customer: always the same one, and nobody without *key* can tell which."""
    digest = hmac.new(key, f"{experiment_id}\0{customer}".encode(), hashlib.sha256).digest()
    place = int.from_bytes(digest[:8], "big") * sum(one.share for one in variants) >> 64
    for one in variants:
        place -= one.share
        if place < 0:
            return one
    raise AssertionError("the shares add up")


def label(experiment_id: str, variant: str) -> str:
    """What a push of a variant is marked with."""
    return f"{experiment_id}{_SEPARATOR}{variant}"


def labels(experiment_id: str) -> tuple[str, str]:
    """From which mark on, and below which, those of an experiment are."""
    return experiment_id + _SEPARATOR, experiment_id + chr(ord(_SEPARATOR) + 1)


def evidence(one: int, other: int, share_one: int, share_other: int) -> float:
    """The logarithm of the evidence that two variants differ, which had *one* and *other* answers.

    Its greatest value over all times exceeds log(1/alpha) with a probability of at most alpha while they are alike.
    """
    null = share_one / (share_one + share_other)
    a, b = _CONCENTRATION * null, _CONCENTRATION * (1 - null)
    mixture = _log_beta(one + a, other + b) - _log_beta(a, b)
    return mixture - one * math.log(null) - other * math.log1p(-null)


def look(variants: Sequence[Variant], seen: Mapping[str, Seen], alpha: float = ALPHA) -> Verdict:
    """What may be said now; it may be asked after each answer."""
    control = variants[0]
    live = [one for one in variants if not one.stopped]
    harmful: dict[str, str] = {}
    for one in live:
        if one is control:
            continue
        for guardrail in ("unsubscribed", "late_failed"):
            bad = getattr(seen.get(one.name, Seen()), guardrail)
            # Two guardrails for each of the others: their probabilities of being wrong add up to the whole.
            strict = GUARD_ALPHA / (2 * (len(variants) - 1))
            if bad >= GUARD_LEAST and _more(one, control, seen, guardrail, strict):
                harmful[one.name] = guardrail
    live = [one for one in live if one.name not in harmful]
    # So do those of all pairs that there were to begin with.
    strict = alpha / (len(variants) * (len(variants) - 1) / 2)
    for one in live:
        others = [other for other in live if other is not one]
        if others and all(_more(one, other, seen, "engaged", strict) for other in others):
            return Verdict(one.name, harmful)
    return Verdict(None, harmful)


def _more(one: Variant, other: Variant, seen: Mapping[str, Seen], what: str, alpha: float) -> bool:
    had, they = (int(getattr(seen.get(each.name, Seen()), what)) for each in (one, other))
    if had * other.share <= they * one.share:
        return False
    return evidence(had, they, one.share, other.share) >= -math.log(alpha)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
