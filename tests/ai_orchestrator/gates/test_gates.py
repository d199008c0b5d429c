"""Breaker, rate and budget before every call, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from services.ai_orchestrator.domain.call import CallProblem, Count, Scope, Tokens
from services.ai_orchestrator.domain.gating import Granted, Refusal, Refused
from shared.breaker import BreakerState
from tests.ai_orchestrator.gates.bench import (
    APP,
    DAY,
    FIGURES,
    FIRST_HOLD,
    MINUTE,
    MONTH,
    NOW,
    PROMPT_BYTES,
    SECOND,
    STORE,
    WIDE,
    Bench,
    answered,
    bench,
    wish,
)

ARREARS = CallProblem(
    "arrears", "Arrearage", 400, "in arrears", scope=Scope.ACCOUNT, count=Count.OPEN, tokens=Tokens.RELEASE
)
TIMEOUT = CallProblem("timeout", scope=Scope.APP, count=Count.COUNT, tokens=Tokens.HOLD)
REFUSED_CONTENT = CallProblem("content_refused", scope=Scope.NONE, count=Count.NEVER, tokens=Tokens.HOLD)
THROTTLED = CallProblem("throttled", scope=Scope.ACCOUNT, count=Count.SLOW, tokens=Tokens.RELEASE)
UNSENT = CallProblem("not_sent", count=Count.NEVER, tokens=Tokens.RELEASE, sent=False)


@pytest.fixture
async def gates(database_url: str) -> AsyncIterator[Bench]:
    """Small figures: three calls a minute for a store, six for all."""
    small = replace(FIGURES, store_per_minute=3, per_minute=6)
    async with bench(database_url, small) as made:
        yield made


@pytest.fixture
async def wide(database_url: str) -> AsyncIterator[Bench]:
    """As many calls a minute as one likes."""
    async with bench(database_url, WIDE) as made:
        yield made


def refusal(verdict: Granted | Refused) -> Refusal:
    assert isinstance(verdict, Refused), "it was let through"
    return verdict.refusal


async def test_the_first_gate_that_is_shut_speaks_and_nothing_is_taken(gates: Bench) -> None:
    for _ in range(3):
        assert isinstance(await gates.call(answered()), Granted)
    await gates.limit(0)
    await gates.call(ARREARS, store="s2")
    before = await gates.ledger()
    verdict = await gates.ask(wish())
    assert refusal(verdict) is Refusal.CIRCUIT_OPEN
    assert isinstance(verdict, Refused)
    assert verdict.until == NOW + 30 * SECOND
    assert "account" in verdict.detail
    assert "Arrearage" in verdict.detail

    assert isinstance(await gates.call(answered(), NOW + 30 * SECOND, store="s2"), Granted), "the probe"
    now = NOW + 31 * SECOND
    verdict = await gates.ask(wish(at=now), now)
    assert refusal(verdict) is Refusal.RATE_LIMITED
    assert isinstance(verdict, Refused)
    assert NOW + MINUTE <= verdict.until <= NOW + MINUTE + SECOND

    now = verdict.until
    verdict = await gates.ask(wish(at=now), now)
    assert refusal(verdict) is Refusal.BUDGET_EXCEEDED
    assert isinstance(verdict, Refused)
    assert verdict.until == NOW.replace(hour=16), "midnight in Shanghai"
    assert f"store {STORE} {DAY}" in verdict.detail
    mine = [row for row in await gates.ledger() if row[0] == STORE]
    assert mine == [row for row in before if row[0] == STORE]
    await gates.limit(None)
    for _ in range(3):
        assert isinstance(await gates.ask(wish(at=now), now), Granted), (
            "the refusals took no place in the rate"
        )
    assert refusal(await gates.ask(wish(at=now), now)) is Refusal.RATE_LIMITED


async def test_a_plan_s_guess_is_what_a_call_is_held_for_whatever_was_learned(wide: Bench) -> None:
    async def guessed() -> int:
        async with wide.database.read() as conn:
            return await wide.port.guess(conn, APP, PROMPT_BYTES)

    assert await guessed() == FIRST_HOLD
    for tokens in (900, 9000, 700):
        held = await guessed()
        verdict = await wide.call(answered(tokens))
        assert isinstance(verdict, Granted)
        assert verdict.tokens == held
    assert await guessed() != FIRST_HOLD


async def test_a_store_that_is_fast_leaves_the_others_their_room_and_all_together_have_theirs(
    gates: Bench,
) -> None:
    found = await gates.crowd([wish(store=f"s{number % 3}") for number in range(12)])
    assert found == {"granted": 6, "rate_limited": 6}


async def test_work_that_nobody_waits_for_leaves_a_fifth_of_rate_and_budget(database_url: str) -> None:
    async with bench(database_url, replace(WIDE, store_per_minute=10)) as gates:
        found = await gates.crowd([wish(interactive=False) for _ in range(10)])
        assert found == {"granted": 8, "rate_limited": 2}
        assert await gates.crowd([wish() for _ in range(3)]) == {"granted": 2, "rate_limited": 1}
        await gates.limit(10 * FIRST_HOLD, store="s2")
        later = NOW + 2 * MINUTE
        crowd = [wish(store="s2", at=later, interactive=False) for _ in range(10)]
        assert await gates.crowd(crowd, later) == {"granted": 8, "rate_limited": 2}
        later += 2 * MINUTE
        assert refusal(await gates.ask(wish(store="s2", at=later, interactive=False), later)) is (
            Refusal.BUDGET_EXCEEDED
        )
        assert isinstance(await gates.ask(wish(store="s2", at=later), later), Granted)


async def test_calls_at_once_get_the_room_there_is_and_no_more(wide: Bench) -> None:
    await wide.limit(8 * FIRST_HOLD)
    assert await wide.crowd([wish() for _ in range(40)]) == {"granted": 8, "budget_exceeded": 32}
    for window in (DAY, MONTH):
        for store in (STORE, ""):
            assert (await wide.spent(store, window)).held == 8 * FIRST_HOLD
    # What only calls under way take may be free in a moment.
    verdict = await wide.ask(wish())
    assert isinstance(verdict, Refused)
    assert verdict.until == NOW + 5 * SECOND


async def test_the_month_and_all_stores_together_have_budgets_as_well(wide: Bench) -> None:
    await wide.limit(None, 2 * FIRST_HOLD)
    assert await wide.crowd([wish() for _ in range(3)]) == {"granted": 2, "budget_exceeded": 1}
    await wide.limit(5 * FIRST_HOLD, store="")
    others = [wish(store=f"t{number}") for number in range(5)]
    assert await wide.crowd(others) == {"granted": 3, "budget_exceeded": 2}
    tomorrow = NOW + timedelta(days=1)
    assert refusal(await wide.ask(wish(at=tomorrow), tomorrow)) is Refusal.BUDGET_EXCEEDED
    assert isinstance(await wide.ask(wish(store="t0", at=tomorrow), tomorrow), Granted)


async def test_a_settled_call_counts_once_for_the_day_it_began_on(wide: Bench) -> None:
    late = NOW.replace(hour=15, minute=59)
    asked = wish(at=late)
    await wide.ask(asked, late)
    over = late + 2 * MINUTE
    assert [await wide.end(asked, answered(900), over) for _ in range(3)] == [900] * 3
    assert await wide.end(asked, TIMEOUT, over) == 900, "the first settlement stands"
    one = await wide.spent()
    assert (one.used, one.held, one.calls) == (900, 0, 1)
    assert (await wide.spent(window="2026-03-03")).calls == 0
    assert await wide.end(wish(), answered()) == 0, "what was never granted costs nothing"


async def test_usage_beyond_the_hold_is_charged_and_unknown_usage_is_the_hold(wide: Bench) -> None:
    await wide.call(answered(9000))
    await wide.call(answered(None))
    # It cost 8,500 beyond its 500 of prompt: the next one was held for a quarter more than that.
    assert (await wide.spent()).used == 9000 + 500 + 8500 * 5 // 4
    await wide.call(THROTTLED)
    assert (await wide.spent()).used == 9000 + 500 + 8500 * 5 // 4


async def test_holds_of_dead_calls_are_charged_once_they_are_over(wide: Bench) -> None:
    dead, alive = wish(), wish(until=NOW + 10 * MINUTE)
    await asyncio.gather(wide.ask(dead), wide.ask(alive))
    now = NOW + 200 * SECOND

    async def expire() -> int:
        return await wide.database.transact(lambda conn: wide.gates.expire(conn, now, 100))

    assert sorted(await asyncio.gather(expire(), expire())) == [0, 1]
    one = await wide.spent()
    assert (one.used, one.held) == (FIRST_HOLD, FIRST_HOLD)
    assert await wide.end(dead, answered(10), now) == FIRST_HOLD, "the first settlement stands"


async def test_a_call_of_which_not_a_byte_left_gives_its_place_back(gates: Bench) -> None:
    for _ in range(9):
        assert isinstance(await gates.call(UNSENT), Granted)
    assert (await gates.spent()).used == 0


async def test_arrears_hold_every_application_at_once_and_one_probe_goes(wide: Bench) -> None:
    await wide.call(ARREARS)
    assert (await wide.breaker("account")).state is BreakerState.OPEN
    for app in (APP, "app8_consolidation"):
        assert refusal(await wide.ask(wish(app, "s2"))) is Refusal.CIRCUIT_OPEN
    now = NOW + 30 * SECOND
    found = await wide.crowd([wish(store=f"s{number}", at=now) for number in range(8)], now)
    assert found == {"granted": 1, "circuit_open": 7}
    # The process that probed died: after its time the next one may, and its failure makes it longer.
    now += 200 * SECOND
    assert isinstance(await wide.call(ARREARS, now), Granted)
    one = await wide.breaker("account")
    assert (one.state, one.opening, one.retry_at) == (BreakerState.OPEN, 1, now + 60 * SECOND)
    now += 60 * SECOND
    assert isinstance(await wide.call(answered(), now), Granted)
    assert await wide.crowd([wish(at=now) for _ in range(4)], now) == {"granted": 4}


async def test_a_probe_that_another_gate_refuses_leaves_the_place_to_the_next(wide: Bench) -> None:
    await wide.call(ARREARS)
    await wide.limit(0)
    now = NOW + 30 * SECOND
    assert refusal(await wide.ask(wish(at=now), now)) is Refusal.BUDGET_EXCEEDED
    assert isinstance(await wide.ask(wish(store="s2", at=now), now), Granted)


async def test_three_time_outs_open_their_application_and_no_other(wide: Bench) -> None:
    for number in range(3):
        assert isinstance(await wide.call(TIMEOUT, NOW + number * SECOND), Granted)
    now = NOW + 3 * SECOND
    assert refusal(await wide.ask(wish(at=now), now)) is Refusal.CIRCUIT_OPEN
    assert isinstance(await wide.ask(wish("app8_consolidation", at=now), now), Granted)
    one = await wide.breaker(f"app:{APP}")
    assert (one.reason, one.failures, one.opening) == ("timeout", 3, 1)


async def test_failures_among_successes_open_it_too_and_are_forgotten_with_time(wide: Bench) -> None:
    fault = CallProblem("server_fault", "InternalError", 500, scope=Scope.APP, count=Count.COUNT)
    for number in range(4):
        await wide.call(fault, NOW + number * SECOND)
        await wide.call(answered(), NOW + number * SECOND)
    assert (await wide.breaker(f"app:{APP}")).state is BreakerState.CLOSED
    await wide.call(fault, NOW + 10 * SECOND)
    assert (await wide.breaker(f"app:{APP}")).state is BreakerState.OPEN


async def test_refused_content_never_counts_however_often(wide: Bench) -> None:
    for _ in range(20):
        assert isinstance(await wide.call(REFUSED_CONTENT), Granted)
    assert (await wide.breaker(f"app:{APP}")).clean


async def test_throttling_opens_nothing_and_makes_everybody_rest_and_come_back_slowly(
    database_url: str,
) -> None:
    async with bench(database_url, replace(WIDE, per_minute=8)) as gates:
        asked = [wish(), wish(store="s2")]
        for one in asked:
            await gates.ask(one)
        await gates.end(asked[0], replace(THROTTLED, retry_at=NOW + 20 * SECOND))
        await gates.end(asked[1], THROTTLED, NOW + SECOND)
        assert (await gates.breaker("account")).clean
        verdict = await gates.ask(wish(store="s3"), NOW + 2 * SECOND)
        assert refusal(verdict) is Refusal.RATE_LIMITED
        assert isinstance(verdict, Refused)
        assert verdict.until == NOW + 20 * SECOND
        now = NOW + 65 * SECOND
        crowd = [wish(store=f"s{number}", at=now) for number in range(8)]
        assert await gates.crowd(crowd, now) == {"granted": 4, "rate_limited": 4}
