"""Chains run as their graphs say, once a day, and say why they did not."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest

from services.ai_orchestrator.domain.call import Call
from services.ai_orchestrator.domain.definitions import Subject
from services.ai_orchestrator.domain.gating import Refusal
from services.ai_orchestrator.pipeline.starting import Order
from services.ai_orchestrator.store.run_tables import attempt, chain_run
from shared.clock import ManualClock
from shared.errors import Conflict, Invalid, Throttled, Unavailable
from tests.ai_orchestrator.runs.bench import (
    NO_KEY,
    NOON,
    STORE,
    Replica,
    World,
    problem,
    reply,
    shut,
)

CONSUMPTION = ["app3_clue", "app8_consolidation", "app7_customer"]


async def test_a_visit_runs_3_8_7_and_with_an_assistant_also_4_5_side_by_side(
    replica: Replica, world: World
) -> None:
    alone = await replica.trigger()
    await replica.until_idle()
    assert [call.app_type for call in world.calls] == CONSUMPTION
    assert (await replica.run(alone.run_id))["status"] == "completed"

    world.calls.clear()
    served = await replica.trigger(member="m2", assistant="a1")
    assert await replica.turn() == 2
    assert world.asked() == {"app3_clue": 1, "app4_analysis": 1}
    await replica.until_idle()
    assert world.asked() == dict.fromkeys([*CONSUMPTION, "app4_analysis", "app5_tactics"], 1)
    (five,) = [call for call in world.calls if call.app_type == "app5_tactics"]
    assert json.loads(five.prompt)["inputs"] == {"app4_analysis": {"app": "app4_analysis"}}
    ended = [(one.run_id, one.status) for one in world.ended]
    assert ended == [(alone.run_id, "completed"), (served.run_id, "completed")]
    told = [one.what for one in await replica.runs.explain_run(served.run_id, None)]
    assert told[0] == "run"
    assert told.count("attempt") == 5
    assert "end" in told


async def test_a_failed_input_is_named_and_stops_nothing(replica: Replica, world: World) -> None:
    async def script(call: Call, before: int) -> Any:
        return problem("app_missing", http_status=404) if call.app_type == "app3_clue" else None

    world.script = script
    run_id = (await replica.trigger()).run_id
    await replica.until_idle()
    steps = await replica.steps(run_id)
    assert await replica.statuses(run_id) == dict(
        zip(CONSUMPTION, ["failed", "completed", "completed"], strict=True)
    )
    assert steps["app8_consolidation"]["missing"] == ["app3_clue:failed", "app6_note:never_made"]
    run = await replica.run(run_id)
    assert (run["status"], run["error"]) == ("partial", "app3_clue: app_missing")
    assert (run_id, "app3_clue", "failed") in world.alerts


async def test_the_same_subject_on_the_same_day_is_one_run(
    replica: Replica, world: World, clock: ManualClock
) -> None:
    first = await replica.trigger()
    again = await Replica(replica.database, world, clock, "b").trigger()
    assert (again.run_id, again.deduplicated, again.follow_up_run_id) == (first.run_id, True, "")
    forced = await replica.trigger(forced=True)
    assert forced.run_id != first.run_id
    assert not forced.deduplicated
    assert (await replica.trigger()).run_id == first.run_id
    clock.advance(timedelta(hours=12))  # midnight in Shanghai
    assert not (await replica.trigger()).deduplicated


async def test_a_hundred_copies_at_once_are_one_run(
    replica: Replica, world: World, clock: ManualClock
) -> None:
    other = Replica(replica.database, world, clock, "b")
    answers = await asyncio.gather(*[(replica, other)[at % 2].trigger() for at in range(100)])
    assert len({one.run_id for one in answers}) == 1
    assert sum(not one.deduplicated for one in answers) == 1
    assert len(await replica.rows(chain_run)) == 1


async def test_what_comes_later_that_day_is_looked_at_once_more_after_a_quiet_period(
    replica: Replica, world: World, clock: ManualClock
) -> None:
    first = await replica.trigger("note.created")
    await replica.until_idle()
    chain, subject = replica.book.by_event["note.created"], Subject(STORE, "m1")

    async def later(content: str) -> Any:
        order = Order(chain, subject, content, content, "event")
        starter = replica.side.intake._starter
        return await replica.database.transact(lambda conn: starter.start(conn, order, clock.now()))

    second, third = await later("note 2"), await later("note 3")
    assert second.run_id == third.run_id == first.run_id
    assert second.follow_up_run_id == third.follow_up_run_id != ""
    assert world.stale == ["m1", "m1"]
    assert await replica.turn() == 0  # it is quiet
    world.facts["*"] = 2
    clock.advance(timedelta(minutes=31))
    await replica.until_idle()
    assert (await replica.run(second.follow_up_run_id))["status"] == "completed"
    assert world.asked()["app6_note"] == 2
    assert (await later("note 4")).follow_up_run_id not in ("", second.follow_up_run_id)
    assert (await later("note 4")).follow_up_run_id == ""  # said already


async def test_the_same_facts_are_not_asked_again(replica: Replica, world: World) -> None:
    await replica.trigger()
    await replica.until_idle()
    again = await replica.trigger(forced=True)
    await replica.until_idle()
    assert set((await replica.statuses(again.run_id)).values()) == {"cached"}
    assert len(world.calls) == 3
    plan = await replica.runs.project("consumption.settled", Subject(STORE, "m1"))
    assert [one.verdict for one in plan.steps] == ["cached"] * 3
    world.facts["app3_clue"] = 2
    plan = await replica.runs.project("consumption.settled", Subject(STORE, "m1"))
    assert [one.verdict for one in plan.steps] == ["ask", "depends", "depends"]
    # What each would be held for with its prompt as it is now, whatever such calls cost before.
    asked = {call.app_type: len(call.prompt.encode()) for call in world.calls}
    assert [one.tokens for one in plan.steps] == [1000 + asked[one.app_type] for one in plan.steps]


async def test_without_facts_there_is_nothing_to_ask(replica: Replica, world: World) -> None:
    world.facts["app3_clue"] = None
    run_id = (await replica.trigger()).run_id
    await replica.until_idle()
    steps = await replica.steps(run_id)
    assert (steps["app3_clue"]["status"], steps["app3_clue"]["reason"]) == ("skipped", "no_facts")
    assert (await replica.run(run_id))["status"] == "completed"


async def test_two_runs_that_want_the_same_insight_ask_once(
    replica: Replica, world: World, clock: ManualClock
) -> None:
    await replica.trigger("task.assigned", assistant="a1")
    await replica.trigger(assistant="a1")
    other = Replica(replica.database, world, clock, "b")
    while await replica.turn() + await other.turn():
        pass
    assert world.asked()["app4_analysis"] == 1
    assert world.asked()["app5_tactics"] == 1


async def test_a_bad_reply_is_asked_for_once_more_with_what_was_wrong(replica: Replica, world: World) -> None:
    async def script(call: Call, before: int) -> Any:
        return reply("{ not json") if call.app_type == "app3_clue" and before == 0 else None

    world.script = script
    run_id = (await replica.trigger()).run_id
    await replica.until_idle()
    assert world.asked()["app3_clue"] == 2
    assert "Expecting property name" in world.calls[1].prompt
    rows = await replica.rows(attempt)
    assert [row.status for row in rows if row.app_type == "app3_clue"] == ["refused_reply", "completed"]
    assert (await replica.steps(run_id))["app3_clue"]["tokens"] == 60

    async def never(call: Call, before: int) -> Any:
        return reply("{ not json")

    world.script = never
    refused = (await replica.trigger(member="m2")).run_id
    await replica.until_idle()
    step = (await replica.steps(refused))["app3_clue"]
    assert (step["status"], step["reason"], step["attempt_no"], step["result"]) == (
        "failed",
        "not_json",
        2,
        None,
    )
    assert (await replica.run(refused))["status"] == "failed"


async def test_a_shut_gate_is_waited_for_and_said_once(
    replica: Replica, world: World, clock: ManualClock
) -> None:
    world.shut.append(shut(Refusal.CIRCUIT_OPEN, 5, NOON))
    run_id = (await replica.trigger()).run_id
    for _ in range(3):
        assert await replica.turn() == 1
        clock.advance(timedelta(seconds=6))
    assert world.calls == []
    step = (await replica.steps(run_id))["app3_clue"]
    assert (step["status"], step["hold_reason"], len(step["refusals"])) == ("deferred", "circuit_open", 1)
    assert list(world.alerts) == [(run_id, "app3_clue", "circuit_open")]
    world.shut.clear()
    await replica.until_idle()
    assert (await replica.run(run_id))["status"] == "completed"


async def test_a_gate_that_stays_shut_ends_the_run_with_its_reason(
    replica: Replica, world: World, clock: ManualClock
) -> None:
    world.shut.append(shut(Refusal.BUDGET_EXCEEDED, 86400, NOON))
    run_id = (await replica.trigger()).run_id
    await replica.turn()
    clock.advance(timedelta(minutes=6))
    await replica.side.engine.sweep_once()
    steps = await replica.steps(run_id)
    assert [(row["status"], row["reason"]) for row in steps.values()] == [
        ("refused", "budget_exceeded"),
        ("failed", "deadline"),
        ("failed", "deadline"),
    ]
    run = await replica.run(run_id)
    assert (run["status"], run["reason"]) == ("failed", "deadline")
    assert [one.status for one in world.ended] == ["failed"]


async def test_a_step_that_is_taken_up_when_its_time_is_over_ends_with_its_gates_reason_as_well(
    replica: Replica, world: World, clock: ManualClock
) -> None:
    world.shut.append(shut(Refusal.BUDGET_EXCEEDED, 10_000, clock.now()))
    run_id = (await replica.trigger("note.created")).run_id
    await replica.until_idle()
    clock.advance(timedelta(minutes=5))
    assert await replica.turn() == 1  # before anybody has looked what is over
    await replica.side.engine.sweep_once()
    steps = await replica.steps(run_id)
    assert [(row["status"], row["reason"]) for row in steps.values()] == [
        ("refused", "budget_exceeded"),
        ("failed", "deadline"),
    ]
    assert (await replica.run(run_id))["reason"] == "deadline"
    assert world.calls == []


async def test_an_app_on_demand_takes_no_shut_gate_for_an_answer(
    replica: Replica, world: World, clock: ManualClock
) -> None:
    async def ask(**more: Any) -> Any:
        wait = timedelta(seconds=5)
        asking = asyncio.create_task(
            replica.side.single.run("app3_clue", Subject(STORE, "m1"), once=NO_KEY, wait=wait, **more)
        )
        while not asking.done():
            await replica.turn()
            await asyncio.sleep(0.005)
        return await asking

    view = await ask()
    assert view.steps[0]["result"] == {"app": "app3_clue"}
    assert (await ask()).steps[0]["status"] == "cached"
    assert (await ask(refresh=True)).steps[0]["status"] == "completed"
    for refusal, error in (
        (Refusal.CIRCUIT_OPEN, Unavailable),
        (Refusal.RATE_LIMITED, Throttled),
        (Refusal.BUDGET_EXCEEDED, Throttled),
    ):
        world.shut[:] = [shut(refusal, 30, NOON)]
        with pytest.raises(error) as caught:
            await ask(refresh=True)
        assert caught.value.reason == refusal.value.upper()
        assert caught.value.retry_after == timedelta(seconds=30)
    assert len(world.calls) == 2
    prompt = await replica.side.single.dry_run("app3_clue", Subject(STORE, "m1"))
    assert '"facts": 1' in prompt.text
    assert len(await replica.rows(attempt)) == 2


@pytest.mark.parametrize(
    ("app_type", "subject", "says"),
    [
        ("app3_clue", Subject(STORE), "member_id"),
        ("app3_clue", Subject(STORE, "m1", "a1"), "not about that"),
        ("app2a_finance_area", Subject(STORE, "", "", "this_month", "all"), "app2_finance"),
        ("app2_finance", Subject(STORE, "", "", "this_century"), "this_month"),
        ("app9", Subject(STORE), "app3_clue"),
        ("customer_campaign", Subject(STORE), "brief"),
    ],
)
async def test_an_app_is_asked_for_what_it_is_about(
    replica: Replica, app_type: str, subject: Subject, says: str
) -> None:
    with pytest.raises(Invalid, match=says):
        await replica.side.single.dry_run(app_type, subject)


async def test_a_cancelled_run_breaks_its_call_off(
    replica: Replica, world: World, clock: ManualClock
) -> None:
    async def hang(call: Call, before: int) -> Any:
        await asyncio.sleep(30)

    world.script = hang
    run_id = (await replica.trigger()).run_id
    await replica.side.engine.once()
    await world.until_asked()
    await Replica(replica.database, world, clock, "b").runs.cancel(run_id, None, once=NO_KEY)
    await replica.side.engine.renew()
    await replica.side.engine.settled()
    assert world.cancelled == 1
    assert set((await replica.statuses(run_id)).values()) == {"cancelled"}
    (row,) = await replica.rows(attempt)
    assert (row.status, row.charged_tokens) == ("cancelled", 100)
    assert [one.status for one in world.ended] == ["cancelled"]
    with pytest.raises(Conflict):
        await replica.runs.cancel(run_id, None, once=NO_KEY)


async def test_a_rerun_keeps_what_was_brought_and_asks_the_rest(replica: Replica, world: World) -> None:
    async def script(call: Call, before: int) -> Any:
        return problem("app_missing") if call.app_type == "app8_consolidation" and before == 0 else None

    world.script = script
    run_id = (await replica.trigger()).run_id
    await replica.until_idle()
    again = await replica.runs.rerun(run_id, "", None, once=NO_KEY)
    await replica.until_idle()
    assert world.asked() == {"app3_clue": 1, "app8_consolidation": 2, "app7_customer": 2}
    assert await replica.statuses(again.run["id"]) == dict(
        zip(CONSUMPTION, ["cached", "completed", "completed"], strict=True)
    )
    with pytest.raises(Conflict, match="name the step"):
        await replica.runs.rerun(again.run["id"], "", None, once=NO_KEY)
    whole = await replica.runs.rerun(again.run["id"], "app3_clue", None, once=NO_KEY)
    await replica.until_idle()
    assert set((await replica.statuses(whole.run["id"])).values()) == {"completed"}


@pytest.mark.parametrize(
    ("event_type", "subject", "says"),
    [
        ("order.created", Subject(STORE, "m1"), "starts no chain"),
        ("note.created", Subject(STORE), "member_id"),
        ("task.assigned", Subject(STORE, "m1"), "assistant_id"),
    ],
)
async def test_a_trigger_without_a_chain_or_a_subject_is_refused(
    replica: Replica, event_type: str, subject: Subject, says: str
) -> None:
    with pytest.raises(Invalid, match=says):
        await replica.trigger(event_type, subject.member_id, subject.assistant_id)
    assert await replica.rows(chain_run) == []
