"""What operators say: read by kind and range, shown in texts, and never more than once put in."""

from __future__ import annotations

from datetime import date, time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.campaign.domain.playbook import conditioned, fill, places
from services.campaign.domain.playbook_parameters import (
    RANGES,
    Kind,
    Parameter,
    read,
    said_of,
    shown,
    value_of,
)
from shared.errors import Invalid

TODAY = date(2026, 3, 2)


def parameter(kind: Kind, name: str = "p", default: str = "", *, needed: bool = True) -> Parameter:
    least, most = RANGES.get(kind, (0, 0))
    return Parameter(name, kind, name, name, default, needed, least, most)


@pytest.mark.parametrize(
    ("kind", "said", "value", "as_text"),
    [
        (Kind.TEXT, " 周年庆 ", "周年庆", "周年庆"),
        (Kind.NUMBER, "30", 30, "30"),
        (Kind.DATE, "2026-03-08", date(2026, 3, 8), "3月8日（周日）"),
        (Kind.TIME, "18:30", time(18, 30), "18:30"),
        (Kind.LINK, "https://shop.example.com/a", "https://shop.example.com/a", "https://shop.example.com/a"),
        (Kind.TONE, "warm", "warm", "warm"),
        (Kind.WORDS, "vip， 老客、vip,", ("vip", "老客"), "vip、老客"),
    ],
)
def test_each_kind_is_read_and_shown(kind: Kind, said: str, value: object, as_text: str) -> None:
    one = parameter(kind)
    assert read([one], {"p": said}, TODAY) == {"p": value}
    assert shown(value) == as_text  # type: ignore[arg-type]
    assert value_of(one, said_of(value), TODAY) == value  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Kind.TEXT, "一\n二"),
        (Kind.TEXT, "长" * 201),
        (Kind.NUMBER, "１２"),
        (Kind.NUMBER, "3.5"),
        (Kind.NUMBER, "99999"),
        (Kind.DATE, "20260308"),
        (Kind.DATE, "2026-02-30"),
        (Kind.DATE, "2026-03-01"),
        (Kind.DATE, "2027-03-03"),
        (Kind.TIME, "7:30"),
        (Kind.TIME, "07:59"),
        (Kind.TIME, "22:01"),
        (Kind.LINK, "http://shop.example.com"),
        (Kind.LINK, "https://shop.example.com/a b"),
        (Kind.TONE, "温暖"),
        (Kind.WORDS, "长" * 65),
        (Kind.TEXT, ""),
    ],
)
def test_what_is_wrong_is_named(kind: Kind, said: str) -> None:
    with pytest.raises(Invalid) as caught:
        read([parameter(kind)], {"p": said}, TODAY)
    assert [one.field for one in caught.value.violations] == ["parameters.p"]


def test_all_that_is_wrong_is_named_at_once() -> None:
    known = [parameter(Kind.NUMBER, "a"), parameter(Kind.DATE, "b"), parameter(Kind.TEXT, "c", "好")]
    with pytest.raises(Invalid) as caught:
        read(known, {"a": "x", "z": "1"}, TODAY)
    fields = [one.field for one in caught.value.violations]
    assert fields == ["parameters.z", "parameters.a", "parameters.b"]


@given(st.text(max_size=40), st.sampled_from(list(Kind)))
def test_whatever_is_said_is_read_or_refused_and_what_is_read_is_read_again(said: str, kind: Kind) -> None:
    one = parameter(kind, needed=False)
    try:
        value = value_of(one, said.strip(), TODAY)
    except Invalid as refusal:
        assert [wrong.field for wrong in refusal.violations] == ["parameters.p"]  # noqa: PT017
    else:
        assert value_of(one, said_of(value), TODAY) == value


@given(st.text(max_size=30))
def test_a_value_is_put_in_once_and_never_looked_at_again(value: str) -> None:
    said = {"a": value, "b": "{a}"}
    assert fill("x{a}y", said).splitlines() == (f"x{value}y" if value else "").strip().splitlines()
    assert fill("<{b}>", said) == "<{a}>"


def test_a_line_whose_parameters_all_say_nothing_is_left_out() -> None:
    template = "你好\n地点：{place}\n{event} {place}\n再见"
    assert list(places(template)) == ["place", "event", "place"]
    assert fill(template, {"place": "", "event": "店庆"}) == "你好\n店庆 \n再见"
    assert fill(template, {"place": "", "event": ""}) == "你好\n再见"


def test_a_condition_that_says_nothing_asks_for_nothing() -> None:
    where = {
        "all_of": [
            {"label": ["{labels}", "老客"]},
            {"none_of": [{"label": ["{skip}"]}]},
            {"silent_for_days": "{days}"},
            {"members": {"min": "{least}"}},
            {"name_contains": "{part}"},
        ]
    }
    values = {"labels": ("vip", "新"), "skip": (), "days": 30, "least": 3, "part": ""}
    assert conditioned(where, values) == {  # type: ignore[arg-type]
        "all_of": [{"label": ["vip", "新", "老客"]}, {"silent_for_days": 30}, {"members": {"min": 3}}]
    }
    assert conditioned({"label": ["{skip}"]}, {"skip": ()}) == {}
