"""A model's words go only where nothing in them is beyond the facts; and what counts as an opinion."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.kf_session.domain.asking import (
    TRIES,
    Kind,
    digest,
    next_try,
    opinion_of,
    score_facts,
    text_facts,
)
from services.kf_session.domain.eligibility import WORDS_WAIT
from services.kf_session.domain.matching.conditions import Among, Keywords
from services.kf_session.domain.matching.profile import Profile
from services.kf_session.domain.matching.scoring import Intent
from services.kf_session.domain.wording import objection

NOON = datetime(2026, 3, 2, 4, tzinfo=UTC)
FACTS = text_facts("周岚", "餐饮合伙人", 0.85, "提到“餐饮”；经验为12（经验不低于5）", ["提到“餐饮”"])
TEMPLATE = "【周岚】符合您的意图【餐饮合伙人】 匹配度：85%\n回复“查看1”了解详情，回复“退订”不再接收"
GOOD = "您在找餐饮合伙人，周岚正合适：做餐饮有12年经验，匹配度85%。回复“查看1”了解详情，回复“退订”不再接收。"


def test_words_that_say_only_what_the_facts_say_may_go() -> None:
    assert objection(GOOD, FACTS, TEMPLATE, "周岚") == ""
    assert objection(GOOD.replace("85%", "８５％"), FACTS, TEMPLATE, "周岚") == ""
    assert objection("为您找到一位合适的人，" + GOOD, FACTS, TEMPLATE, "周岚") == ""


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ("详情见 https://x.example/a", "link"),
        ("详情见 reach.com", "link"),
        ("加微信 @zhou", "link"),
        ("<a href=1>看</a>", "link"),
        ("电话13800138000", "number_not_in_facts"),
        ("开过3家店", "number_not_in_facts"),
        ("带过二十人的团队", "number_not_in_facts"),
        ("从业三年", "number_not_in_facts"),
        ("有百分之八的股份", "number_not_in_facts"),
        ("曾在Starbucks工作", "name_not_in_facts"),
        ("人称“川菜女王”", "name_not_in_facts"),
        ("由王先生推荐", "name_not_in_facts"),
        ("她姓李", "name_not_in_facts"),
        ("看\u202e", "unprintable"),
        ("看\x00", "unprintable"),
        ("好" * 700, "too_long"),
    ],
)
def test_what_the_facts_do_not_say_keeps_the_templates_words(more: str, why: str) -> None:
    assert objection(GOOD + more, FACTS, TEMPLATE, "周岚") == why


def test_whom_it_is_about_and_how_to_answer_must_be_said() -> None:
    assert objection(GOOD.replace("周岚", "她"), FACTS, TEMPLATE, "周岚") == "name_missing"
    assert objection(GOOD.replace("退订", "停止"), FACTS, TEMPLATE, "周岚") == "name_not_in_facts"
    silent = GOOD.replace("，回复“退订”不再接收", "")
    assert objection(silent, FACTS, TEMPLATE, "周岚") == "command_missing"
    assert objection(" ", FACTS, TEMPLATE, "周岚") == "empty"


@pytest.mark.parametrize(
    "result",
    [
        {},
        {"score": 0.5},
        {"score": 1.1, "reason": "x"},
        {"score": True, "reason": "x"},
        {"score": "0.5", "reason": "x"},
        {"score": float("nan"), "reason": "x"},
        {"score": 0.5, "reason": " "},
    ],
)
def test_what_is_no_opinion_is_none(result: dict[str, Any]) -> None:
    assert opinion_of(result) is None


def test_a_reason_is_one_line_of_two_hundred_characters() -> None:
    found = opinion_of({"score": 1, "reason": "有\n依据\x00" + "好" * 300})
    assert found is not None
    assert (found.score, found.reason[:5], len(found.reason)) == (1.0, "有 依据 ", 200)


def test_a_judge_is_shown_no_name_and_the_digest_is_of_what_is_shown() -> None:
    intent = Intent("i1", "餐饮合伙人", (Keywords(("餐饮",), Among.ANY),))
    shown = score_facts(intent, "", Profile("p1", "周岚", "做餐饮"), ["提到“餐饮”"], 1.0)
    assert "周岚" not in str(shown)
    renamed = score_facts(intent, "", Profile("p1", "周蓝", "做餐饮"), ["提到“餐饮”"], 1.0)
    other = score_facts(intent, "", Profile("p1", "周岚", "不做餐饮"), ["提到“餐饮”"], 1.0)
    assert digest(shown) == digest(renamed) != digest(other)


def test_tries_are_bounded_and_a_text_is_not_asked_for_when_its_push_has_gone() -> None:
    assert next_try(Kind.SCORE, 1, NOON, NOON) == NOON + timedelta(seconds=1)
    assert next_try(Kind.SCORE, TRIES - 1, NOON, NOON) == NOON + timedelta(seconds=30)
    assert next_try(Kind.SCORE, TRIES, NOON, NOON) is None
    assert next_try(Kind.TEXT, 2, NOON, NOON) == NOON + timedelta(seconds=1)
    assert next_try(Kind.TEXT, 1, NOON, NOON + WORDS_WAIT - timedelta(seconds=1)) is None
