"""Four eyes: who may approve what, what an approval binds, and what makes it void."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from services.campaign.domain.campaign import Canary, Content, content_hash, set_hash
from services.campaign.domain.lifecycle import Status
from services.campaign.domain.window import default_window
from services.campaign.pipeline.ports import Group, LeftOut, Selection
from services.campaign.store import approvals
from services.campaign.store.campaign_tables import (
    approval,
    audience_target,
    campaign,
    campaign_version,
)
from shared.db.tables import outbox
from shared.errors import Conflict, Denied, Invalid, NotFound, Overtaken
from shared.rpc.principal import LOCAL_OPERATOR, acting_as
from tests.campaign.approval.house import DAY, HOUR, TOWN, House, once

GONE = LeftOut(TOWN[3], "owner_left", "owner1 left on 2026-02-27")


async def refused(call, reason):
    with pytest.raises((Conflict, Denied, Invalid, NotFound, Overtaken)) as caught:
        await call
    assert caught.value.reason == reason
    return caught.value


async def announced(house):
    return [row.type for row in await house.rows(outbox)]


async def test_what_another_person_approved_is_approved_and_announced(house: House):
    campaign_id = await house.write()
    seen = await house.submit(campaign_id)
    assert (await house.now(campaign_id)).status is Status.PENDING_APPROVAL
    decided = await house.approve(campaign_id, seen)
    assert (await house.now(campaign_id)).status is Status.APPROVED
    assert (decided.approver, decided.content_hash, decided.version) == ("ben", seen, 1)
    assert decided.expires_at == house.clock.now() + 3 * DAY
    assert await announced(house) == ["campaign.submitted", "campaign.approved"]


async def test_submitting_freezes_the_groups_and_keeps_why_others_are_left_out(house: House):
    house.groups.chosen = Selection(TOWN[:3], (GONE,))
    campaign_id = await house.write()
    await house.submit(campaign_id)
    house.groups.chosen = Selection(TOWN, ())
    async with house.database.read() as conn:
        frozen = await approvals.frozen(conn, campaign_id, 1)
    assert frozen == Selection(TOWN[:3], (GONE,))


async def test_an_approval_binds_the_groups_and_senders_that_are_frozen_whatever_they_are_called(
    house: House,
):
    names = ["wr", "wr1", "WR1", "wr_2", "群", "é", "🎉", "12:a", "a'b", 'a"b', "a\\b", "Ωmega", "z" * 64]
    pairs = [(chat_id, owner) for chat_id in names for owner in ("ann", "12:", "王")]
    random.Random(3).shuffle(pairs)
    for at in range(0, len(pairs), 13):
        chosen = [
            Group(f"{chat_id}{n}", owner, "", 1) for n, (chat_id, owner) in enumerate(pairs[at : at + 13])
        ]
        house.groups.chosen = Selection(tuple(sorted(chosen, key=lambda one: one.chat_id)), (GONE,))
        campaign_id = await house.write()
        seen = await house.submit(campaign_id)
        await house.approve(campaign_id, seen)
        await house.run(campaign_id)
        assert await house.claim(campaign_id) == ""
        found = await house.now(campaign_id)
        wanted = set_hash([(one.chat_id, one.owner) for one in reversed(chosen)])
        assert seen == content_hash(found.spec, found.store_id, wanted)


async def test_a_campaign_that_says_nothing_or_comes_too_late_is_not_submitted(house: House):
    now = house.clock.now()
    past = replace(default_window("UTC"), weekdays=(), dates=())
    for changes in ({"content": Content()}, {"schedule_at": now}, {"window": past}):
        campaign_id = await house.write(**changes)
        await refused(house.submit(campaign_id), "STATE_INVALID")


async def test_block_words_are_looked_for_when_it_is_submitted_and_when_it_is_approved(house: House):
    found = await refused(house.submit(await house.write("今天返现")), "BLOCK_WORD")
    assert [one.field for one in found.violations] == ["content.text"]
    campaign_id = await house.write()
    seen = await house.submit(campaign_id)
    house.lint.words.append("上新")
    await refused(house.approve(campaign_id, seen), "BLOCK_WORD")
    assert (await house.now(campaign_id)).status is Status.PENDING_APPROVAL


async def test_a_campaign_for_nobody_is_not_submitted(house: House):
    house.groups.chosen = Selection((), (GONE,))
    found = await refused(house.submit(await house.write()), "AUDIENCE_EMPTY")
    assert found.facts["excluded"] == "1"


async def test_whoever_saw_another_version_does_not_submit(house: House):
    campaign_id = await house.write()
    await house.edit(campaign_id, content=Content("别的"))
    with house.by("ann"):
        call = house.side.approving.submit(campaign_id, expected=1, once=once())
        assert (await refused(call, "VERSION_CONFLICT")).facts["version"] == "2"


async def test_neither_who_created_it_nor_any_editor_nor_who_had_it_written_approves_it(house: House):
    house.hire("eve")
    house.hire("tom")
    campaign_id = await house.write(by="ann")
    await house.edit(campaign_id, by="eve", content=Content("换一句"))
    await house.edit(campaign_id, by="tom", how="ai_text", content=Content("再换一句"))
    await house.edit(campaign_id, by="ann", content=Content("最后一句"))
    seen = await house.submit(campaign_id)
    for author in ("ann", "eve", "tom"):
        await refused(house.approve(campaign_id, seen, by=author), "FOUR_EYES")
    await house.approve(campaign_id, seen, by="ben")


async def test_whoever_had_an_application_write_does_not_approve_words_that_were_copied_by_hand(
    house: House,
):
    house.hire("tom")
    campaign_id = await house.write(by="ann")
    await house.had_written(campaign_id, by="tom")
    seen = await house.submit(campaign_id)
    await house.had_written(campaign_id, by="ben")  # nothing of that can be in what is submitted
    await house.edit(campaign_id, by="ann", content=Content("抄来的话"))
    seen = await house.submit(campaign_id)
    for author in ("tom", "ben"):
        await refused(house.approve(campaign_id, seen, by=author), "FOUR_EYES")
    house.hire("eve")
    await house.approve(campaign_id, seen, by="eve")
    await house.run(campaign_id)
    await house.had_written(campaign_id, by="eve")
    assert await house.claim(campaign_id, version=2) == ""


async def test_an_author_under_another_spelling_is_the_same_person(house: House):
    campaign_id = await house.write(by="ann")
    seen = await house.submit(campaign_id)
    for other in ("Ann", "ＡＮＮ", " ann"):
        house.hire(other)
        await refused(house.approve(campaign_id, seen, by=other), "FOUR_EYES")


async def test_only_a_person_approves_and_only_one_who_logged_in_lately(house: House):
    campaign_id = await house.write()
    seen = await house.submit(campaign_id)
    house.hire("robot", kind="service", login_at=None)
    assert (await refused(house.approve(campaign_id, seen, by="robot"), "LOGIN_STALE")).facts == {
        "kind": "service"
    }
    with acting_as(LOCAL_OPERATOR):
        call = house.side.approving.approve(campaign_id, seen, "", once("ApproveCampaign"))
        await refused(call, "LOGIN_STALE")
    house.hire("ben", login_at=house.clock.now() - timedelta(minutes=15, seconds=1))
    found = await refused(house.approve(campaign_id, seen), "LOGIN_STALE")
    assert found.facts["login_time"] == "2026-03-02T03:44:59.000000Z"
    with house.by("ben"):
        rejecting = house.side.approving.reject(campaign_id, "x", expected=0, once=once("RejectCampaign"))
        await refused(rejecting, "LOGIN_STALE")
    house.hire("ben", login_at=house.clock.now() - timedelta(minutes=15))
    await house.approve(campaign_id, seen)


async def test_what_is_in_another_store_is_not_there(house: House):
    campaign_id = await house.write(store_id="s2")
    for call in (
        house.submit(campaign_id),
        house.approve(campaign_id, "0" * 64),
        house.run(campaign_id),
    ):
        await refused(call, "NOT_FOUND")
    await refused(house.submit("nothing"), "NOT_FOUND")


async def test_an_approver_approves_what_they_saw_or_nothing(house: House):
    campaign_id = await house.write()
    seen = await house.submit(campaign_id)
    await refused(house.approve(campaign_id, "0" * 64), "APPROVAL_STALE")
    await house.edit(campaign_id, content=Content("春日上新。"))
    await refused(house.approve(campaign_id, seen), "STATE_INVALID")
    assert await house.submit(campaign_id) != seen
    await refused(house.approve(campaign_id, seen), "APPROVAL_STALE")


async def test_what_was_rejected_is_a_draft_that_can_be_submitted_again(house: House):
    campaign_id = await house.write()
    await house.submit(campaign_id)
    with house.by("ben"):
        guard = once("RejectCampaign")
        await house.side.approving.reject(campaign_id, "太长", expected=1, once=guard)
        await refused(
            house.side.approving.reject(campaign_id, "太长", expected=1, once=guard), "STATE_INVALID"
        )
    found = await house.now(campaign_id)
    assert (found.status, found.version, found.reason) == (Status.DRAFT, 1, "rejected")
    house.groups.chosen = Selection(TOWN[:2], ())
    await house.approve(campaign_id, await house.submit(campaign_id))
    assert (await house.now(campaign_id)).status is Status.APPROVED
    await house.run(campaign_id)
    assert house.start.planned[0][2] == ("wr0", "wr1")
    assert await house.claim(campaign_id) == ""


CHANGES = {
    "one character": {"content": Content("春日上新!")},
    "the window": {"window": default_window("Asia/Tokyo")},
    "the time": {"schedule_at": "tomorrow"},
    "the canary": {"canary": Canary(1, HOUR)},
    "how long owners have": {"confirm_within": HOUR},
    "the filter": {"audience": {"chat_ids": ["wr1"]}},
    "a banned word": {"banned_words": ("x",)},
}


async def test_any_edit_makes_the_approval_void(house: House):
    for what, values in CHANGES.items():
        campaign_id = await house.approved()
        changes = {
            name: house.clock.now() + DAY if value == "tomorrow" else value for name, value in values.items()
        }
        assert await house.edit(campaign_id, **changes), what
        await refused(house.run(campaign_id), "STATE_INVALID")
        assert (await house.now(campaign_id)).status is Status.DRAFT, what
    assert house.start.planned == []


def behind(what):
    """What somebody could change in the rows themselves."""
    target, version = audience_target, campaign_version
    return {
        "one character": sa.update(version).values(spec=sa.literal(None)),
        "one group less": sa.delete(target).where(target.c.chat_id == "wr0"),
        "one group more": sa.insert(target).values(
            campaign_id="", version=1, chat_id="wr9", owner="owner1", name="", members=0, reason="", detail=""
        ),
        "another sender": sa.update(target).where(target.c.chat_id == "wr0").values(owner="owner1"),
        "a group let in": sa.update(target).where(target.c.chat_id == "wr3").values(reason=""),
        "another store": sa.update(campaign).values(store_id="s2"),
        "the approval": sa.update(approval).values(content_hash="0" * 64),
        "the decision": sa.update(approval).values(decision="rejected"),
        "the approver": sa.update(approval).values(approver="ann"),
        "the approver's token": sa.update(approval).values(token_id="token-of-ann"),
        "all approvals": sa.delete(approval),
        "the snapshot": sa.text("UPDATE audience_snapshot SET content_hash = 'x'"),
    }[what]


BEHIND = {
    "one character": "content_changed",
    "one group less": "content_changed",
    "one group more": "content_changed",
    "another sender": "content_changed",
    "a group let in": "content_changed",
    "another store": "content_changed",
    "the approval": "content_changed",
    "the decision": "not_approved",
    "the approver": "four_eyes",
    "the approver's token": "approver_gone",
    "all approvals": "not_approved",
    "the snapshot": "content_changed",
}


async def test_rows_that_were_changed_behind_everybodys_back_are_seen_at_the_claim(house: House):
    house.groups.chosen = Selection(TOWN[:3], (GONE,))
    for what, reason in BEHIND.items():
        campaign_id = await house.running()
        assert await house.claim(campaign_id) == ""
        statement = behind(what)
        if what == "one character":
            spec = (await house.now(campaign_id)).spec
            changed = replace(spec, content=Content(spec.content.text + "。")).document()
            statement = sa.update(campaign_version).values(spec=changed)
        elif what == "one group more":
            statement = statement.values(campaign_id=campaign_id)
        await house.execute(statement)
        assert await house.claim(campaign_id) == reason, what


async def test_a_claim_asks_whether_the_approver_still_may(house: House):
    campaign_id = await house.running()
    house.hire("ben", scopes=frozenset({"campaign.read"}))
    assert await house.claim(campaign_id) == "approver_gone"
    house.hire("ben", stores=frozenset({"s2"}))
    assert await house.claim(campaign_id) == "approver_gone"
    house.hire("ben", kind="service")
    assert await house.claim(campaign_id) == "approver_gone"
    house.hire("ben", stores="*")
    assert await house.claim(campaign_id) == ""
    house.hire("ben", revoked_at=house.clock.now())
    house.hire("ben", token_id="another")
    assert await house.claim(campaign_id) == "approver_gone"
    house.hire("ben", expires_at=house.clock.now())
    assert await house.claim(campaign_id) == ""
    del house.tokens.by_id["another"]
    assert await house.claim(campaign_id) == "approver_gone"
    house.tokens.by_id.clear()
    assert await house.claim(campaign_id) == "approver_gone"


async def test_where_nobody_can_say_whether_the_approver_may_nothing_is_sent(house: House):
    campaign_id = await house.running()
    house.tokens.down = True
    assert await house.claim(campaign_id) == "approver_unknown"
    house.tokens.down = False
    assert await house.claim(campaign_id) == ""


async def test_a_claim_looks_at_words_and_the_age_of_the_approval(house: House):
    campaign_id = await house.running()
    house.lint.words.append("上新")
    assert await house.claim(campaign_id) == "block_word"
    house.lint.words.clear()
    house.clock.advance(3 * DAY - timedelta(seconds=1))
    assert await house.claim(campaign_id) == ""
    house.clock.advance(timedelta(seconds=1))
    assert await house.claim(campaign_id) == "approval_expired"


async def test_an_approval_of_something_scheduled_holds_from_its_time_on(house: House):
    at = house.clock.now() + 10 * DAY
    campaign_id = await house.write(schedule_at=at)
    decided = await house.approve(campaign_id, await house.submit(campaign_id))
    assert decided.expires_at == at + 3 * DAY


async def test_a_repeat_of_a_call_does_nothing_more(house: House):
    campaign_id = await house.write()
    with house.by("ann"):
        guard = once("SubmitCampaign", "k1", campaign_id)
        first = await house.side.approving.submit(campaign_id, expected=0, once=guard)
        assert await house.side.approving.submit(campaign_id, expected=0, once=guard) == first
    with house.by("ben"):
        guard = once("ApproveCampaign", "k2", campaign_id)
        decided = await house.side.approving.approve(campaign_id, first.content_hash, "", guard)
        assert await house.side.approving.approve(campaign_id, first.content_hash, "", guard) == decided
    assert len(await house.rows(approval)) == 1


async def test_the_history_tells_versions_decisions_and_moves_in_order(house: House):
    campaign_id = await house.write()
    house.clock.advance(timedelta(minutes=1))
    await house.edit(campaign_id, by="eve", content=Content("好"))
    house.clock.advance(timedelta(minutes=1))
    await house.approve(campaign_id, await house.submit(campaign_id))
    with house.by("ann"):
        found = await house.side.history.of(campaign_id)
    assert [(one.version, one.subject, type(one.what).__name__) for one in found] == [
        (1, "ann", "Edit"),
        (2, "eve", "Edit"),
        (2, "eve", "Move"),
        (2, "ben", "Approval"),
        (2, "ann", "Move"),
        (2, "ben", "Move"),
    ]
    house.hire("far", stores=frozenset({"s2"}))
    with house.by("far"):
        await refused(house.side.history.of(campaign_id), "NOT_FOUND")
