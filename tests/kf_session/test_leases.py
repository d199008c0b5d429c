"""A puller that freezes or dies between pages repeats nothing and loses nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest
import sqlalchemy as sa

from services.kf_session.assembly import LOCATIONS, NAME
from services.kf_session.domain.message import Entered, Inbound
from services.kf_session.domain.push import NewPush, Purpose
from services.kf_session.pipeline.admitting import admission
from services.kf_session.pipeline.pulling import Puller
from services.kf_session.pipeline.taking import Listeners, Taking
from services.kf_session.store.accounts import Accounts, Held
from services.kf_session.store.ledger import Standing
from services.kf_session.store.tables import account, doorbell, message, session
from shared.clock import ManualClock
from shared.db.engine import Database
from shared.db.migrate import migrate
from shared.db.tables import outbox
from shared.telemetry.metrics import Metrics
from shared.wecom.errcodes import RetryClass
from shared.wecom.kf import Page, Pulled
from shared.wecom.outcome import Outcome, State
from tests.kf_session.shop import WK, WM

LEASE = timedelta(seconds=30)


class _Secret:
    async def kf(self, name: str) -> object:
        return object()


class Scripted(Puller):
    """A puller whose platform is a list of items, a few a page; *before* is called ahead of each call's answer."""

    def __init__(self, bench: Bench, owner: str, before: Callable[[int], Any] | None = None) -> None:
        super().__init__(
            bench.database,
            bench.accounts,
            bench.taking,
            cast("Any", _Secret()),
            cast("Any", None),
            bench.clock,
            Metrics(),
            owner,
            lease=LEASE,
            poll=timedelta(seconds=60),
            jitter=lambda: 0.0,
        )
        self._bench, self._before, self.asked = bench, before, list[tuple[str, str]]()

    async def _call(self, held: Held, token: str) -> Pulled:
        self.asked.append((held.cursor, token))
        if self._before is not None:
            result = await self._before(len(self.asked))
            if result is not None:
                return cast("Pulled", result)
        at, items = int(held.cursor or 0), self._bench.items
        end = min(at + 2, len(items))
        return Pulled(Outcome(State.ACCEPTED), Page(str(end), end < len(items), tuple(items[at:end])))


class Bench:
    """A database with one account that has rung."""

    def __init__(self, database: Database, clock: ManualClock, listeners: Listeners, **more: Any) -> None:
        self.database, self.clock = database, clock
        self.accounts = Accounts(database.dialect)
        self.taking = Taking(database, listeners, **{"admit": admission(database), **more})
        self.items: list[dict[str, Any]] = []

    def say(self, number: int) -> None:
        """The customer wrote *number* messages, the last one now."""
        now = int(self.clock.now().timestamp())
        for one in range(number):
            self.items.append(
                {
                    "msgid": f"m{len(self.items)}",
                    "open_kfid": WK,
                    "external_userid": WM,
                    "send_time": now - number + one,
                    "origin": 3,
                    "msgtype": "text",
                    "text": {"content": f"{one}\0"},
                }
            )

    async def ring(self, token: str = "T") -> None:
        """A callback."""
        now = self.clock.now()
        await self.database.transact(lambda conn: self.accounts.ring(conn, WK, "s1", token, now))

    async def rows(self, table: sa.Table) -> list[Any]:
        """All of a table."""
        async with self.database.read() as conn:
            return list(await conn.execute(sa.select(table)))


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    migrate(database_url, NAME, LOCATIONS)
    opened = Database.open(database_url, schema=NAME)
    try:
        yield opened
    finally:
        await opened.close()


async def test_a_frozen_puller_that_wakes_after_its_lease_changes_nothing(
    database: Database, manual_clock: ManualClock
) -> None:
    bench = Bench(database, manual_clock, Listeners())
    bench.say(6)
    await bench.ring()
    other = Scripted(bench, "other")

    async def freeze(call: int) -> None:
        if call == 2:  # after its first page: the lease runs out, and another one reads to the end
            manual_clock.advance(LEASE + timedelta(seconds=1))
            (taken,) = await other.claim()
            assert taken.cursor == "2"
            await other.pull(taken)

    frozen = Scripted(bench, "frozen", freeze)
    (held,) = await frozen.claim()
    await frozen.pull(held)
    assert [row.msgid for row in sorted(await bench.rows(message), key=lambda row: row.msgid)] == [
        f"m{number}" for number in range(6)
    ]
    (kept,) = await bench.rows(account)
    assert (kept.cursor, kept.status, kept.lease_epoch) == ("6", "deferred", 2)
    assert [row.window_no for row in await bench.rows(session)] == [6]
    assert sum(row.type == "kf.message.received" for row in await bench.rows(outbox)) == 6
    assert await other.claim() == []


async def test_one_that_dies_between_pages_is_followed_from_the_last_page(
    database: Database, manual_clock: ManualClock
) -> None:
    bench = Bench(database, manual_clock, Listeners())
    bench.say(5)
    await bench.ring()

    async def die(call: int) -> None:
        if call == 2:
            raise RuntimeError("killed")

    dying, after = Scripted(bench, "dying", die), Scripted(bench, "after")
    (held,) = await dying.claim()
    with pytest.raises(RuntimeError):
        await dying.pull(held)
    assert len(await bench.rows(message)) == 2
    assert await after.claim() == []
    manual_clock.advance(LEASE + timedelta(seconds=1))
    (taken,) = await after.claim()
    await after.pull(taken)
    assert after.asked[0][0] == "2"
    assert len(await bench.rows(message)) == 5
    assert await bench.rows(doorbell) == []


async def test_a_listener_that_fails_undoes_the_page(database: Database, manual_clock: ManualClock) -> None:
    fails, heard = [True], list[str]()

    async def listen(conn: Any, said: Inbound, standing: Standing) -> None:
        if fails:
            fails.pop()
            raise RuntimeError("no")
        heard.append(said.msgid)
        assert (standing.store_id, standing.left) == ("s1", 5)
        assert standing.customer_at == said.sent_at

    bench = Bench(database, manual_clock, Listeners(messages=[listen]))
    bench.say(2)
    await bench.ring()
    puller = Scripted(bench, "one")
    (held,) = await puller.claim()
    with pytest.raises(RuntimeError):
        await puller.pull(held)
    assert await bench.rows(message) == []
    await puller.pull(held)
    assert heard == ["m0", "m1"]


async def test_a_ring_during_a_pull_is_served_by_another_round(
    database: Database, manual_clock: ManualClock
) -> None:
    bench = Bench(database, manual_clock, Listeners())
    bench.say(1)
    await bench.ring("T1")

    async def ring(call: int) -> None:
        if call == 1:
            await bench.ring("T2")

    puller = Scripted(bench, "one", ring)
    (held,) = await puller.claim()
    await puller.pull(held)
    assert [row.token for row in await bench.rows(doorbell)] == ["T2"]
    (again,) = await puller.claim()
    await puller.pull(again)
    assert [token for _, token in puller.asked] == ["T1", "T2"]
    assert await bench.rows(doorbell) == []


async def test_an_old_token_is_not_used_and_a_refused_one_is_left_out(
    database: Database, manual_clock: ManualClock
) -> None:
    bench = Bench(database, manual_clock, Listeners())
    await bench.ring("old")
    manual_clock.advance(timedelta(minutes=10))
    puller = Scripted(bench, "one")
    (held,) = await puller.claim()
    await puller.pull(held)
    assert puller.asked == [("", "")]

    async def refuse(call: int) -> Pulled | None:
        refused = Outcome(State.REJECTED_PERMANENT, errcode=95007, retry_class=RetryClass.PERM_INPUT)
        return Pulled(refused) if call == 1 else None

    await bench.ring("new")
    puller = Scripted(bench, "two", refuse)
    (held,) = await puller.claim()
    await puller.pull(held)
    assert [token for _, token in puller.asked] == ["new", ""]


async def test_what_nobody_can_read_is_left_out_and_the_rest_is_taken(
    database: Database, manual_clock: ManualClock
) -> None:
    bench = Bench(database, manual_clock, Listeners())
    bench.say(1)
    good = bench.items[0]
    bench.items += [
        cast("Any", None),
        {},
        {**good, "msgid": "x1", "msgtype": 7},
        {**good, "msgid": "x2", "send_time": "soon"},
        {**good, "msgid": "x3", "open_kfid": "wk9"},
        {**good, "msgid": "x4", "origin": 9},
        {**good, "msgid": "x5", "external_userid": ""},
        {**good, "msgid": "later", "send_time": 2**31},
    ]
    await bench.ring()
    puller = Scripted(bench, "one")
    (held,) = await puller.claim()
    await puller.pull(held)
    assert {row.msgid for row in await bench.rows(message)} == {"m0", "later"}
    (kept,) = await bench.rows(session)
    assert kept.customer_at <= manual_clock.now()


async def test_who_enters_is_greeted_once_and_heard_of(database: Database, manual_clock: ManualClock) -> None:
    admitted, entered = list[NewPush](), list[Entered]()

    async def admit(conn: Any, new: NewPush, now: Any) -> str:
        admitted.append(new)
        return "p1"

    async def enter(conn: Any, who: Entered) -> None:
        entered.append(who)

    bench = Bench(database, manual_clock, Listeners(entries=[enter]), admit=admit, welcome="欢迎光临")
    event = {"event_type": "enter_session", "open_kfid": WK, "external_userid": WM, "scene": "door"}
    at = int(manual_clock.now().timestamp())
    item = {"msgid": "e1", "origin": 4, "msgtype": "event", "send_time": at}
    bench.items = [
        {**item, "event": {**event, "welcome_code": "CODE"}},
        {**item, "msgid": "e2", "send_time": at - 30, "event": {**event, "welcome_code": "LATE"}},
    ]
    await bench.ring()
    puller = Scripted(bench, "one")
    (held,) = await puller.claim()
    await puller.pull(held)
    assert [one.scene for one in entered] == ["door", "door"]
    (new,) = admitted
    assert (new.purpose, new.content["text"]) == (Purpose.WELCOME, {"content": "欢迎光临"})
    assert new.code_id is not None
    async with database.write() as conn:
        await bench.taking.take(conn, replace(held, cursor="2"), bench.items, manual_clock.now())
    assert len(admitted) == 1


async def test_a_clock_that_goes_back_two_hours_does_not_silence_the_poll(
    database: Database, manual_clock: ManualClock
) -> None:
    bench = Bench(database, manual_clock, Listeners())
    await bench.ring()
    puller = Scripted(bench, "one")
    manual_clock.advance(timedelta(hours=2))
    (held,) = await puller.claim()
    await puller.pull(held)
    manual_clock.advance(timedelta(hours=-2))
    bench.say(1)  # and no callback tells of it
    (held,) = await puller.claim()
    await puller.pull(held)
    assert [row.msgid for row in await bench.rows(message)] == ["m0"]
    assert await puller.claim() == []
    manual_clock.advance(timedelta(seconds=61))
    assert len(await puller.claim()) == 1


async def test_an_account_in_dead_hands_is_followed_within_a_lease_though_the_clock_has_gone_back(
    database: Database, manual_clock: ManualClock
) -> None:
    bench = Bench(database, manual_clock, Listeners())
    bench.say(2)
    await bench.ring()
    dead, after = Scripted(bench, "dead"), Scripted(bench, "after")
    manual_clock.advance(timedelta(hours=2))
    assert len(await dead.claim()) == 1  # and it dies
    manual_clock.advance(timedelta(hours=-2))
    assert await after.claim() == []
    manual_clock.advance(LEASE + timedelta(seconds=1))
    (held,) = await after.claim()
    await after.pull(held)
    assert {row.msgid for row in await bench.rows(message)} == {"m0", "m1"}


async def test_with_our_clock_two_hours_slow_a_word_opens_a_window_and_a_session_that_ended_is_over(
    database: Database, manual_clock: ManualClock
) -> None:
    bench = Bench(database, manual_clock, Listeners())
    bench.say(1)
    taken = bench.items[0]
    at, event = taken["send_time"], {"open_kfid": WK, "external_userid": WM}
    moved = {"msgtype": "event", "origin": 4, "send_time": at + 60}
    change = {"event_type": "session_status_change", **event}
    bench.items += [
        {**moved, "msgid": "e1", "event": {**change, "change_type": 1, "new_servicer_userid": "ann"}},
        {
            **moved,
            "msgid": "e2",
            "send_time": at + 120,
            "event": {**change, "change_type": 3, "old_servicer_userid": "ann"},
        },
        {**taken, "msgid": "later", "send_time": at + 180},
    ]
    manual_clock.advance(timedelta(hours=-2))
    await bench.ring()
    puller = Scripted(bench, "one")
    (held,) = await puller.claim()
    await puller.pull(held)
    (kept,) = await bench.rows(session)
    assert (kept.window_no, kept.customer_msgid, kept.state, kept.servicer_userid) == (2, "later", 0, "")
    assert kept.customer_at.timestamp() == at + 180
