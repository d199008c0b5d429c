"""Playbooks that were started: each step on its day, once, as a draft that somebody else has to approve."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
import sqlalchemy as sa

from services.campaign.domain.candidates import Answer, Written
from services.campaign.domain.lifecycle import Status
from services.campaign.store import approvals, campaigns
from services.campaign.store.campaign_tables import campaign
from services.campaign.store.playbook_tables import playbook_occurrence, playbook_run, playbook_told
from shared.db.once import Once
from shared.db.tables import audit_entry
from shared.errors import Conflict, NotFound
from tests.campaign.playbooks.house import DAY, HOUR, NOON, RECALL, STORE, WARM_UP, WELCOME, House

MINUTE = timedelta(minutes=1)
WORDS = Answer(candidates=(Written("老朋友，周四见", "", "情感", 50),), total_tokens=50)


def chats(kept) -> list[str]:
    return list(kept.spec.audience["chat_ids"])


async def test_new_groups_are_welcomed_on_their_own_days_and_once(house: House):
    await house.group("wr1", created=NOON - DAY)
    await house.group("wr2", created=NOON + 5 * HOUR)  # the same day, by the clocks of Shanghai
    await house.group("old", created=NOON - 30 * DAY)
    run_id = await house.start("welcome", WELCOME)
    await house.turn()
    [first] = await house.campaigns()
    assert (first.status, first.playbook, first.created_by) == (Status.PENDING_APPROVAL, "welcome", "ann")
    assert chats(first) == ["wr1"]
    assert "小鹿" in first.spec.content.text
    await house.until(NOON + 12 * DAY)
    made = [(one.spec.name.split("：", 1)[1], chats(one)) for one in await house.campaigns()]
    assert made == [
        ("第二天：欢迎 3月2日", ["wr1"]),
        ("第二天：欢迎 3月3日", ["wr2"]),
        ("第四天：这个群怎么用 3月4日", ["wr1"]),
        ("第四天：这个群怎么用 3月5日", ["wr2"]),
        ("第八天：见面礼 3月8日", ["wr1"]),
        ("第八天：见面礼 3月9日", ["wr2"]),
    ]
    assert {one.status for one in await house.campaigns()} == {Status.PENDING_APPROVAL}
    assert len(await house.rows(playbook_told)) == 6
    outcomes = [outcome for _, _, outcome in await house.told(run_id)]
    assert (outcomes.count("made"), outcomes.count("empty"), len(outcomes)) == (6, 33, 39)


async def test_nobody_is_asked_but_in_the_hours_of_the_day(house: House):
    await house.group("wr1")
    await house.start("warm_up", {**WARM_UP, "send_from": "11:00", "send_until": "16:30"})
    house.script.answers = [WORDS, WORDS]
    await house.until(NOON + 11 * DAY)
    windows = [one.spec.window for one in await house.campaigns()]
    assert [[(str(day), list(map(str, hours))) for day, hours in one.dates] for one in windows] == [
        [("2026-03-05", ["11:00–16:30"])],
        [("2026-03-09", ["11:00–16:30"])],
        [("2026-03-11", ["11:00–16:30"])],
        [("2026-03-12", ["09:00–12:00"])],
    ]
    assert all(hours == () for one in windows for _, hours in one.weekdays)


async def test_words_that_an_application_writes_are_asked_for_and_then_put_forward(house: House):
    await house.group("wr1")
    run_id = await house.start("warm_up", WARM_UP)
    await house.until(NOON + 2 * DAY + 2 * HOUR)
    [kept] = await house.campaigns()
    assert (kept.status, kept.spec.content.text) == (Status.DRAFT, "")
    [[draft]] = [one.drafts for one in await house.seen(run_id)]
    assert draft.status == "writing"
    house.script.answers = [WORDS]
    house.clock.advance(MINUTE)
    await house.turn()
    [kept] = await house.campaigns()
    assert (kept.status, kept.version, kept.spec.content.text) == (
        Status.PENDING_APPROVAL,
        2,
        "老朋友，周四见",
    )
    asked = house.script.asked[0][1]
    assert "还有7天" in asked.theme
    assert "现场乐队和精酿" in asked.theme
    assert asked.language_rules == ("写明日期和开始时间", "不写价格，除非亮点里写了")
    async with house.database.read() as conn:
        assert await approvals.authors(conn, kept.id) == {"ann"}
        edits = await campaigns.edits(conn, kept.id)
    assert [(one.editor, one.how) for one in edits] == [("ann", "playbook"), ("ann", "ai_text")]


async def test_whoever_started_it_cannot_approve_what_it_drafts_and_another_person_can(house: House):
    await house.group("wr1", created=NOON - DAY)
    await house.start("welcome", WELCOME)
    await house.turn()
    [kept] = await house.campaigns()
    async with house.database.read() as conn:
        frozen = await approvals.snapshot(conn, kept.id, 1)
    assert frozen is not None

    async def approve(by: str) -> None:
        once = Once("", "reach.campaign.v1.CampaignService/ApproveCampaign", "", "")
        with house.by(by):
            await house.approval.approving.approve(kept.id, frozen.content_hash, "", once)

    with pytest.raises(Conflict) as caught:
        await approve("ann")
    assert caught.value.reason == "FOUR_EYES"
    await approve("ben")
    [kept] = await house.campaigns()
    assert kept.status is Status.APPROVED


async def test_a_group_that_stirs_is_left_alone_and_one_that_stays_silent_is_asked_again_a_week_later(
    house: House,
):
    silent = NOON - 50 * DAY
    await house.group("quiet", stirred=silent)
    await house.group("wakes", stirred=silent)
    await house.group("lost", stirred=NOON - 300 * DAY)
    await house.group("tiny", stirred=silent, members=2)
    await house.group("vip", stirred=silent, labels=("vip",))
    run_id = await house.start("silent_recall", {**RECALL, "skip_labels": "vip，员工群"})
    house.script.answers = [WORDS]
    await house.until(NOON + 3 * DAY)
    [first] = await house.campaigns()
    assert chats(first) == ["quiet", "wakes"]
    await house.change("wakes", last_changed_at=house.clock.now())
    await house.until(NOON + 30 * DAY)
    made = await house.campaigns()
    assert [chats(one) for one in made] == [["quiet", "wakes"], ["quiet"]]
    assert "到店送一份小食" in made[1].spec.content.text
    days = [day for day, _, outcome in await house.told(run_id) if outcome == "made"]
    assert days == ["2026-03-03", "2026-03-10"]


async def test_a_step_that_no_group_is_left_for_makes_no_campaign_and_says_so(house: House):
    await house.group("gone", status="owner_left")
    run_id = await house.start("warm_up", WARM_UP)
    await house.until(NOON + 3 * DAY)
    assert await house.campaigns() == []
    [one] = await house.seen(run_id)
    assert (one.happened.status, one.happened.groups, one.happened.excluded) == (
        "empty",
        0,
        {"owner_left": 1},
    )


async def test_too_many_groups_for_one_campaign_make_several(house: House, tmp_path):
    small = House(house.database, house.clock, house.key, most_groups=2)
    for number in range(5):
        await small.group(f"wr{number}", created=NOON - DAY)
    run_id = await small.start("welcome", WELCOME)
    await small.turn()
    made = await small.campaigns()
    assert [chats(one) for one in sorted(made, key=lambda one: one.spec.name)] == [
        ["wr0", "wr1"],
        ["wr2", "wr3"],
        ["wr4"],
    ]
    first = next(one for one in await small.seen(run_id) if one.happened.status == "made")
    assert [one.part for one in first.drafts] == [1, 2, 3]
    assert first.happened.groups == 5


async def test_two_replicas_at_once_see_to_each_occurrence_once(house: House):
    for number in range(20):
        await house.group(f"wr{number:02}", created=NOON - DAY)
    ids = [await house.start("welcome", WELCOME) for _ in range(3)]
    replicas = [house, house.beside(), house.beside()]
    for _ in range(4):
        counted = await asyncio.gather(*(one.scheduling.make_due() for one in replicas))
        assert sum(counted) == 9
        house.clock.advance(DAY - 3 * HOUR if house.clock.now() == NOON else DAY)  # at 09:00
    for run_id in ids:
        days = await house.told(run_id)
        assert len(days) == len(set(days)) == 12
    assert len(await house.campaigns()) == 6  # two steps of each run, on the first and the third day
    assert {one.status for one in await house.campaigns()} == {Status.PENDING_APPROVAL}


async def test_words_are_taken_by_one_of_two_replicas(house: House):
    await house.group("wr1")
    other = house.beside()
    await house.start("warm_up", WARM_UP)
    house.clock.advance(2 * DAY + 2 * HOUR)
    await house.scheduling.make_due()
    house.script.answers = [WORDS]
    while await house.writing.generating.once():
        pass
    moved = await asyncio.gather(house.scheduling.go_on(), other.scheduling.go_on())
    assert sum(moved) == 1
    [kept] = await house.campaigns()
    assert (kept.status, kept.version) == (Status.PENDING_APPROVAL, 2)


async def test_what_was_due_while_all_was_down_past_the_grace_is_missed_and_the_next_one_comes(house: House):
    await house.group("wr1")
    run_id = await house.start("warm_up", WARM_UP)
    house.clock.advance(2 * DAY + 2 * HOUR + 16 * MINUTE)
    await house.beside().turn()
    assert await house.told(run_id) == [("2026-03-05", "notice", "missed")]
    [one] = await house.seen(run_id)
    assert one.happened.reason == "schedule_missed"
    assert await house.campaigns() == []
    house.script.answers = [WORDS]
    await house.until(NOON + 11 * DAY)
    assert [one for one in await house.told(run_id) if one[2] == "made"] == [
        ("2026-03-09", "highlight", "made"),
        ("2026-03-11", "reminder", "made"),
        ("2026-03-12", "today", "made"),
    ]
    assert (await house.view(run_id)).run.status == "finished"


async def test_what_is_late_within_the_grace_still_comes(house: House):
    await house.group("wr1")
    run_id = await house.start("warm_up", WARM_UP)
    house.clock.advance(2 * DAY + 2 * HOUR + 15 * MINUTE)
    await house.turn()
    assert await house.told(run_id) == [("2026-03-05", "notice", "made")]


async def test_a_clock_that_jumps_makes_nothing_come_twice(house: House):
    await house.group("wr1", created=NOON - DAY)
    run_id = await house.start("welcome", WELCOME)
    await house.turn()
    house.clock.advance(40 * DAY)
    await house.turn()
    after = await house.told(run_id)
    assert {outcome for _, _, outcome in after[3:]} == {"missed"}
    house.clock.advance(-39 * DAY)
    await house.turn()
    assert await house.told(run_id) == after
    assert len(await house.campaigns()) == 1
    house.clock.advance(39 * DAY + 21 * HOUR)
    await house.turn()
    assert [outcome for _, _, outcome in (await house.told(run_id))[len(after) :]] == ["empty"] * 3


async def test_a_restored_backup_repeats_no_occurrence_that_is_written(house: House):
    """The constraint decides, not the row that says what is next."""
    await house.group("wr1", created=NOON - DAY)
    run_id = await house.start("welcome", WELCOME)
    await house.turn()
    before = await house.rows(playbook_occurrence)
    async with house.database.write() as conn:
        back = {"next_day": "2026-03-02", "next_step": 0, "next_at": NOON}
        await conn.execute(sa.update(playbook_run).values(back))
    await house.turn()
    assert await house.rows(playbook_occurrence) == before
    assert len(await house.campaigns()) == 1
    assert (await house.view(run_id)).run.next_at > NOON


async def test_the_ledger_refuses_a_group_that_had_the_step(house: House):
    from services.campaign.store import playbooks

    await house.group("wr1", created=NOON - DAY)
    run_id = await house.start("welcome", WELCOME)
    await house.turn()
    day = (await house.seen(run_id))[0].happened.day
    with pytest.raises(sa.exc.IntegrityError):
        async with house.database.write() as conn:
            await playbooks.tell(conn, run_id, 0, day + DAY, "other", ["wr1"])


async def test_a_crash_in_between_leaves_nothing_and_the_next_turn_does_it_whole(house: House, monkeypatch):
    await house.group("wr1", created=NOON - DAY)
    run_id = await house.start("welcome", WELCOME)
    making = house.scheduling._making
    put_forward = making._put_forward

    async def crash(*asked):
        raise RuntimeError("the power is gone")

    monkeypatch.setattr(making, "_put_forward", crash)
    assert await house.scheduling.make_due() == 0
    assert await house.seen(run_id) == []
    assert await house.rows(campaign) == []
    assert await house.rows(playbook_told) == []
    monkeypatch.setattr(making, "_put_forward", put_forward)
    assert await house.scheduling.make_due() == 3
    assert [one.status for one in await house.campaigns()] == [Status.PENDING_APPROVAL]


async def test_words_that_may_not_be_said_by_then_leave_a_draft_with_a_reason(house: House):
    """The list of words has grown since the playbook was started."""
    await house.group("wr1", created=NOON - DAY)
    run_id = await house.start("welcome", WELCOME)
    strict = house.beside()
    strict.writing.linter.__init__(["新品"], [])  # type: ignore[misc]
    await strict.turn()
    [kept] = await house.campaigns()
    assert (kept.status, kept.reason, kept.spec.content.text) == (Status.DRAFT, "block_word", "")
    [draft] = (await house.seen(run_id))[0].drafts
    assert (draft.status, draft.reason) == ("left", "block_word")
    assert "新品" in draft.detail
    assert (await house.view(run_id)).drafts == {"left": 1}


async def test_words_that_nobody_writes_leave_a_draft_with_a_reason(house: House):
    await house.group("wr1")
    run_id = await house.start("warm_up", WARM_UP)
    house.script.answers = [Answer(reason="not_configured")]
    await house.until(NOON + 2 * DAY + 3 * HOUR)
    [kept] = await house.campaigns()
    assert (kept.status, kept.reason) == (Status.DRAFT, "not_configured")
    [[draft]] = [one.drafts for one in await house.seen(run_id)]
    assert (draft.status, draft.reason) == ("left", "not_configured")


async def test_words_that_all_hold_what_may_not_be_said_leave_a_draft(house: House):
    await house.group("wr1")
    await house.start("warm_up", WARM_UP)
    house.script.answers = [Answer(candidates=(Written("全场返 現", "", "利益", 9),))]
    await house.until(NOON + 2 * DAY + 3 * HOUR)
    [kept] = await house.campaigns()
    assert (kept.status, kept.reason) == (Status.DRAFT, "block_word")


async def test_a_draft_that_somebody_changed_first_is_theirs(house: House):
    await house.group("wr1")
    run_id = await house.start("warm_up", WARM_UP)
    house.clock.advance(2 * DAY + 2 * HOUR)
    await house.scheduling.make_due()
    [kept] = await house.campaigns()
    from dataclasses import replace

    with house.by("ben"):
        await house.writing.campaigns.update(
            kept.id,
            lambda spec: replace(spec, name="我来写"),
            None,
            expected=0,
            once=Once("", "reach.campaign.v1.CampaignService/UpdateCampaign", "", ""),
        )
    house.script.answers = [WORDS]
    await house.turn()
    [kept] = await house.campaigns()
    assert (kept.status, kept.spec.name, kept.spec.content.text) == (Status.DRAFT, "我来写", "")
    [[draft]] = [one.drafts for one in await house.seen(run_id)]
    assert (draft.status, draft.reason) == ("left", "edited")


async def test_a_run_that_is_stopped_drafts_nothing_more(house: House):
    await house.group("wr1")
    run_id = await house.start("warm_up", WARM_UP)
    house.clock.advance(2 * DAY + 2 * HOUR)
    await house.scheduling.make_due()

    async def stop() -> None:
        once = Once("", "reach.campaign.v1.CampaignService/StopPlaybook", "", "")
        with house.by("ben"):
            await house.side.playbooks.stop(run_id, "改期了", None, once=once)

    await stop()
    with pytest.raises(Conflict) as caught:
        await stop()
    assert caught.value.reason == "STATE_INVALID"
    house.script.answers = [WORDS]
    await house.until(NOON + 15 * DAY)
    [kept] = await house.campaigns()
    assert (kept.status, kept.reason) == (Status.DRAFT, "playbook_stopped")
    assert kept.spec.content.text == "老朋友，周四见"
    run = (await house.view(run_id)).run
    assert (run.status, run.stopped_by, run.comment, run.next_at) == ("stopped", "ben", "改期了", None)
    methods = [one.method for one in await house.rows(audit_entry)]
    assert methods == ["StartPlaybook", "StopPlaybook"]
    with pytest.raises(NotFound):
        await house.side.playbooks.get(run_id, {"s2"})


async def test_a_run_goes_by_what_its_playbook_said_when_it_was_started(house: House, tmp_path):
    await house.group("wr1", created=NOON - DAY)
    await house.start("welcome", WELCOME)
    later = House(house.database, house.clock, house.key, folder=tmp_path)
    assert later.side.playbooks.all("", 10) == []
    await later.turn()
    assert len(await house.campaigns()) == 1


async def test_what_is_over_is_forgotten_in_the_end(house: House):
    await house.group("wr1")
    run_id = await house.start("warm_up", WARM_UP)
    await house.until(NOON + 11 * DAY)
    assert (await house.view(run_id)).run.status == "finished"
    [purge] = house.side.purges
    async with house.database.write() as conn:
        assert await purge(conn, house.clock.now() + 300 * DAY, 500) == 0
        assert await purge(conn, house.clock.now() + 401 * DAY, 2) == 2
        while await purge(conn, house.clock.now() + 401 * DAY, 2):
            pass
    assert await house.rows(playbook_run) == await house.rows(playbook_told) == []
    assert await house.rows(playbook_occurrence) == []


async def test_the_same_key_starts_one_run(house: House):
    await house.group("wr1")
    first = await house.start("warm_up", WARM_UP, key="k1")
    assert await house.start("warm_up", WARM_UP, key="k1") == first
    with pytest.raises(Conflict) as caught:
        await house.start("warm_up", {**WARM_UP, "event": "店庆"}, key="k1")
    assert caught.value.reason == "IDEMPOTENCY_KEY_REUSED"
    assert len(await house.rows(playbook_run)) == 1
    assert (await house.view(first)).run.store_id == STORE
