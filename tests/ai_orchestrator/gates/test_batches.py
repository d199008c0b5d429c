"""Calls that pass the gates together, and are charged together, on both databases: as if they had come one by one."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest

from services.ai_orchestrator.domain.call import CallProblem, Count, Outcome, Scope, Tokens
from services.ai_orchestrator.domain.gating import Granted, Refusal, Refused, Wish
from services.ai_orchestrator.store import breakers
from tests.ai_orchestrator.gates.bench import (
    APP,
    DAY,
    FIGURES,
    FIRST_HOLD,
    NOW,
    STORE,
    WIDE,
    Bench,
    answered,
    bench,
    wish,
)

OTHER = "app7_customer"
FAILED = CallProblem("server_error", scope=Scope.APP, count=Count.COUNT, tokens=Tokens.RELEASE)
TIMEOUT = CallProblem("timeout", scope=Scope.APP, count=Count.COUNT, tokens=Tokens.HOLD)
REFUSED_CONTENT = CallProblem("content_refused", scope=Scope.NONE, count=Count.NEVER, tokens=Tokens.HOLD)


@pytest.fixture
async def gates(database_url: str) -> AsyncIterator[Bench]:
    """Three calls a minute for a store, six for all."""
    async with bench(database_url, replace(FIGURES, store_per_minute=3, per_minute=6)) as made:
        yield made


@pytest.fixture
async def wide(database_url: str) -> AsyncIterator[Bench]:
    """As many calls a minute as one likes."""
    async with bench(database_url, WIDE) as made:
        yield made


async def ask(gates: Bench, wishes: Sequence[Wish]) -> Sequence[Granted] | Refused:
    return await gates.database.transact(lambda conn: gates.gates.pass_(conn, wishes, NOW))


async def end(gates: Bench, ends: Sequence[tuple[Wish, Outcome]]) -> Sequence[int]:
    return await gates.database.transact(lambda conn: gates.gates.settle(conn, ends, NOW))


async def test_each_has_its_own_hold_and_pays_its_own_way(wide: Bench) -> None:
    wishes = [wish(store=store) for store in (STORE, "s2", STORE)]
    granted = await ask(wide, wishes)
    assert not isinstance(granted, Refused)
    assert [(one.attempt_id, one.tokens) for one in granted] == [
        (one.attempt_id, FIRST_HOLD) for one in wishes
    ]
    assert [(await wide.spent(store)).held for store in (STORE, "s2", "")] == [
        2 * FIRST_HOLD,
        FIRST_HOLD,
        3 * FIRST_HOLD,
    ]
    outcomes = [answered(900), answered(None), FAILED]
    ends = list(zip(wishes, outcomes, strict=True))
    assert await end(wide, ends) == [900, FIRST_HOLD, 0]
    spent = [await wide.spent(store) for store in (STORE, "s2", "")]
    assert [(one.used, one.held, one.calls) for one in spent] == [
        (900, 0, 2),
        (FIRST_HOLD, 0, 1),
        (900 + FIRST_HOLD, 0, 3),
    ]
    assert await end(wide, ends[::-1]) == [0, FIRST_HOLD, 900]  # a second time changes nothing
    assert [await wide.spent(store) for store in (STORE, "s2", "")] == spent


async def test_where_one_is_refused_nothing_is_taken_of_any_gate(gates: Bench) -> None:
    wishes = [wish() for _ in range(4)]
    refused = await ask(gates, wishes)
    assert isinstance(refused, Refused)
    assert refused.refusal is Refusal.RATE_LIMITED
    assert await gates.ledger() == []
    verdicts = [await gates.ask(one) for one in wishes]  # each alone: the room is still there
    assert [isinstance(one, Granted) for one in verdicts] == [True, True, True, False]


async def test_together_they_may_spend_what_the_one_with_the_least_may(wide: Bench) -> None:
    await wide.limit(10 * FIRST_HOLD)
    first = [wish() for _ in range(7)]
    assert not isinstance(await ask(wide, first), Refused)
    mixed = [wish(), wish(interactive=False)]
    refused = await ask(wide, mixed)  # 80 % are for work that nobody waits for: one more would be room for it
    assert isinstance(refused, Refused)
    assert refused.refusal is Refusal.BUDGET_EXCEEDED
    assert (await wide.spent()).held == 7 * FIRST_HOLD
    assert isinstance(await wide.ask(mixed[0]), Granted)
    assert isinstance(await wide.ask(mixed[1]), Refused)
    over = await ask(wide, [wish() for _ in range(3)])
    assert isinstance(over, Refused)
    assert (await wide.spent()).held == 8 * FIRST_HOLD


async def test_of_two_probes_in_a_batch_none_goes_and_alone_the_first_does(wide: Bench) -> None:
    for _ in range(3):
        await wide.call(TIMEOUT)
    later = (await wide.breaker(f"app:{APP}")).retry_at
    assert later is not None
    probes = [wish(at=later) for _ in range(2)]
    both = await wide.database.transact(lambda conn: wide.gates.pass_(conn, probes, later))
    assert isinstance(both, Refused)
    assert both.refusal is Refusal.CIRCUIT_OPEN
    assert (await wide.breaker(f"app:{APP}")).probe == ""
    assert [isinstance(await wide.ask(one, later), Granted) for one in probes] == [True, False]


@pytest.mark.parametrize("seed", range(12))
async def test_a_batch_says_to_a_breaker_what_its_calls_would_have_said_in_turn(
    wide: Bench, seed: int
) -> None:
    drawn = random.Random(seed)
    outcomes = [drawn.choice([answered(), answered(), FAILED, TIMEOUT, REFUSED_CONTENT]) for _ in range(7)]
    in_turn, batched = ([wish(app) for _ in outcomes] for app in (APP, OTHER))
    assert not isinstance(await ask(wide, [*in_turn, *batched]), Refused)
    for one, outcome in zip(in_turn, outcomes, strict=True):
        await wide.end(one, outcome)
    await end(wide, list(zip(batched, outcomes, strict=True)))
    async with wide.database.read() as conn:
        found = await breakers.of(conn, [f"app:{app}" for app in (APP, OTHER)])
    stood = [found.get(f"app:{app}") for app in (APP, OTHER)]
    assert [row and row.recent for row in stood] == [stood[0] and stood[0].recent] * 2
    assert [row and (row.breaker.state, row.breaker.failures) for row in stood] == [
        stood[0] and (stood[0].breaker.state, stood[0].breaker.failures)
    ] * 2


async def test_what_is_learned_of_a_batch_is_what_is_learned_in_turn(wide: Bench) -> None:
    costs = [900, 4000, 100, 2500]
    for app, together in ((APP, False), (OTHER, True)):
        wishes = [wish(app) for _ in costs]
        await ask(wide, wishes)
        ends = [(one, answered(tokens)) for one, tokens in zip(wishes, costs, strict=True)]
        for batch in [ends] if together else [[one] for one in ends]:
            await end(wide, batch)
    async with wide.database.read() as conn:
        guesses = [await wide.gates.guess(conn, app, 1000) for app in (APP, OTHER)]
    assert guesses[0] == guesses[1] != FIRST_HOLD
    assert (await wide.spent(window=DAY)).calls == 2 * len(costs)
