"""Access tokens that die under way: three replicas, one refresh, nothing lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from reach.notifier.v1 import delivery_pb2 as dv

from tests.e2e.harness import CORP, Sandbox, eventually, user
from tests.e2e.replicas import Replicas, add_app, delivery, instant, message, replicas, standing

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.server]

SENDS = "/cgi-bin/message/send"
IN_FLIGHT = 20


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def three(
    amqp_url: str, postgres_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Replicas]:
    home: Path = tmp_path_factory.mktemp("tokens")
    async with replicas(3, amqp_url, postgres_url, home) as made:
        yield made


async def own_app(three: Replicas, name: str, agent_id: int) -> None:
    """An app of the test's own, whose token every replica holds."""
    await add_app(three.all[0], name, agent_id, f"{name}-secret", CORP)
    for at, replica in enumerate(three.all):
        sent = await message(replica, "先热身", addressed(f"warm{at}", name), wait=10)
        assert [one.status for one in sent.deliveries] == [dv.DELIVERY_STATUS_ACCEPTED]


def addressed(userid: str, app: str) -> Any:
    """A member, to be reached by *app*."""
    target = user(userid)
    target.account = app
    return target


async def fetches(sandbox: Sandbox) -> int:
    """How often a token was asked for."""
    return len(await sandbox.requests("/cgi-bin/gettoken"))


async def under_way(sandbox: Sandbox, agent_id: int) -> bool:
    """Whether as many sends as wanted are with the platform, unanswered."""
    calls = [call for call in await sandbox.requests(SENDS) if call["body"]["agentid"] == agent_id]
    return sum(call["http_status"] is None for call in calls) == IN_FLIGHT


@pytest.mark.parametrize(
    ("mode", "errcode", "agent_id"), [("expire", 42001, 1000201), ("invalidate", 40014, 1000202)]
)
async def test_a_token_that_dies_under_twenty_sends_is_fetched_once_and_everything_arrives(
    three: Replicas, mode: str, errcode: int, agent_id: int
) -> None:
    sandbox, app = three.sandbox, f"app-{mode}"
    await own_app(three, app, agent_id)
    before = await fetches(sandbox)
    await sandbox.fault(path=SENDS, agentid=agent_id, latency_ms=5000, count=IN_FLIGHT)
    people = [f"p{errcode}-{number}" for number in range(IN_FLIGHT)]
    sent = await asyncio.gather(
        *(
            message(three.all[at % 3], f"给 {name}", addressed(name, app), wait=0)
            for at, name in enumerate(people)
        )
    )
    await eventually(lambda: under_way(sandbox, agent_id))
    await sandbox.post("/sandbox/tokens/expire", mode=mode, agentid=agent_id)

    ids = [one.deliveries[0].delivery_id for one in sent]
    found = [await standing(three.all[0], one, dv.DELIVERY_STATUS_ACCEPTED) for one in ids]
    assert await fetches(sandbox) - before == 1
    assert [len(await sandbox.messages(name)) for name in people] == [1] * IN_FLIGHT
    for one in found:
        *refused, last = one.attempts
        assert (last.errcode, {attempt.errcode for attempt in refused}) == (0, {errcode})
        # Another replica may take the next try with the token it still remembers; none shows a dead one twice.
        assert len({attempt.owner for attempt in refused}) == len(refused)
    assert len({one.attempts[0].owner for one in found}) == 3, "all three replicas had sends under way"


async def test_the_first_refresh_costs_none_of_the_three_further_tries(three: Replicas) -> None:
    sandbox, agent_id = three.sandbox, 1000203
    await own_app(three, "free", agent_id)
    await sandbox.fault(path=SENDS, to="patient", errcode=42001, count=1)
    await sandbox.fault(path=SENDS, to="patient", errcode=-1, count=3)
    sent = (await message(three.all[1], "等等", addressed("patient", "free"))).deliveries[0]
    done = await _hurried(three, sent.delivery_id, dv.DELIVERY_STATUS_ACCEPTED)
    assert [one.errcode for one in done.attempts] == [42001, -1, -1, -1, 0]
    assert instant(done.attempts[1].start_time) - instant(done.attempts[0].finish_time) < timedelta(seconds=1)
    assert len(await sandbox.messages("patient")) == 1


async def test_a_token_that_is_refused_again_and_again_ends_after_three_further_tries(
    three: Replicas,
) -> None:
    sandbox, agent_id = three.sandbox, 1000204
    await own_app(three, "stubborn", agent_id)
    await sandbox.fault(path=SENDS, to="unlucky", errcode=40014)
    sent = (await message(three.all[2], "不行", addressed("unlucky", "stubborn"))).deliveries[0]
    done = await _hurried(three, sent.delivery_id, dv.DELIVERY_STATUS_FAILED)
    assert done.reason == "retries_exhausted:40014"
    assert [one.errcode for one in done.attempts] == [40014] * 5


async def _hurried(three: Replicas, delivery_id: str, wanted: int) -> dv.Delivery:
    """Let the time of each wait pass at once, until the delivery has the status *wanted*."""

    async def look() -> dv.Delivery | None:
        found = await delivery(three.all[0], delivery_id)
        if found.status == wanted:
            return found
        if found.status == dv.DELIVERY_STATUS_DEFERRED:
            left = instant(found.due_time) - await three.sandbox.now()
            if left > timedelta(0):
                await three.sandbox.advance(left.total_seconds())
        return None

    found = await eventually(look, 30, every=0.05)
    assert found is not None
    return found
