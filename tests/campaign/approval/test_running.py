"""Running for show and for good; pausing, resuming, cancelling; campaigns that begin at their time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from services.campaign.domain.campaign import Content
from services.campaign.domain.lifecycle import Status
from services.campaign.store.campaign_tables import campaign, campaign_run, campaign_version
from shared.clock import ManualClock
from shared.db.tables import outbox
from shared.errors import Conflict, Invalid, Unavailable
from shared.secrets import SecretKey
from tests.campaign.approval.house import DAY, HOUR, NOON, House, once, opened

MINUTE = timedelta(minutes=1)


async def refused(call, reason):
    with pytest.raises((Conflict, Invalid, Unavailable)) as caught:
        await call
    assert caught.value.reason == reason
    return caught.value


async def act(house, verb, campaign_id, by="ann"):
    with house.by(by):
        await getattr(house.side.running, verb)(campaign_id, "因为", once(f"{verb.title()}Campaign"))


async def status(house, campaign_id):
    return (await house.now(campaign_id)).status


async def test_without_a_confirmation_a_run_is_for_show_in_any_state_and_changes_nothing(house: House):
    campaign_id = await house.write()
    for state in (Status.DRAFT, Status.PENDING_APPROVAL, Status.APPROVED, Status.RUNNING):
        assert await status(house, campaign_id) is state
        ran = await house.run(campaign_id, live=False)
        assert ran.dry
        assert await status(house, campaign_id) is state
        match state:
            case Status.DRAFT:
                seen = await house.submit(campaign_id)
            case Status.PENDING_APPROVAL:
                await house.approve(campaign_id, seen)
            case Status.APPROVED:
                await house.run(campaign_id)
    assert [one[1] for one in house.start.planned] == [True, True, True, False, True]
    assert {one[2] for one in house.start.planned} == {("wr0", "wr1", "wr2", "wr3")}
    assert len({one[3] for one in house.start.planned}) == 1
    await act(house, "cancel", campaign_id)
    await refused(house.run(campaign_id, live=False), "STATE_INVALID")


async def test_where_the_deployment_only_simulates_nothing_is_run_for_good(house: House):
    cautious = House(house.database, house.clock, house.key, dry_run=True)
    campaign_id = await cautious.approved()
    found = await refused(cautious.run(campaign_id), "LIVE_NOT_CONFIRMED")
    assert found.facts == {"missing": "WECOM_CUSTOMER_DRY_RUN"}
    assert (await cautious.run(campaign_id, live=False)).dry
    await house.run(campaign_id)
    assert await house.claim(campaign_id) == ""
    cautious.start = house.start
    assert await cautious.claim(campaign_id) == "dry_run_only"
    await act(house, "pause", campaign_id)
    await refused(act(cautious, "resume", campaign_id), "LIVE_NOT_CONFIRMED")


async def test_only_what_is_approved_is_run_for_good_and_once(house: House):
    campaign_id = await house.write()
    await refused(house.run(campaign_id), "STATE_INVALID")
    seen = await house.submit(campaign_id)
    await refused(house.run(campaign_id), "STATE_INVALID")
    await house.approve(campaign_id, seen)
    ran = await house.run(campaign_id)
    assert (await status(house, campaign_id), ran.dry) == (Status.RUNNING, False)
    await refused(house.run(campaign_id), "STATE_INVALID")
    (row,) = await house.rows(campaign_run)
    assert (row.id, row.dry, row.started_by, row.content_hash) == (ran.run_id, False, "ann", seen)
    assert "campaign.started" in [one.type for one in await house.rows(outbox)]


async def test_a_repeat_of_run_gives_the_same_run(house: House):
    campaign_id = await house.approved()
    with house.by("ann"):
        guard = once("RunCampaign", "k1", "x")
        first = await house.side.running.run(campaign_id, live=True, expected=1, once=guard)
        assert await house.side.running.run(campaign_id, live=True, expected=1, once=guard) == first
    assert len(await house.rows(campaign_run)) == 1


async def test_an_approval_that_does_not_hold_any_more_begins_nothing(house: House):
    campaign_id = await house.approved()
    house.tokens.down = True
    await refused(house.run(campaign_id), "DEPENDENCY_DOWN")
    house.tokens.down = False
    house.lint.words.append("上新")
    assert (await refused(house.run(campaign_id), "BLOCK_WORD")).violations
    house.lint.words.clear()
    house.hire("ben", revoked_at=house.clock.now())
    assert (await refused(house.run(campaign_id), "APPROVAL_STALE")).facts == {"cause": "approver_gone"}
    house.hire("ben")
    house.clock.advance(3 * DAY)
    assert (await refused(house.run(campaign_id), "APPROVAL_STALE")).facts == {"cause": "approval_expired"}
    assert house.start.planned == []


async def test_pause_resume_and_cancel_flip_the_state_and_tell_the_neighbours(house: House):
    campaign_id = await house.running()
    await act(house, "pause", campaign_id)
    assert await status(house, campaign_id) is Status.PAUSED
    assert await house.claim(campaign_id) == "paused"
    await refused(act(house, "pause", campaign_id), "STATE_INVALID")
    await act(house, "resume", campaign_id)
    assert await house.claim(campaign_id) == ""
    await refused(act(house, "resume", campaign_id), "STATE_INVALID")
    await act(house, "cancel", campaign_id)
    found = await house.now(campaign_id)
    assert (found.status, found.reason, house.start.stopped) == (Status.CANCELLED, "by_hand", [campaign_id])
    assert found.finished_at == house.clock.now()
    assert await house.claim(campaign_id) == "not_running"
    assert house.follow.changed == [campaign_id] * 3
    assert house.start.woken == [campaign_id]
    await refused(act(house, "cancel", campaign_id), "STATE_INVALID")


async def test_what_is_paused_does_not_go_on_when_its_approval_is_too_old(house: House):
    campaign_id = await house.running()
    await act(house, "pause", campaign_id)
    house.clock.advance(3 * DAY)
    await refused(act(house, "resume", campaign_id), "APPROVAL_STALE")
    assert await status(house, campaign_id) is Status.PAUSED


async def test_a_draft_can_be_cancelled_but_neither_paused_nor_resumed(house: House):
    campaign_id = await house.write()
    await refused(act(house, "pause", campaign_id), "STATE_INVALID")
    await refused(act(house, "resume", campaign_id), "STATE_INVALID")
    await act(house, "cancel", campaign_id)
    assert not await house.edit(campaign_id, content=Content("晚了"))


# --- At its time ----------------------------------------------------------------------------------------


async def scheduled(house, after=HOUR):
    campaign_id = await house.approved(schedule_at=house.clock.now() + after)
    ran = await house.run(campaign_id)
    assert (ran.run_id, await status(house, campaign_id)) == ("", Status.SCHEDULED)
    return campaign_id


async def test_a_scheduled_campaign_begins_at_its_time_by_itself(house: House):
    campaign_id = await scheduled(house)
    house.clock.advance(HOUR - timedelta(seconds=1))
    assert await house.side.scheduling.begin_due() == 0
    assert house.start.planned == []
    house.clock.advance(timedelta(seconds=1))
    assert await house.side.scheduling.begin_due() == 1
    assert await status(house, campaign_id) is Status.RUNNING
    assert await house.claim(campaign_id) == ""
    assert await house.side.scheduling.begin_due() == 0
    (row,) = await house.rows(campaign_run)
    assert row.started_by == ""


async def test_a_time_that_passed_while_nothing_ran_is_missed_and_nothing_is_sent(house: House):
    campaign_id = await scheduled(house)
    house.clock.advance(HOUR + 15 * MINUTE + timedelta(seconds=1))
    assert await house.side.scheduling.begin_due() == 1
    found = await house.now(campaign_id)
    assert (found.status, found.reason) == (Status.MISSED, "schedule_missed")
    assert house.start.planned == []
    assert await house.claim(campaign_id, content_hash="x") == "not_running"
    assert [one.type for one in await house.rows(outbox)][-1] == "campaign.missed"


async def test_a_time_within_the_grace_is_not_missed(house: House):
    campaign_id = await scheduled(house)
    house.clock.advance(HOUR + 15 * MINUTE)
    await house.side.scheduling.begin_due()
    assert await status(house, campaign_id) is Status.RUNNING


async def test_a_scheduled_campaign_whose_approval_does_not_hold_fails_with_the_reason(house: House):
    campaign_id = await scheduled(house)
    house.hire("ben", revoked_at=house.clock.now())
    house.clock.advance(HOUR)
    await house.side.scheduling.begin_due()
    found = await house.now(campaign_id)
    assert (found.status, found.reason, house.start.planned) == (Status.FAILED, "approver_gone", [])


async def test_a_scheduled_campaign_waits_for_whoever_knows_the_approver_and_is_missed_at_last(house: House):
    first, second = await scheduled(house), await scheduled(house)
    house.tokens.down = True
    house.clock.advance(HOUR)
    assert await house.side.scheduling.begin_due() == 0
    house.tokens.down = False
    async with house.database.write() as conn:
        later = house.clock.now() + DAY
        await conn.execute(sa.update(campaign).where(campaign.c.id == second).values(schedule_at=later))
    assert await house.side.scheduling.begin_due() == 1
    assert (await status(house, first), await status(house, second)) == (Status.RUNNING, Status.SCHEDULED)
    house.clock.advance(DAY)
    house.tokens.down = True
    await house.side.scheduling.begin_due()
    found = await house.now(second)
    assert (found.status, found.reason) == (Status.MISSED, "approver_unknown")


async def test_a_campaign_whose_rows_cannot_be_read_keeps_no_other_from_beginning(house: House):
    broken, other = sorted([await scheduled(house), await scheduled(house)])
    await house.execute(
        sa.update(campaign_version).where(campaign_version.c.campaign_id == broken).values(spec={"name": "x"})
    )
    house.clock.advance(HOUR)
    assert await house.side.scheduling.begin_due() == 1
    assert await status(house, other) is Status.RUNNING
    assert [one[0] for one in house.start.planned] == [other]


@pytest.mark.parametrize(("late", "after"), [(15 * 60, Status.RUNNING), (15 * 60 + 1, Status.MISSED)])
async def test_what_was_due_while_everything_was_down_begins_once_within_the_grace_and_never_behind_it(
    database_url: str, tmp_path: Path, late: int, after: Status
):
    clock, key = ManualClock(NOON), SecretKey.create(tmp_path / "secret.key")
    database = await opened(database_url)
    campaign_id = await scheduled(House(database, clock, key))
    await database.close()
    clock.advance(HOUR + timedelta(seconds=late))  # nobody is there
    databases = [await opened(database_url)]
    if databases[0].dialect == "postgresql":
        databases.append(await opened(database_url))
    risen = [House(one, clock, key) for one in databases] * 2
    moved = await asyncio.gather(*(house.side.scheduling.begin_due() for house in risen))
    assert sum(moved) == 1
    found = await risen[0].now(campaign_id)
    runs = await risen[0].rows(campaign_run)
    planned = [one for house in risen[: len(databases)] for one in house.start.planned]
    for one in databases:
        await one.close()
    assert found.status is after
    assert len(runs) == len(planned) == (after is Status.RUNNING)


async def test_a_row_that_says_another_time_than_was_approved_begins_nothing(house: House):
    campaign_id = await scheduled(house)
    async with house.database.write() as conn:
        await conn.execute(sa.update(campaign).values(schedule_at=house.clock.now() - MINUTE))
    assert await house.side.scheduling.begin_due() == 0
    assert await status(house, campaign_id) is Status.SCHEDULED


async def test_an_edit_of_a_scheduled_campaign_takes_it_from_the_schedule(house: House):
    campaign_id = await scheduled(house)
    await house.edit(campaign_id, content=Content("别的"))
    house.clock.advance(HOUR)
    assert await house.side.scheduling.begin_due() == 0
    assert await status(house, campaign_id) is Status.DRAFT


async def test_what_was_approved_for_a_time_that_is_over_is_not_run_by_hand(house: House):
    campaign_id = await house.approved(schedule_at=house.clock.now() + HOUR)
    house.clock.advance(HOUR + 15 * MINUTE)
    late = await house.approved(schedule_at=house.clock.now() + MINUTE)
    await house.run(campaign_id)
    assert await status(house, campaign_id) is Status.RUNNING
    house.clock.advance(17 * MINUTE)
    assert (await refused(house.run(late), "APPROVAL_STALE")).facts == {"cause": "schedule_over"}


# --- Several replicas -----------------------------------------------------------------------------------


@pytest.fixture
async def two(postgres_database: str, tmp_path: Path) -> AsyncIterator[tuple[House, House]]:
    """Two replicas on one PostgreSQL."""
    clock, key = ManualClock(NOON), SecretKey.create(tmp_path / "secret.key")
    databases = [await opened(postgres_database) for _ in range(2)]
    one, other = (House(database, clock, key) for database in databases)
    yield one, other
    for database in databases:
        await database.close()


async def test_of_replicas_that_come_at_once_one_begins_a_campaign(two: tuple[House, House]):
    one, other = two
    for _ in range(5):
        await scheduled(one)
    one.clock.advance(HOUR)
    begun = await asyncio.gather(*(house.side.scheduling.begin_due() for house in (one, other, one, other)))
    assert sum(begun) == 5
    assert len(await one.rows(campaign_run)) == 5
    assert len(one.start.planned) + len(other.start.planned) == 5


async def test_of_two_who_run_a_campaign_at_once_one_does(two: tuple[House, House]):
    one, other = two
    campaign_id = await one.approved()
    done = await asyncio.gather(
        *(house.run(campaign_id) for house in (one, other) * 4), return_exceptions=True
    )
    refusals = [found for found in done if isinstance(found, BaseException)]
    assert len(refusals) == 7
    assert {found.reason for found in refusals if isinstance(found, Conflict)} == {"STATE_INVALID"}
    assert len(await one.rows(campaign_run)) == 1
