"""Throttled calls make everybody rest, and come back slowly."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from services.ai_orchestrator.domain.slowing import Slowdown, struck

NOW = datetime(2026, 3, 2, 4, tzinfo=UTC)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


def throttled(one: Slowdown, now: datetime, *, began: datetime | None = None, **more: datetime) -> Slowdown:
    return struck(one, began=began or now, retry_at=more.get("retry_at"), now=now, jitter=0.0)


def test_each_wave_doubles_the_rest_and_halves_the_rate() -> None:
    one, now, rests = Slowdown(), NOW, []
    for _ in range(7):
        one = throttled(one, now)
        assert one.until is not None
        rests.append((one.until - now) // SECOND)
        now = one.until
    assert rests == [2, 4, 8, 16, 32, 60, 60]
    assert one.of(640, now) == 10


def test_calls_of_one_wave_count_once_and_the_longest_rest_holds() -> None:
    one = throttled(Slowdown(), NOW)
    same = throttled(one, NOW + SECOND, began=NOW - SECOND, retry_at=NOW + 30 * SECOND)
    assert (same.strikes, same.until) == (1, NOW + 30 * SECOND)


def test_a_rest_that_the_platform_asks_for_is_kept() -> None:
    assert throttled(Slowdown(), NOW, retry_at=NOW + MINUTE).rests_until(NOW) == NOW + MINUTE


def test_the_rate_doubles_with_each_quiet_minute_until_it_is_whole() -> None:
    one = throttled(throttled(Slowdown(), NOW), NOW + 10 * SECOND)
    assert one.until is not None
    assert one.rests_until(one.until) is None
    assert [one.of(100, one.until + minutes * MINUTE) for minutes in range(4)] == [25, 50, 100, 100]
    assert one.of(1, one.until) == 1, "something always goes"
