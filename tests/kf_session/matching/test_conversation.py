"""From a customer's message to a list and its details, against the sandbox: acceptance 8 from end to end."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from reach.kf_session.v1 import intent_pb2 as pb
from reach.kf_session.v1 import push_pb2

from services.kf_session.store.matching_tables import match
from services.kf_session.store.tables import message, push
from shared.db.tables import inbox
from tests.e2e.harness import STORE, eventually
from tests.kf_session.shop import WK, WM, Shop


def _profile(number: int, text: str) -> pb.Profile:
    return pb.Profile(profile_id=f"p{number}", display_name=f"人物{number}", text=text)


def _intent(**more: Any) -> pb.IntentSpec:
    wanted = [
        pb.Condition(
            keywords=pb.KeywordCondition(keywords=["AI"], mode=pb.KEYWORD_MODE_ANY), weight=8, required=True
        ),
        pb.Condition(keywords=pb.KeywordCondition(keywords=["北京"], mode=pb.KEYWORD_MODE_ANY)),
        pb.Condition(keywords=pb.KeywordCondition(keywords=["创业"], mode=pb.KEYWORD_MODE_ANY)),
    ]
    return pb.IntentSpec(display_name="寻找AI合作伙伴", conditions=wanted, external_userid=WM, **more)


async def _later(kf: Shop, text: str) -> None:
    """The customer writes when what went out before is certainly counted in the window before."""
    await kf.world.advance(30)
    await kf.writes(text)


async def _said(kf: Shop, count: int) -> list[str]:
    """The texts of the first *count* messages that went out, once there are so many."""

    async def look() -> list[str] | None:
        texts = [one["text"]["content"] for one in await kf.calls("send_msg")]
        return texts if len(texts) >= count else None

    return await eventually(look) or []


async def _accepted(kf: Shop, count: int) -> None:
    async def look() -> bool:
        return len([row for row in await kf.rows(push) if row.status == "accepted"]) >= count

    await eventually(look)


async def _hello(kf: Shop, times: int) -> None:
    """The customer writes and is answered by hand of a program, *times*."""
    await kf.writes()
    await kf.until(message, 1)
    for number in range(times):
        content = push_pb2.PushContent(text=push_pb2.PushText(content=f"第{number}句"))
        await kf.stub.Push(
            push_pb2.PushRequest(store_id=STORE, open_kfid=WK, external_userid=WM, content=content)
        )
    await _accepted(kf, times)


@pytest.fixture
async def three(kf: Shop) -> Shop:
    """Three profiles that match, the second less well than the first, and one credit for matches."""
    texts = ["懂AI，在北京创业", "懂AI，在北京", "做AI"]
    profiles = [_profile(number, text) for number, text in enumerate(texts, 1)]
    await kf.stub.UpsertProfile(pb.UpsertProfileRequest(profiles=profiles))
    await kf.stub.CreateIntent(pb.CreateIntentRequest(intent_id="i1", spec=_intent(manual_push=True)))
    await kf.until(match, 3)
    await _hello(kf, 3)
    return kf


async def test_three_matches_and_one_credit_are_one_message_and_2_is_the_second_of_that_list(
    three: Shop,
) -> None:
    kf = three
    told = await kf.stub.PushMatches(pb.PushMatchesRequest(external_userid=WM))
    assert [one.profile_id for one in told.matches] == ["p1", "p2", "p3"]
    listing = (await _said(kf, 4))[3]
    assert [f"{n}." in listing and f"人物{n}" in listing for n in (1, 2, 3)] == [True] * 3
    assert listing.startswith("🎯 找到3位匹配的联系人")  # the words of the store's template, as for one
    await _accepted(kf, 4)

    # Newer and better ones exist, waiting for the next window; nobody has seen them.
    newer = [_profile(number, "懂AI，在北京创业，新") for number in (7, 8)]
    await kf.stub.UpsertProfile(pb.UpsertProfileRequest(profiles=newer))
    await kf.until(match, 5)
    await _later(kf, "查看2")
    answer = (await _said(kf, 5))[4]
    assert "【人物2】" in answer
    assert "提到“北京”" in answer
    await _accepted(kf, 5)
    await _later(kf, "3")
    assert "【人物3】" in (await _said(kf, 6))[5]
    await _accepted(kf, 6)
    await _later(kf, "查看9")
    assert (await _said(kf, 7))[6].endswith("请回复“查看1”到“查看3”。")
    assert len(await kf.calls("send_msg")) == 7


async def test_who_unsubscribes_gets_none_of_the_matches_that_wait_and_is_told_so(three: Shop) -> None:
    kf = three
    content = push_pb2.PushContent(text=push_pb2.PushText(content="第四句"))
    await kf.stub.Push(
        push_pb2.PushRequest(store_id=STORE, open_kfid=WK, external_userid=WM, content=content)
    )
    await _accepted(kf, 4)
    told = await kf.stub.PushMatches(pb.PushMatchesRequest(external_userid=WM))

    async def are(status: str) -> bool:
        states = {row.id: row.status for row in await kf.rows(push)}
        return {states[one.push_id] for one in told.matches} == {status}

    await eventually(partial(are, "deferred"))
    await _later(kf, "退订")
    await eventually(partial(are, "suppressed"))
    assert (await _said(kf, 5))[4].startswith("已为您退订")
    reasons = {row.reason for row in await kf.rows(push) if row.purpose == "match"}
    assert reasons == {"unsubscribed"}
    await _later(kf, "你好")
    await kf.until(message, 3)
    assert len(await kf.calls("send_msg")) == 5


async def test_a_new_profile_is_told_by_itself_and_our_announcement_comes_back_to_no_effect(kf: Shop) -> None:
    await _hello(kf, 0)
    await kf.stub.CreateIntent(pb.CreateIntentRequest(intent_id="i1", spec=_intent(min_score=0.5)))
    await kf.stub.UpsertProfile(pb.UpsertProfileRequest(profiles=[_profile(1, "懂AI")]))
    (text,) = await _said(kf, 1)
    assert "【人物1】符合您的意图【寻找AI合作伙伴】" in text
    (heard,) = await kf.until(inbox, 1)
    assert heard.decision["reason"] == "our_own"
    assert len(await kf.rows(match)) == 1
    assert "intent.matched" in await kf.announced()
