"""One request on the wire for each attempt that is written, whatever the platform does: the records are the whole truth."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from reach.ai_orchestrator.v1 import fact_pb2, gate_pb2
from reach.ai_orchestrator.v1 import run_pb2 as pb

from services.ai_orchestrator.domain.lifecycle import REPEATS, UNKNOWN_REPEATS
from shared.rpc.fields import to_struct
from tests.ai_orchestrator.club import Club, opened
from tests.ai_orchestrator.provider.test_wire import ROWS
from tests.e2e.harness import STORE

SETTINGS = {"clock": "sandbox", "ai_step_limit": "20s", "limit_ai_breaker_failures": "10"}
FAILURES = {name: row for name, row in ROWS.items() if row[1] != "timeout"}
"""Those that nobody has to wait for; a hang is in whole/test_hangs.py."""
AT_ONCE = 4
"""Few enough that the breaker lets most of them be asked again."""
MEMBERS = {name: f"member-{number:03}" for number, name in enumerate(FAILURES)}
REFUSED = ("throttled", "arrears", "key_refused", "workspace_refused", "app_missing")
"""What shuts a gate for others at once."""
ALONE = {name for name, (fault, reason, _) in FAILURES.items() if reason in REFUSED or "drop" in fault}
"""What is nobody else's business: a connection that is dropped has not said about whom it asks."""
SHUT = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
async def club(tmp_path: Path) -> AsyncIterator[Club]:
    async with opened(tmp_path / "home", at="2026-03-03T01:00:00Z", **SETTINGS) as made:
        yield made


async def _pass_time(club: Club) -> None:
    """Let what waits for a repeat come due soon, and no step's time run out before it has been asked."""
    await club.world.freeze()
    while True:
        await asyncio.sleep(0.25)
        await club.world.advance(2)


async def _meet(club: Club) -> None:
    """A visit of each, so that there is something to ask about."""
    at = "2026-01-02T21:00:00+08:00"
    visits = [
        to_struct({"visit_id": who, "member_id": who, "amount": "88", "settled_time": at})
        for who in MEMBERS.values()
    ]
    request = fact_pb2.LoadFactsRequest(store_id=STORE, kind=fact_pb2.FACT_KIND_VISIT, rows=visits)
    loaded = await club.stub.LoadFacts(request)
    assert (loaded.loaded_count, list(loaded.errors)) == (len(MEMBERS), [])


async def _ask(club: Club, name: str) -> None:
    """Have App3 asked about a member of whom the platform does what *name* says, as often as it is asked."""
    fault = {key: value for key, value in FAILURES[name][0].items() if key != "count"}
    whom = {} if "drop" in fault else {"body": MEMBERS[name]}
    await club.world.fault(path="/api/v1/apps/*", **whom, **fault)
    subject = pb.Subject(member_id=MEMBERS[name])
    request = pb.RunAppRequest(store_id=STORE, app_type="app3_clue", subject=subject)
    try:
        status = (await club.stub.RunApp(request)).run.status
    except grpc.aio.AioRpcError as error:
        told, allowed = error.code(), SHUT  # a gate shut behind the first attempt
    else:
        told, allowed = status, (pb.RUN_STATUS_FAILED,)
    assert told in allowed, name


async def _reset(club: Club) -> None:
    for breaker in (await club.stub.ListBreakers(gate_pb2.ListBreakersRequest())).breakers:
        await club.stub.ResetBreaker(gate_pb2.ResetBreakerRequest(key=breaker.key))


async def test_every_attempt_is_one_request_and_every_request_has_its_attempt(club: Club) -> None:
    await _meet(club)
    together = [name for name in FAILURES if name not in ALONE]
    batches = [together[at : at + AT_ONCE] for at in range(0, len(together), AT_ONCE)]
    passing = asyncio.create_task(_pass_time(club))
    for batch in [*batches, *([name] for name in FAILURES if name in ALONE)]:
        await asyncio.gather(*(_ask(club, name) for name in batch))
        await club.world.clear_faults()
        await _reset(club)
    passing.cancel()

    listed = await club.stub.ListAttempts(pb.ListAttemptsRequest(store_id=STORE, page_size=200))
    found = list(listed.attempts)
    assert len(found) == len(await club.requests())
    assert listed.next_page_token == ""
    times = Counter(one.subject.member_id for one in found)
    reasons = {one.subject.member_id: one.reason for one in found}
    assert {name: reasons.get(who) for name, who in MEMBERS.items()} == {
        name: row[1] for name, row in FAILURES.items()
    }
    assert max(times.values()) <= 1 + REPEATS
    unclear = [MEMBERS[name] for name, row in FAILURES.items() if row[1] == "unknown"]
    assert max(times[who] for who in unclear) <= 1 + UNKNOWN_REPEATS
    assert all(one.status != pb.ATTEMPT_STATUS_CALLING for one in found)
    budget = (await club.stub.GetBudget(gate_pb2.GetBudgetRequest(store_id=STORE))).budget
    assert budget.day.held_tokens == 0
    assert budget.day.used_tokens == sum(one.charged_tokens for one in found)
    ledger = (await club.world.get("/sandbox/ai/ledger"))["total"]
    assert budget.day.used_tokens >= ledger["total_tokens"]
