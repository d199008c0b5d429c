"""A step up happens once, whoever makes it and whoever dies in it; on both databases."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.domain.climbing import Opening
from services.notifier.domain.routing import Role
from services.notifier.pipeline.climbing import Climber
from services.notifier.pipeline.planning import Planner
from services.notifier.store import escalations
from services.notifier.store.rulebook import Binding, set_binding
from services.notifier.store.tables import escalation, escalation_note, recipient
from services.notifier.store.work import Work
from shared.clock import ManualClock
from shared.db.engine import Database
from shared.db.tables import outbox as outbox_table
from shared.events.kinds import Event
from shared.telemetry.metrics import Metrics
from tests.notifier.pipeline.bench import LEASE, STORE, Replica, user

AFTER = timedelta(minutes=5)
OPENING = Opening("r1", 3, "断电", "停电了", (Role.TECH_SUPPORT,), AFTER)


def _climber(replica: Replica) -> Climber:
    planner = Planner(
        replica.work, replica.rates, replica.rests, replica.breakers, Metrics(), replica.owner, LEASE
    )
    return Climber(replica.database, replica.work, planner, replica.senders, replica.books, replica.clock)


async def _open(database: Database, clock: ManualClock, *events: str) -> None:
    now = clock.now()
    holders = {
        Role.TECH_SUPPORT: ((user("tom"),), (user("dora"),)),
        Role.MANAGER: ((user("boss"),), ()),
    }  # type: dict[Role, tuple[tuple[Target, ...], tuple[Target, ...]]]

    async def write(conn: AsyncConnection) -> None:
        for role, (targets, deputies) in holders.items():
            binding = Binding("", role.value, targets, now, "test", deputies)
            await set_binding(conn, database.dialect, binding)
        made = [Event(one, "pos.down", STORE, {}, "", now) for one in events]
        await escalations.open_many(conn, [escalations.row_of(one, OPENING, now) for one in made])

    await database.transact(write)


async def _levels(replica: Replica) -> list[tuple[str, int]]:
    return [(row.state, row.level) for row in await replica.rows(escalation, "event_id")]


async def test_before_its_time_nothing_climbs(replica: Replica, manual_clock: ManualClock) -> None:
    await _open(replica.database, manual_clock, "e1")
    assert await _climber(replica).climb_due() == AFTER.total_seconds()
    assert await replica.deliveries() == []


async def test_two_replicas_at_once_tell_the_next_level_once(
    database: Database, manual_clock: ManualClock
) -> None:
    replicas = [Replica(database, manual_clock, owner) for owner in "ab"]
    await _open(database, manual_clock, *(f"e{at}" for at in range(30)))
    manual_clock.advance(AFTER)
    await asyncio.gather(*(_climber(one).climb_due() for one in replicas))
    assert await _levels(replicas[0]) == [("open", 1)] * 30
    told = [(row.event_id, row.target) for row in await replicas[0].recipients()]
    assert sorted(told) == sorted((f"e{at}", "dora") for at in range(30))


async def test_a_step_that_dies_half_way_never_happened_and_is_made_by_the_next(
    database: Database, manual_clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying, other = Replica(database, manual_clock, "a"), Replica(database, manual_clock, "b")
    await _open(database, manual_clock, "e1")
    manual_clock.advance(AFTER)
    insert = Work.insert

    async def die(self: Work, conn: AsyncConnection, new: Any) -> None:
        await insert(self, conn, new)
        raise RuntimeError("the process is gone")

    with monkeypatch.context() as patched:
        patched.setattr(Work, "insert", die)
        with pytest.raises(RuntimeError):
            await _climber(dying).climb_due()
    assert await _levels(other) == [("open", 0)]
    assert await other.deliveries() == []
    await _climber(other).climb_due()
    assert await _levels(other) == [("open", 1)]
    assert [row.target for row in await other.recipients()] == ["dora"]


async def test_it_ends_above_the_manager_and_says_so(replica: Replica, manual_clock: ManualClock) -> None:
    await _open(replica.database, manual_clock, "e1")
    for level in (("open", 1), ("open", 2), ("exhausted", 2), ("exhausted", 2)):
        manual_clock.advance(AFTER)
        await _climber(replica).climb_due()
        assert await _levels(replica) == [level]
    assert [row.target for row in await replica.recipients()] == ["dora", "boss"]
    announced = [row.type for row in await replica.rows(outbox_table, "id")]
    assert announced == ["notifier.escalation.climbed"] * 2 + ["notifier.escalation.exhausted"]
    notes = [(row.kind, row.told) for row in await replica.rows(escalation_note, "at")]
    assert notes == [("climbed", ["user:dora"]), ("climbed", ["user:boss"]), ("exhausted", [])]


async def test_what_is_settled_is_not_looked_at_again(replica: Replica, manual_clock: ManualClock) -> None:
    await _open(replica.database, manual_clock, "e1")
    async with replica.database.write() as conn:
        await conn.execute(sa.update(escalation).values(state="acknowledged"))
    manual_clock.advance(10 * AFTER)
    await _climber(replica).climb_due()
    assert await _levels(replica) == [("acknowledged", 0)]


async def test_two_rules_that_climb_to_the_same_person_tell_them_once(
    replica: Replica, manual_clock: ManualClock
) -> None:
    """Of one event and at one time; else no escalation of any store would climb any more."""
    await _open(replica.database, manual_clock, "e1")
    now = manual_clock.now()
    event = Event("e1", "pos.down", STORE, {}, "", now)
    other = replace(OPENING, rule_id="r2", title="断网", words="断网了")
    async with replica.database.write() as conn:
        await escalations.open_many(conn, [escalations.row_of(event, other, now)])
    manual_clock.advance(AFTER)
    await _climber(replica).climb_due()
    assert sorted(row.target for row in await replica.recipients()) == ["boss", "dora"]
    assert sorted(await _levels(replica)) == [("open", 1), ("open", 2)]


async def test_who_is_told_by_another_way_at_the_same_moment_is_not_told_twice(
    database: Database, manual_clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for what failed, say: the step is made anew, as one sees it then."""
    one, other = Replica(database, manual_clock, "a"), Replica(database, manual_clock, "b")
    await _open(database, manual_clock, "e1")
    manual_clock.advance(AFTER)
    told = escalations.told
    seen: list[Any] = []

    async def see(conn: AsyncConnection, event_id: str, store_id: str) -> Any:
        answer = await told(conn, event_id, store_id)
        seen.append(answer)
        return set() if len(seen) == 1 else answer  # as it was a moment before

    async with database.write() as conn:
        row = {
            "event_id": "e1",
            "store_id": STORE,
            "channel": "app:default",
            "kind": "user",
            "target": "dora",
        }
        await conn.execute(sa.insert(recipient).values(**row, part=0, delivery_id="d", role=""))
    monkeypatch.setattr(escalations, "told", see)
    await _climber(one).climb_due()
    assert {row.target for row in await other.recipients()} == {"dora", "boss"}
    assert await _levels(other) == [("open", 2)]
