"""Two replicas that hand the same event on at the same time, on both databases."""

from __future__ import annotations

import asyncio
from typing import Any

from services.notifier.assembly import presets
from services.notifier.domain.routing import Role
from services.notifier.pipeline.admission import Arrival, by_rules
from services.notifier.store.rulebook import Binding, add_missing_presets, set_binding
from shared.clock import ManualClock
from shared.db.engine import Database
from shared.events.envelope import make_event
from shared.wecom.errcodes import RetryClass
from shared.wecom.outcome import Outcome, State
from tests.notifier.pipeline.bench import STORE, Replica, robot, user

GONE = Outcome(State.REJECTED_PERMANENT, errcode=93000, http_status=200, retry_class=RetryClass.PERM_CONFIG)


async def staffed(replica: Replica) -> None:
    """The presets; the kitchen is two groups, the manager a person."""
    now = replica.clock.now()
    dialect = replica.database.dialect
    holders = {Role.KITCHEN_STAFF: (robot("kitchen"), robot("bar")), Role.MANAGER: (user("boss"),)}
    async with replica.database.write() as conn:
        await add_missing_presets(conn, dialect, [one.rule for one in presets()], now)
        for role, targets in holders.items():
            await set_binding(conn, dialect, Binding("", role.value, targets, now, "test"))


def order(event_id: str, replica: Replica) -> Arrival:
    preset = next(one for one in presets() if one.rule.event_type == "order.created")
    now = replica.clock.now()
    return by_rules(
        make_event("order.created", preset.example, id=event_id, store_id=STORE, now=now, door="grpc")
    )


async def refuse(job: Any) -> Outcome:
    return GONE


async def test_the_stand_in_is_told_once_and_the_hand_over_belongs_to_the_end(
    database: Database, manual_clock: ManualClock
) -> None:
    one, two = Replica(database, manual_clock, "a"), Replica(database, manual_clock, "b")
    await staffed(one)
    for number in range(4):
        await one.admit(order(f"e{number}", one))
    for _ in range(4):  # each lane's head, one by each replica
        await one.claim(1)
        await two.claim(1)
        for each in (one, two):
            each.world.answer = refuse
        await asyncio.gather(one.turn(), two.turn())
    rows = await one.deliveries()
    handed = [row for row in rows if row.fallback_of]
    assert len(rows) == 12
    assert len(handed) == 4
    assert {row.event_id for row in handed} == {f"e{number}" for number in range(4)}
    assert {(row.channel, row.fallback_step, row.status) for row in handed} == {("app:default", 1, "pending")}
    failed = {row.id for row in rows if row.status == "failed"}
    assert {row.fallback_of for row in handed} <= failed
