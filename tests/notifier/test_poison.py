"""What cannot be read is parked with its reason, shown without personal data, and can be given back; the rest flows on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from reach.events.v1 import event_service_pb2
from reach.notifier.v1 import explain_pb2
from reach.ops.v1 import ops_service_pb2 as ops

from tests.e2e.harness import (
    EXAMPLES,
    STORE,
    Names,
    Publisher,
    Reach,
    Sandbox,
    codes,
    embedded,
    eventually,
    publisher,
    refused,
    struct,
)

ORDER = EXAMPLES["order.created"]
PHONE = "13912345678"


@dataclass(frozen=True)
class Poison:
    """A message nobody can take, and the word it is parked under."""

    name: str
    reason: str
    body: bytes
    routing_key: str = "order.created"
    headers: Mapping[str, Any] = field(default_factory=dict)
    content_type: str = "application/json"


def _order(**changed: Any) -> bytes:
    return json.dumps({**ORDER, "store_id": STORE, **changed}).encode()


def _binary(**attributes: Any) -> dict[str, Any]:
    base = {"specversion": "1.0", "id": "b1", "type": "order.created", "source": "till", "storeid": STORE}
    return {f"cloudEvents:{name}": value for name, value in {**base, **attributes}.items()}


POISON = [
    Poison("invalid-json", "decode", b'{"order_number": '),
    Poison("empty", "decode", b""),
    Poison("not-an-object", "decode", b"[1, 2, 3]"),
    Poison("not-utf-8", "decode", b'{"order_number": "\xff\xfe"}'),
    Poison("byte-order-mark", "decode", b"\xef\xbb\xbf" + _order()),
    Poison("nan", "decode", b'{"store_id": "s1", "total": NaN}'),
    Poison("infinite", "decode", b'{"store_id": "s1", "total": 1e999}'),
    Poison("twice-the-same-key", "decode", b'{"store_id": "s1", "total": 1, "total": 2}'),
    Poison("nul", "decode", _order(order_number="a\0b")),
    Poison("deep", "decode", b'{"a":' * 5000 + b"1" + b"}" * 5000),
    Poison("deep-list", "decode", b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    Poison("five-megabytes", "oversize", _order(note="x" * 5_000_000)),
    Poison("wrong-types", "schema", _order(order_number=[1], total={"yuan": 1}, table_number=True)),
    Poison("missing-fields", "schema", b'{"store_id": "s1"}'),
    Poison("store-missing", "store_missing", json.dumps(ORDER).encode()),
    Poison("store-mismatch", "store_mismatch", _order(), headers={"store_id": "s2"}),
    Poison("store-is-a-list", "schema", _order(store_id=["s1"])),
    Poison("unknown-type", "unknown_type", b'{"store_id": "s1"}', routing_key="parking.full"),
    Poison("binary-id", "schema", _order(), headers=_binary(id=bytearray(b"\xff\xfe"))),
    Poison("control-in-id", "schema", _order(), headers=_binary(id="a\x1b[31m")),
    Poison("id-too-long", "id_invalid", _order(), headers=_binary(id="x" * 300)),
    Poison("other-specversion", "schema", _order(), headers=_binary(specversion="9.9")),
    Poison("not-protobuf", "decode", b"\xff\xff\xff", content_type="application/protobuf"),
    Poison("event-data-is-text", "schema", b'{"event_data": "x", "store_id": "s1"}'),
]

HOSTILE_HEADERS: list[dict[str, Any]] = [
    {"traceparent": "00-" + "0" * 32 + "-" + "0" * 16 + "-01\r\nx: y"},
    {"traceparent": bytearray(b"\xff"), "tracestate": "a" * 4000},
    {"x-death": "nonsense", "x-delivery-count": "many"},
    {"nested": {"a": [{"b": {"c": [1, None, True]}}]}, "bytes": bytearray(b"\x00\xff")},
    {"Authorization": "Bearer " + "x" * 2000},
    {"cloudEvents:unheard": "of", "x" * 120: "y"},
]


@pytest.fixture
async def strict(world: Sandbox, amqp_url: str, names: Names, tmp_path: Path) -> AsyncIterator[Reach]:
    """A notifier on the broker without a default store."""
    async with embedded(world.url, tmp_path / "home", amqp_url=amqp_url, **names.settings) as made:
        await made.staff()
        yield made


async def _parked(reach: Reach, count: int, **wanted: Any) -> list[Any]:
    async def look() -> list[Any] | None:
        answer = await reach.ops.ListDeadLetters(ops.ListDeadLettersRequest(page_size=200, **wanted))
        return list(answer.dead_letters) if len(answer.dead_letters) >= count else None

    return await eventually(look, 20) or []


async def _letter(reach: Reach, letter: Any) -> Any:
    request = ops.GetDeadLetterRequest(dead_letter_id=letter.dead_letter_id)
    return (await reach.ops.GetDeadLetter(request)).dead_letter


async def test_every_poison_is_parked_with_its_reason_and_good_events_around_it_arrive(
    strict: Reach, amqp_url: str, names: Names, world: Sandbox
) -> None:
    async with publisher(amqp_url, names.exchange) as till:
        for at, one in enumerate(POISON):
            await till.publish(
                one.routing_key,
                one.body,
                message_id=one.name,
                headers=one.headers,
                content_type=one.content_type,
            )
            await till.event("order.created", {**ORDER, "order_number": f"good{at}"}, f"good{at}")
    await world.arrived(len(POISON), timeout=30)
    letters = await _parked(strict, len(POISON))
    by_size = {letter.body_bytes: letter for letter in letters}
    assert sorted(letter.reason for letter in letters) == sorted(one.reason for one in POISON)
    for one in POISON:
        letter = by_size[len(one.body)]
        assert letter.detail, one.name
        assert letter.door == "amqp"
        assert letter.service == "notifier"
        assert letter.state == ops.DEAD_LETTER_STATE_PARKED
    assert len(await world.sends()) == len(POISON)
    for name, reason in (("missing-fields", "schema"), ("unknown-type", "unknown_type")):
        told = await strict.explain(name)
        assert told.verdict == explain_pb2.VERDICT_PARKED
        assert told.steps[0].facts["reason"] == reason
    detail = next(letter.detail for letter in letters if letter.event_id == "missing-fields")
    assert all(field in detail for field in ("order_number", "table_number", "total", "order_time"))
    # Nothing that was parked comes again by itself, and a look at each is possible.
    whole = [await _letter(strict, letter) for letter in letters]
    assert all(one.body or not one.body_bytes for one in whole)


async def test_hostile_headers_change_nothing(
    strict: Reach, amqp_url: str, names: Names, world: Sandbox
) -> None:
    async with publisher(amqp_url, names.exchange) as till:
        for at, headers in enumerate(HOSTILE_HEADERS):
            body = {**ORDER, "order_number": f"h{at}", "store_id": STORE}
            await till.publish("order.created", body, headers=headers, message_id=f"h{at}")
    await world.arrived(len(HOSTILE_HEADERS))
    assert not (await strict.ops.ListDeadLetters(ops.ListDeadLettersRequest())).dead_letters


async def test_a_dead_letter_is_shown_without_phones_and_secrets(
    strict: Reach, amqp_url: str, names: Names
) -> None:
    body = {"customer_phone": PHONE, "access_token": "tok-1234567890", "store_id": STORE}
    headers = {"authorization": "Bearer abcdefghijkl", "who": PHONE}
    async with publisher(amqp_url, names.exchange) as till:
        await till.publish("reservation.confirmed", body, message_id="p1", headers=headers)
        await till.publish("reservation.confirmed", b"\xff" + PHONE.encode(), message_id="p2")
    letters = await _parked(strict, 2)
    for letter in letters:
        shown = await _letter(strict, letter)
        text = str(shown)
        assert PHONE not in text
        assert "tok-1234567890" not in text
        assert "abcdefghijkl" not in text
    readable = next(letter for letter in letters if letter.event_id == "p1")
    assert "139****5678" in (await _letter(strict, readable)).body


async def test_what_lacked_a_store_goes_out_once_when_replayed_with_a_default_store(
    world: Sandbox, amqp_url: str, names: Names, tmp_path: Path
) -> None:
    settings = {"amqp_url": amqp_url, **names.settings}
    async with embedded(world.url, tmp_path / "home", **settings) as reach:
        await reach.staff()
        async with publisher(amqp_url, names.exchange) as till:
            await till.publish("order.created", ORDER, message_id="m1")
        (letter,) = await _parked(reach, 1, reason="store_missing")
        request = ops.ReplayDeadLetterRequest(dead_letter_ids=[letter.dead_letter_id])
        (still,) = (await reach.ops.ReplayDeadLetter(request)).dead_letters
        assert still.state == ops.DEAD_LETTER_STATE_PARKED
        assert still.dead_letter_id == letter.dead_letter_id
        assert "default store" in still.detail
    assert await world.sends() == []
    async with embedded(world.url, tmp_path / "home", default_store="s9", **settings) as reach:
        (after,) = (await reach.ops.ReplayDeadLetter(request)).dead_letters
        assert (after.state, after.resolved_by) == (ops.DEAD_LETTER_STATE_REPLAYED, "local")
        (message,) = await world.arrived(1)
        assert "ORD20260220001" in message["content"]["content"]
        (again,) = (await reach.ops.ReplayDeadLetter(request)).dead_letters
        assert again.resolve_time == after.resolve_time
        told = next(
            one
            for one in (await reach.notifier.Explain(_of("m1"))).explanations
            if one.verdict == explain_pb2.VERDICT_PLANNED
        )
        assert told.store_id == "s9"
        replayed = ops.ListDeadLettersRequest(state=ops.DEAD_LETTER_STATE_REPLAYED)
        assert len((await reach.ops.ListDeadLetters(replayed)).dead_letters) == 1
        assert not (await reach.ops.ListDeadLetters(ops.ListDeadLettersRequest())).dead_letters
    assert len(await world.sends()) == 1


async def test_what_nobody_listened_to_can_be_replayed(
    strict: Reach, amqp_url: str, names: Names, world: Sandbox
) -> None:
    async with publisher(amqp_url, names.exchange) as till:
        await till.event("parking.full", {"lot": "B2"}, "u1")
    (letter,) = await _parked(strict, 1, reason="unknown_type")
    assert (letter.event_id, letter.event_type, letter.store_id) == ("u1", "parking.full", STORE)
    assert (await strict.explain("u1")).verdict == explain_pb2.VERDICT_PARKED
    request = ops.ReplayDeadLetterRequest(dead_letter_ids=[letter.dead_letter_id])
    (after,) = (await strict.ops.ReplayDeadLetter(request)).dead_letters
    assert after.state == ops.DEAD_LETTER_STATE_REPLAYED
    told = (await strict.notifier.Explain(_of("u1"))).explanations[0]
    assert told.verdict == explain_pb2.VERDICT_NO_RULE
    assert await world.sends() == []


async def test_in_one_process_too_an_unheard_type_is_parked(reach: Reach) -> None:
    await reach.events.PublishEvent(
        event_service_pb2.PublishEventRequest(
            type="parking.full", id="u2", store_id=STORE, json=struct({"lot": "B2"})
        )
    )
    (letter,) = await _parked(reach, 1, reason="unknown_type")
    assert (letter.event_id, letter.store_id, letter.door) == ("u2", STORE, "bus")
    told = await reach.explain("u2")
    assert (told.verdict, codes(told)) == (explain_pb2.VERDICT_PARKED, ["parked"])


async def test_dead_letters_are_listed_in_pages_the_newest_first(joined: Reach, till: Publisher) -> None:
    for at in range(7):
        await till.publish("order.created", b"{", message_id=f"p{at}")
        await _parked(joined, at + 1)
    seen: list[str] = []
    token = ""
    while True:
        page = await joined.ops.ListDeadLetters(ops.ListDeadLettersRequest(page_size=3, page_token=token))
        seen += [letter.event_id for letter in page.dead_letters]
        token = page.next_page_token
        if not token:
            break
        assert len(page.dead_letters) == 3
    assert seen == [f"p{at}" for at in reversed(range(7))]
    other = ops.ListDeadLettersRequest(page_size=3, reason="decode", page_token="nonsense")
    code, error = await refused(joined.ops.ListDeadLetters(other))
    assert (code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID")
    assert not (await joined.ops.ListDeadLetters(ops.ListDeadLettersRequest(service="campaign"))).dead_letters


async def test_a_callers_poison_is_refused_and_not_parked(reach: Reach) -> None:
    code, error = await refused(reach.push(data={"order_number": "1"}, event_id="x1"))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert {one.field for one in error.violations} == {"table_number", "total", "order_time"}
    assert (await reach.post_event(b"{", type="order.created", store_id=STORE))[0] == 400
    status, answer = await reach.post_event(
        {"event_type": "order.created", "event_data": {}, "store_id": STORE}
    )
    assert status == 400
    assert {one["field"] for one in answer["violations"]} >= {"order_number", "total"}
    assert (await reach.post_event(b"x" * 300_000, type="order.created"))[0] == 400
    await asyncio.sleep(0)
    assert not (await reach.ops.ListDeadLetters(ops.ListDeadLettersRequest())).dead_letters
    assert (await reach.explain("x1")).verdict == explain_pb2.VERDICT_NOT_FOUND


def _of(event_id: str) -> Any:
    from reach.notifier.v1 import notifier_service_pb2 as pb

    return pb.ExplainRequest(id=event_id)
