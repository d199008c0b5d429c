"""Who has a customer: the states, the ways between them, and what servicers do in their client."""

from typing import Any

import pytest

from tests.sandbox.kf import HOUR, WK, WM, Kf

TO_HUMAN = {"servicer_userid": "zhangsan"}


async def _events(kf: Kf) -> list[Any]:
    return [item["event"] for item in (await kf.sync())["msg_list"] if item["msgtype"] == "event"]


async def _bring(kf: Kf, state: int) -> None:
    """A customer in that state."""
    await kf.writes()
    if state == 1:
        await kf.send()
    if state == 2:
        await kf.trans(2)
    if state in (3, 4):
        await kf.trans(3, **TO_HUMAN)
    if state == 4:
        await kf.trans(4)
    assert (await kf.state())["service_state"] == state


ALLOWED = {(0, 2), (0, 3), (1, 2), (1, 3), (2, 3), (3, 4)}


@pytest.mark.parametrize("state", range(5))
async def test_an_app_moves_a_session_only_the_documented_ways(kf: Kf, state: int) -> None:
    await _bring(kf, state)
    for to in range(5):
        if (state, to) not in ALLOWED:
            assert (await kf.trans(to, **TO_HUMAN))["errcode"] == 95016, to
    for to in sorted(to for start, to in ALLOWED if start == state)[-1:]:
        assert (await kf.trans(to, servicer_userid="lisi"))["errcode"] == 0
        assert (await kf.state())["service_state"] == to


async def test_the_profile_says_what_the_documents_leave_open(kf: Kf) -> None:
    await kf.client.post(
        "/sandbox/profile", {"kf_trans_unattended_to_end": True, "kf_trans_to_assistant": True}
    )
    for state in (0, 1, 2):
        await _bring(kf, state)
        assert (await kf.trans(4))["msg_code"]
    await kf.writes()
    assert (await kf.trans(1))["errcode"] == 0
    assert (await kf.state())["service_state"] == 1


async def test_a_customer_who_never_wrote_has_no_session(kf: Kf) -> None:
    assert (await kf.state())["service_state"] == 4
    assert (await kf.trans(3, **TO_HUMAN))["errcode"] == 95016
    assert (await kf.state(external_userid="wmnobody"))["errcode"] == 40096


async def test_the_servicer_is_told_and_may_change(kf: Kf) -> None:
    await _bring(kf, 3)
    assert (await kf.state())["servicer_userid"] == "zhangsan"
    assert (await kf.trans(3, servicer_userid="lisi")) == {"errcode": 0, "errmsg": "ok"}
    assert (await kf.state())["servicer_userid"] == "lisi"


async def test_only_an_active_servicer_who_receives_is_given_a_customer(kf: Kf) -> None:
    await kf.writes()
    assert (await kf.trans(3))["errcode"] == 40058
    assert (await kf.trans(3, servicer_userid="wangwu"))["errcode"] == 95014
    await kf.servicer("status", status="suspended")
    assert (await kf.trans(3, **TO_HUMAN))["errcode"] == 95019
    await kf.servicer("status", status="receiving")
    assert (await kf.trans(3, **TO_HUMAN))["errcode"] == 0
    (rests, receives) = await _events(kf)
    assert (rests["event_type"], rests["status"], rests["stop_type"]) == ("servicer_status_change", 2, 1)
    assert (receives["status"], "stop_type" in receives) == (1, False)


async def test_a_session_ends_by_itself_48_hours_after_the_customer_last_wrote(kf: Kf) -> None:
    await _bring(kf, 3)
    await kf.later(47 * HOUR)
    await kf.writes()
    await kf.later(47 * HOUR)
    assert (await kf.state())["service_state"] == 3
    await kf.later(2 * HOUR)
    assert (await kf.state())["service_state"] == 4
    await kf.writes()
    assert (await kf.state())["service_state"] == 0


async def test_what_an_app_moves_makes_no_event(kf: Kf) -> None:
    await _bring(kf, 4)
    assert await _events(kf) == []


async def test_what_servicers_do_in_their_client_makes_events(kf: Kf) -> None:
    await _bring(kf, 2)
    accepted = await kf.servicer("accept")
    await kf.servicer("transfer", "lisi")
    ended = await kf.servicer("end", "lisi")
    await kf.servicer("write", "lisi", text="还有一件事")
    events = await _events(kf)
    assert [event["event_type"] for event in events] == ["session_status_change"] * 4
    assert {event["external_userid"] for event in events} == {WM}
    told = [(e["change_type"], e["old_servicer_userid"], e["new_servicer_userid"]) for e in events]
    assert told == [(1, "", "zhangsan"), (2, "zhangsan", "lisi"), (3, "lisi", ""), (4, "", "lisi")]
    codes = [event.get("msg_code") for event in events]
    assert codes == [accepted["msg_code"], None, ended["msg_code"], None]
    assert (await kf.state())["service_state"] == 3


async def test_account_and_customer_of_an_event_stand_inside_it(kf: Kf) -> None:
    await kf.enters()
    (item,) = (await kf.sync())["msg_list"]
    assert (item["origin"], item["msgtype"], item["event"]["open_kfid"]) == (4, "event", WK)
    assert not {"open_kfid", "external_userid"} & set(item)


@pytest.mark.parametrize(
    ("state", "action", "userid"),
    [(0, "accept", "zhangsan"), (3, "transfer", "zhangsan"), (2, "end", "zhangsan"), (3, "write", "lisi")],
)
async def test_what_a_servicer_cannot_do_is_refused(kf: Kf, state: int, action: str, userid: str) -> None:
    await _bring(kf, state)
    pair = {"open_kfid": WK, "external_userid": WM}
    words = {"text": "x"} if action == "write" else {}
    document = {"action": action, "userid": userid, **pair, **words}
    assert "error" in await kf.client.post("/sandbox/kf/servicer", document)
    assert (await kf.state())["service_state"] == state


async def test_a_recalled_message_and_a_rejecting_servicer_are_told(kf: Kf) -> None:
    msgid = await kf.writes("打错了")
    await kf.play(f"customers/{WM}", recall=msgid)
    await kf.servicer("reject", on=True)
    recalled, rejected = await _events(kf)
    assert (recalled["event_type"], recalled["recall_msgid"]) == ("user_recall_msg", msgid)
    assert (rejected["event_type"], rejected["reject_switch"]) == ("reject_customer_msg_switch_change", 1)
    assert [line["recalled"] for line in await kf.phone()] == [True]
    again = await kf.client.post(f"/sandbox/kf/customers/{WM}", {"recall": msgid})
    assert "can be recalled" in again["error"]


async def test_a_servicer_takes_back_what_was_typed_in_the_client_and_nothing_else(kf: Kf) -> None:
    await _bring(kf, 3)
    msgid = (await kf.servicer("write", text="打错了"))["msgid"]
    pair = {"open_kfid": WK, "external_userid": WM}
    await kf.play("servicer", action="recall", msgid=msgid, **pair)
    (event,) = await _events(kf)
    assert (event["event_type"], event["recall_msgid"], event["servicer_userid"]) == (
        "servicer_recall_msg",
        msgid,
        "zhangsan",
    )
    again = await kf.client.post("/sandbox/kf/servicer", {"action": "recall", "msgid": msgid, **pair})
    assert "can be recalled" in again["error"]
