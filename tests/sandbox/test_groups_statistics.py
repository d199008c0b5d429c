"""Figures of groups: by owner, and day by day."""

from typing import Any

import pytest

from tests.sandbox.groups import GROUP, Groups, mass_send
from tests.sandbox.test_mass_sends import DAY, confirm

STATISTIC, BY_DAY = "groupchat/statistic", "groupchat/statistic_group_by_day"
MONDAY = 1_772_380_800  # 2026-03-02 at midnight in China
OWNERS = {"userid_list": ["zhangsan", "lisi"]}


@pytest.fixture
async def groups(groups: Groups) -> Groups:
    """Two groups of old, one made on Monday and a mass send on Tuesday."""
    await groups.client.post("/sandbox/clock", {"set": "2026-03-02T10:00:00+08:00", "freeze": True})
    await groups.client.post("/sandbox/reset", {"keep": ["clock", "directory"]})
    groups.token = await groups.client.token("customer-s1")
    created = "2026-01-05T10:00:00+08:00"
    customer = {"external_userid": "wm1"}
    await groups.declare(chat_id=GROUP, owner="zhangsan", created_at=created, members=[customer])
    await groups.declare(chat_id="wr2", owner="lisi", created_at=created)
    await groups.declare(chat_id="wr3", owner="lisi")
    await groups.later(DAY)
    await mass_send(groups)
    await confirm(groups)
    return groups


async def test_owners_are_ordered_by_what_is_asked_for(groups: Groups) -> None:
    body = {"day_begin_time": MONDAY + 3600, "day_end_time": MONDAY + DAY, "owner_filter": OWNERS}
    answer = await groups.call(STATISTIC, **body)
    assert (answer["total"], answer["next_offset"]) == (2, 2)
    first, second = answer["items"]
    assert (first["owner"], first["data"]["new_chat_cnt"], first["data"]["chat_total"]) == ("lisi", 1, 2)
    assert (second["owner"], second["data"]["chat_has_msg"], second["data"]["msg_total"]) == (
        "ZhangSan",
        1,
        1,
    )
    assert second["data"]["member_total"] == 2
    last = await groups.call(STATISTIC, **body, order_asc=1, limit=1)
    assert (last["items"][0]["owner"], last["total"], last["next_offset"]) == ("ZhangSan", 2, 1)


async def test_days_are_told_one_by_one(groups: Groups) -> None:
    body = {"day_begin_time": MONDAY, "day_end_time": MONDAY + DAY, "owner_filter": OWNERS}
    monday, tuesday = (await groups.call(BY_DAY, **body))["items"]
    assert (monday["stat_time"], tuesday["stat_time"]) == (MONDAY, MONDAY + DAY)
    assert (monday["data"]["new_chat_cnt"], tuesday["data"]["new_chat_cnt"]) == (1, 0)
    assert (monday["data"]["msg_total"], tuesday["data"]["msg_total"]) == (0, 1)


@pytest.mark.parametrize(
    "body",
    [
        {"day_begin_time": None},
        {"owner_filter": None},
        {"owner_filter": {"userid_list": []}},
        {"day_end_time": MONDAY - 1},
        {"day_end_time": MONDAY + 30 * DAY},
        {"day_begin_time": MONDAY - 200 * DAY},
        {"order_by": 5},
    ],
    ids=str,
)
async def test_figures_that_cannot_be_are_refused(groups: Groups, body: dict[str, Any]) -> None:
    asked = {"day_begin_time": MONDAY, "owner_filter": OWNERS} | body
    assert await groups.code(STATISTIC, **asked) == 40058
