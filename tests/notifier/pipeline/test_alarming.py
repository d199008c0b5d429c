"""One alert for one opening, whoever sees it and whoever dies on the way, on both databases."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import sqlalchemy as sa

from services.notifier.domain.alerts import whom
from services.notifier.domain.routing import Role
from services.notifier.pipeline.alarming import ALERT, Alarm
from services.notifier.store.breakers import ALERT_DUE, ALERT_SENT
from services.notifier.store.tables import breaker
from shared.clock import ManualClock
from shared.db.engine import Database
from shared.telemetry.metrics import Metrics
from tests.notifier.pipeline.bench import Replica, robot, user
from tests.notifier.pipeline.test_breakers import fail
from tests.notifier.pipeline.test_falling_back import staffed


def alarm(replica: Replica) -> Alarm:
    return Alarm(replica.database, replica.breakers, replica.admission.admit_one, replica.clock, Metrics())


async def test_two_replicas_and_one_that_died_make_one_alert(
    database: Database, manual_clock: ManualClock
) -> None:
    one, two = Replica(database, manual_clock, "a"), Replica(database, manual_clock, "b")
    await staffed(one)
    await fail(one, 10, "robot")
    await asyncio.gather(alarm(one).tell(), alarm(two).tell())
    async with database.write() as conn:  # as if whoever told had died before it could say so
        await conn.execute(sa.update(breaker).values(alert=ALERT_DUE))
    await alarm(two).tell()
    told = [row for row in await one.deliveries() if row.event_type == ALERT]
    assert [(row.channel, row.event_id) for row in told] == [("app:default", "alert-robot:kitchen-1")]
    (row,) = await one.rows(breaker)
    assert row.alert == ALERT_SENT


async def test_the_next_opening_is_told_anew(database: Database, manual_clock: ManualClock) -> None:
    one = Replica(database, manual_clock)
    await staffed(one)
    await fail(one, 10, "robot")
    await alarm(one).tell()
    async with database.write() as conn:
        changes = [await one.breakers.reset(conn, "robot:kitchen", "ann", manual_clock.now())]
    one.breakers.note(changes)
    await alarm(one).tell()
    manual_clock.advance(timedelta(seconds=61))  # past the robot's rate
    await fail(one, 10, "robot", name="again")
    await alarm(one).tell()
    told = [row.event_id for row in await one.deliveries() if row.event_type == ALERT]
    assert told == ["alert-robot:kitchen-1", "alert-robot:kitchen-1-over", "alert-robot:kitchen-2"]


def test_those_of_the_store_come_before_the_default_and_tech_support_before_the_manager() -> None:
    bindings = {
        ("", Role.TECH_SUPPORT): (user("everywhere"),),
        ("s1", Role.TECH_SUPPORT): (robot("kitchen"),),
        ("", Role.MANAGER): (robot("bar"),),
    }
    failing = {"robot:kitchen"}
    assert [str(one) for one in whom(bindings, "s1", failing).targets] == ["user:everywhere"]
    told = whom(bindings, "s1", failing | {"app:default"})
    assert (told.role, [str(one) for one in told.targets]) == (Role.MANAGER, ["robot:bar"])
    assert whom(bindings, "s1", failing | {"app:default", "robot:bar"}).targets == ()
