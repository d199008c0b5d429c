"""What customers do after a push is recorded once, for the right push, and counted from the rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from services.kf_session.domain.effects import Group, rate
from services.kf_session.domain.message import Entered
from services.kf_session.domain.push import Item
from services.kf_session.pipeline.effects import Effects
from services.kf_session.store import effects as store
from services.kf_session.store.effects import Counts, Selection
from services.kf_session.store.learning_tables import effect
from services.kf_session.store.tables import preference, push
from shared.clock import ManualClock
from tests.kf_session.learning_support import (
    KEY,
    STORE,
    add_match,
    add_push,
    add_session,
    heard,
    opened,
    wrote,
)

NOON = datetime(2026, 3, 2, 4, tzinfo=UTC)
HOUR = timedelta(hours=1)
MENU = {
    "msgtype": "msgmenu",
    "msgmenu": {
        "head_content": "h",
        "list": [{"type": "click", "click": {"id": "details:m1", "content": "c"}}],
    },
}


class Bench:
    def __init__(self, database):
        self.database = database
        self.effects = Effects(database.dialect, ManualClock(NOON), timedelta(hours=24))

    async def push(self, ident, at, *items, **other):
        async with self.database.write() as conn:
            await add_push(conn, ident, at, *items, accepted_at=at, **{"status": "accepted", **other})

    async def wrote(self, at, **words):
        await heard(self.database, self.effects.listen, wrote(at, **words))

    async def entered(self, param, at, customer=KEY.external_userid):
        come = Entered(KEY.open_kfid, customer, STORE, "s", param, at)
        async with self.database.write() as conn:
            await self.effects.entered(conn, come)

    async def kept(self):
        async with self.database.read() as conn:
            query = sa.select(effect.c.push_id, effect.c.kind).order_by(effect.c.push_id, effect.c.kind)
            return [tuple(row) for row in (await conn.execute(query)).all()]

    async def counts(self, *groups, **other):
        async with self.database.read() as conn:
            wanted = Selection({STORE}, NOON - 9 * HOUR, NOON + 99 * HOUR, groups, **other)
            return await store.count(conn, wanted, 100)


@pytest.fixture
async def bench(database_url):
    async with opened(database_url) as database:
        async with database.write() as conn:
            await add_session(conn, NOON)
            for ident, intent_id in (("m1", "i1"), ("m2", "i2"), ("m3", "i1")):
                await add_match(conn, ident, intent_id, NOON)
        yield Bench(database)


async def test_a_message_is_a_reply_to_the_last_push_before_it_and_once(bench):
    await bench.push("p1", NOON)
    await bench.push("p2", NOON + HOUR)
    await bench.push("p3", NOON + 3 * HOUR)
    await bench.wrote(NOON + 2 * HOUR)
    await bench.wrote(NOON + 2.5 * HOUR)
    assert await bench.kept() == [("p2", "reply")]


async def test_nothing_counts_after_the_window(bench):
    await bench.push("p1", NOON)
    await bench.wrote(NOON + 24 * HOUR)
    await bench.entered("push:p1", NOON + 24 * HOUR)
    assert await bench.kept() == []


async def test_what_is_answered_or_greeted_wants_no_effect(bench):
    await bench.push("p1", NOON, purpose="reply")
    await bench.wrote(NOON + HOUR)
    assert await bench.kept() == []


async def test_a_tap_counts_for_the_push_whose_menu_it_is(bench):
    await bench.push("p1", NOON, content=MENU)
    await bench.push("p2", NOON + HOUR)
    await bench.wrote(NOON + 2 * HOUR, menu="details:m1")
    assert await bench.kept() == [("p1", "menu_click")]


async def test_entering_by_a_push_counts_for_whom_it_was_sent_to(bench):
    await bench.push("p1", NOON, Item("m1", "l", "d"))
    await bench.entered("push:p1", NOON + HOUR, customer="somebody-else")
    await bench.entered("elsewhere", NOON + HOUR)
    assert await bench.kept() == []
    await bench.entered("item:m1", NOON + HOUR)
    assert await bench.kept() == [("p1", "miniprogram_enter")]


async def test_who_unsubscribes_by_a_message_does_so_after_the_last_push(bench):
    await bench.push("p1", NOON)
    async with bench.database.write() as conn:  # as the router of replies does before this listener
        values = {"spec": {}, "unsubscribed_at": NOON + HOUR, "updated_at": NOON, "updated_by": ""}
        await conn.execute(
            sa.insert(preference).values(store_id=STORE, external_userid=KEY.external_userid, **values)
        )
    await bench.wrote(NOON + HOUR, text="退订")
    assert await bench.kept() == [("p1", "reply"), ("p1", "unsubscribed")]


async def test_a_push_that_failed_late_leaves_the_counts(bench):
    await bench.push("p1", NOON, template_id="t", template_version=1)
    await bench.push("p2", NOON + HOUR, template_id="t", template_version=2)
    await bench.wrote(NOON + 2 * HOUR)
    assert [(told[Group.VERSION], got) for told, got in await bench.counts(Group.VERSION)] == [
        (1, Counts(pushes=1, sent=1)),
        (2, Counts(pushes=1, sent=1, replied=1, engaged=1)),
    ]
    async with bench.database.write() as conn:
        await conn.execute(sa.update(push).where(push.c.id == "p2").values(fail_type=10))
    assert (await bench.counts(Group.VERSION))[1][1] == Counts(pushes=1, failed=1, late_failed=1)


async def test_figures_are_told_apart_by_what_is_asked(bench):
    await bench.push(
        "p1", NOON, Item("m1", "l", "d"), Item("m2", "l", "d"), Item("m3", "l", "d"), variant="a"
    )
    await bench.push("p2", NOON + HOUR, Item("m2", "l", "d"), variant="b", purpose="summary", content=MENU)
    await bench.push("p3", NOON, purpose="welcome")
    await bench.wrote(NOON + 2 * HOUR, menu="details:m1")
    assert [(told, got.sent, got.clicked) for told, got in await bench.counts(Group.INTENT)] == [
        ({Group.INTENT: "i1"}, 1, 0),
        ({Group.INTENT: "i2"}, 2, 1),
    ]
    assert [(told[Group.PURPOSE], got.sent) for told, got in await bench.counts(Group.PURPOSE)] == [
        ("match", 1),
        ("summary", 1),
    ]
    assert [got.sent for _, got in await bench.counts(intent_ids=["i1"])] == [1]
    assert [got.sent for _, got in await bench.counts(variants=["b"])] == [1]


async def test_nothing_sent_is_a_row_of_nothing(bench):
    assert await bench.counts() == [({}, Counts())]


@given(st.integers(0, 500), st.integers(1, 500))
def test_a_rate_lies_within_its_interval(count, of):
    found = rate(min(count, of), of)
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_the_interval_is_wilsons():
    found = rate(8, 10)
    assert (round(found.low, 3), round(found.high, 3)) == (0.490, 0.943)
    assert rate(0, 0) is None
