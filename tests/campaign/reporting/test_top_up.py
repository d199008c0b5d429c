"""A campaign for exactly those that another one could have reached and has not."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa
from reach.campaign.v1 import campaign_pb2
from reach.campaign.v1 import target_pb2 as pb

from services.campaign.domain.lifecycle import Status
from services.campaign.domain.outcomes import TargetStatus
from services.campaign.pipeline.linting import Linter
from services.campaign.store import approvals, campaigns
from services.campaign.store.campaign_tables import campaign_target, owner_task, top_up_group
from services.campaign.usecases.campaigns import Campaigns
from services.campaign.usecases.topping_up import ToppingUp
from shared.db.tables import audit_entry
from shared.errors import Conflict, Invalid, ReachError
from tests.campaign.approval.house import once
from tests.campaign.reporting.desk import Desk

NEVER, LIMIT = TargetStatus.OWNER_NEVER_CONFIRMED, TargetStatus.LIMIT_REACHED


async def refused(call: object, reason: str) -> ReachError:
    """What *call* is refused with."""
    with pytest.raises(ReachError) as found:
        await call  # type: ignore[misc]
    assert found.value.reason == reason
    return found.value


async def test_it_is_a_draft_for_exactly_those_whose_owners_never_confirmed(desk: Desk) -> None:
    desk.has({"li": 3, "wu": 2}, left_out={"wr-z": "silent"})
    campaign_id = await desk.finished(
        {"wr-li-01": NEVER, "wr-wu-00": NEVER, "wr-wu-01": LIMIT, "wr-li-02": TargetStatus.GROUP_GONE}
    )
    made = await desk.top_up(campaign_id, by="ann")
    assert (made.group_count, made.left_count) == (2, 0)
    new = made.campaign
    assert new.status == campaign_pb2.CAMPAIGN_STATUS_DRAFT
    assert list(new.spec.audience.chat_ids) == ["wr-li-01", "wr-wu-00"]
    assert (new.top_up_of, new.spec.name, new.spec.content.text, new.store_id) == (
        campaign_id,
        "春日（补发）",
        "春日上新",
        "s1",
    )
    assert not new.spec.HasField("schedule_time")
    [edit] = await edits(desk, new.id)
    assert (edit.how, edit.editor) == ("top_up", "ann")
    [child] = (await desk.report(campaign_id)).top_ups
    assert (child.campaign_id, child.group_count) == (new.id, 2)
    entries = [row for row in await desk.rows(audit_entry) if row.method == "TopUpCampaign"]
    assert [row.object_id for row in entries] == [new.id]


async def edits(desk: Desk, campaign_id: str) -> list[campaigns.Edit]:
    """The versions of a campaign."""
    async with desk.database.read() as conn:
        return await campaigns.edits(conn, campaign_id)


async def test_it_needs_an_approval_of_its_own_by_nobody_who_wrote_either(desk: Desk) -> None:
    desk.has({"li": 1})
    campaign_id = await desk.finished({"wr-li-00": NEVER})
    new = (await desk.top_up(campaign_id, by="ben")).campaign
    async with desk.database.read() as conn:
        assert await approvals.authors(conn, new.id) == {"ann", "ben"}
    assert (new.version, new.created_by) == (2, "ben")
    seen = await desk.submit(new.id, by="ben")
    for author in ("ann", "ben"):
        with pytest.raises(Conflict) as found:
            await desk.approve(new.id, seen, by=author)
        assert found.value.reason == "FOUR_EYES"
    desk.hire("cat")
    await desk.approve(new.id, seen, by="cat")
    assert (await desk.now(new.id)).status is Status.APPROVED


async def test_which_outcomes_it_is_for_is_the_caller_s_choice(desk: Desk) -> None:
    desk.has({"li": 5})
    outcomes = {
        "wr-li-00": NEVER,
        "wr-li-01": LIMIT,
        "wr-li-02": TargetStatus.CANCELLED,
        "wr-li-03": TargetStatus.REFUSED,
    }
    campaign_id = await desk.finished(outcomes)
    made = await desk.top_up(
        campaign_id, outcomes=[pb.TARGET_STATUS_LIMIT_REACHED, pb.TARGET_STATUS_CANCELLED], name="再来"
    )
    assert list(made.campaign.spec.audience.chat_ids) == ["wr-li-01", "wr-li-02"]
    assert made.campaign.spec.name == "再来"
    rest = await desk.top_up(
        campaign_id, outcomes=[pb.TARGET_STATUS_OWNER_NEVER_CONFIRMED, pb.TARGET_STATUS_REFUSED]
    )
    assert list(rest.campaign.spec.audience.chat_ids) == ["wr-li-00", "wr-li-03"]


@pytest.mark.parametrize(
    "status",
    [pb.TARGET_STATUS_SENT, pb.TARGET_STATUS_UNKNOWN, pb.TARGET_STATUS_GROUP_GONE, pb.TARGET_STATUS_PLANNED],
)
async def test_what_got_it_is_gone_or_not_known_can_never_be_asked_for(desk: Desk, status: int) -> None:
    desk.has({"li": 1})
    campaign_id = await desk.finished({"wr-li-00": NEVER})
    with pytest.raises(Invalid, match="outcomes"):
        await desk.top_up(campaign_id, outcomes=[status])


@pytest.mark.parametrize(
    "said", [{"raw": 7, "reason": "unknown_status"}, {"raw": None, "reason": "task_not_found"}]
)
async def test_a_refused_group_of_which_nobody_can_say_that_it_was_not_sent_is_never_in_it(
    desk: Desk, said: dict[str, object]
) -> None:
    desk.has({"li": 2})
    campaign_id = await desk.finished({"wr-li-00": TargetStatus.REFUSED})
    await desk.says("wr-li-01", TargetStatus.REFUSED, **said)  # type: ignore[arg-type]
    made = await desk.top_up(campaign_id, outcomes=[pb.TARGET_STATUS_REFUSED])
    assert list(made.campaign.spec.audience.chat_ids) == ["wr-li-00"]


async def test_it_is_refused_while_anything_is_still_open(desk: Desk) -> None:
    desk.has({"li": 3})
    campaign_id = await desk.running()
    await refused(desk.top_up(campaign_id), "STATE_INVALID")
    await desk.asked("li")
    await desk.says("wr-li-00", NEVER)
    await desk.becomes(campaign_id, Status.RECONCILING)
    await desk.says("wr-li-01", TargetStatus.UNKNOWN)
    found = await refused(desk.top_up(campaign_id), "TARGETS_OPEN")
    assert found.facts == {"open": "1", "unknown": "1"}
    await desk.says("wr-li-01", TargetStatus.SENT)
    await desk.says("wr-li-02", TargetStatus.SENT)
    assert (await desk.top_up(campaign_id)).group_count == 1


async def test_a_campaign_that_was_never_really_run_has_nothing_to_top_up(desk: Desk) -> None:
    desk.has({"li": 1})
    campaign_id = await desk.approved()
    await desk.run(campaign_id, live=False)
    await desk.becomes(campaign_id, Status.CANCELLED)
    await refused(desk.top_up(campaign_id), "STATE_INVALID")


async def test_where_all_were_reached_there_is_nothing_left(desk: Desk) -> None:
    desk.has({"li": 1})
    campaign_id = await desk.finished({})
    await refused(desk.top_up(campaign_id), "AUDIENCE_EMPTY")


async def test_a_group_is_in_one_top_up_until_that_is_dropped_before_it_began(desk: Desk) -> None:
    desk.has({"li": 2})
    campaign_id = await desk.finished({"wr-li-00": NEVER, "wr-li-01": NEVER})
    first = (await desk.top_up(campaign_id)).campaign
    found = await refused(desk.top_up(campaign_id), "TOP_UP_EXISTS")
    assert found.facts == {"campaign_id": first.id}
    await desk.becomes(first.id, Status.CANCELLED)
    second = await desk.top_up(campaign_id)
    assert second.group_count == 2
    assert {row.campaign_id for row in await desk.rows(top_up_group)} == {second.campaign.id}


async def test_what_a_top_up_that_began_has_not_reached_is_its_own_to_top_up(desk: Desk) -> None:
    desk.has({"li": 1})
    campaign_id = await desk.finished({"wr-li-00": NEVER})
    child = (await desk.top_up(campaign_id)).campaign
    desk.hire("cat")
    await desk.approve(child.id, await desk.submit(child.id), by="cat")
    await desk.run(child.id)
    run = sa.select(owner_task.c.run_id).where(owner_task.c.campaign_id == child.id)
    await desk.execute(
        sa.update(campaign_target).where(campaign_target.c.run_id.in_(run)).values(status="cancelled")
    )
    await desk.becomes(child.id, Status.CANCELLED)
    await refused(desk.top_up(campaign_id), "TOP_UP_EXISTS")
    made = await desk.top_up(child.id, outcomes=[pb.TARGET_STATUS_CANCELLED])
    assert (made.campaign.top_up_of, made.campaign.spec.name) == (child.id, "春日（补发）")


async def test_a_repeat_with_the_same_key_gives_the_same_campaign(desk: Desk) -> None:
    desk.has({"li": 1})
    campaign_id = await desk.finished({"wr-li-00": NEVER})
    first = await desk.top_up(campaign_id, idempotency_key="k1")
    again = await desk.top_up(campaign_id, idempotency_key="k1")
    assert (again.campaign.id, again.group_count) == (first.campaign.id, 1)
    await refused(desk.top_up(campaign_id, idempotency_key="k1", name="other"), "IDEMPOTENCY_KEY_REUSED")


async def test_of_many_at_once_one_is_made(desk: Desk) -> None:
    desk.has({"li": 3})
    campaign_id = await desk.finished({f"wr-li-{at:02d}": NEVER for at in range(3)})
    done = await asyncio.gather(*(desk.top_up(campaign_id) for _ in range(6)), return_exceptions=True)
    made = [one for one in done if not isinstance(one, BaseException)]
    assert [one.group_count for one in made] == [3]
    assert {one.reason for one in done if isinstance(one, ReachError)} == {"TOP_UP_EXISTS"}
    assert len(await desk.rows(top_up_group)) == 3
    assert len((await desk.report(campaign_id)).top_ups) == 1


async def test_the_database_itself_lets_no_group_be_handed_on_twice(desk: Desk) -> None:
    row = {"parent_id": "p", "chat_id": "wr1", "campaign_id": "c1"}
    await desk.execute(sa.insert(top_up_group).values(row))
    with pytest.raises(sa.exc.IntegrityError):
        await desk.execute(sa.insert(top_up_group).values({**row, "campaign_id": "c2"}))


async def test_what_finds_no_place_in_one_is_left_for_the_next(desk: Desk) -> None:
    desk.has({"li": 5})
    campaign_id = await desk.finished({f"wr-li-{at:02d}": NEVER for at in range(5)})
    small = ToppingUp(desk.database, desk.writing, desk.audit, desk.clock, most=2)
    found = []
    with desk.by("ann"):
        for _ in range(3):
            made = await small.make(campaign_id, (), "", once=once("TopUpCampaign"))
            found.append((made.groups, made.left))
        await refused(small.make(campaign_id, (), "", once=once("TopUpCampaign")), "TOP_UP_EXISTS")
    assert found == [(2, 3), (2, 1), (1, 0)]
    assert len({row.chat_id for row in await desk.rows(top_up_group)}) == 5


async def test_words_that_are_banned_by_now_are_not_written_once_more(desk: Desk) -> None:
    desk.has({"li": 1})
    campaign_id = await desk.finished({"wr-li-00": NEVER}, text="满百立减")
    stricter = Campaigns(
        desk.database, Linter(["立减"], []), desk.groups, desk.moving, desk.audit, desk.clock
    )
    top_ups = ToppingUp(desk.database, stricter, desk.audit, desk.clock)
    with desk.by("ann"):
        await refused(top_ups.make(campaign_id, (), "", once=once("TopUpCampaign")), "BLOCK_WORD")
    assert await desk.rows(top_up_group) == []
