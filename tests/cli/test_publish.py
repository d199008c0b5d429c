"""``reach publish``: over a real broker, and by gRPC where there is none."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiormq
import pytest

from tests.cli.support import Done, Reach

STORE = "s1"
ORDER = {
    "order_number": "A-17",
    "table_number": "A01",
    "total": 280,
    "order_time": "2026-02-20T12:30:00+08:00",
}


def publish(reach: Reach, data: str, *more: str, **options: Any) -> Done:
    return reach("publish", "order.created", "--data", data, *more, **options)


def read_one(url: str, queue: str) -> Any:
    """The one message in *queue*."""

    async def read() -> Any:
        connection = await aiormq.connect(url)
        try:
            channel = await connection.channel()
            return await channel.basic_get(queue, no_ack=True)
        finally:
            await connection.close()

    return asyncio.run(read())


def test_an_event_goes_over_the_broker_as_cloudevents_in_binary_mode(reach: Reach, amqp_vhost: str) -> None:
    over = reach.with_(REACH_AMQP_URL=amqp_vhost)
    assert "bound to" in over("migrate").out
    done = over.process(
        "publish", "order.created", "--data", json.dumps(ORDER), "--store", STORE, "--id", "o-1"
    )
    assert (done.code, done.out) == (0, "o-1\n"), done.err
    message = read_one(amqp_vhost, "reach.notifier.in")
    headers = message.header.properties.headers
    assert headers["cloudEvents:id"] == "o-1"
    assert headers["cloudEvents:type"] == "order.created"
    assert headers["cloudEvents:storeid"] == STORE
    assert headers["cloudEvents:traceparent"]
    assert message.header.properties.delivery_mode == 2
    assert json.loads(message.body)["order_number"] == "A-17"


def test_an_event_that_nobody_hears_is_kept_by_the_broker(reach: Reach, amqp_vhost: str) -> None:
    over = reach.with_(REACH_AMQP_URL=amqp_vhost)
    assert over("publish", "weather.changed", "--data", "{}", "--store", STORE).code == 0
    assert read_one(amqp_vhost, "reach.unrouted.q").routing_key == "weather.changed"


def test_a_broker_that_is_away_is_one_line(reach: Reach) -> None:
    done = publish(
        reach,
        json.dumps(ORDER),
        "--store",
        STORE,
        REACH_AMQP_URL="amqp://nobody:hush-hush@127.0.0.1:1/",
        REACH_LIMIT_PUBLISH_CONFIRM="2s",
    )
    assert (done.code, done.out) == (1, "")
    assert len(done.lines) == 1
    assert "REACH_AMQP_URL" in done.err
    assert "hush-hush" not in done.err


@pytest.mark.parametrize(
    ("data", "named"),
    [("{broken", "--data"), ("[1]", "not a JSON object"), ("@/nowhere/at/all", "/nowhere/at/all")],
)
def test_data_that_cannot_be_read_are_one_line(reach: Reach, data: str, named: str) -> None:
    done = publish(reach, data, "--store", STORE)
    assert (done.code, done.out) == (2, "")
    assert len(done.lines) == 1
    assert named in done.err


def test_an_event_needs_a_store(reach: Reach) -> None:
    done = publish(reach, json.dumps(ORDER))
    assert done.code == 2
    assert "--store" in done.err


def test_data_that_do_not_fit_their_type_name_every_field(reach: Reach, amqp_vhost: str) -> None:
    done = publish(reach, '{"total": "much"}', "--store", STORE, REACH_AMQP_URL=amqp_vhost)
    assert (done.code, done.out) == (2, "")
    assert all(field in done.err for field in ("order_number", "table_number", "total", "order_time"))


def test_without_a_broker_it_goes_by_grpc_and_a_repeat_is_recognised(up: Reach, tmp_path: Path) -> None:
    file = tmp_path / "order.json"
    file.write_text(json.dumps(ORDER), encoding="utf-8")
    first = publish(up, f"@{file}", "--store", STORE, "--id", "by-grpc")
    assert (first.code, first.out) == (0, "by-grpc\n"), first.err
    again = publish(up, "-", "--store", STORE, "--id", "by-grpc", stdin=json.dumps(ORDER))
    assert (again.code, again.out) == (0, "by-grpc\n")
    assert "published before" in again.err
    other = publish(up, json.dumps({**ORDER, "total": 1}), "--store", STORE, "--id", "by-grpc")
    assert (other.code, other.out) == (1, "")
    assert "EVENT_ID_CONFLICT" in other.err


def test_a_service_that_is_not_there_is_one_line_with_the_fix(reach: Reach) -> None:
    done = publish(reach, json.dumps(ORDER), "--store", STORE, REACH_NOTIFIER_TARGET="127.0.0.1:1")
    assert (done.code, done.out) == (1, "")
    assert len(done.lines) == 1
    assert "REACH_NOTIFIER_TARGET" in done.err
