"""What a customer's words ask of us."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kf_session.domain.replies import Asked, Command, either, no_such_line, read
from shared.text.cutting import size


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("查看2", 2),
        ("查看 2", 2),
        ("查看二", 2),
        ("查看两", 2),
        (" 查看　２。", 2),
        ("查看第2条", 2),
        ("查看十", 10),
        ("查看十二", 12),
        ("查看二十", 20),
        ("查看三十五", 35),
        ("查看0", 0),
    ],
)
def test_a_line_is_asked_for_by_its_number(text: str, position: int) -> None:
    assert read(text) == Asked(Command.VIEW, position)


@pytest.mark.parametrize("text", ["2", "２", "二", " 2 "])
def test_a_number_alone_is_its_own_command(text: str) -> None:
    assert read(text) == Asked(Command.VIEW_BARE, 2)


@pytest.mark.parametrize("text", ["退订", "TD", "td", "ＴＤ", "取消订阅", "Unsubscribe", "退订。", " 退 订 "])
def test_pushes_are_switched_off(text: str) -> None:
    assert read(text) == Asked(Command.UNSUBSCRIBE)


@pytest.mark.parametrize("text", ["订阅", "subscribe"])
def test_pushes_are_switched_on(text: str) -> None:
    assert read(text) == Asked(Command.SUBSCRIBE)


@pytest.mark.parametrize(
    "text",
    ["", "你好", "查看", "查看abc", "请查看2", "我要退订", "不要退订", "2个人", "查看十十", "1234", "查看²x"],
)
def test_anything_else_is_not_answered(text: str) -> None:
    assert read(text) is None


def test_a_menu_names_the_very_list() -> None:
    assert read("第二位", "view:0198-x:2") == Asked(Command.VIEW_LINE, 2, "0198-x")
    assert read("第二位", "details:m1") == Asked(Command.VIEW_MATCH, ref="m1")
    assert read("查看2", "view:0198-x:0") == Asked(Command.VIEW, 2)
    assert read("你好", "rate:5") is None


@given(st.text(), st.text())
def test_nothing_that_is_typed_breaks_it(text: str, menu: str) -> None:
    read(text, menu)


def test_the_answer_to_a_wrong_number_says_which_there_are() -> None:
    assert no_such_line(9, 3) == "上一份列表里没有第9条，请回复“查看1”到“查看3”。"
    assert "“查看1”。" in no_such_line(2, 1)
    assert "目前没有" in no_such_line(2, 0)


def test_the_line_of_either_list_fits_into_one_message() -> None:
    said = either(["甲" * 900, "乙" * 900])
    assert size(said) <= 2048
    assert "甲甲" in said
    assert "乙乙" in said
