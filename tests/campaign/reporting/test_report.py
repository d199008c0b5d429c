"""What came of a run, in figures."""

from __future__ import annotations

import random
from collections import Counter
from datetime import timedelta

import pytest
import sqlalchemy as sa

from services.campaign.domain.lifecycle import Status
from services.campaign.domain.outcomes import TargetStatus
from services.campaign.domain.report import Cell, funnel
from services.campaign.store import reporting
from services.campaign.store.campaign_tables import campaign_run, campaign_target, owner_task
from services.campaign.store.group_tables import group_label
from services.campaign.store.writing_tables import candidate, candidate_set
from shared.errors import NotFound
from tests.campaign.approval.house import DAY, HOUR
from tests.campaign.reporting import desk as support
from tests.campaign.reporting.desk import Desk, counts, word


async def test_a_report_tells_how_far_the_groups_came_and_why_not_further(desk: Desk) -> None:
    desk.has(
        {"li": 4, "wu": 3, "xu": 1}, left_out={"wr-z0": "silent", "wr-z1": "silent", "wr-z2": "opted_out"}
    )
    campaign_id = await desk.running()
    await desk.says("wr-wu-02", TargetStatus.LIMIT_REACHED, reason="no_slot_today")  # before wu is asked
    await desk.asked("li")
    await desk.asked("wu")
    desk.clock.advance(HOUR)
    await desk.says("wr-li-00", TargetStatus.SENT)
    await desk.says("wr-li-01", TargetStatus.SENT)
    await desk.says("wr-li-02", TargetStatus.LIMIT_REACHED, 3, reason="platform_limit")
    await desk.says("wr-wu-01", TargetStatus.REFUSED, reason="left_out")
    found = await desk.report(campaign_id)
    assert support.funnel(found) == (11, 8, 5, 3, 2)
    assert found.funnel.coverage == 2 / 8
    assert counts(found) == {"planned": 1, "awaiting_owner": 2, "sent": 2, "limit_reached": 2, "refused": 1}
    assert [(one.reason, one.count) for one in found.excluded_reasons] == [("silent", 2), ("opted_out", 1)]
    assert {(word(one.status), one.reason): one.count for one in found.outcomes} == {
        ("limit_reached", "no_slot_today"): 1,
        ("limit_reached", "platform_limit"): 1,
        ("refused", "left_out"): 1,
    }
    assert [(one.status, one.count) for one in found.tasks] == [("pending", 1), ("created", 2)]
    assert (found.final, found.run.dry, found.name) == (False, False, "春日")
    assert found.store_id == "s1"


async def test_errcodes_are_counted_each_with_what_was_said(desk: Desk) -> None:
    desk.has({"li": 5})
    campaign_id = await desk.running()
    for at, (code, text) in enumerate([(84061, "no relation"), (84061, ""), (40058, "bad"), (None, "")]):
        told = {"reason": "platform_refused", "errcode": code, "error": text}
        await desk.says(f"wr-li-{at:02d}", TargetStatus.REFUSED, **told)
    found = (await desk.report(campaign_id)).outcomes
    assert [(one.errcode if one.HasField("errcode") else None, one.count, one.example) for one in found] == [
        (84061, 2, "no relation"),
        (None, 1, ""),
        (40058, 1, "bad"),
    ]


async def test_owners_are_told_by_who_is_behind_and_the_others_are_counted_together(desk: Desk) -> None:
    desk.has({"li": 3, "wu": 2, "xu": 2, "zhao": 1})
    campaign_id = await desk.running()
    for owner, waits in (("li", 1), ("wu", 2), ("xu", 3)):
        task_id = await desk.asked(owner)
        await desk.follows(task_id, desk.clock.now() + waits * HOUR if owner != "wu" else None)
    await desk.says("wr-li-00", TargetStatus.SENT)
    await desk.says("wr-xu-00", TargetStatus.SENT)
    await desk.says("wr-xu-01", TargetStatus.SENT)
    wu = (await desk.task_of("wu")).id
    for number, outcome in enumerate(("given", "unknown", "refused", "dropped", ""), 1):
        await desk.reminded(wu, number, outcome)
    found = await desk.report(campaign_id, owner_count=2)
    assert [
        (one.owner, one.groups, one.asked_tasks, one.confirmed_tasks, one.sent_groups) for one in found.owners
    ] == [
        ("li", 3, 1, 1, 1),
        ("wu", 2, 1, 0, 0),
    ]
    rest = found.other_owners
    assert (rest.owner, rest.owner_count, rest.groups, rest.asked_tasks, rest.confirmed_tasks, rest.sent_groups) == (
        "", 2, 3, 1, 1, 2,
    )  # fmt: skip
    assert found.owner_count == 4
    assert (found.owners[1].reminder_count, found.reminder_count) == (2, 2)
    taken = found.time_to_confirm
    assert (taken.tasks, taken.p50.ToTimedelta(), taken.p90.ToTimedelta()) == (2, HOUR, 3 * HOUR)
    assert found.owners[0].time_to_confirm.p50.ToTimedelta() == HOUR
    assert not found.owners[1].time_to_confirm.HasField("p50")
    assert not (await desk.report(campaign_id)).HasField("other_owners")


async def test_without_a_follow_up_the_first_group_that_was_sent_tells_when_it_was_confirmed(
    desk: Desk,
) -> None:
    desk.has({"li": 2})
    campaign_id = await desk.running()
    await desk.asked("li")
    desk.clock.advance(2 * HOUR)
    await desk.says("wr-li-01", TargetStatus.SENT)
    desk.clock.advance(HOUR)
    await desk.says("wr-li-00", TargetStatus.SENT)
    assert (await desk.report(campaign_id)).time_to_confirm.p90.ToTimedelta() == 2 * HOUR


async def test_a_dry_run_has_the_shape_of_a_real_one(desk: Desk) -> None:
    desk.has({"li": 2, "wu": 1}, left_out={"wr-z0": "silent"})
    campaign_id = await desk.write()
    with pytest.raises(NotFound, match="has not been run"):
        await desk.report(campaign_id)
    await desk.run(campaign_id, live=False)
    await desk.execute(sa.update(owner_task).values(status="simulated"))
    await desk.execute(sa.update(campaign_target).values(status="simulated"))
    dry = await desk.report(campaign_id)
    assert support.funnel(dry) == (4, 3, 3, 0, 0)
    assert (dry.final, dry.run.dry, counts(dry)) == (True, True, {"simulated": 3})
    assert [(one.reason, one.count) for one in dry.excluded_reasons] == [("silent", 1)]
    assert [(one.owner, one.asked_tasks) for one in dry.owners] == [("li", 1), ("wu", 1)]
    await desk.approve(campaign_id, await desk.submit(campaign_id))
    await desk.run(campaign_id)
    real = await desk.report(campaign_id)
    assert real.run.dry is False
    only = {"final", "planned_end_time"}  # of what is over it is not told when it will be
    shown = [{field.name for field, _ in one.ListFields()} - only for one in (dry, real)]
    assert shown[0] == shown[1]
    assert support.funnel(real)[:2] == support.funnel(dry)[:2]


async def test_the_end_is_planned_by_the_window_and_the_time_to_confirm(desk: Desk) -> None:
    desk.has({"li": 1, "wu": 1})
    campaign_id = await desk.running(confirm_within=timedelta(hours=10))
    planned = (await desk.report(campaign_id)).planned_end_time.ToDatetime()
    begins = desk.clock.now().replace(tzinfo=None)
    assert planned == begins + timedelta(hours=10, seconds=1 / desk.customer.send_qps)
    await desk.asked("li")
    await desk.asked("wu", after=HOUR)
    assert (await desk.report(campaign_id)).planned_end_time.ToDatetime() == begins + 11 * HOUR
    await desk.says("wr-wu-00", TargetStatus.SENT)
    assert (await desk.report(campaign_id)).planned_end_time.ToDatetime() == begins + 10 * HOUR
    await desk.becomes(campaign_id, Status.PAUSED, reason="brake")
    held = await desk.report(campaign_id)
    assert (held.HasField("planned_end_time"), held.final, held.reason) == (False, False, "brake")
    await desk.says("wr-li-00", TargetStatus.OWNER_NEVER_CONFIRMED, 0)
    done = await desk.report(campaign_id)
    assert (done.final, done.HasField("planned_end_time")) == (True, False)


async def test_nobody_can_say_when_it_ends_while_a_task_is_unknown(desk: Desk) -> None:
    desk.has({"li": 1})
    campaign_id = await desk.running()
    await desk.execute(sa.update(owner_task).values(status="unknown", reason="several_found"))
    await desk.says("wr-li-00", TargetStatus.UNKNOWN, reason="outcome_unknown")
    found = await desk.report(campaign_id)
    assert (found.final, found.HasField("planned_end_time"), support.funnel(found)) == (
        False,
        False,
        (1, 1, 0, 0, 0),
    )


async def test_groups_are_told_by_their_labels(desk: Desk) -> None:
    desk.has({"li": 3})
    campaign_id = await desk.running()
    for at, labels in enumerate((("vip",), ("vip", "new"), ())):
        for label in labels:
            values = {"chat_id": f"wr-li-{at:02d}", "label": label, "by": "ann", "at": desk.clock.now()}
            await desk.execute(sa.insert(group_label).values(values))
    await desk.asked("li")
    await desk.says("wr-li-01", TargetStatus.SENT)
    found = (await desk.report(campaign_id)).segments
    assert [(one.label, one.groups, one.asked, one.sent) for one in found] == [
        ("vip", 2, 2, 1),
        ("", 1, 1, 0),
        ("new", 1, 1, 1),
    ]


async def test_what_applications_cost_is_told_by_prompt(desk: Desk) -> None:
    desk.has({"li": 1})
    campaign_id = await desk.running()
    for at, (prompt, model, tokens) in enumerate((("p1", "m1", 10), ("p1", "m1", 30), ("p2", "m2", 25))):
        await desk.execute(
            sa.insert(candidate_set).values(
                id=f"set{at}", store_id="s1", campaign_id=campaign_id, version=1, asked={}, asked_by="ann",
                generation=1, reason="", run_id=f"r{at}", app_version="v3", prompt_hash=prompt, models=[model],
                input_tokens=tokens - 4, output_tokens=4, total_tokens=tokens, created_at=desk.clock.now(),
                status="ready", priority=1, rank=desk.clock.now(), due_at=desk.clock.now(),
            )
        )  # fmt: skip
    words = {"text": "春", "title": "", "angle": "", "tokens": 1, "hits": []}
    await desk.execute(sa.insert(candidate).values(set_id="set1", number=1, used_version=2, **words))
    await desk.execute(sa.insert(candidate).values(set_id="set2", number=1, used_version=0, **words))
    cost = (await desk.report(campaign_id)).ai_cost
    assert (cost.total_tokens, cost.input_tokens, cost.output_tokens, cost.request_count) == (65, 53, 12, 3)
    assert [
        (one.prompt_hash, list(one.models), one.total_tokens, one.request_count, one.used)
        for one in cost.prompts
    ] == [("p1", ["m1"], 40, 2, True), ("p2", ["m2"], 25, 1, False)]


async def test_counting_in_the_database_is_counting_group_by_group(desk: Desk) -> None:
    draw = random.Random(7)
    desk.has({f"o{n}": draw.randint(1, 6) for n in range(20)}, left_out={"wr-z": "silent"})
    campaign_id = await desk.running()
    for owner in sorted({one.owner for one in desk.groups.chosen.included}):
        if draw.random() < 0.7:
            await desk.asked(owner, after=timedelta(seconds=draw.choice([-60, 60])))
    for one in desk.groups.chosen.included:
        status = draw.choice(list(TargetStatus))
        raw = draw.choice([None, 0, 1, 2, 3, 7])
        await desk.says(one.chat_id, status, raw, reason=draw.choice(["", "a", "unknown_status"]))
    [run] = await desk.rows(campaign_run)
    made = {one.id: one.made_at for one in await desk.rows(owner_task)}
    alone = [
        Cell(
            TargetStatus(row.status),
            row.reason,
            row.errcode,
            row.raw_status,
            made[row.task_id] is not None,
            made[row.task_id] is not None and row.updated_at > made[row.task_id],
            1,
            row.error,
        )
        for row in await desk.rows(campaign_target)
    ]
    async with desk.database.read() as conn:
        together = await reporting.cells(conn, run.id)
    assert funnel(together, {"silent": 1}) == funnel(alone, {"silent": 1})
    found = await desk.report(campaign_id)
    assert counts(found) == Counter(one.status.value for one in alone)
    assert sum(one.groups for one in found.segments) == len(alone)
    assert {one.label for one in found.segments} == {""}
    assert (found.segments[0].asked, found.segments[0].sent) == support.funnel(found)[2::2]


async def test_the_real_run_is_reported_and_any_other_where_it_is_named(desk: Desk) -> None:
    desk.has({"li": 1})
    campaign_id = await desk.approved()
    dry = (await desk.run(campaign_id, live=False)).run_id
    live = (await desk.run(campaign_id)).run_id
    desk.clock.advance(DAY)
    assert (await desk.report(campaign_id)).run.id == live
    assert (await desk.report(campaign_id, run_id=dry)).run.dry is True
