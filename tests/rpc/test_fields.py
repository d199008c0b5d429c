from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from enum import Enum

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1.health_pb2 import HealthCheckResponse
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Invalid
from shared.rpc import fields
from tests.rpc.contract import EchoRequest, ListEchoesRequest

INSTANTS = st.datetimes(
    min_value=datetime(2000, 1, 1),  # noqa: DTZ001  # the strategy adds the zone
    max_value=datetime(2099, 12, 31),  # noqa: DTZ001
    timezones=st.just(UTC),
)


@given(INSTANTS)
def test_an_instant_survives_the_wire_to_the_microsecond(at):
    assert fields.from_timestamp(fields.to_timestamp(at), "at") == at


def test_an_instant_is_utc_whatever_zone_it_came_in():
    shanghai = datetime(2026, 3, 1, 8, tzinfo=timezone(timedelta(hours=8)))
    assert fields.from_timestamp(fields.to_timestamp(shanghai), "at") == datetime(2026, 3, 1, tzinfo=UTC)


def test_a_naive_instant_is_nobodys_time():
    with pytest.raises(ValueError, match="time zone"):
        fields.to_timestamp(datetime(2026, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize("seconds", [0, 946684799, 4102444800, 253402300799, 10**15, -(10**15)])
def test_an_instant_outside_this_century_is_refused_by_name(seconds):
    with pytest.raises(Invalid) as caught:
        fields.from_timestamp(Timestamp(seconds=seconds), "start_time")
    assert caught.value.violations[0].field == "start_time"


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=3650)))
def test_a_span_survives_the_wire(span):
    assert fields.from_duration(fields.to_duration(span), "wait") == span


@pytest.mark.parametrize("wrong", [Duration(seconds=-1), Duration(seconds=10**15)])
def test_a_negative_or_endless_span_is_refused(wrong):
    with pytest.raises(Invalid):
        fields.from_duration(wrong, "wait")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_a_json_object_comes_back_as_it_was_integers_included(value):
    back = fields.from_struct(fields.to_struct(value))
    assert back == value
    assert repr(back) == repr({key: back[key] for key in back})


def test_whole_numbers_are_int_and_others_stay_float():
    struct = fields.to_struct({"a": 280.0, "b": 2.5, "c": 2.0**60, "d": [1.0]})
    back = fields.from_struct(struct)
    assert back == {"a": 280, "b": 2.5, "c": 2.0**60, "d": [1]}
    assert [type(back["a"]), type(back["b"]), type(back["c"]), type(back["d"][0])] == [int, float, float, int]


def test_a_fingerprint_knows_type_and_content_but_not_what_is_left_out():
    one = EchoRequest(text="a", idempotency_key="k1")
    two = EchoRequest(text="a", idempotency_key="k2")
    assert fields.fingerprint(one) != fields.fingerprint(two)
    assert fields.fingerprint(one, without=["idempotency_key"]) == fields.fingerprint(
        two, without=["idempotency_key"]
    )
    assert fields.fingerprint(EchoRequest()) != fields.fingerprint(ListEchoesRequest())


def test_a_fingerprint_does_not_depend_on_the_order_of_a_map():
    one, two = EchoRequest(), EchoRequest()
    for key in "abcdefgh":
        one.by_name[key].userid = key
    for key in reversed("abcdefgh"):
        two.by_name[key].userid = key
    assert fields.fingerprint(one) == fields.fingerprint(two)


class Light(Enum):
    ON = "on"
    OFF = "off"
    LOST = "lost"


WIRE = HealthCheckResponse.ServingStatus
PAIRS = {Light.ON: 1, Light.OFF: 2, Light.LOST: 3}


def test_an_enum_goes_both_ways():
    enum_map = fields.EnumMap(WIRE, PAIRS)
    assert [enum_map.to_domain(enum_map.to_wire(light), "light") for light in Light] == list(Light)
    assert enum_map.to_domain_or(0, Light.OFF, "light") is Light.OFF


@pytest.mark.parametrize("number", [0, 99])
def test_a_value_nobody_knows_is_refused_by_name(number):
    with pytest.raises(Invalid) as caught:
        fields.EnumMap(WIRE, PAIRS).to_domain(number, "light")
    assert caught.value.violations[0].field == "light"


@pytest.mark.parametrize(
    "pairs",
    [
        {Light.ON: 1, Light.OFF: 2},
        {Light.ON: 1, Light.OFF: 2, Light.LOST: 2},
        {Light.ON: 1, Light.OFF: 2, Light.LOST: 9},
    ],
)
def test_an_enum_table_with_a_hole_fails_when_it_is_made(pairs):
    with pytest.raises(ValueError, match="Light"):
        fields.EnumMap(WIRE, pairs)
