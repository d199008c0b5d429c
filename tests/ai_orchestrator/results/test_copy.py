"""Words for a campaign, over the wire and a sandbox's application: all that is asked for arrives, all that it cost is told."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from reach.ai_orchestrator.v1 import copy_pb2, gate_pb2
from reach.ai_orchestrator.v1 import run_pb2 as pb

from services.ai_orchestrator.domain.copywriting import Brief, Form, Origin, shares, written
from tests.ai_orchestrator.club import Club, opened
from tests.e2e.harness import STORE, refused

APP = "customer_campaign"


@pytest.fixture
async def club(tmp_path: Path) -> AsyncIterator[Club]:
    async with opened(tmp_path / "home") as made:
        yield made


def _request(**more: Any) -> copy_pb2.GenerateCopyRequest:
    given = {
        "store_id": STORE,
        "scenario": copy_pb2.COPY_SCENARIO_CUSTOMER_CAMPAIGN,
        "theme": "周末双人套餐",
        "idempotency_key": "k",
        **more,
    }
    return copy_pb2.GenerateCopyRequest(**given)


async def _replies(club: Club, *replies: Any) -> None:
    await club.world.post("/sandbox/ai/apps", app_id=APP, replies=list(replies))


async def test_everything_a_campaign_asks_for_is_in_the_prompt_and_its_origin_in_the_answer(
    club: Club,
) -> None:
    texts = [
        {"title": "老友局", "text": "周六晚上约一局", "angle": "情感"},
        {"title": "畅打", "text": "周末最 低价", "angle": "利益"},
        {"text": "没有标题的卡片"},
        {"title": "多出来的", "text": "第四条"},
    ]
    await _replies(club, "不是 JSON", {"candidates": texts})
    request = _request(
        audience="三十天没来的会员",
        tone="像老朋友；例：“好久不见，来坐坐？”",
        banned_words=["最低"],
        candidate_count=3,
        max_chars=60,
        form=copy_pb2.COPY_FORM_CARD,
        language_rules=["称呼用“您”", "不夹英文"],
        send_window="周五、周六 18:00–21:00",
    )
    copy = await club.stub.GenerateCopy(request)
    assert [(one.title, one.text, one.angle) for one in copy.candidates] == [
        ("老友局", "周六晚上约一局", "情感"),
        ("多出来的", "第四条", ""),
    ]
    assert [(one.title, one.banned_word) for one in copy.refused_candidates] == [("畅打", "最低"), ("", "")]
    first, second = await club.requests()
    for asked in (
        '"场景":"企业微信客户群群发"', '"对象":"三十天没来的会员"', "像老朋友", "卡片：title 是标题", "称呼用“您”", "不夹英文",
        "周五、周六 18:00–21:00", '"禁用词":["最低"]', '"候选数":3', '"每条字数上限":60', "企业微信客户群写群发文字",
    ):  # fmt: skip
        assert asked in first["prompt"]
    assert copy.prompt_hash == hashlib.sha256(second["prompt"].encode()).hexdigest()
    attempts = (await club.stub.ListAttempts(pb.ListAttemptsRequest(run_id=copy.run_id))).attempts
    assert [one.prompt_hash for one in attempts] == [
        copy.prompt_hash,
        hashlib.sha256(first["prompt"].encode()).hexdigest(),
    ]
    assert list(attempts[0].models) == list(copy.models) != []
    assert copy.input_tokens == sum(one.input_tokens for one in attempts) > 0
    assert copy.output_tokens == sum(one.output_tokens for one in attempts) > 0
    assert copy.total_tokens == copy.input_tokens + copy.output_tokens
    told = [*copy.candidates, *copy.refused_candidates]
    assert sum(one.tokens for one in told) == copy.total_tokens
    assert min(one.tokens for one in told) > 0
    step = (await club.stub.GetRun(pb.GetRunRequest(run_id=copy.run_id))).run.steps[0]
    assert copy.app_version == step.app_version != ""
    assert await club.stub.GenerateCopy(request) == copy
    assert len(await club.requests()) == 2


async def test_a_refused_call_is_tried_again_under_its_key_and_one_that_failed_is_not(club: Club) -> None:
    await club.stub.SetBudget(gate_pb2.SetBudgetRequest(store_id=STORE, day_tokens=0))
    for _ in range(2):
        code, error = await refused(club.stub.GenerateCopy(_request()))
        assert (code, error.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "BUDGET_EXCEEDED")
    await club.stub.SetBudget(gate_pb2.SetBudgetRequest(store_id=STORE))
    copy = await club.stub.GenerateCopy(_request())
    assert copy.candidates
    assert await club.stub.GenerateCopy(_request()) == copy
    assert len(await club.requests()) == 1

    await _replies(club, "不是 JSON", "也不是", {"candidates": [{"text": "后来的"}]})
    for _ in range(2):
        code, error = await refused(club.stub.GenerateCopy(_request(idempotency_key="k2")))
        assert (code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "COPY_REFUSED")
        assert error.facts["cause"] == "not_json"
    assert len(await club.requests()) == 3
    again = await club.stub.GenerateCopy(_request(idempotency_key="k3"))
    assert [one.text for one in again.candidates] == ["后来的"]


def test_a_call_without_wishes_is_told_what_is_usual() -> None:
    told = Brief(theme="周末", audience="", tone="", banned_words=()).arguments
    assert told["场景"] == "企业微信客户群群发"
    assert (told["对象"], told["语气"], told["语言要求"], told["发送时段"]) == (
        "客户群里的所有客人",
        "亲切自然",
        ["简体中文"],
        "未定",
    )
    assert "纯文本" in told["形式"]


def test_only_a_card_has_a_title_and_a_banned_word_in_it_counts() -> None:
    answer = {"candidates": [{"title": "保 本", "text": "好"}, {"title": "长" * 31, "text": "好"}]}
    card = Brief("周末", "", "", ("保本",), form=Form.CARD)
    copy = written("r", card, answer, Origin(total_tokens=10))
    assert (copy.candidates, [one.banned_word for one in copy.dropped]) == ((), ["保本", ""])
    plain = written("r", Brief("周末", "", "", ("保本",)), answer, Origin(total_tokens=10))
    assert [(one.title, one.text, one.tokens) for one in plain.candidates] == [("", "好", 10)]


@pytest.mark.parametrize(("total", "weights"), [(0, [3, 4]), (10, [1, 1, 1]), (7, [5]), (5, [])])
def test_shares_add_up_to_the_whole(total: int, weights: list[int]) -> None:
    parts = shares(total, weights)
    assert len(parts) == len(weights)
    assert sum(parts) == (total if weights else 0)
    assert max(parts, default=0) - min(parts, default=0) <= 1 or len(set(weights)) > 1
