"""The distributed form as its users meet it: programs on RabbitMQ and PostgreSQL, two replicas of the notifier."""

from __future__ import annotations

import asyncio
from pathlib import Path

from reach.notifier.v1 import explain_pb2
from reach.notifier.v1 import notifier_service_pb2 as pb
from reach.ops.v1 import ops_service_pb2 as ops

from tests.e2e.harness import (
    EXAMPLES,
    TELLS,
    environment,
    eventually,
    names_on,
    publisher,
    sandbox_program,
    served,
)

MESSAGES = sum(len(roles) for roles in TELLS.values())


async def test_every_event_three_times_by_broker_and_rpc_is_one_set_of_messages(
    amqp_url: str, postgres_database: str, tmp_path: Path
) -> None:
    async with sandbox_program() as world, names_on(amqp_url) as names:
        settings = {"amqp_url": amqp_url, "database_url": postgres_database, **names.settings}
        environs = [environment(world.url, tmp_path / name, **settings) for name in ("one", "two")]
        async with served(environs[0]) as first:
            for environ in environs[1:]:
                environ["REACH_SECRET_KEY_FILE"] = str(tmp_path / "one" / "secret.key")
            async with served(environs[1]) as second, publisher(amqp_url, names.exchange) as till:
                await first.staff()
                for event_type in TELLS:
                    for _ in range(3):
                        await till.event(event_type, EXAMPLES[event_type], f"e-{event_type}")
                await world.arrived(MESSAGES, timeout=30)
                taken = await asyncio.gather(
                    *(
                        reach.push(event_type, event_id=f"e-{event_type}", wait=0)
                        for event_type in TELLS
                        for reach in (first, second, first)
                    )
                )
                assert all(one.duplicate for one in taken)
                await till.event(
                    "order.created", {**EXAMPLES["order.created"], "total": 1}, "e-order.created"
                )

                async def parked() -> list[object]:
                    answer = await second.ops.ListDeadLetters(ops.ListDeadLettersRequest(reason="conflict"))
                    return list(answer.dead_letters)

                assert len(await eventually(parked)) == 1
                for event_type in TELLS:
                    asked = pb.ExplainRequest(id=f"e-{event_type}")
                    told = (await second.notifier.Explain(asked)).explanations[0]
                    assert told.verdict == explain_pb2.VERDICT_PLANNED
                    assert told.duplicate_count == 5
                got = sorted(message["to"] for message in await world.messages())
                assert got == sorted(role for roles in TELLS.values() for role in roles)
                # One call for each rule: both holders of one rule are told by one.
                assert len(await world.sends()) == len(TELLS)
