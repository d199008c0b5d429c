"""Experiments: customers keep their version, alike versions are seldom told apart, and different ones are."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from services.kf_session.domain.experiment import (
    ALPHA,
    GUARD_ALPHA,
    Seen,
    Variant,
    assign,
    check,
    evidence,
    label,
    labels,
    look,
)
from shared.errors import Invalid

KEY = b"k" * 32
RACES = 800
"""Between versions that are alike, looked at after every answer."""
TWO = (Variant("a", 1, 50), Variant("b", 2, 50))
UNEVEN = (Variant("a", 1, 80), Variant("b", 2, 20))
THREE = (Variant("a", 1, 1), Variant("b", 2, 1), Variant("c", 3, 1))


def test_a_customer_keeps_a_variant_and_the_shares_are_kept_to():
    given = Counter(assign(KEY, "e1", f"wm-{at}", UNEVEN).name for at in range(20_000))
    assert abs(given["a"] / 20_000 - 0.8) < 0.01
    assert all(
        assign(KEY, "e1", f"wm-{at}", UNEVEN) is assign(KEY, "e1", f"wm-{at}", UNEVEN) for at in range(50)
    )


def test_another_experiment_and_another_key_assign_anew():
    one, other, keyed = (
        [assign(key, name, f"wm-{at}", TWO).name for at in range(400)]
        for key, name in ((KEY, "e1"), (KEY, "e2"), (b"x" * 32, "e1"))
    )
    for drawn in (other, keyed):
        assert 150 < sum(first == second for first, second in zip(one, drawn, strict=True)) < 250


def test_the_marks_of_an_experiment_are_between_its_borders():
    low, high = labels("e1")
    assert low <= label("e1", "a") < high
    assert not low <= label("e10", "a") < high


def run(rng, variants, rates, customers, what="engaged"):
    """One experiment, looked at after each customer who did something; the first verdict that stops it."""
    weights = [one.share for one in variants]
    counts = [0] * len(variants)
    for _ in range(customers):
        (at,) = rng.choices(range(len(variants)), weights)
        if rng.random() >= rates[at]:
            continue
        counts[at] += 1
        seen = {one.name: Seen(**{what: count}) for one, count in zip(variants, counts, strict=True)}
        verdict = look(variants, seen)
        if verdict.winner or verdict.harmful:
            return verdict
    return None


@pytest.mark.parametrize(("variants", "seed"), [(TWO, 1), (UNEVEN, 2), (THREE, 3)])
def test_versions_that_are_alike_are_seldom_told_apart_however_often_one_looks(variants, seed):
    rng = random.Random(seed)
    stopped = sum(run(rng, variants, [0.1] * 3, 600) is not None for _ in range(RACES))
    tolerance = 3 * (ALPHA * (1 - ALPHA) / RACES) ** 0.5
    assert stopped / RACES <= ALPHA + tolerance


def test_a_rate_that_changes_with_the_hour_does_not_mislead():
    rng = random.Random(4)
    false = 0
    for _ in range(500):
        counts = [0, 0]
        for at in range(1000):
            if rng.random() < (0.3 if at % 100 < 20 else 0.02):  # both alike, at each time
                counts[rng.random() < 0.5] += 1
                if evidence(*counts, 50, 50) >= 2.9957:
                    false += 1
                    break
    assert false / 500 <= ALPHA + 3 * (ALPHA * (1 - ALPHA) / 500) ** 0.5


def test_a_better_version_wins():
    rng = random.Random(5)
    verdicts = [run(rng, TWO, [0.10, 0.20], 3000) for _ in range(200)]
    assert sum(one is not None and one.winner == "b" for one in verdicts) >= 195


def test_the_best_of_three_wins_and_seldom_another():
    rng = random.Random(6)
    verdicts = [run(rng, THREE, [0.10, 0.10, 0.20], 4000) for _ in range(100)]
    assert sum(one is not None and one.winner == "c" for one in verdicts) >= 95


@pytest.mark.parametrize("what", ["unsubscribed", "late_failed"])
def test_a_version_that_drives_customers_away_is_stopped(what):
    rng = random.Random(7)
    verdicts = [run(rng, TWO, [0.01, 0.06], 4000, what) for _ in range(100)]
    assert sum(one is not None and one.harmful == {"b": what} for one in verdicts) >= 95


def test_the_control_is_never_stopped_and_a_harmless_version_seldom():
    rng = random.Random(8)
    verdicts = [run(rng, TWO, [0.03, 0.03], 2000, "unsubscribed") for _ in range(500)]
    assert sum(one is not None for one in verdicts) / 500 <= GUARD_ALPHA
    assert run(rng, TWO, [0.2, 0.01], 3000, "unsubscribed") is None


def test_a_version_that_was_stopped_takes_part_no_more():
    variants = (THREE[0], THREE[1], Variant("c", 3, 1, stopped=True))
    verdict = look(variants, {"a": Seen(engaged=10), "b": Seen(engaged=90), "c": Seen(engaged=500)})
    assert verdict.winner == "b"


@pytest.mark.parametrize(
    "variants", [TWO[:1], (TWO[0], TWO[0]), (Variant("a", 1, 1), Variant("b", 1, 1)), THREE * 2]
)
def test_refuses_what_is_no_experiment(variants):
    with pytest.raises(Invalid):
        check(variants)
