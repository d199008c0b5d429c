"""The breaker as a machine: whatever happens, in whatever order, its promises hold."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from shared.breaker import Breaker, BreakerState, Figures, Sign, Tried, after, probing, reset

NOW = datetime(2026, 3, 2, 4, tzinfo=UTC)
SECOND = timedelta(seconds=1)
FIGURES = Figures(threshold=4, first=60 * SECOND, most=300 * SECOND)


class Life(RuleBasedStateMachine):
    """Tries that end well, badly and neither way, of the probe and of others; time passes between them."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.breaker = Breaker()
        self.in_a_row = 0

    def _end(self, said: Sign, delivery: str, ago: int = 0) -> Breaker:
        tried = Tried(said, self.now - timedelta(seconds=ago), delivery, "s1", "not_sent")
        before = self.breaker
        self.breaker = after(before, tried, now=self.now, figures=FIGURES, jitter=0.0)
        return before

    @rule(seconds=st.integers(1, 400))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(ago=st.integers(0, 500))
    def another_fails(self, ago: int) -> None:
        self.in_a_row += 1
        before = self._end(Sign.FAILS, "other", ago)
        if before.holds:
            assert self.breaker.retry_at == before.retry_at, "only the probe makes it longer"
        else:
            assert self.breaker.holds == (self.in_a_row >= FIGURES.threshold)

    @rule()
    def another_fails_in_a_way_that_time_does_not_mend(self) -> None:
        self.in_a_row += 1
        before = self.breaker
        tried = Tried(Sign.FAILS, self.now, "other", "s1", "arrears", opens=True)
        self.breaker = after(before, tried, now=self.now, figures=FIGURES, jitter=0.0)
        assert self.breaker.holds
        assert self.breaker.opening == before.opening + (not before.holds), "one opening is told once"

    @rule(ago=st.integers(0, 500))
    def another_works(self, ago: int) -> None:
        before = self._end(Sign.WORKS, "other", ago)
        if (
            before.holds
            and before.failed_at is not None
            and self.now - timedelta(seconds=ago) <= before.failed_at
        ):
            assert self.breaker == before, (
                "what began before the last failure says nothing about what followed"
            )
        else:
            assert self.breaker == reset(before)
            self.in_a_row = 0

    @rule()
    def another_says_nothing(self) -> None:
        before = self._end(Sign.NEITHER, "other")
        assert self.breaker == before

    @rule(said=st.sampled_from(Sign))
    def a_probe_goes(self, said: Sign) -> None:
        if not self.breaker.may_probe(self.now):
            return
        self.breaker = probing(self.breaker, "probe", self.now + 30 * SECOND)
        assert not self.breaker.may_probe(self.now), "one at a time"
        before = self._end(said, "probe")
        if said is Sign.WORKS:
            assert self.breaker.clean
            self.in_a_row = 0
        elif said is Sign.FAILS:
            self.in_a_row += 1
            assert self.breaker.state is BreakerState.OPEN
            assert self.breaker.opening == before.opening
            wait = (self.breaker.retry_at or NOW) - self.now
            assert wait == min(60 * SECOND * 2**self.breaker.failed_probes, FIGURES.most)
        else:
            assert self.breaker.may_probe(self.now), "the place is free again"

    @rule()
    def a_probe_dies(self) -> None:
        if self.breaker.may_probe(self.now):
            self.breaker = probing(self.breaker, "dead", self.now + 30 * SECOND)
            self.now += 30 * SECOND
            assert self.breaker.may_probe(self.now)

    @rule()
    def somebody_resets(self) -> None:
        before, self.in_a_row = self.breaker, 0
        self.breaker = reset(before)
        assert self.breaker.opening == before.opening

    @invariant()
    def it_is_consistent(self) -> None:
        one = self.breaker
        assert one.failures == self.in_a_row
        assert one.holds == (one.retry_at is not None)
        assert one.holds or not one.probe
        assert one.held_until(self.now) >= self.now
        assert one.may_probe(self.now) == (one.holds and one.held_until(self.now) == self.now)


TestLife = Life.TestCase


def test_it_grows_to_its_cap_and_chance_only_adds() -> None:
    assert [FIGURES.period(n, 0.0) // SECOND for n in range(5)] == [60, 120, 240, 300, 300]
    assert FIGURES.period(10_000, 0.0) == FIGURES.most
    assert FIGURES.most < FIGURES.period(9, 0.99) <= FIGURES.most * 1.2


def test_the_store_of_an_opening_stays_that_of_its_alert_whichever_stores_fail_after_it() -> None:
    """Whoever is told that it failed is who is told that it works again, and nobody hears twice of one opening."""

    def tried(said: Sign, delivery: str, store: str) -> Tried:
        return Tried(said, NOW + SECOND, delivery, store, "not_sent")

    standing = Breaker()
    for number in range(FIGURES.threshold):
        store = "s1" if number == FIGURES.threshold - 1 else "s0"
        standing = after(
            standing, tried(Sign.FAILS, f"d{number}", store), now=NOW, figures=FIGURES, jitter=0.0
        )
    assert (standing.holds, standing.store_id) == (True, "s1")
    standing = after(standing, tried(Sign.FAILS, "late", "s2"), now=NOW, figures=FIGURES, jitter=0.0)
    standing = probing(standing, "probe", NOW + SECOND)
    standing = after(standing, tried(Sign.FAILS, "probe", "s3"), now=NOW, figures=FIGURES, jitter=0.0)
    assert standing.store_id == "s1"
    standing = probing(standing, "another", NOW + SECOND)
    standing = after(standing, tried(Sign.WORKS, "another", "s4"), now=NOW, figures=FIGURES, jitter=0.0)
    assert (standing.holds, standing.store_id) == (False, "s1")
