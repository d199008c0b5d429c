"""What became of each group of a run, page by page."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from reach.campaign.v1 import target_pb2 as pb

from services.campaign.domain.outcomes import TargetStatus
from services.campaign.store.campaign_tables import campaign_target
from shared.errors import Invalid, NotFound
from tests.campaign.approval.house import opened
from tests.campaign.reporting.desk import Desk, word


async def test_each_group_tells_its_status_its_task_and_what_the_platform_said(desk: Desk) -> None:
    desk.has({"li": 2, "wu": 1})
    campaign_id = await desk.running()
    task_id = await desk.asked("li")
    await desk.says("wr-li-00", TargetStatus.SENT)
    await desk.says(
        "wr-li-01", TargetStatus.REFUSED, reason="platform_refused", errcode=40058, error="bad chat"
    )
    found = await desk.targets(campaign_id)
    assert (found.run.dry, found.run.version, found.run.started_by) == (False, 1, "ann")
    sent, refused, planned = found.targets
    assert (sent.chat_id, word(sent.status), sent.raw_status, sent.owner) == ("wr-li-00", "sent", 1, "li")
    assert (sent.task_id, sent.msgid, sent.task_status) == (task_id, f"msg-{task_id}", "created")
    assert sent.send_time.ToDatetime() == sent.ask_time.ToDatetime() == desk.clock.now().replace(tzinfo=None)
    assert (refused.reason, refused.errcode, refused.error) == ("platform_refused", 40058, "bad chat")
    assert not sent.HasField("confirm_time")
    assert not refused.HasField("raw_status")
    assert not refused.HasField("send_time")
    assert (word(planned.status), planned.task_status, planned.HasField("ask_time")) == (
        "planned",
        "pending",
        False,
    )
    assert not planned.HasField("errcode")
    await desk.follows(task_id, desk.clock.now())
    confirmed = (await desk.targets(campaign_id)).targets[0]
    assert confirmed.confirm_time == confirmed.ask_time


async def test_pages_and_filters_show_every_group_once(desk: Desk) -> None:
    desk.has({"li": 5, "wu": 4})
    campaign_id = await desk.running()
    await desk.asked("wu")
    for at in range(3):
        await desk.says(f"wr-wu-{at:02d}", TargetStatus.SENT)

    async def all_of(**filters: object) -> list[str]:
        found: list[str] = []
        token = ""
        while True:
            page = await desk.targets(campaign_id, page_size=2, page_token=token, **filters)
            assert len(page.targets) <= 2
            found += [one.chat_id for one in page.targets]
            token = page.next_page_token
            if not token:
                return found

    assert await all_of() == [f"wr-li-{at:02d}" for at in range(5)] + [f"wr-wu-{at:02d}" for at in range(4)]
    assert await all_of(owner="li") == [f"wr-li-{at:02d}" for at in range(5)]
    assert await all_of(statuses=[pb.TARGET_STATUS_SENT]) == [f"wr-wu-{at:02d}" for at in range(3)]
    both = [pb.TARGET_STATUS_AWAITING_OWNER, pb.TARGET_STATUS_PLANNED]
    assert len(await all_of(statuses=both)) == 6
    assert await all_of(statuses=both, owner="wu") == ["wr-wu-03"]


async def test_the_real_run_goes_before_later_dry_ones_and_any_can_be_asked_for(desk: Desk) -> None:
    desk.has({"li": 1})
    campaign_id = await desk.approved()
    with pytest.raises(NotFound, match="has not been run"):
        await desk.targets(campaign_id)
    first = (await desk.run(campaign_id, live=False)).run_id
    assert (await desk.targets(campaign_id)).run.id == first
    live = (await desk.run(campaign_id)).run_id
    desk.clock.advance(desk.customer.schedule_grace)
    await desk.run(campaign_id, live=False)
    assert (await desk.targets(campaign_id)).run.id == live
    shown = await desk.targets(campaign_id, run_id=first)
    assert (shown.run.id, shown.run.dry) == (first, True)
    with pytest.raises(NotFound, match="no such run"):
        await desk.targets(campaign_id, run_id="other")


async def test_a_page_goes_on_with_the_run_that_it_began_with(desk: Desk) -> None:
    desk.has({"li": 2})
    campaign_id = await desk.approved()
    dry = (await desk.run(campaign_id, live=False)).run_id
    first = await desk.targets(campaign_id, page_size=1)
    await desk.run(campaign_id)
    second = await desk.targets(campaign_id, page_size=1, page_token=first.next_page_token)
    assert (second.run.id, [one.chat_id for one in second.targets]) == (dry, ["wr-li-01"])


async def test_a_token_of_another_list_and_another_store_s_campaign_are_refused(desk: Desk) -> None:
    desk.has({"li": 2})
    campaign_id = await desk.running()
    token = (await desk.targets(campaign_id, page_size=1)).next_page_token
    with pytest.raises(Invalid, match="not issued"):
        await desk.targets(campaign_id, page_token=token, owner="li")
    desk.hire("eve", stores=frozenset({"s2"}))
    for ask in (desk.targets, desk.report, desk.exported, desk.top_up, desk.explained):
        with pytest.raises(NotFound):
            await ask(campaign_id, by="eve")


@pytest.mark.parametrize(
    ("filters", "index"),
    [
        ("status = 'refused'", "campaign_target_by_outcome"),
        ("owner = 'li'", "campaign_target_of_owner"),
    ],
)
async def test_a_filtered_page_is_read_by_an_index(tmp_path: Path, filters: str, index: str) -> None:
    database = await opened(
        f"sqlite:///{tmp_path / 'campaign.db'}"
    )  # its plans do not depend on what is in a table
    query = f"SELECT * FROM {campaign_target.name} WHERE run_id = 'r' AND {filters} AND chat_id > '' ORDER BY chat_id"
    async with database.read() as conn:
        plan = (await conn.execute(sa.text(f"EXPLAIN QUERY PLAN {query}"))).all()
    await database.close()
    assert [index in row.detail and "run_id=? AND" in row.detail for row in plan] == [True]
