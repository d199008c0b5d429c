"""What policies do to deliveries that wait, and to those that wait behind them."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.domain.gates import Way
from services.notifier.domain.merging import Bin, BinState, Fate, MergeMode, Merging, arrive
from services.notifier.domain.policy import Budget, Excess, Policy, next_midnight, subject_of
from services.notifier.pipeline.limits import Rates
from services.notifier.pipeline.waiting import Settling
from services.notifier.store import bins, breakers, reading
from services.notifier.store.tables import bin_, bin_item
from services.notifier.store.work import GATHERING, NewWork
from services.notifier.usecases.deliveries import Deliveries
from services.notifier.usecases.pushes import Pushes
from shared.clock import ManualClock
from shared.db.engine import Database
from shared.db.faults import Raced
from shared.db.once import Once
from shared.errors import Conflict, Overtaken
from shared.quiet import QuietHours, QuietMode, Window
from shared.rpc.principal import LOCAL_OPERATOR, acting_as
from shared.settings import Limits
from tests.notifier.pipeline.bench import STORE, Replica, World, audit_log, user
from tests.notifier.pipeline.kinds import MINUTE, brought, furnish, say
from tests.notifier.pipeline.test_breakers import fail

ANN = subject_of(user("ann"))
_WAITING = sa.text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


@pytest.fixture
async def busy(database: Database, manual_clock: ManualClock) -> Replica:
    """A replica with rules of every kind."""
    await furnish(database)
    return Replica(database, manual_clock)


async def bring(replica: Replica, *events: tuple[str, str, str]) -> None:
    """Admit (id, kind, readers)."""
    now = replica.clock.now()
    await replica.admit(*(brought(key, kind, who, now) for key, kind, who in events))


async def go(replica: Replica) -> None:
    """Send what is due."""
    await replica.claim()
    await replica.turn()


def said(replica: Replica) -> list[tuple[str, ...]]:
    """Whom each message that left was for."""
    return [tuple(target.id for target in job.targets) for job in replica.world.sent]


async def test_a_digest_that_a_budget_drops_takes_nothing_more_in(
    busy: Replica, manual_clock: ManualClock
) -> None:
    budget = Budget(1, timedelta(hours=1), Excess.DROP)
    await say(busy.database, Policy("", ANN, budgets=(budget,)))
    await bring(busy, ("first", "plain", "ann"), ("gathers", "window", "ann"))
    await busy.turn()
    manual_clock.advance(2 * MINUTE)
    await go(busy)
    (dropped,) = [one for one in await busy.deliveries() if one.event_id == "gathers"]
    assert (dropped.status, dropped.reason) == ("suppressed", f"budget:1/1h:{ANN}")
    manual_clock.advance(timedelta(hours=2))
    await bring(busy, ("later", "window", "ann"))
    manual_clock.advance(2 * MINUTE)
    await go(busy)
    assert [job.event_id for job in busy.world.sent] == ["first", "later"]


async def test_of_several_readers_only_those_whose_budget_wants_it_get_nothing(
    busy: Replica, manual_clock: ManualClock
) -> None:
    budget = Budget(1, timedelta(hours=1), Excess.DROP)
    await say(busy.database, Policy("", ANN, budgets=(budget,)))
    await bring(busy, ("first", "plain", "ann"), ("gathers", "window", "both"))
    await bring(busy, ("too", "window", "both"))
    await busy.turn()
    manual_clock.advance(2 * MINUTE)
    await go(busy)
    manual_clock.advance(timedelta(hours=3))
    await go(busy)
    assert said(busy) == [("ann",), ("bob",)]
    whose = {one.target: one.delivery_id for one in await busy.recipients() if one.event_id == "gathers"}
    status = {one.id: (one.status, one.reason) for one in await busy.deliveries()}
    assert status[whose["ann"]] == ("suppressed", f"budget:1/1h:{ANN}")
    assert status[whose["bob"]] == ("accepted", "")
    items = Counter(one.delivery_id for one in await busy.rows(bin_item))
    assert items == {whose["ann"]: 2, whose["bob"]: 2}


async def test_of_two_full_budgets_neither_holds_for_longer_than_it_lasts(busy: Replica) -> None:
    day = (Budget(1, MINUTE), Budget(1, None))
    for budgets in (day, day[::-1]):
        await say(busy.database, Policy("", ANN, budgets=budgets))
        key = f"{budgets[0].name}"
        await bring(busy, (f"{key} first", "plain", "ann"), (f"{key} second", "plain", "ann"))
        await busy.turn()
        (held,) = [one for one in await busy.deliveries() if one.event_id == f"{key} second"]
        assert held.due_at == next_midnight(busy.clock.now(), busy.books.zone)
        assert held.hold_reason == f"budget:1/day:{ANN}"


async def test_a_full_budget_that_wants_nothing_kept_is_not_outdone_by_one_that_does(busy: Replica) -> None:
    budgets = (Budget(1, MINUTE), Budget(1, None, Excess.DROP))
    await say(busy.database, Policy("", ANN, budgets=budgets))
    await bring(busy, ("first", "plain", "ann"), ("second", "plain", "ann"))
    (held,) = [one for one in await busy.deliveries() if one.event_id == "second"]
    assert (held.status, held.reason) == ("suppressed", f"budget:1/day:{ANN}")


@pytest.mark.parametrize(
    "policy",
    [
        Policy("", "", quiet=QuietHours((Window(time(12, 1), time(20)),))),
        Policy("", "", budgets=(Budget(1, None),)),
    ],
    ids=["quiet", "budget"],
)
async def test_an_urgent_post_is_not_kept_by_what_is_kept_in_its_robots_lane(
    busy: Replica, manual_clock: ManualClock, policy: Policy
) -> None:
    await say(busy.database, policy)
    await bring(busy, ("first", "plain", "hall"), ("second", "plain", "hall"))
    if policy.budgets:
        await go(busy)
    manual_clock.advance(2 * MINUTE)
    await go(busy)
    sent = len(busy.world.sent)
    manual_clock.advance(timedelta(hours=2))
    await bring(busy, ("fire", "alarm", "hall"))
    for _ in range(2):  # what was behind the first in the lane is found to be kept as well
        await go(busy)
    assert [job.event_id for job in busy.world.sent[sent:]] == ["fire"]


def test_what_a_budget_counts_is_shown_with_the_budgets_own_limit(manual_clock: ManualClock) -> None:
    rates, now = Rates.of(Limits()), manual_clock.now()
    for per, shown in (
        (timedelta(seconds=90), timedelta(seconds=90)),
        (timedelta(minutes=10), timedelta(minutes=10)),
        (timedelta(hours=24), timedelta(hours=24)),
        (None, timedelta(days=1)),
    ):
        key, (limit,) = Budget(30, per).window("everybody>user:a:b@default", now, ZoneInfo("Asia/Shanghai"))
        (found,) = rates.limits_of(key)
        assert (found.name, found.max, found.per) == (limit.name, 30, shown)


def test_a_cool_down_lasts_no_longer_than_the_rule_says_now() -> None:
    now = datetime(2026, 3, 2, tzinfo=UTC)
    state = BinState(None, now + timedelta(hours=20))
    assert arrive(Bin("k", None, MINUTE, cools=True), state, now) == (Fate.OPEN, now + MINUTE)


async def blocked(database: Database) -> None:
    """Wait until somebody waits for a row on PostgreSQL."""
    async with asyncio.timeout(10):
        while True:
            async with (
                database.read() as conn
            ):  # anew each time: a transaction sees the activity of its beginning
                if (await conn.execute(_WAITING)).scalar_one():
                    return
            await asyncio.sleep(0.01)


async def test_an_old_bin_in_which_somebody_begins_to_gather_is_not_forgotten(
    database: Database, manual_clock: ManualClock
) -> None:
    old, now = manual_clock.now(), manual_clock.now() + timedelta(days=90)
    async with database.write() as conn:
        await bins.hold(conn, {"k"}, old)
    if database.dialect == "sqlite":
        pytest.skip("writers take turns")

    async def forget() -> int:
        return await database.transact(lambda conn: bins.purge(conn, now - timedelta(days=30), 10))

    async with database.write() as conn:
        await bins.hold(conn, {"k"}, now)
        await bins.write(conn, {"k": bins.Changed(BinState("d", None), timedelta(0))}, now)
        forgetting = asyncio.create_task(forget())
        await blocked(database)
    assert await forgetting == 0
    async with database.read() as conn:
        assert len((await conn.execute(bin_.select())).all()) == 1


@pytest.fixture
async def neighbour(database: Database, database_url: str, busy: Replica) -> AsyncIterator[Replica]:
    """Another replica, with connections of its own."""
    opened = Database.open(database_url, schema="public")
    yield Replica(opened, busy.clock, "b")
    await opened.close()


async def test_of_racing_admissions_claims_and_second_thoughts_each_event_is_in_one_message(
    busy: Replica, neighbour: Replica, manual_clock: ManualClock
) -> None:
    changes = Deliveries(
        busy.database, Settling(busy.database), audit_log(busy.database.dialect), manual_clock
    )

    async def cancel_one() -> None:
        waiting = [one for one in await busy.deliveries() if one.status == "deferred"]
        for one in waiting[:1]:
            with contextlib.suppress(Conflict, Overtaken):
                await changes.cancel(one.id, None, once=Once(STORE, "", "", ""))

    async def tidy() -> None:
        before = manual_clock.now() + timedelta(days=1)
        await busy.database.transact(lambda conn: bins.purge(conn, before, 100))

    kinds = [("window", "both"), ("cool", "mix"), ("window", "hall"), ("plain", "ann")]
    number = 0
    with acting_as(LOCAL_OPERATOR):
        for round_ in range(12):
            work = []
            for at, replica in enumerate((busy, neighbour)):
                events = [(f"e{number + n}", *kinds[(at + n + round_) % len(kinds)]) for n in range(6)]
                number += 6
                work += [bring(replica, *events[:3]), replica.claim(), bring(replica, *events[3:])]
            await asyncio.gather(*work, cancel_one(), tidy())
            manual_clock.advance(timedelta(seconds=25))
            await asyncio.gather(busy.turn(), neighbour.turn())
    for _ in range(6):
        manual_clock.advance(2 * MINUTE)
        for replica in (busy, neighbour):
            await go(replica)
    readers: dict[str, set[str]] = defaultdict(set)
    told: Counter[tuple[str, str]] = Counter()
    for one in await busy.recipients():
        readers[one.delivery_id].add(one.target)
    items = {(one.delivery_id, one.event_id) for one in await busy.rows(bin_item)}
    firsts = {(one.delivery_id, one.event_id) for one in await busy.recipients()}
    for delivery_id, event_id in items | firsts:
        told.update((event_id, target) for target in readers[delivery_id])
    assert len({event_id for event_id, _ in told}) == number
    assert set(told.values()) == {1}
    deliveries = await busy.deliveries()
    assert {one.status for one in deliveries} <= {"accepted", "cancelled"}
    for one in deliveries:
        gathered = sum(key == one.id for key, _ in items)
        if one.status == "accepted" and gathered > 1:
            assert f"：共 {gathered} 条（" in one.content["text"]
    sent = Counter(job.delivery_id for replica in (busy, neighbour) for job in replica.world.sent)
    assert sent == Counter(one.id for one in deliveries if one.status == "accepted")


async def test_a_transaction_that_lost_a_race_leaves_nothing_of_its_first_turn(
    busy: Replica, manual_clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await say(busy.database, Policy("", ANN, budgets=(Budget(2, timedelta(hours=1)),)))
    turns = []
    insert = busy.work.insert

    async def lost(conn: AsyncConnection, new: NewWork) -> None:
        await insert(conn, new)
        turns.append(len(new.deliveries))
        if len(turns) % 2:
            raise Raced("40001", "somebody else won")

    monkeypatch.setattr(busy.work, "insert", lost)
    await bring(busy, ("a", "plain", "both"), ("b", "window", "both"), ("c", "window", "both"))
    await busy.turn()
    assert turns == [2, 2]
    assert said(busy) == [("ann", "bob")]
    manual_clock.advance(2 * MINUTE)
    await go(busy)
    assert said(busy) == [("ann", "bob"), ("ann", "bob")]
    assert "：共 2 条（" in busy.world.sent[1].content.text


async def test_a_digest_that_is_due_in_quiet_hours_goes_on_gathering_until_they_end(
    busy: Replica, manual_clock: ManualClock
) -> None:
    await bring(busy, ("a", "window", "ann"))
    quiet = QuietHours((Window(time(12, 1), time(12, 30)),))
    await say(busy.database, Policy("", "role:manager", quiet=quiet))
    manual_clock.advance(timedelta(seconds=59))
    await bring(busy, ("b", "window", "ann"))
    manual_clock.advance(2 * MINUTE)
    await go(busy)
    assert said(busy) == []
    manual_clock.advance(timedelta(minutes=28))
    await go(busy)
    (job,) = busy.world.sent
    assert "：共 2 条（" in job.content.text


async def test_what_a_calendar_day_has_no_room_for_goes_after_midnight(
    busy: Replica, manual_clock: ManualClock
) -> None:
    circles = {frozenset({"7", "bob"}), frozenset({"hall"})}
    await say(busy.database, Policy("", "role:front_desk", budgets=(Budget(1, None),)))
    manual_clock.advance(timedelta(hours=11, minutes=59, seconds=59))
    await bring(busy, ("a", "plain", "mix"), ("b", "plain", "mix"))
    for _ in range(3):
        await go(busy)
    assert {frozenset(one) for one in said(busy)} == circles
    manual_clock.advance(timedelta(seconds=1))
    for _ in range(3):
        await go(busy)
    assert {frozenset(one) for one in said(busy)[2:]} == circles
    await bring(busy, ("c", "plain", "mix"))
    await go(busy)
    assert len(said(busy)) == 4


QUIET_NOW = (Window(time(11), time(13)),)
SAYING: dict[str, Policy | None] = {
    "nothing": None,
    "hold": Policy("", "", quiet=QuietHours(QUIET_NOW)),
    "digest": Policy("", "", quiet=QuietHours(QUIET_NOW, QuietMode.DIGEST)),
    "drop": Policy("", "", quiet=QuietHours(QUIET_NOW, QuietMode.DROP)),
    "full": Policy("", "", budgets=(Budget(1, MINUTE), Budget(1, None))),
    "full drop": Policy("", "", budgets=(Budget(1, MINUTE, Excess.DROP),)),
    "merge": Policy("", "", merging=Merging(MergeMode.WINDOW, MINUTE)),
}


@pytest.mark.parametrize("saying", SAYING)
async def test_a_preview_says_what_then_becomes_of_the_event(busy: Replica, saying: str) -> None:
    policy = SAYING[saying]
    if policy is not None:
        await say(busy.database, policy)
    await bring(busy, ("before", "high", "ann"))
    unused: Any = None
    pushes = Pushes(busy.database, unused, unused, busy.books, busy.rates, busy.clock, {})
    for kind in ("alarm", "plain", "alone", "window"):
        shown = await pushes.preview(f"test.{kind}.ann", {"text": "x"}, store_id=STORE)
        await bring(busy, (kind, kind, "ann"))
        at = {row.event_id: row.delivery_id for row in await busy.recipients()}
        at |= {row.event_id: row.delivery_id for row in await busy.rows(bin_item)}
        (one,) = [row for row in await busy.deliveries() if row.id == at[kind]]
        (call,) = shown.calls
        held = (one.hold_reason or one.reason).partition(":")[0]
        assert call.held_by == held
        ways = [note.way for note in call.gates if note.way is not Way.GO]
        assert (Way.GATHER in ways) == (GATHERING in one.content)
        if GATHERING not in one.content:
            assert (Way.DROP in ways) == (one.status == "suppressed")
            assert call.earliest_at == (one.due_at if one.status == "deferred" else None)


async def test_a_digest_that_was_to_be_the_probe_and_came_too_late_is_still_whole(
    busy: Replica, manual_clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where some of its readers had to wait: what is left to them is not parted from what was gathered."""
    await fail(busy, 10)
    await bring(busy, ("a", "window", "both"), ("b", "window", "both"))
    await say(busy.database, Policy("", ANN, quiet=QuietHours((Window(time(12, 1), time(12, 30)),))))
    manual_clock.advance(2 * MINUTE)
    busy.world = busy.senders._channels = World()

    async def late(*_: Any) -> bool:
        return False

    with monkeypatch.context() as patched:
        patched.setattr(breakers, "seize", late)
        await busy.claim()
        assert busy.senders.held == 0
    for _ in range(3):
        await go(busy)
    manual_clock.advance(timedelta(minutes=30))
    for _ in range(3):
        await go(busy)
    told = {target.id: job.content.text for job in busy.world.sent for target in job.targets}
    assert set(told) == {"ann", "bob"}
    assert all("：共 2 条（" in text for text in told.values()), told


HALF_AN_HOUR = Policy("", ANN, quiet=QuietHours((Window(time(12, 1), time(12, 30)),)))
HOURLY = Policy("", ANN, budgets=(Budget(1, timedelta(hours=1)),))


@pytest.mark.parametrize(
    ("policy", "events"),
    [
        (HALF_AN_HOUR, [("gathers", "window", "ann")]),
        (HALF_AN_HOUR, [("parted", "window", "both")]),
        (HOURLY, [("first", "plain", "ann"), ("held", "plain", "ann")]),
        (HOURLY, [("first", "plain", "ann"), ("gathers", "window", "ann")]),
        (HOURLY, [("first", "plain", "ann"), ("parted", "window", "both")]),
    ],
    ids=["quiet", "quiet for some", "budget", "budget of a digest", "budget of some"],
)
async def test_what_operators_hold_back_may_go_from_when_they_let_it(
    busy: Replica, manual_clock: ManualClock, policy: Policy, events: list[tuple[str, str, str]]
) -> None:
    """Whenever they come to hold it: latencies are counted from there, and tell nothing of a night."""
    if policy is HOURLY:
        await say(busy.database, policy)
    await bring(busy, *events)
    await say(busy.database, policy)  # quiet hours are found when it comes to go
    await busy.turn()
    manual_clock.advance(61 * timedelta(seconds=1))
    await go(busy)
    (held,) = [one for one in await busy.deliveries() if one.status == "deferred"]
    assert held.hold_reason in ("quiet_hours", f"budget:1/1h:{ANN}")
    assert held.go_at == held.due_at
    manual_clock.advance(timedelta(hours=2))
    await go(busy)
    (sent,) = [one for one in await busy.deliveries() if one.id == held.id]
    assert (sent.status, sent.go_at) == ("accepted", held.go_at)


async def test_what_a_person_was_told_of_in_a_digest_is_among_what_they_were_told(
    busy: Replica, manual_clock: ManualClock
) -> None:
    await bring(busy, ("a", "window", "ann"), ("b", "window", "ann"), ("c", "window", "both"))
    await bring(busy, ("d", "window", "hall"), ("e", "plain", "ann"))
    await busy.turn()
    manual_clock.advance(2 * MINUTE)
    await go(busy)
    now = manual_clock.now()
    async with busy.database.read() as conn:
        for who, events in {"ann": "abce", "bob": "c"}.items():
            period = (now - timedelta(hours=1), now)
            found = await reading.events_of_target(conn, user(who), *period, frozenset({STORE}), 100)
            assert sorted(found) == [(STORE, event) for event in events]
            assert not await reading.events_of_target(conn, user(who), *period, frozenset({"another"}), 100)
