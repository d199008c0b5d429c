"""Reading what arrives and writing what leaves."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from cloudevents.core.bindings import amqp as sdk_amqp
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from shared.bus import Incoming
from shared.events.canonical import Unreadable
from shared.events.catalogue import encode
from shared.events.envelope import MAX_EVENT_BYTES, make_event, read_event, write_event
from shared.events.kinds import Event

NOW = datetime(2026, 3, 2, 4, 0, 30, tzinfo=UTC)
ORDER: dict[str, object] = {
    "order_number": "ORD20260220001",
    "table_number": "A01",
    "total": 280.00,
    "order_time": "2026-02-20T12:30:00",
}
TRACE = f"00-{'a' * 32}-{'b' * 16}-01"


def plain(data: object, key: str = "order.created", **more: object) -> Incoming:
    body = data if isinstance(data, bytes) else json.dumps(data).encode()
    options: dict[str, object] = {"content_type": "application/json", "message_id": "m1", "door": "amqp"}
    return Incoming(body, routing_key=key, **(options | more))  # type: ignore[arg-type]


def structured(attributes: Mapping[str, object], data: object = ORDER) -> Incoming:
    body = {
        "specversion": "1.0",
        "id": "e1",
        "source": "/till",
        "type": "order.created",
        "data": data,
        **attributes,
    }
    return Incoming(json.dumps(body).encode(), "application/cloudevents+json; charset=utf-8", "whatever")


def read(incoming: Incoming, default_store: str | None = "s1") -> Event:
    return read_event(incoming, default_store=default_store, now=NOW)


def refused(incoming: Incoming, default_store: str | None = "s1") -> Unreadable:
    with pytest.raises(Unreadable) as caught:
        read(incoming, default_store)
    return caught.value


def test_every_form_of_one_event_has_one_hash() -> None:
    wrapped = {"event_type": "order.created", "event_data": ORDER, "store_id": "s1"}
    data64 = base64.b64encode(encode("order.created", ORDER | {"total": "280"})).decode()
    proto = {"datacontenttype": "application/protobuf", "data_base64": data64, "storeid": "s1"}
    forms = [
        plain(ORDER),
        plain(ORDER | {"total": "280.0", "store_id": "s1"}),
        plain(dict(reversed(ORDER.items())) | {"total": 280}),
        plain(wrapped, key="other.key"),
        structured({"storeid": "s1"}),
        structured(proto),
        plain(encode("order.created", ORDER | {"total": "280.00"}), content_type="application/x-protobuf"),
        Incoming(
            orjson.dumps(ORDER),
            "application/json",
            "x",
            headers={f"cloudEvents_{k}": v for k, v in _attributes().items()},
        ),
        Incoming(
            orjson.dumps(ORDER),
            "application/json",
            "x",
            headers={f"ce-{k}": v for k, v in _attributes().items()},
        ),
    ]
    events = [read(form) for form in forms]
    assert len({event.content_hash for event in events}) == 1
    assert {event.store_id for event in events} == {"s1"}
    assert all(event.data == ORDER | {"total": "280.00"} for event in events)


def _attributes(**more: str) -> dict[str, str]:
    return {
        "specversion": "1.0",
        "id": "e1",
        "source": "/till",
        "type": "order.created",
        "storeid": "s1",
    } | more


def test_cloudevents_attributes_are_read() -> None:
    event = read(
        structured(
            {"storeid": "s9", "subject": "ORD1", "time": "2026-02-20T12:30:00.5+08:00", "traceparent": TRACE}
        )
    )
    assert (event.id, event.type, event.source, event.subject) == ("e1", "order.created", "/till", "ORD1")
    assert event.store_id == "s9"
    assert event.occurred_at == datetime(2026, 2, 20, 4, 30, 0, 500_000, tzinfo=UTC)
    assert event.traceparent == TRACE
    assert event.known
    assert not event.derived_id


def test_the_trace_may_come_in_the_amqp_header() -> None:
    event = read(plain(ORDER, headers={"traceparent": TRACE, "tracestate": "k=v"}))
    assert (event.traceparent, event.tracestate) == (TRACE, "k=v")
    assert read(plain(ORDER, headers={"traceparent": "rubbish", "tracestate": "k=v"})).tracestate is None


@pytest.mark.parametrize(
    ("incoming", "reason", "named"),
    [
        (plain(b"{"), "decode", ""),
        (plain(b""), "decode", ""),
        (plain(b"[1]"), "decode", ""),
        (plain(b'{"a":1,"a":1}', key="x.y"), "decode", ""),
        (plain(b'{"a":{"b":1,"\\u0062":2}}', key="x.y"), "decode", ""),
        (plain(b'{"a":NaN}', key="x.y"), "decode", ""),
        (plain(b'{"a":1e999}', key="x.y"), "decode", ""),
        (plain(b'{"a":9223372036854775808}', key="x.y"), "decode", ""),
        (plain(b'{"a":"\\u0000"}', key="x.y"), "decode", ""),
        (plain(b'{"a":"\xff"}', key="x.y"), "decode", ""),
        (plain(b'{"a":' + b"[" * 40 + b"]" * 40 + b"}", key="x.y"), "decode", ""),
        (plain(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", key="x.y"), "decode", ""),
        (plain(b"x" * (MAX_EVENT_BYTES + 1)), "oversize", ""),
        (plain({}), "schema", "order_number table_number total order_time"),
        (plain(ORDER | {"total": "free", "table_number": []}), "schema", "table_number total"),
        (plain(ORDER, key="no spaces please"), "schema", "type"),
        (plain({"event_data": 1}), "schema", "event_data"),
        (plain(ORDER, message_id="a\nb"), "id_invalid", "id"),
        (plain(ORDER, message_id="x" * 257), "id_invalid", "id"),
        (plain(ORDER | {"store_id": "a b"}), "schema", "store_id"),
        (plain(ORDER | {"store_id": "s1"}, headers={"store_id": "s2"}), "store_mismatch", ""),
        (plain(b"\xff\xff", content_type="application/protobuf"), "decode", ""),
        (plain(b"", key="x.y", content_type="application/protobuf"), "decode", ""),
        (structured({"specversion": "0.3"}), "schema", "specversion"),
        (structured({"id": None, "source": 5.5, "time": "yesterday"}), "schema", "id source time"),
        (structured({}, data=[1]), "schema", "data"),
        (structured({"data_base64": "***"}), "schema", "data_base64"),
        (Incoming(b"{}", headers={"cloudEvents:id": {"a": [1]}}), "schema", "specversion type id source"),
    ],
)
def test_what_cannot_be_read_says_why(incoming: Incoming, reason: str, named: str) -> None:
    error = refused(incoming)
    assert error.dead_reason == reason
    assert set(named.split()) <= {violation.field for violation in error.violations}


def test_without_any_store_it_is_store_missing_and_what_is_known_is_told() -> None:
    error = refused(plain(ORDER), default_store=None)
    assert (error.dead_reason, error.event_id, error.event_type) == ("store_missing", "m1", "order.created")


def test_colons_in_texts_do_not_look_like_keys() -> None:
    for body in (b'{"a":"b:c:","d":"\\u003a"}', b'{"a:b" : 1, "c" : {"a:b":":"}}'):
        assert read(plain(body, key="x.y")).data == json.loads(body)


def test_unknown_types_take_any_object_and_keep_it() -> None:
    event = read(plain({"n": 1.5, "deep": {"list": [1, None, True]}}, key="parking.full"))
    assert not event.known
    assert event.data == {"n": 1.5, "deep": {"list": [1, None, True]}}


def test_unknown_fields_of_a_known_type_are_kept_and_count() -> None:
    event = read(plain(ORDER | {"waiter": {"id": 7}}))
    assert event.data["waiter"] == {"id": 7}
    assert event.content_hash != read(plain(ORDER)).content_hash


def test_a_body_without_id_is_the_same_for_a_minute_or_two_and_then_another() -> None:
    first = read_event(plain(ORDER, message_id=None), default_store="s1", now=NOW)
    later = read_event(plain(ORDER, message_id=None), default_store="s1", now=NOW + timedelta(seconds=60))
    long_after = read_event(
        plain(ORDER, message_id=None), default_store="s1", now=NOW + timedelta(seconds=120)
    )
    assert first.derived_id
    assert first.id == first.candidate_ids[0]
    assert first.id in later.candidate_ids
    assert first.id not in long_after.candidate_ids
    other_store = read_event(plain(ORDER, message_id=None), default_store="s2", now=NOW)
    assert set(other_store.candidate_ids).isdisjoint(first.candidate_ids)


def test_a_publishers_time_stamp_makes_the_derived_id_last() -> None:
    stamped = plain(ORDER, message_id=None, timestamp=NOW)
    first = read_event(stamped, default_store="s1", now=NOW)
    later = read_event(stamped, default_store="s1", now=NOW + timedelta(days=1))
    assert first.id == later.id
    assert first.occurred_at == NOW


def test_hostile_headers_are_tolerated() -> None:
    headers: dict[object, object] = {
        1: 2,
        "traceparent": b"\xff",
        "cloudEvents:other": object(),
        "store_id": b"s7",
        "x": [{}],
    }
    assert read(plain(ORDER, headers=headers)).store_id == "s7"


def test_what_the_suite_announces_goes_as_protobuf_and_comes_back_the_same() -> None:
    outcome = {"delivery_id": "d1", "channel": "app", "status": "accepted", "attempts": 1, "errcode": 0}
    counts = {"recipients": 2, "recipients_accepted": 2, "recipients_failed": 0}
    event = make_event("notifier.delivery.accepted", outcome | counts, id="e1", store_id="s1", now=NOW)
    sent = write_event(event)
    assert sent.content_type == "application/protobuf"
    back = read(Incoming(sent.body, sent.content_type, sent.type, sent.id, headers=sent.headers))
    assert (back.data, back.content_hash, back.id) == (event.data, event.content_hash, event.id)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False, min_value=-1e15, max_value=1e15)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",))),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abc:\\u", max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text("abcé:", min_size=1, max_size=6), JSON, max_size=5)


@given(OBJECTS)
def test_any_event_survives_writing_and_reading(data: dict[str, object]) -> None:
    event = make_event(
        "custom.type", data, id="编号 1", store_id="s1", now=NOW, subject="主题", traceparent=TRACE
    )
    sent = write_event(event)
    back = read(Incoming(sent.body, sent.content_type, sent.type, sent.id, headers=sent.headers))
    assert (back.id, back.data, back.content_hash) == (event.id, event.data, event.content_hash)
    assert (back.subject, back.traceparent) == ("主题", TRACE)


@given(OBJECTS)
def test_the_sdk_reads_what_we_write_and_we_read_what_it_writes(data: dict[str, object]) -> None:
    sent = write_event(make_event("custom.type", data, id="e1", store_id="s1", now=NOW))
    theirs = sdk_amqp.from_amqp_event(
        sdk_amqp.AMQPMessage(
            {}, {f"cloudEvents:{k.partition(':')[2]}": v for k, v in sent.headers.items()}, sent.body
        )
    )
    assert (theirs.get_id(), theirs.get_type()) == ("e1", "custom.type")
    attributes = {"id": "e2", "source": "/sdk", "type": "custom.type", "storeid": "s1", "specversion": "1.0"}
    text = JSONFormat().write(CloudEvent(attributes, data))
    assert read(Incoming(bytes(text), "application/cloudevents+json")).data == data


def test_mutated_bodies_raise_nothing_but_unreadable() -> None:
    dice = random.Random(20260302)
    seeds = [
        plain(ORDER),
        structured({"storeid": "s1"}),
        plain(encode("order.created", ORDER | {"total": "1"})),
    ]
    types = ["application/json", "application/cloudevents+json", "application/protobuf", "", "text/xml"]
    readable = 0
    for _ in range(10_000):
        body = bytearray(dice.choice(seeds).body)
        for _ in range(dice.randint(1, 4)):
            at = dice.randrange(len(body))
            body[at : at + dice.randint(0, 3)] = dice.randbytes(dice.randint(0, 2))
            body = body or bytearray(b"0")
        try:
            read(Incoming(bytes(body), dice.choice(types), "order.created", "m1"))
            readable += 1
        except Unreadable:
            continue
    assert readable > 100
