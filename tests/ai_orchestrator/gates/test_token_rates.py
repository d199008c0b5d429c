"""Tokens a minute, of a store and of the account, over replicas: what is held counts, what was not spent is given back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from services.ai_orchestrator.domain.call import CallProblem, Count, Scope, Tokens
from services.ai_orchestrator.domain.gating import Granted, Refusal, Refused, refusal_error
from services.ai_orchestrator.pipeline.token_rates import TokenRates
from tests.ai_orchestrator.gates.bench import (
    FIRST_HOLD,
    MINUTE,
    NOW,
    SECOND,
    WIDE,
    Bench,
    answered,
    bench,
    wish,
)

THROTTLED = CallProblem("throttled", scope=Scope.NONE, count=Count.NEVER, tokens=Tokens.RELEASE)
UNKNOWN = CallProblem("timeout", scope=Scope.NONE, count=Count.NEVER, tokens=Tokens.HOLD)


@asynccontextmanager
async def narrow(url: str, each: int, together: int, prewarm_percent: int = 80) -> AsyncIterator[Bench]:
    """So many first holds a minute."""
    tokens = TokenRates(each * FIRST_HOLD, together * FIRST_HOLD, prewarm_percent)
    async with bench(url, replace(WIDE, tokens=tokens)) as made:
        yield made


def refused(verdict: Granted | Refused) -> Refused:
    assert isinstance(verdict, Refused), "it was let through"
    assert verdict.refusal is Refusal.RATE_LIMITED
    return verdict


async def test_what_calls_are_held_for_counts_for_a_store_and_for_all_whoever_asks(database_url: str) -> None:
    async with narrow(database_url, 2, 3) as one:
        other = Bench(one.database, replace(WIDE, tokens=TokenRates(2 * FIRST_HOLD, 3 * FIRST_HOLD, 80)))
        assert isinstance(await one.ask(wish()), Granted)
        assert isinstance(await other.ask(wish()), Granted)
        verdict = refused(await one.ask(wish()))
        assert verdict.detail == f"store s1: {2 * FIRST_HOLD} tokens a minute are used"
        assert NOW + MINUTE <= verdict.until <= NOW + MINUTE + SECOND
        error = refusal_error(verdict, NOW)
        assert (error.reason, error.retry_after) == ("RATE_LIMITED", verdict.until - NOW)
        assert isinstance(await other.ask(wish(store="s2")), Granted)
        all_together = refused(await one.ask(wish(store="s3")))
        assert all_together.detail == f"all stores together: {3 * FIRST_HOLD} tokens a minute are used"
        later = max(verdict.until, all_together.until)
        assert isinstance(await one.ask(wish(at=later), later), Granted)


async def test_a_crowd_over_two_replicas_never_takes_more_than_the_account_has(database_url: str) -> None:
    async with narrow(database_url, 4, 6) as one:
        found = await one.crowd([wish(store=f"s{number % 3}") for number in range(24)])
        assert found == {"granted": 6, "rate_limited": 18}


@pytest.mark.parametrize("outcome", [answered(500), THROTTLED])
async def test_what_a_call_did_not_cost_is_room_at_once(database_url: str, outcome: CallProblem) -> None:
    async with narrow(database_url, 1, 1) as one:
        first = wish()
        assert isinstance(await one.ask(first), Granted)
        refused(await one.ask(wish()))
        await one.end(first, outcome, NOW + 10 * SECOND)
        assert await one.end(first, outcome, NOW + 10 * SECOND) in (0, 500)
        small = wish(prompt_bytes=0, at=NOW + 11 * SECOND)
        assert isinstance(await one.ask(small, NOW + 11 * SECOND), Granted)
        refused(await one.ask(small, NOW + 12 * SECOND))


async def test_a_call_of_which_nobody_knows_what_it_cost_counts_with_its_hold(database_url: str) -> None:
    async with narrow(database_url, 1, 1) as one:
        first = wish()
        assert isinstance(await one.ask(first), Granted)
        await one.end(first, UNKNOWN, NOW + SECOND)
        refused(await one.ask(wish(at=NOW + 2 * SECOND), NOW + 2 * SECOND))


async def test_a_call_larger_than_the_window_goes_when_that_is_empty(database_url: str) -> None:
    async with narrow(database_url, 1, 1) as one:
        huge = wish(prompt_bytes=10**6)
        assert isinstance(await one.ask(huge), Granted)
        refused(await one.ask(wish()))
        later = NOW + MINUTE + SECOND
        assert isinstance(await one.ask(wish(at=later), later), Granted)


async def test_work_that_nobody_waits_for_leaves_room_for_those_who_wait(database_url: str) -> None:
    async with narrow(database_url, 4, 4, prewarm_percent=50) as one:
        for _ in range(2):
            assert isinstance(await one.ask(wish(interactive=False)), Granted)
        refused(await one.ask(wish(interactive=False)))
        for _ in range(2):
            assert isinstance(await one.ask(wish()), Granted)
        refused(await one.ask(wish()))
