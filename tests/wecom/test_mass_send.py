"""The six calls of mass sends: what is asked, and what each kind of answer means."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.clock import ManualClock
from shared.wecom.mass_send import ChatStatus, MassSend, MemberStatus
from shared.wecom.outcome import State
from tests.wecom.fake import APP, FakeWeCom, fake_wecom
from tests.wecom.test_wecom_client import client_for

NOON = datetime(2026, 3, 2, 4, tzinfo=UTC)


@pytest.fixture
async def wecom() -> AsyncIterator[FakeWeCom]:
    async with fake_wecom() as fake:
        yield fake


@pytest.fixture
async def api(wecom: FakeWeCom, manual_clock: ManualClock) -> AsyncIterator[MassSend]:
    client, caller = client_for(wecom.url, manual_clock)
    yield MassSend(client)
    await caller.close()


async def test_a_task_that_was_made_has_its_id_and_names_the_groups_it_leaves_out(
    wecom: FakeWeCom, api: MassSend
) -> None:
    wecom.says({"errcode": 0, "errmsg": "ok", "fail_list": [], "msgid": "msg1"})
    made = await api.create(APP, {"chat_type": "group", "sender": "li"})
    assert (made.outcome.state, made.msgid, made.refused) == (State.ACCEPTED, "msg1", ())
    wecom.says({"errcode": 0, "errmsg": "ok", "fail_list": ["wr2"], "msgid": "msg2"})
    made = await api.create(APP, {"chat_type": "group", "sender": "li"})
    assert (made.outcome.state, made.msgid, made.refused) == (State.ACCEPTED_PARTIAL, "msg2", ("wr2",))
    assert json.loads(wecom.sends[0]) == {"chat_type": "group", "sender": "li"}


@pytest.mark.parametrize(
    ("answer", "status", "state"),
    [
        ({"errcode": 0, "errmsg": "ok"}, 200, State.UNKNOWN),
        ({"errcode": 0, "errmsg": "ok", "msgid": 7}, 200, State.UNKNOWN),
        (b"<html>", 200, State.UNKNOWN),
        (b"", 502, State.UNKNOWN),
        ({"errcode": -1, "errmsg": "busy"}, 200, State.REJECTED_RETRYABLE),
        ({"errcode": 45009, "errmsg": "too often"}, 200, State.REJECTED_RETRYABLE),
        ({"errcode": 41048, "errmsg": "no customer"}, 200, State.REJECTED_PERMANENT),
        ({"errcode": 48002, "errmsg": "not allowed"}, 200, State.REJECTED_PERMANENT),
    ],
)
async def test_a_task_is_made_or_refused_only_where_the_answer_says_so(
    wecom: FakeWeCom, api: MassSend, answer: dict[str, object] | bytes, status: int, state: State
) -> None:
    wecom.says(answer, status)
    made = await api.create(APP, {})
    assert (made.outcome.state, made.msgid) == (state, "")


async def test_nothing_leaves_once_it_is_too_late(wecom: FakeWeCom, api: MassSend) -> None:
    asked: list[str] = []

    def still() -> bool:
        asked.append("asked")
        return False

    made = await api.create(APP, {}, still=still)
    assert (made.outcome.state, made.outcome.cause) == (State.NOT_SENT, "too_late")
    assert asked == ["asked"], "it is asked once, after the token was fetched"
    assert wecom.gettokens == 1
    assert wecom.sends == []


async def test_the_list_is_asked_for_by_whole_seconds_and_read_page_by_page(
    wecom: FakeWeCom, api: MassSend
) -> None:
    row = {
        "msgid": "m1",
        "create_time": 1772424000,
        "create_type": 0,
        "text": {"content": "您好"},
        "attachments": [{"msgtype": "link", "link": {"title": "a", "url": "https://b.cn"}}],
    }
    wecom.says({"errcode": 0, "group_msg_list": [row], "next_cursor": "c2"})
    page = await api.listed(APP, NOON, NOON + timedelta(hours=1), cursor="c1")
    assert page.next_cursor == "c2"
    [found] = page.tasks
    assert (found.msgid, found.creator, found.text, len(found.attachments)) == ("m1", "", "您好", 1)
    assert found.created_at == datetime.fromtimestamp(1772424000, UTC)
    assert json.loads(wecom.sends[0]) == {
        "chat_type": "group",
        "start_time": 1772424000,
        "end_time": 1772427600,
        "filter_type": 0,
        "limit": 100,
        "cursor": "c1",
    }


async def test_members_and_groups_have_different_numbers_for_sent(wecom: FakeWeCom, api: MassSend) -> None:
    wecom.says(
        {
            "errcode": 0,
            "task_list": [{"userid": "li", "status": 2, "send_time": 5}, {"userid": "wu", "status": 0}],
        }
    )
    members = (await api.members(APP, "m1")).members
    assert [(one.userid, one.status == MemberStatus.SENT) for one in members] == [("li", True), ("wu", False)]
    wecom.says(
        {
            "errcode": 0,
            "send_list": [
                {"chat_id": "wr1", "userid": "li", "status": 1, "send_time": 5},
                {"chat_id": "wr2", "userid": "li", "status": 3},
            ],
        }
    )
    results = (await api.results(APP, "m1", "li")).results
    assert [one.status for one in results] == [ChatStatus.SENT, ChatStatus.LIMIT_REACHED]
    assert [one.sent_at is None for one in results] == [False, True]


BROKEN: list[dict[str, Any]] = [
    {"errcode": 0, "task_list": {}},
    {"errcode": 0, "task_list": [1]},
    {"errcode": 0, "task_list": [{"userid": "li"}]},
    {"errcode": 0, "task_list": [{"userid": "li", "status": True}]},
    {"errcode": 0, "task_list": [], "next_cursor": 5},
]


@pytest.mark.parametrize("answer", BROKEN)
async def test_a_page_with_a_row_that_cannot_be_read_is_no_page(
    wecom: FakeWeCom, api: MassSend, answer: dict[str, Any]
) -> None:
    wecom.says(answer)
    page = await api.members(APP, "m1")
    assert (page.outcome.state, page.outcome.cause, page.members) == (State.UNKNOWN, "malformed", ())


async def test_reminding_and_cancelling_say_what_became_of_it(wecom: FakeWeCom, api: MassSend) -> None:
    wecom.says({"errcode": 41094, "errmsg": "reminded too often"})
    assert (await api.remind(APP, "m1")).errcode == 41094
    wecom.says({"errcode": 0, "errmsg": "ok"})
    assert (await api.cancel(APP, "m1")).state is State.ACCEPTED


async def test_no_reminder_and_no_cancel_leaves_once_it_is_too_late(wecom: FakeWeCom, api: MassSend) -> None:
    for call in (api.remind, api.cancel):
        outcome = await call(APP, "m1", still=lambda: False)
        assert (outcome.state, outcome.cause) == (State.NOT_SENT, "too_late")
    assert wecom.sends == []
