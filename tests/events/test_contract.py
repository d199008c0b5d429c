"""The contract and the pages agree, and every kind is coerced as it says."""

from __future__ import annotations

import contextlib
from datetime import date, datetime, timedelta, timezone

import protovalidate
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reach.events.v1 import event_service_pb2

from shared.events.canonical import Unreadable, content_hash, normalise
from shared.events.catalogue import (
    ANNOUNCED,
    EVENT_TYPES,
    INBOUND,
    decode,
    encode,
    message_class,
    message_name,
)
from shared.events.kinds import EventType, Field, FieldKind, parse_instant, parse_when

# design/events.md, field for field.
PAGE = {
    "order.created": "order_number, table_number, total, order_time",
    "order.completed": "order_number, table_number, total, completed_time",
    "order.cancelled": "order_number, table_number?, reason?, cancelled_time",
    "reservation.confirmed": "customer_name, customer_phone, party_size, reservation_date",
    "reservation.cancelled": "customer_name, customer_phone, party_size, reservation_date, reason?",
    "guest.arrived": "customer_name, party_size, table_number?, arrival_time",
    "member.points_changed": "member_id, member_name, change, balance, reason?",
    "member.upgraded": "member_id, member_name, old_level, new_level",
    "payment.completed": "order_number, amount, method, paid_time",
    "payment.failed": "order_number, amount, method, error, failed_time",
    "inventory.low_stock": "item_name, current_stock, threshold, unit?",
    "inventory.out_of_stock": "item_name, unit?, last_used_time?",
    "system.error": "component, message, severity?, occurred_time",
    "service.quality_issue": "table_number?, description, reported_by?, reported_time",
    "consumption.settled": "member_id, has_assistant, assistant_id?, amount, area?, items[]?, duration_minutes?, "
    "settled_time",
    "note.created": "member_id, note_content, noted_by_name, noted_by_created_at",
    "task.assigned": "member_id, assistant_id",
    "dws.completed": "business_date?",
    "intent.matched": "user_id, profile_id, profile_name, intent_id, intent_name, score, explanation, "
    "matched_conditions[]?, match_id",
}


def test_the_contract_is_the_page() -> None:
    def spelt(field: Field) -> str:
        return field.name + ("[]" if field.repeated else "") + ("" if field.required else "?")

    assert {name: ", ".join(map(spelt, EVENT_TYPES[name].fields)) for name in INBOUND} == PAGE
    assert len(ANNOUNCED) == 39


def test_every_field_has_a_kind_and_personal_ones_are_marked() -> None:
    personal = {f.name for known in EVENT_TYPES.values() for f in known.fields if f.kind.personal}
    assert personal == {
        "assistant_id",
        "customer_name",
        "customer_phone",
        "external_userid",
        "member_name",
        "noted_by_name",
        "profile_name",
        "reported_by",
        "user_id",
    }
    assert message_name("order.created") == "reach.events.v1.OrderCreated"
    assert message_name("nothing.known") is None


VALUES: dict[FieldKind, st.SearchStrategy[object]] = {
    FieldKind.MONEY: st.decimals(-99999, 99999, places=2).map(str),
    FieldKind.QUANTITY: st.integers(-1000, 1000) | st.floats(-1000, 1000),
    FieldKind.COUNT: st.integers(0, 1000),
    FieldKind.SCORE: st.floats(0, 1),
    FieldKind.FLAG: st.booleans(),
    FieldKind.INSTANT: st.datetimes().map(lambda at: at.isoformat() + "+08:00"),
    FieldKind.DATE: st.dates().map(date.isoformat),
    FieldKind.PHONE: st.just("138 0000-1234"),
    FieldKind.ANY: st.fixed_dictionaries({"name": st.text("茶ab"), "quantity": st.integers(0, 9)}),
}


def _payloads(known: EventType) -> st.SearchStrategy[dict[str, object]]:
    def values(field: Field) -> st.SearchStrategy[object]:
        one = VALUES.get(field.kind, st.text("茶ab1", min_size=1, max_size=20))
        return st.lists(one, min_size=1, max_size=3) if field.repeated else one

    required = {f.name: values(f) for f in known.fields if f.required}
    return st.fixed_dictionaries(
        required, optional={f.name: values(f) for f in known.fields if not f.required}
    )


@given(st.data())
def test_protobuf_and_json_are_one_event_for_every_type(data: st.DataObject) -> None:
    known = EVENT_TYPES[data.draw(st.sampled_from(sorted(EVENT_TYPES)))]
    payload = normalise(known, data.draw(_payloads(known)))
    again = normalise(known, decode(known.name, encode(known.name, payload)))
    assert again == payload
    assert content_hash(known.name, "s1", again) == content_hash(known.name, "s1", payload)


def _coerce(kind: FieldKind, value: object) -> object:
    return normalise(EventType("x", (Field("f", kind, required=True),), announced=False), {"f": value})["f"]


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (FieldKind.MONEY, 280, "280.00"),
        (FieldKind.MONEY, 280.0, "280.00"),
        (FieldKind.MONEY, "280.5", "280.50"),
        (FieldKind.MONEY, 0.1 + 0.2, "0.30"),
        (FieldKind.MONEY, "0.1230", "0.123"),
        (FieldKind.MONEY, "-0", "0.00"),
        (FieldKind.MONEY, -12.5, "-12.50"),
        (FieldKind.MONEY, 123456789.99, "123456789.99"),
        (FieldKind.QUANTITY, 5.0, 5),
        (FieldKind.QUANTITY, -2.5, -2.5),
        (FieldKind.ID, 20260220001, "20260220001"),
        (FieldKind.PHONE, 13800001234, "13800001234"),
        (FieldKind.PHONE, "138****1234", "138****1234"),
        (FieldKind.INSTANT, "2026-02-20T12:30:00", "2026-02-20T12:30:00"),
        (FieldKind.INSTANT, "2026-02-20 12:30", "2026-02-20 12:30"),
        (FieldKind.INSTANT, "2026-02-20", "2026-02-20"),
        (FieldKind.SCORE, 1, 1),
    ],
)
def test_a_value_takes_its_one_form(kind: FieldKind, value: object, expected: object) -> None:
    got = _coerce(kind, value)
    assert (got, type(got)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (FieldKind.MONEY, "NaN"),
        (FieldKind.MONEY, "1e3"),
        (FieldKind.MONEY, "1,280.00"),
        (FieldKind.MONEY, "٣"),
        (FieldKind.MONEY, float("inf")),
        (FieldKind.MONEY, 1.23456),
        (FieldKind.MONEY, True),
        (FieldKind.QUANTITY, "5"),
        (FieldKind.QUANTITY, True),
        (FieldKind.QUANTITY, float("nan")),
        (FieldKind.COUNT, -1),
        (FieldKind.COUNT, 1.5),
        (FieldKind.SCORE, 1.01),
        (FieldKind.FLAG, 1),
        (FieldKind.TEXT, "  "),
        (FieldKind.TEXT, 1.5),
        (FieldKind.PHONE, "call me"),
        (FieldKind.INSTANT, "2026-02-30T12:00:00Z"),
        (FieldKind.INSTANT, "2026-02-20T24:30:00Z"),
        (FieldKind.INSTANT, "1771561800"),
        (FieldKind.DATE, "2026-02-20T00:00:00Z"),
        (FieldKind.TEXT, None),
    ],
)
def test_a_value_of_another_kind_is_refused_by_its_fields_name(kind: FieldKind, value: object) -> None:
    with pytest.raises(Unreadable) as caught:
        _coerce(kind, value)
    assert caught.value.dead_reason == "schema"
    assert [violation.field for violation in caught.value.violations] == ["f"]


def test_whole_numbers_are_one_however_they_are_written() -> None:
    assert content_hash("t", "s", {"a": [280, {"b": -0.0}]}) == content_hash(
        "t", "s", {"a": [280.0, {"b": 0}]}
    )
    assert content_hash("t", "s", {"a": 1, "b": 2}) == content_hash("t", "s", {"b": 2, "a": 1})
    assert content_hash("t", "s", {"a": 1}) != content_hash("t", "s", {"a": True})
    assert content_hash("t", "s", {"a": 1}) != content_hash("t", "s2", {"a": 1})


def test_a_text_is_read_as_the_time_it_names() -> None:
    shanghai = timezone(timedelta(hours=8))
    assert parse_when("2026-02-20") == date(2026, 2, 20)
    assert parse_when("2026-02-20T12:30") == datetime.fromisoformat("2026-02-20T12:30")  # local: no zone
    assert parse_when("2026-02-20T12:30:00.123456789+08:00") == datetime(
        2026, 2, 20, 12, 30, 0, 123456, shanghai
    )
    with pytest.raises(ValueError, match="zone"):
        parse_instant("2026-02-20T12:30:00")
    with pytest.raises(ValueError, match="calendar"):
        parse_instant("0001-01-01T00:00:00+08:00")


def test_the_rules_of_every_message_compile() -> None:
    for name in EVENT_TYPES:
        with contextlib.suppress(protovalidate.ValidationError):  # a CompilationError is what must not come
            protovalidate.validate(message_class(name)())
    request = event_service_pb2.PublishEventRequest(type="order.created")
    with pytest.raises(protovalidate.ValidationError):
        protovalidate.validate(request)
    request.json.update({"a": 1})
    protovalidate.validate(request)
