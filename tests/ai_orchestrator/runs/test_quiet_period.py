"""What comes later on a day: its facts are kept at once, and it is looked at once more, whatever happens in between."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from services.ai_orchestrator.store.run_tables import chain_run
from shared.bus import Incoming
from shared.clock import ManualClock
from shared.db.engine import Database
from shared.db.tables import inbox
from tests.ai_orchestrator.runs.bench import NOON, STORE, Replica, World

MINUTE = timedelta(minutes=1)
QUIET = 30 * MINUTE


class Shop(World):
    """Whose facts are the events that it has learned of."""

    async def learn(self, conn: Any, event: Any, now: datetime) -> None:
        await super().learn(conn, event, now)
        self.facts["*"] = sorted(set(self.learned))


@pytest.fixture
def world() -> World:
    return Shop()


def note(number: int, content: str = "") -> Incoming:
    data = {
        "member_id": "m1",
        "note_content": content or f"第 {number} 条",
        "noted_by_name": "小李",
        "noted_by_created_at": "2026-03-02T11:00:00+08:00",
    }
    return _message(f"note-{number}", "note.created", data)


def visit(number: int, assistant: str = "") -> Incoming:
    data = {
        "member_id": "m1",
        "has_assistant": bool(assistant),
        "assistant_id": assistant,
        "amount": f"{number}.00",
        "settled_time": "2026-03-02T11:00:00+08:00",
    }
    return _message(f"visit-{number}", "consumption.settled", data)


def _message(event_id: str, event_type: str, data: dict[str, Any]) -> Incoming:
    body = {"event_type": event_type, "event_data": data, "store_id": STORE}
    return Incoming(json.dumps(body).encode(), "application/json", event_type, event_id)


async def take(replica: Replica, *messages: Incoming) -> None:
    await replica.side.intake.take(list(messages))


async def runs(replica: Replica) -> list[Any]:
    """Oldest first."""
    return sorted(await replica.rows(chain_run), key=lambda row: (row.created_at, row.id))


def last_prompt(world: World, app: str) -> Any:
    return json.loads([call.prompt for call in world.calls if call.app_type == app][-1])["views"]["facts"]


async def test_two_notes_a_minute_apart_are_both_read_by_one_run_more(
    replica: Replica, world: World, clock: ManualClock
) -> None:
    await take(replica, note(1))
    await replica.until_idle()
    for number in (2, 3):
        clock.advance(MINUTE)
        await take(replica, note(number))
    first, second = await runs(replica)
    assert (second.follows, second.trigger) == (first.id, "follow_up")
    assert world.stale == ["m1", "m1"]
    clock.advance(QUIET - MINUTE)  # of the first of them: more do not put it off for ever
    await replica.until_idle()
    assert world.asked()["app6_note"] == 2
    assert last_prompt(world, "app6_note") == ["note-1", "note-2", "note-3"]
    assert [row.status for row in await runs(replica)] == ["completed", "completed"]


async def test_a_note_that_comes_before_the_first_run_has_read_is_read_by_it_and_costs_nothing_more(
    replica: Replica, world: World, clock: ManualClock
) -> None:
    await take(replica, note(1))
    clock.advance(MINUTE)
    await take(replica, note(2))
    await replica.until_idle()
    assert last_prompt(world, "app6_note") == ["note-1", "note-2"]
    clock.advance(QUIET)
    await replica.until_idle()
    assert world.asked()["app6_note"] == 1
    follow_up = (await runs(replica))[1]
    assert set((await replica.statuses(follow_up.id)).values()) == {"cached"}
    assert world.confirmed == ["app6_note", "app8_consolidation"], "it is known to be fresh again"


async def test_a_note_that_comes_while_the_follow_up_asks_gets_another_one(
    replica: Replica, world: World, clock: ManualClock
) -> None:
    await take(replica, note(1))
    await replica.until_idle()
    await take(replica, note(2))
    clock.advance(QUIET)
    hold = asyncio.Event()

    async def script(call: Any, before: int) -> Any:
        if call.app_type == "app6_note" and before == 1:
            await hold.wait()

    world.script = script
    turning = asyncio.create_task(replica.turn())
    await world.until_asked(3)
    await take(replica, note(3))
    hold.set()
    await turning
    await replica.until_idle()
    assert len(await runs(replica)) == 3
    clock.advance(QUIET)
    await replica.until_idle()
    assert last_prompt(world, "app6_note") == ["note-1", "note-2", "note-3"]
    assert {row.status for row in await runs(replica)} == {"completed"}


@pytest.mark.parametrize("when", ["before the quiet period is over", "while it asks"])
async def test_a_process_that_dies_in_between_loses_no_note(
    replica: Replica, world: World, clock: ManualClock, database: Database, when: str
) -> None:
    await take(replica, note(1))
    await replica.until_idle()
    await take(replica, note(2))
    if when == "while it asks":

        async def hang(call: Any, before: int) -> Any:
            await asyncio.sleep(60)

        clock.advance(QUIET)
        world.script = hang
        await replica.side.engine.once()
        await world.until_asked(3)
    await replica.kill()
    world.script = None
    other = Replica(database, world, clock, "b")
    await take(other, note(2), note(3))  # what was not acked comes again
    for pause in (timedelta(seconds=11), QUIET):
        clock.advance(pause)
        await other.side.engine.sweep_once()
        await other.until_idle()
    assert last_prompt(world, "app6_note") == ["note-1", "note-2", "note-3"]
    assert {row.status for row in await runs(other)} == {"completed"}
    assert world.learned.count("note-2") == 1
    assert [row.duplicates for row in await other.rows(inbox)] == [0, 1, 0]


async def test_a_forced_run_in_between_reads_all_and_the_follow_up_then_asks_nothing(
    replica: Replica, world: World, clock: ManualClock
) -> None:
    await take(replica, note(1))
    await replica.until_idle()
    await take(replica, note(2))
    clock.advance(MINUTE)
    forced = await replica.trigger("note.created", forced=True)
    assert not forced.deduplicated
    await replica.until_idle()
    assert world.asked()["app6_note"] == 2
    clock.advance(QUIET)
    await replica.until_idle()
    assert world.asked()["app6_note"] == 2
    follow_up = next(row for row in await runs(replica) if row.trigger == "follow_up")
    assert set((await replica.statuses(follow_up.id)).values()) == {"cached"}


async def test_at_midnight_of_the_store_a_new_day_begins_and_the_old_one_s_follow_up_still_comes(
    replica: Replica, world: World, clock: ManualClock
) -> None:
    clock.advance(timedelta(hours=11, minutes=50))  # 23:50 in Shanghai
    await take(replica, note(1))
    await replica.until_idle()
    clock.advance(5 * MINUTE)
    await take(replica, note(2))
    clock.advance(10 * MINUTE)  # 00:05
    await take(replica, note(3))
    await replica.until_idle()
    assert world.asked()["app6_note"] == 2
    old, follow_up, new = await runs(replica)
    assert [row.day for row in (old, follow_up, new)] == ["2026-03-02", "2026-03-02", "2026-03-03"]
    assert (follow_up.follows, new.follows, new.trigger) == (old.id, None, "event")
    assert last_prompt(world, "app6_note") == ["note-1", "note-2", "note-3"]
    clock.advance(20 * MINUTE)
    await replica.until_idle()
    assert world.asked()["app6_note"] == 2
    assert {row.status for row in await runs(replica)} == {"completed"}


async def test_the_same_note_under_another_id_is_nothing_new(
    replica: Replica, world: World, clock: ManualClock
) -> None:
    await take(replica, note(1, "爱喝茶"))
    body = json.loads(note(1, "爱喝茶").body)
    again = Incoming(json.dumps(body).encode(), "application/json", "note.created", "another-id")
    await take(replica, again)
    assert len(await runs(replica)) == 1
    assert world.stale == []


async def test_later_visits_with_other_assistants_are_each_looked_at(
    replica: Replica, world: World, clock: ManualClock
) -> None:
    await take(replica, visit(1, "a1"))
    await replica.until_idle()
    await take(replica, visit(2), visit(3, "a2"), visit(4, "a3"), visit(5, "a2"))
    follow_ups = [row for row in await runs(replica) if row.trigger == "follow_up"]
    assert sorted(row.assistant_id for row in follow_ups) == ["", "a2", "a3"]
    clock.advance(QUIET)
    await replica.until_idle()
    asked = world.asked()
    assert asked["app4_analysis"] == asked["app5_tactics"] == 3, "each assistant once"
    assert asked["app3_clue"] == 2, "what they share once more"
    assert {row.status for row in await runs(replica)} == {"completed"}


async def test_many_notes_at_once_over_two_replicas_make_one_follow_up(
    replica: Replica, world: World, clock: ManualClock, database: Database
) -> None:
    await take(replica, note(0))
    await replica.until_idle()
    other = Replica(database, world, clock, "b")
    await asyncio.gather(*(take((replica, other)[number % 2], note(number)) for number in range(1, 21)))
    assert len(await runs(replica)) == 2
    clock.advance(QUIET)
    while await replica.turn() + await other.turn():
        pass
    assert world.asked()["app6_note"] == 2
    assert len(last_prompt(world, "app6_note")) == 21
    assert clock.now() - NOON == QUIET
