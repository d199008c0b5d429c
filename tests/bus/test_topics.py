"""Topic patterns: a table, and a real broker as the judge."""

from __future__ import annotations

import asyncio

import aiormq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.bus.topics import matches

WORDS = st.sampled_from(["a", "b", ""])
KEYS = st.lists(WORDS, max_size=5).map(".".join)
PATTERNS = st.lists(st.one_of(WORDS, st.sampled_from(["*", "#"])), max_size=5).map(".".join)


@pytest.mark.parametrize(
    ("pattern", "key", "expected"),
    [
        ("order.created", "order.created", True),
        ("order.created", "order.createdx", False),
        ("order.*", "order.created", True),
        ("order.*", "order", False),
        ("order.*", "order.a.b", False),
        ("order.#", "order", True),
        ("order.#", "order.a.b", True),
        ("#", "", True),
        ("#.c", "c", True),
        ("#.c", "a.b.c", True),
        ("#.c", "a.b.cc", False),
        ("a.#.#.b", "a.b", True),
        ("*.#", "", False),
        ("", "", True),
    ],
)
def test_a_pattern_means_what_amqp_says(pattern: str, key: str, expected: bool) -> None:
    assert matches(pattern, key) is expected


async def _routed(url: str, patterns: list[str], keys: list[str]) -> set[tuple[str, str]]:
    """Which pattern got which key, according to the broker."""
    connection = await aiormq.connect(url)
    try:
        channel = await connection.channel()
        exchange = f"topics-{id(patterns)}-{connection.last_channel}"
        await channel.exchange_declare(exchange, exchange_type="topic", auto_delete=True)
        queues = {}
        for pattern in patterns:
            queue = (await channel.queue_declare("", exclusive=True)).queue
            assert queue is not None
            queues[pattern] = queue
            await channel.queue_bind(queue, exchange, pattern)
        for key in keys:
            await channel.basic_publish(key.encode(), exchange=exchange, routing_key=key)
        got = set()
        for pattern, queue in queues.items():
            while (message := await channel.basic_get(queue, no_ack=True)).delivery_tag is not None:
                got.add((pattern, message.body.decode()))
        return got
    finally:
        await connection.close()


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    patterns=st.lists(PATTERNS, min_size=1, max_size=8, unique=True),
    keys=st.lists(KEYS, min_size=1, max_size=8, unique=True),
)
def test_patterns_match_exactly_what_the_broker_routes(
    amqp_url: str, patterns: list[str], keys: list[str]
) -> None:
    expected = {(pattern, key) for pattern in patterns for key in keys if matches(pattern, key)}
    assert asyncio.run(_routed(amqp_url, patterns, keys)) == expected
