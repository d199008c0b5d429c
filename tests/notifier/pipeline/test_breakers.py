"""A credential that fails: deliveries wait, one probe goes over all replicas, success costs nothing more."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from services.notifier.store import breakers as store
from services.notifier.store.tables import breaker
from shared.breaker import BreakerState
from shared.clock import ManualClock
from shared.db.engine import Database
from shared.db.tables import outbox
from shared.wecom.errcodes import RetryClass
from shared.wecom.outcome import Outcome, State
from tests.notifier.pipeline.bench import ACCEPTED, LEASE, STORE, Replica, arrival, robot, user

REFUSED = Outcome(State.NOT_SENT, "refused", "nobody listens", retry_class=RetryClass.RETRY)
GONE = Outcome(
    State.REJECTED_PERMANENT,
    errcode=93000,
    errmsg="invalid webhook url",
    http_status=200,
    retry_class=RetryClass.PERM_CONFIG,
)
SECOND = timedelta(seconds=1)


def answering(replica: Replica, outcome: Outcome) -> None:
    async def answer(job: Any) -> Outcome:
        return outcome

    replica.world.answer = answer


async def fail(replica: Replica, times: int, channel: str = "app", *, name: str = "bad") -> None:
    """So many deliveries fail for good, one after the other."""
    answering(replica, GONE)
    for number in range(times):
        target = user("ann") if channel == "app" else robot("kitchen")
        await replica.admit(arrival(f"{name}{number}", replica.clock.now(), target, text=f"{name}{number}"))
        await replica.claim()
        await replica.turn()


async def standing(replica: Replica, key: str = "app:default") -> Any:
    return next(row for row in await replica.rows(breaker) if row.key == key)


@pytest.fixture
def second(database: Database, manual_clock: ManualClock) -> Replica:
    """Another replica on the same database."""
    return Replica(database, manual_clock, "b")


async def test_ten_failures_in_a_row_open_it_and_deliveries_wait_without_an_attempt(replica: Replica) -> None:
    await fail(replica, 9)
    assert (await standing(replica)).state == BreakerState.CLOSED
    await fail(replica, 1, name="tenth")
    row = await standing(replica)
    assert (row.state, row.failures, row.opening, row.errcode) == ("open", 10, 1, 93000)
    assert row.retry_at == replica.clock.now() + 60 * SECOND
    assert (row.alert, row.store_id) == ("due", STORE)
    await replica.admit(arrival("e", replica.clock.now(), user("bob")))
    await replica.turn()
    await replica.claim()
    waiting = (await replica.deliveries())[-1]
    assert (waiting.status, waiting.hold_reason, waiting.attempt_no) == ("deferred", "breaker:open", 0)
    assert waiting.due_at == row.retry_at
    assert len(replica.world.sent) == 10
    announced = Counter(one.type for one in await replica.rows(outbox))
    assert announced["notifier.breaker.opened"] == 1


async def test_a_success_between_them_begins_the_count_anew(replica: Replica) -> None:
    await fail(replica, 9)
    answering(replica, ACCEPTED)
    await replica.admit(arrival("well", replica.clock.now(), user("bob")))
    await replica.turn()
    assert (await standing(replica)).failures == 0
    await fail(replica, 9, name="more")
    assert (await standing(replica)).state == "closed"


async def test_what_the_platform_says_about_one_message_opens_nothing(replica: Replica) -> None:
    about = Outcome(
        State.REJECTED_PERMANENT, errcode=81013, http_status=200, retry_class=RetryClass.PERM_TARGET
    )
    for number in range(12):
        await replica.admit(arrival(f"e{number}", replica.clock.now(), user(f"u{number}")))
    answering(replica, about)
    await replica.turn()
    assert len(replica.world.sent) == 12
    assert await replica.rows(breaker) == []


async def test_what_was_claimed_before_it_opened_goes_back_unsent(
    replica: Replica, second: Replica, manual_clock: ManualClock
) -> None:
    for number in range(3):
        await replica.admit(arrival(f"e{number}", replica.clock.now(), user(f"u{number}")))
    await fail(second, 10)
    await replica.claim()  # hears of it
    await replica.turn()
    assert replica.world.sent == []
    mine = [one for one in await replica.deliveries() if one.event_id.startswith("e")]
    assert [one.status for one in mine] == ["pending"] * 3
    manual_clock.advance(60 * SECOND)
    for _ in range(3):
        answering(replica, ACCEPTED)
        await replica.claim()
        await replica.turn()
    assert len(replica.world.sent) == 3


@pytest.mark.parametrize("channel", ["app", "robot"])
async def test_one_probe_of_all_replicas_and_its_success_lets_the_others_go(
    replica: Replica, second: Replica, manual_clock: ManualClock, channel: str
) -> None:
    await fail(replica, 10, channel)
    await replica.claim()
    await second.claim()
    manual_clock.advance(60 * SECOND)
    for number in range(6):
        target = user(f"u{number}") if channel == "app" else robot("kitchen")
        await replica.admit(arrival(f"e{number}", replica.clock.now(), target, text=str(number)))
    for each in (replica, second):
        each.world.sent.clear()
        answering(each, ACCEPTED)
    await replica.claim(3)
    await second.claim(3)
    await replica.claim(3)
    assert sum(each.senders.held for each in (replica, second)) == 1
    key = "app:default" if channel == "app" else "robot:kitchen"
    assert (await standing(replica, key)).state == "half_open"
    for each in (replica, second):
        await each.turn()
    assert (await standing(replica, key)).state == "closed"
    for _ in range(8):
        for each in (replica, second):
            await each.claim()
            await each.turn()
    assert sum(len(each.world.sent) for each in (replica, second)) == 6
    assert [one.status for one in (await replica.deliveries())[-6:]] == ["accepted"] * 6
    announced = Counter(one.type for one in await replica.rows(outbox))
    assert announced["notifier.breaker.closed"] == 1


async def test_two_replicas_that_seize_at_the_same_time_get_one_probe(
    replica: Replica, second: Replica, manual_clock: ManualClock
) -> None:
    await fail(replica, 10)
    manual_clock.advance(61 * SECOND)
    now = replica.clock.now()
    won = []
    for owner in ("one", "two", "three"):
        async with replica.database.write() as conn:
            won.append(await store.seize(conn, "app:default", owner, now + LEASE, now))
    assert won == [True, False, False]


async def test_a_probe_that_fails_waits_twice_as_long(replica: Replica, manual_clock: ManualClock) -> None:
    await fail(replica, 10)
    answering(replica, REFUSED)
    await replica.admit(arrival("e", replica.clock.now(), user("bob")))
    for wait in (60, 120, 240):
        manual_clock.advance(wait * SECOND)
        await replica.claim()
        await replica.turn()
        row = await standing(replica)
        assert (row.state, row.opening) == ("open", 1)
        assert row.retry_at == replica.clock.now() + 2 * wait * SECOND
    assert len(replica.world.sent) == 13
    assert sum(one.type == "notifier.breaker.opened" for one in await replica.rows(outbox)) == 1


async def test_a_probe_whose_holder_dies_makes_room_with_its_lease(
    replica: Replica, second: Replica, manual_clock: ManualClock
) -> None:
    await fail(replica, 10)
    manual_clock.advance(60 * SECOND)
    for number in range(2):
        await replica.admit(arrival(f"e{number}", replica.clock.now(), user(f"u{number}")))
    await replica.claim()  # and nothing is heard of it again
    await second.claim()
    assert second.senders.held == 0
    manual_clock.advance(LEASE + SECOND)
    answering(second, ACCEPTED)
    await second.claim()
    await second.turn()
    assert len(second.world.sent) == 1
    assert (await standing(second)).state == "closed"


async def test_a_probe_that_is_withdrawn_makes_room_at_once(
    replica: Replica, manual_clock: ManualClock
) -> None:
    await fail(replica, 10)
    manual_clock.advance(60 * SECOND)
    await replica.admit(arrival("e", replica.clock.now(), user("bob")))
    await replica.claim()
    replica.senders.withdraw(replica.senders.take_back(), "asked to stop")
    await replica.recorder.flush()
    row = await standing(replica)
    assert (row.state, row.probe) == ("half_open", "")
    answering(replica, ACCEPTED)
    await replica.claim()
    await replica.turn()
    assert (await standing(replica)).state == "closed"


async def test_a_repeat_that_waited_too_long_is_not_sent_a_second_time(
    replica: Replica, manual_clock: ManualClock
) -> None:
    answering(replica, Outcome(State.UNKNOWN, "http_502"))
    await replica.admit(arrival("e", replica.clock.now(), user("bob")))
    await replica.turn()
    await fail(replica, 9)
    manual_clock.advance(5 * SECOND)
    await replica.claim()
    assert (await replica.deliveries())[0].hold_reason == "breaker:open"
    manual_clock.advance(timedelta(minutes=40))
    answering(replica, ACCEPTED)
    before = len(replica.world.sent)
    await replica.claim()
    await replica.turn()
    assert (await replica.deliveries())[0].status == "unknown"
    assert len(replica.world.sent) == before


async def test_one_credential_does_not_open_anothers(replica: Replica) -> None:
    await fail(replica, 10, "robot")
    answering(replica, ACCEPTED)
    await replica.admit(arrival("e", replica.clock.now(), user("bob")))
    await replica.turn()
    assert (await replica.deliveries())[-1].status == "accepted"


async def test_successes_alone_read_and_write_nothing_of_breakers(replica: Replica) -> None:
    """Also where another credential is open: what is known to be well costs nothing."""
    await fail(replica, 10, "robot")
    answering(replica, ACCEPTED)
    spoken: list[str] = []

    def listen(conn: Any, cursor: Any, statement: str, *_: Any) -> None:
        spoken.append(statement)

    engine = replica.database._engines.writer.sync_engine
    for number in range(5):
        await replica.admit(arrival(f"e{number}", replica.clock.now(), user(f"u{number}")))
    sa.event.listen(engine, "before_cursor_execute", listen)
    try:
        await replica.turn()
    finally:
        sa.event.remove(engine, "before_cursor_execute", listen)
    assert Counter(one.status for one in await replica.deliveries())["accepted"] == 5
    assert spoken
    assert not [one for one in spoken if "breaker" in one]
    # Settled, finished, announced: three statements for the batch, as before there were breakers.
    assert len([one for one in spoken if one.split()[0] in ("UPDATE", "INSERT", "WITH", "SELECT")]) == 3


async def test_failures_of_two_replicas_add_up_and_neither_is_lost(replica: Replica, second: Replica) -> None:
    await fail(replica, 6)
    await fail(second, 4, name="more")
    row = await standing(replica)
    assert (row.state, row.failures) == ("open", 10)
