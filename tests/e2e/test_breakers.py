"""A failing credential over two replicas on one PostgreSQL: counted together, told once, probed once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from reach.notifier.v1 import delivery_pb2 as dv
from reach.notifier.v1 import notifier_service_pb2 as pb
from reach.ops.v1 import ops_service_pb2 as ops

from tests.e2e.harness import CORP, eventually, robot, user
from tests.e2e.replicas import Replicas, add_app, add_robot, message, replicas, standing

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.server]

OTHER, SECRET = 1000009, "other-secret-0123456789"
SENDS = "/cgi-bin/message/send"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def two(
    amqp_url: str, postgres_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Replicas]:
    home: Path = tmp_path_factory.mktemp("breakers")
    async with replicas(2, amqp_url, postgres_url, home) as made:
        await made.sandbox.freeze()
        await made.sandbox.declare(apps=[{"agentid": OTHER, "secret": SECRET}])
        await made.all[0].staff()
        await add_robot(made.all[0], "kitchen", "kitchen-0123456789abcdef")
        await add_app(made.all[0], "shop", OTHER, SECRET, CORP)
        yield made


async def breaker(two: Replicas, key: str, replica: int = 0) -> ops.Breaker:
    """How one stands, as a replica tells it."""
    answer = await two.all[replica].ops.ListBreakers(ops.ListBreakersRequest())
    return next(one for one in answer.breakers if one.key == key)


def shop(name: str) -> Any:
    """A member, through the other app."""
    target = user(name)
    target.account = "shop"
    return target


async def calls(two: Replicas, agent: int) -> int:
    """How many messages an app has asked for."""
    return len([one for one in await two.sandbox.requests(SENDS) if one["body"]["agentid"] == agent])


async def test_failures_of_both_replicas_open_it_and_tech_support_hears_once(two: Replicas) -> None:
    await two.sandbox.fault(path="/cgi-bin/webhook/send", errcode=93000, errmsg="invalid webhook url")
    for number in range(10):
        sent = await message(two.all[number % 2], f"no. {number}", robot("kitchen"), wait=8)
        assert sent.deliveries[0].status == dv.DELIVERY_STATUS_FAILED

    async def told() -> bool:
        heard = [one["content"]["content"] for one in await two.sandbox.messages("tech_support")]
        alert = (await breaker(two, "robot:kitchen", 1)).alert
        return alert == ops.BREAKER_ALERT_SENT and any("kitchen" in text for text in heard)

    await eventually(told)
    # Beside what the other tests of this file caused.
    alerts = [one["content"]["content"] for one in await two.sandbox.messages("tech_support")]
    assert len([text for text in alerts if text.startswith("【告警】机器人 kitchen")]) == 1
    assert (await breaker(two, "robot:kitchen")).failures == 10


async def test_half_open_one_probe_goes_through_over_both_replicas(two: Replicas) -> None:
    await two.sandbox.clear_faults()
    await two.sandbox.fault(agentid=OTHER, errcode=60020, errmsg="not allow to access from your ip")
    for number in range(10):
        await message(two.all[0], f"no. {number}", shop("anna"), wait=8)
    assert (await breaker(two, "app:shop")).state == ops.BREAKER_STATE_OPEN
    waiting = [await message(two.all[n % 2], f"waits {n}", shop(f"member{n}")) for n in range(20)]
    ids = [one.deliveries[0].delivery_id for one in waiting]
    for one in ids:
        await standing(two.all[1], one, dv.DELIVERY_STATUS_DEFERRED)
    made = await calls(two, OTHER)

    # The probe is under way for a while, in which both replicas look at all the others several times.
    await two.sandbox.clear_faults()
    await two.sandbox.fault(agentid=OTHER, latency_ms=4000, errcode=60020, errmsg="still not allowed")
    await two.sandbox.advance(73)

    async def half_open() -> bool:
        return (await breaker(two, "app:shop")).state == ops.BREAKER_STATE_HALF_OPEN

    await eventually(half_open)

    async def reopened() -> bool:
        found = await breaker(two, "app:shop", 1)
        return found.state == ops.BREAKER_STATE_OPEN and found.failed_probes == 1

    await eventually(reopened)
    assert await calls(two, OTHER) == made + 1

    await two.sandbox.clear_faults()
    await two.sandbox.advance(145)
    for one in ids:
        stands = await standing(two.all[0], one, dv.DELIVERY_STATUS_ACCEPTED, dv.DELIVERY_STATUS_FAILED)
        assert stands.attempt_count == 1
    assert (await breaker(two, "app:shop")).state == ops.BREAKER_STATE_CLOSED
    listed = pb.ListDeliveriesRequest(statuses=[dv.DELIVERY_STATUS_FAILED], page_size=200)
    failed = (await two.all[0].notifier.ListDeliveries(listed)).deliveries
    assert len([one for one in failed if one.channel == "app:shop"]) == 11, "ten opened it, one probed"
