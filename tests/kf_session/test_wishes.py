"""What customers prefer and what follows at once: the best hour, what waits, effects, the daily summary."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

from reach.kf_session.v1 import effect_pb2, intent_pb2
from reach.kf_session.v1 import push_pb2 as pb

from services.kf_session.domain.window import WINDOW
from services.kf_session.store.learning_tables import summary_schedule
from services.kf_session.store.tables import message, push
from tests.e2e.harness import STORE, eventually
from tests.kf_session.shop import WK, WM, Shop

SHANGHAI = ZoneInfo("Asia/Shanghai")


async def prefers(kf: Shop, who: str = WM, *, unsubscribed: bool | None = None, **said: Any) -> None:
    """UpdatePreferences."""
    await kf.stub.UpdatePreferences(
        pb.UpdatePreferencesRequest(
            store_id=STORE,
            external_userid=who,
            preferences=pb.Preferences(**said),
            unsubscribed=unsubscribed,
        )
    )


async def says(kf: Shop, text: str) -> pb.PushRecord:
    """Push, without waiting for its end."""
    content = pb.PushContent(text=pb.PushText(content=text))
    asked = pb.PushRequest(store_id=STORE, open_kfid=WK, external_userid=WM, content=content)
    said: pb.PushRecord = (await kf.stub.Push(asked)).push
    return said


async def stands(kf: Shop, text: str, status: str) -> Any:
    """Wait until the push of a text is in a state; the row."""

    async def look() -> Any:
        rows = [row for row in await kf.rows(push) if text in str(row.content)]
        return rows[0] if rows and rows[0].status == status else None

    return await eventually(look)


async def test_a_match_waits_for_the_best_hour_and_goes_in_it_inside_the_window(kf: Shop) -> None:
    await prefers(kf, "", send_at_best_hour=True)
    await kf.writes()
    (wrote,) = await kf.until(message, 1)
    await kf.world.advance(5 * 3600)
    asked = pb.CheckEligibilityRequest(
        store_id=STORE, open_kfid=WK, external_userid=WM, purpose=pb.PUSH_PURPOSE_MATCH, score=0.9
    )

    async def held() -> Any:
        answer = await kf.stub.CheckEligibility(asked)
        return answer if not answer.eligible else None

    (no,) = [gate for gate in (await eventually(held)).gates if gate.verdict != "pass"]
    best = no.until_time.ToDatetime(wrote.sent_at.tzinfo)
    assert (no.gate, no.verdict, no.reason) == ("best_hour", "hold", "best_hour")
    assert best.astimezone(SHANGHAI).hour == wrote.sent_at.astimezone(SHANGHAI).hour
    assert wrote.sent_at < best < wrote.sent_at + WINDOW

    wanted = intent_pb2.Condition(
        keywords=intent_pb2.KeywordCondition(keywords=["AI"], mode=intent_pb2.KEYWORD_MODE_ANY)
    )
    spec = intent_pb2.IntentSpec(display_name="合伙人", conditions=[wanted], external_userid=WM)
    await kf.stub.CreateIntent(intent_pb2.CreateIntentRequest(intent_id="i1", spec=spec))
    someone = intent_pb2.Profile(profile_id="p1", display_name="周岚", text="懂AI")
    await kf.stub.UpsertProfile(intent_pb2.UpsertProfileRequest(profiles=[someone]))
    waits = await stands(kf, "周岚", "deferred")
    assert (waits.hold_reason, waits.due_at) == ("best_hour", best)
    told = (await kf.stub.Explain(pb.ExplainRequest(push_id=waits.id))).steps
    assert any("最可能回复的时段" in step.text_zh and "likeliest to answer" in step.text_en for step in told)

    await says(kf, "座位留好了")
    await stands(kf, "座位留好了", "accepted")
    assert len(await kf.calls("send_msg")) == 1, "what a caller wants sent does not wait"
    await kf.world.advance((best - wrote.sent_at - timedelta(hours=5)).total_seconds())
    gone = await stands(kf, "周岚", "accepted")
    assert best <= gone.accepted_at < wrote.sent_at + WINDOW


async def test_a_change_of_preferences_does_at_once_what_the_same_words_typed_would(kf: Shop) -> None:
    await prefers(kf, daily_limit=1)
    await kf.writes()
    (wrote,) = await kf.until(message, 1)
    await says(kf, "第一条")
    await stands(kf, "第一条", "accepted")
    await says(kf, "第二条")
    waits = await stands(kf, "第二条", "deferred")
    assert waits.hold_reason == "daily_limit"
    await prefers(kf, daily_limit=2)
    await stands(kf, "第二条", "accepted")

    await prefers(kf, "", summary_time="18:30")

    async def due() -> bool:
        (row,) = await kf.rows(summary_schedule)
        assert row.next_at > wrote.sent_at
        return f"{row.next_at.astimezone(SHANGHAI):%H:%M}" == "18:30"

    assert await eventually(due)

    await says(kf, "第三条")
    await stands(kf, "第三条", "deferred")
    await prefers(kf, unsubscribed=True)
    await stands(kf, "第三条", "suppressed")
    await prefers(kf, unsubscribed=True)
    figures = await kf.stub.GetEffectStats(effect_pb2.GetEffectStatsRequest(store_id=STORE))
    (row,) = figures.rows
    assert (row.sent_count, row.unsubscribed_count) == (2, 1)
