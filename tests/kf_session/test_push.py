"""Push over gRPC, against the sandbox, which counts and closes windows as WeChat KF does."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from reach.kf_session.v1 import push_pb2 as pb
from reach.kf_session.v1 import session_pb2

from services.kf_session.store.tables import push, session
from shared.errors import ReachError
from shared.rpc.status import from_call
from tests.e2e.harness import STORE, eventually
from tests.kf_session.shop import WK, WM, Shop

WAIT = Duration(seconds=8)


async def say(kf: Shop, text: str = "您好", key: str = "", wait: Duration | None = WAIT) -> Any:
    """Push a text."""
    request = pb.PushRequest(
        store_id=STORE,
        open_kfid=WK,
        external_userid=WM,
        content=pb.PushContent(text=pb.PushText(content=text)),
        idempotency_key=key,
        wait=wait,
    )
    return (await kf.stub.Push(request)).push


async def talking(kf: Shop) -> None:
    """The customer has written, and we know of it."""
    before = [row.window_no for row in await kf.rows(session)]
    await kf.writes()

    async def look() -> bool:
        return [row.window_no for row in await kf.rows(session)] not in (before, [])

    assert await eventually(look)


async def sends(kf: Shop) -> list[dict[str, Any]]:
    """The calls of kf/send_msg."""
    return await kf.calls("send_msg")


async def refused(kf: Shop, **more: Any) -> ReachError:
    """The error that Push ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await say(kf, **more)
    return from_call(caught.value)


async def test_five_succeed_the_sixth_is_refused_with_no_call_and_goes_after_the_customer_writes(
    kf: Shop,
) -> None:
    await talking(kf)
    for number in range(5):
        sent = await say(kf, f"第{number}条")
        assert sent.status == pb.PUSH_STATUS_ACCEPTED, sent
    assert (await refused(kf, text="第六条")).reason == "KF_WINDOW_FULL"
    assert len(await sends(kf)) == 5
    await kf.world.advance(60)
    await talking(kf)
    assert (await say(kf, "第七条")).status == pb.PUSH_STATUS_ACCEPTED


async def test_at_48_hours_the_answer_names_the_windows_end_and_no_call_is_made(kf: Shop) -> None:
    await talking(kf)
    asked = pb.CheckEligibilityRequest(store_id=STORE, open_kfid=WK, external_userid=WM)
    before = await kf.stub.CheckEligibility(asked)
    assert (before.eligible, before.free_credits) == (True, 5)
    await kf.world.advance(48 * 3600)

    async def closed() -> bool:
        return not (await kf.stub.CheckEligibility(asked)).eligible

    assert await eventually(closed)
    found = await refused(kf)
    assert found.reason == "KF_WINDOW_CLOSED"
    assert found.facts["window_end"] == before.window_end_time.ToDatetime().strftime("%Y-%m-%dT%H:%M:%SZ")
    assert not await sends(kf)


async def test_a_repeat_of_a_key_is_the_first_push_and_another_request_is_refused(kf: Shop) -> None:
    await talking(kf)
    first = await say(kf, key="k1")
    again = await say(kf, key="k1")
    assert (again.push_id, len(await sends(kf))) == (first.push_id, 1)
    assert (await refused(kf, text="另一条", key="k1")).reason == "IDEMPOTENCY_KEY_REUSED"


async def test_a_lost_answer_is_repeated_with_the_same_msgid_and_arrives_once(kf: Shop) -> None:
    await talking(kf)
    await kf.world.fault(path="/cgi-bin/kf/send_msg", drop="after-accept", count=1)
    sent = await say(kf)
    assert sent.status == pb.PUSH_STATUS_ACCEPTED
    calls = await sends(kf)
    assert len({one["msgid"] for one in calls}) == 1
    assert len(calls) == 2
    found = (await kf.stub.GetPush(pb.GetPushRequest(push_id=sent.push_id))).push
    assert [one.state for one in found.attempts] == ["unknown", "rejected_permanent"]
    told = await kf.stub.Explain(pb.ExplainRequest(push_id=sent.push_id))
    assert [step.code for step in told.steps] == ["admitted", "attempt", "attempt", "accepted"]


async def test_preferences_are_layered_and_a_customer_who_unsubscribed_is_left_alone(kf: Shop) -> None:
    await talking(kf)

    async def update(who: str, mask: list[str] | None = None, **more: Any) -> Any:
        unsubscribed = more.pop("unsubscribed", None)
        return await kf.stub.UpdatePreferences(
            pb.UpdatePreferencesRequest(
                store_id=STORE,
                external_userid=who,
                preferences=pb.Preferences(**more),
                update_mask=FieldMask(paths=mask or []),
                unsubscribed=unsubscribed,
            )
        )

    await update("", daily_limit=3, min_score=0.5)
    found = await update(WM, daily_limit=7, unsubscribed=True)
    assert (found.effective.daily_limit, found.effective.min_score) == (7, 0.5)
    assert found.HasField("unsubscribe_time")
    answer = await refused(kf)
    assert (answer.reason, answer.facts["cause"]) == ("KF_NOT_ELIGIBLE", "unsubscribed")
    found = await update(WM, ["daily_limit"], unsubscribed=False)
    assert (found.effective.daily_limit, found.HasField("unsubscribe_time")) == (3, False)
    assert (await say(kf)).status == pb.PUSH_STATUS_ACCEPTED
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await update(WM, quiet_from="25:00", quiet_to="08:00")
    assert from_call(caught.value).violations[0].field == "preferences.quiet_from"


async def test_with_a_servicer_a_push_waits_and_goes_when_the_customer_writes_after_the_end(kf: Shop) -> None:
    await talking(kf)
    await kf.stub.TransferSession(
        session_pb2.TransferSessionRequest(
            open_kfid=WK,
            external_userid=WM,
            state=session_pb2.SESSION_STATE_HUMAN,
            servicer_userid="ann",
        )
    )
    held = await say(kf, wait=Duration(seconds=3))
    assert (held.status, held.hold_reason) == (pb.PUSH_STATUS_DEFERRED, "session_human")
    await kf.servicer("end")
    await kf.until_state(5)
    await kf.world.advance(60)
    await talking(kf)

    async def gone() -> bool:
        return (await kf.rows(push))[0].status == "accepted"

    assert await eventually(gone)


async def test_a_late_failure_is_the_pushs_final_state_and_a_refusal_stops_what_we_offer(kf: Shop) -> None:
    await talking(kf)
    await kf.world.post("/sandbox/kf/fail", external_userid=WM, open_kfid=WK, count=1, fail_type=10)
    sent = await say(kf)

    async def failed() -> Any:
        found = (await kf.stub.GetPush(pb.GetPushRequest(push_id=sent.push_id))).push
        return found if found.status == pb.PUSH_STATUS_FAILED else None

    found = await eventually(failed)
    assert (found.fail_type, found.reason) == (10, "customer_refused")
    asked = pb.CheckEligibilityRequest(store_id=STORE, open_kfid=WK, external_userid=WM)
    answer = await kf.stub.CheckEligibility(asked)
    assert [one.reason for one in answer.gates if one.verdict != "pass"] == ["customer_refused"]
    assert answer.free_credits == 4  # it stays spent
    assert "kf.push.failed" in await kf.announced()
    await kf.world.advance(60)
    await talking(kf)
    assert (await say(kf)).status == pb.PUSH_STATUS_ACCEPTED


async def test_a_list_of_pushes_pages_and_shows_the_newest_first(kf: Shop) -> None:
    await talking(kf)
    ids = [(await say(kf, f"{number}")).push_id for number in range(3)]
    asked = pb.ListPushesRequest(store_id=STORE, external_userid=WM, page_size=2)
    first = await kf.stub.ListPushes(asked)
    asked.page_token = first.next_page_token
    second = await kf.stub.ListPushes(asked)
    assert [one.push_id for one in (*first.pushes, *second.pushes)] == ids[::-1]
    assert not second.next_page_token


async def test_what_the_platform_would_not_take_is_named(kf: Shop) -> None:
    await talking(kf)
    assert (await refused(kf, text="你" * 683)).violations[0].field == "content.text.content"
