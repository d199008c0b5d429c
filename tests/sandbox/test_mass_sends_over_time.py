"""Owners who press at once, late or never; what groups may receive; which tasks are listed."""

from typing import Any

import pytest

from tests.sandbox.conftest import Client, Open
from tests.sandbox.groups import GROUP, Groups, mass_send
from tests.sandbox.test_mass_sends import DAY, behave, confirm, results, sender_of, truth

LIST = "get_groupmsg_list_v2"
HOUR = 3600


async def at(groups: Groups, instant: str) -> None:
    """The clock stands at an instant from here on."""
    await groups.client.post("/sandbox/clock", {"set": instant, "freeze": True})
    groups.token = await groups.client.token("customer-s1")


async def statuses(groups: Groups, count: int) -> list[int]:
    """What becomes of so many mass sends to one group, made and sent one after another."""
    found = []
    for _ in range(count):
        msgid = await mass_send(groups)
        await confirm(groups)
        found += [row["status"] for row in await results(groups, msgid)]
    return found


async def test_who_presses_at_once_has_pressed_when_the_call_returns(groups: Groups) -> None:
    await behave(groups, "at_once")
    msgid = await mass_send(groups)
    assert len(await groups.client.arrived(GROUP)) == 1
    assert (await sender_of(groups, msgid))["status"] == 2


async def test_who_presses_later_does_so_by_the_sandboxs_clock(groups: Groups) -> None:
    await at(groups, "2026-03-02T10:00:00+08:00")
    await behave(groups, "late", hours=5)
    msgid = await mass_send(groups)
    await groups.later(5 * HOUR - 1)
    assert (await sender_of(groups, msgid))["status"] == 0
    await groups.later(HOUR)
    sent = await sender_of(groups, msgid)
    (shown,) = await truth(groups)
    assert (sent["status"], shown["sent_at"]) == (2, "2026-03-02T07:00:00.000000Z")
    (arrived,) = await groups.client.arrived(GROUP)
    assert arrived["received_at"] == shown["sent_at"]


async def test_a_delay_of_seconds_passes_before_who_presses_at_once(open_sandbox: Open) -> None:
    groups = await Groups.of(await open_sandbox(owner_behaviour="at_once", owner_delay_seconds=30))
    msgid = await mass_send(groups)
    assert (await sender_of(groups, msgid))["status"] == 0
    await groups.later(30)
    assert (await sender_of(groups, msgid))["status"] == 2


async def test_who_never_presses_cannot_be_made_to(groups: Groups) -> None:
    await behave(groups, "never")
    msgid = await mass_send(groups)
    await groups.later(30 * DAY)
    assert (await sender_of(groups, msgid))["status"] == 0
    answer = await groups.client.post("/sandbox/owners/zhangsan/confirm", {"msgid": msgid})
    assert "never" in answer["error"]


async def test_a_change_of_mind_serves_what_waits_from_then_on(groups: Groups) -> None:
    await at(groups, "2026-03-02T10:00:00+08:00")
    await mass_send(groups)
    await groups.later(HOUR)
    told = await behave(groups, "at_once")
    assert (told["behaviour"], told["prompts"]) == ("at_once", [])
    (shown,) = await truth(groups)
    assert shown["sent_at"] == "2026-03-02T03:00:00.000000Z"


async def test_each_owner_is_told_apart(groups: Groups) -> None:
    await behave(groups, "at_once", "LISI")
    await mass_send(groups)
    await mass_send(groups, sender="lisi", chat_id_list=["wr2"])
    owners = (await groups.client.get("/sandbox/owners"))["owners"]
    shown = {one["userid"]: (one["behaviour"], len(one["prompts"])) for one in owners}
    assert shown == {"lisi": ("at_once", 0), "ZhangSan": ("by_hand", 1)}


async def test_a_group_that_left_before_its_owner_pressed_late_gets_nothing(groups: Groups) -> None:
    await behave(groups, "late", hours=5)
    await mass_send(groups)
    await groups.later(HOUR)
    await groups.change(dismiss=True)
    await groups.later(5 * HOUR)
    (shown,) = await truth(groups)
    assert (shown["state"], shown["outcomes"][0]["outcome"]) == ("sent", "gone")


async def test_what_an_owner_did_before_a_group_changed_is_not_undone_by_asking_late(groups: Groups) -> None:
    await behave(groups, "late", hours=5)
    await mass_send(groups)
    await groups.later(6 * HOUR)
    await groups.change(dismiss=True)
    (shown,) = await truth(groups)
    assert shown["outcomes"][0]["outcome"] == "sent"


async def test_a_group_receives_as_many_as_the_month_has_days(groups: Groups) -> None:
    await at(groups, "2026-02-01T00:00:00+08:00")
    assert await statuses(groups, 29) == [1] * 28 + [3]
    await at(groups, "2026-03-01T00:00:00+08:00")
    assert await statuses(groups, 1) == [1]


async def test_a_group_over_its_cap_is_told_of_without_a_time_and_gets_nothing(open_sandbox: Open) -> None:
    groups = await Groups.of(await open_sandbox(group_sends_per_day=1))
    await at(groups, "2026-03-02T23:00:00+08:00")
    assert await statuses(groups, 1) == [1]
    msgid = await mass_send(groups)
    await confirm(groups)
    assert await results(groups, msgid) == [{"chat_id": GROUP, "userid": "ZhangSan", "status": 3}]
    assert (await sender_of(groups, msgid))["status"] == 2
    assert len(await groups.client.arrived(GROUP)) == 1
    (_, over) = await truth(groups)
    assert over["outcomes"][0]["outcome"] == "over_cap"


@pytest.mark.parametrize(
    ("settings", "later"),
    [
        ({"group_sends_per_day": 1}, "2026-03-03T00:00:00+08:00"),
        ({"group_sends_per_week": 1}, "2026-03-09T00:00:00+08:00"),
        ({"group_sends_per_month": 1}, "2026-04-01T00:00:00+08:00"),
    ],
    ids=str,
)
async def test_caps_begin_anew_at_midnight_in_china(
    open_sandbox: Open, settings: dict[str, Any], later: str
) -> None:
    groups = await Groups.of(await open_sandbox(**settings))
    await at(groups, "2026-03-02T12:00:00+08:00")
    assert await statuses(groups, 2) == [1, 3]
    await at(groups, later)
    assert await statuses(groups, 1) == [1]


async def test_caps_can_be_off(open_sandbox: Open) -> None:
    groups = await Groups.of(await open_sandbox(group_sends_per_month=0))
    for value in ("weeks", -1, True):
        assert "error" in await groups.client.post("/sandbox/profile", {"group_sends_per_month": value})
    await at(groups, "2026-02-01T00:00:00+08:00")
    assert await statuses(groups, 30) == [1] * 30


async def test_the_cap_that_counts_is_the_one_of_the_press_not_of_the_prompt(open_sandbox: Open) -> None:
    groups = await Groups.of(await open_sandbox(group_sends_per_day=1))
    await at(groups, "2026-03-02T12:00:00+08:00")
    msgids = [await mass_send(groups), await mass_send(groups)]
    await confirm(groups, msgid=msgids[1])
    await at(groups, "2026-03-03T12:00:00+08:00")
    await confirm(groups, msgid=msgids[0])
    assert [(await results(groups, one))[0]["status"] for one in msgids] == [1, 1]


async def test_tasks_are_listed_by_time_without_a_creator_where_an_app_made_them(groups: Groups) -> None:
    await at(groups, "2026-03-02T12:00:00+08:00")
    msgid = await mass_send(groups)
    by_hand = await groups.play(
        "mass-sends", creator="lisi", sender="zhangsan", chat_ids=[GROUP], text="周五上新", personal=True
    )
    now = 1_772_424_000
    answer = await groups.call(LIST, chat_type="group", start_time=now, end_time=now)
    first, second = answer["group_msg_list"]
    assert first == {
        "msgid": msgid,
        "create_time": now,
        "create_type": 0,
        "text": {"content": "周五上新"},
        "attachments": [],
    }
    assert (second["msgid"], second["creator"], second["create_type"]) == (by_hand["msgid"], "lisi", 1)

    async def listed(**more: Any) -> list[str]:
        body = {"chat_type": "group", "start_time": now, "end_time": now} | more
        return [row["msgid"] for row in (await groups.call(LIST, **body))["group_msg_list"]]

    assert await listed(filter_type=0) == [msgid]
    assert await listed(filter_type=1) == await listed(creator="LISI") == [by_hand["msgid"]]
    assert await listed(chat_type="single") == await listed(start_time=now + 1, end_time=now + 2) == []


async def test_the_list_comes_in_pages(groups: Groups) -> None:
    await at(groups, "2026-03-02T12:00:00+08:00")
    made = [await mass_send(groups) for _ in range(53)]
    span = {"start_time": 1_772_424_000, "end_time": 1_772_424_000}
    body: dict[str, Any] = {"chat_type": "group", **span, "limit": 101}
    first = await groups.call(LIST, **body)
    assert len(first["group_msg_list"]) == 50
    rest = await groups.call(LIST, **body, cursor=first["next_cursor"])
    assert [row["msgid"] for row in first["group_msg_list"] + rest["group_msg_list"]] == made
    assert rest["next_cursor"] == ""


@pytest.mark.parametrize(
    "body",
    [
        {"chat_type": None},
        {"start_time": None},
        {"end_time": 1_772_424_000 - 1},
        {"end_time": 1_772_424_000 + 31 * DAY + 1},
        {"filter_type": 3},
    ],
    ids=str,
)
async def test_a_list_that_cannot_be_is_refused(groups: Groups, body: dict[str, Any]) -> None:
    span = {"chat_type": "group", "start_time": 1_772_424_000, "end_time": 1_772_424_001}
    assert await groups.code(LIST, **(span | body)) == 40058


async def test_a_task_may_be_listed_only_once_it_is_dispatched(open_sandbox: Open) -> None:
    settings = {"mass_send_dispatch_seconds": 5, "mass_send_listed": "once_dispatched"}
    groups = await Groups.of(await open_sandbox(**settings))
    await at(groups, "2026-03-02T12:00:00+08:00")
    await mass_send(groups)
    body = {"chat_type": "group", "start_time": 1_772_424_000, "end_time": 1_772_424_010}
    assert (await groups.call(LIST, **body))["group_msg_list"] == []
    await groups.later(5)
    assert len((await groups.call(LIST, **body))["group_msg_list"]) == 1


async def test_fifty_thousand_groups_are_sent_to_each_once(client: Client) -> None:
    groups = await Groups.of(client)
    await client.post("/sandbox/profile", {"owner_behaviour": "at_once"})
    await groups.declare(count=50_000, prefix="wrx", owners=["wangwu"])
    for start in range(1, 50_001, 2000):
        chat_ids = [f"wrx{index:06d}" for index in range(start, start + 2000)]
        await mass_send(groups, sender="wangwu", chat_id_list=chat_ids)
    tasks = await truth(groups)
    sent = [row["chat_id"] for task in tasks for row in task["outcomes"] if row["outcome"] == "sent"]
    assert (len(tasks), len(sent), len(set(sent))) == (25, 50_000, 50_000)
    assert (await client.get("/sandbox/stats"))["messages"]["delivered"] == 50_000


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"behaviour": "soon"},
        {"behaviour": "late", "hours": -1},
        {"behaviour": "late", "delay_seconds": 5},
        {"behaviour": "never", "hours": 5},
        {"behaviour": "at_once", "color": "red"},
    ],
    ids=str,
)
async def test_a_behaviour_that_cannot_be_is_refused(groups: Groups, document: dict[str, Any]) -> None:
    assert "error" in await groups.client.post("/sandbox/owners/zhangsan/behaviour", document)


async def test_a_reset_forgets_tasks_behaviours_and_what_was_received(open_sandbox: Open) -> None:
    groups = await Groups.of(await open_sandbox(group_sends_per_day=1))
    await behave(groups, "at_once")
    await mass_send(groups)
    await groups.client.post("/sandbox/reset", {})
    groups = await Groups.of(groups.client)
    assert await truth(groups) == []
    assert (await groups.client.get("/sandbox/owners"))["owners"] == []
    assert await statuses(groups, 1) == [1]
