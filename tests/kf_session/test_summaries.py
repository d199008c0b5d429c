"""The daily summary: once a day, whatever dies, however many replicas, and only where it may go."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from services.kf_session.domain.daily import Wish
from services.kf_session.domain.push import Item
from services.kf_session.domain.rendering import Rendered
from services.kf_session.pipeline.summaries import Summaries
from services.kf_session.pipeline.untold import Untold
from services.kf_session.store import summaries as store
from services.kf_session.store.learning_tables import summary_day, summary_schedule
from services.kf_session.store.matching_tables import match
from services.kf_session.store.tables import push, push_attempt, push_item, push_note, session
from shared.clock import ManualClock
from shared.db.tables import outbox
from shared.errors import Invalid
from tests.kf_session.learning_support import (
    KEY,
    STORE,
    add_match,
    add_push,
    add_session,
    admit,
    heard,
    opened,
    wrote,
)

EVENING = datetime(2026, 3, 2, 12, tzinfo=UTC)  # 20:00 in Shanghai
NINE = datetime(2026, 3, 3, 1, tzinfo=UTC)
SHANGHAI = ZoneInfo("Asia/Shanghai")


class Bench:
    """Replicas that share rows and a clock."""

    def __init__(self, database):
        self.database = database
        self.clock = ManualClock(EVENING)
        self.wish = Wish(SHANGHAI)
        self.refuse = False

    def replica(self):
        async def wishes(conn, store_id, customer):
            return self.wish

        async def words(conn, store_id, customer, items):
            if self.refuse:
                raise Invalid.field("content", "cannot be said")
            text = "\n".join(one.line for one in items)
            return Rendered({"msgtype": "text", "text": {"content": text}}, "default", 1)

        return Summaries(self.database, self.clock, wishes=wishes, words=words, admit=admit, unsent=Untold())

    async def at(self, instant):
        self.clock.advance(instant - self.clock.now())

    async def rows(self, query):
        async with self.database.read() as conn:
            return (await conn.execute(query)).all()

    async def summaries(self):
        return await self.rows(sa.select(push).where(push.c.purpose == "summary"))

    async def outcomes(self):
        return [row.outcome for row in await self.rows(sa.select(summary_day).order_by(summary_day.c.day))]

    async def rewrote(self, at):
        async with self.database.write() as conn:
            await conn.execute(sa.update(session).values(customer_at=at))


@pytest.fixture
async def bench(database_url):
    async with opened(database_url) as database:
        made = Bench(database)
        async with database.write() as conn:
            await add_session(conn, EVENING)
            await add_push(conn, "p1", EVENING, Item("m1", "张三 80%", "a", 0.8))
            await add_push(conn, "p2", EVENING, Item("m2", "李四 90%", "b", 0.9), status="deferred")
        await heard(database, made.replica().listen, wrote(EVENING))
        yield made


async def test_at_nine_what_waits_is_told_in_one_message(bench):
    async with bench.database.write() as conn:
        await add_match(conn, "m3", "i1", EVENING, unpushed_reason="no_session")
        await add_match(conn, "m4", "by-hand", EVENING)
        await add_match(
            conn, "m5", "elsewhere", EVENING, unpushed_reason="no_session", open_kfid="kf-2", score=1.0
        )
    await bench.at(NINE - timedelta(seconds=1))
    assert await bench.replica().make_due() == 0
    await bench.at(NINE)
    await bench.replica().make_due()
    (made,) = await bench.summaries()
    assert made.dedupe_key == "summary:kf-1:wm-1:2026-03-03"
    assert (
        made.content["text"]["content"]
        == "李四 90%\n【张三】符合您的意图【寻找AI合作伙伴】 匹配度：85%\n张三 80%"
    )
    assert (made.template_id, made.template_version, made.score) == ("default", 1, 0.9)
    items = await bench.rows(sa.select(push_item.c.item_id).where(push_item.c.push_id == made.id))
    assert len(items) == 3
    told = await bench.rows(sa.select(match.c.id).where(match.c.push_id == made.id))
    assert told == [("m3",)]
    merged = await bench.rows(sa.select(push.c.id, push.c.merged_into).where(push.c.status == "suppressed"))
    assert sorted(merged) == [("p1", made.id), ("p2", made.id)]
    notes = await bench.rows(sa.select(push_note))
    assert {(one.push_id, one.verdict, one.reason, one.facts["into"]) for one in notes} == {
        (waited, "merge", "in_summary", made.id) for waited in ("p1", "p2")
    }
    announced = await bench.rows(sa.select(outbox.c.type))
    assert announced == [("kf.push.suppressed",)] * 2


async def test_what_was_never_to_be_pushed_does_not_crowd_out_what_was(bench):
    async with bench.database.write() as conn:
        for number in range(60):
            await add_match(conn, f"h{number:02}", f"by-hand-{number}", EVENING, score=0.99)
        await add_match(conn, "m3", "i1", EVENING, unpushed_reason="no_session")
    await bench.at(NINE)
    await bench.replica().make_due()
    told = await bench.rows(sa.select(match.c.id).where(match.c.push_id.is_not(None)))
    assert told == [("m3",)]


async def test_what_may_have_arrived_is_not_told_again_and_keeps_its_credit(bench):
    async with bench.database.write() as conn:
        await add_push(conn, "p3", EVENING, Item("m3", "王五 99%", "c", 0.99), status="deferred")
        tried = {"epoch": 1, "http_status": 0, "detail": "", "owner": "a", "started_at": EVENING}
        await conn.execute(
            sa.insert(push_attempt).values(push_id="p3", attempt_no=1, state="unknown", **tried)
        )
    await bench.at(NINE)
    await bench.replica().make_due()
    (made,) = await bench.summaries()
    assert made.content["text"]["content"] == "李四 90%\n张三 80%"
    assert await bench.rows(sa.select(push.c.status, push.c.merged_into).where(push.c.id == "p3")) == [
        ("deferred", None)
    ]


async def test_what_has_expired_is_not_told(bench):
    async with bench.database.write() as conn:
        gone = {"status": "deferred", "expires_at": NINE}
        await add_push(conn, "p3", EVENING, Item("m3", "王五 99%", "c", 0.99), **gone)
    await bench.at(NINE)
    await bench.replica().make_due()
    (made,) = await bench.summaries()
    assert "王五" not in made.content["text"]["content"]


async def test_three_replicas_at_the_same_instant_make_one(bench):
    await bench.at(NINE)
    await asyncio.gather(*(bench.replica().make_due() for _ in range(3)))
    assert len(await bench.summaries()) == 1
    assert await bench.outcomes() == ["sent"]


@pytest.mark.parametrize("after", [timedelta(0), timedelta(seconds=2), timedelta(hours=2, minutes=59)])
async def test_a_process_that_was_away_at_nine_makes_up_for_it_once(bench, after):
    await bench.at(NINE - timedelta(seconds=1))
    await bench.replica().make_due()  # dies after this
    await bench.at(NINE + after)
    for _ in range(3):
        await bench.replica().make_due()
    assert len(await bench.summaries()) == 1


async def test_after_noon_it_is_dropped_and_the_reason_kept(bench):
    await bench.at(NINE + timedelta(hours=3))
    await bench.replica().make_due()
    assert await bench.summaries() == []
    assert await bench.outcomes() == ["missed"]
    ((following,),) = await bench.rows(sa.select(summary_schedule.c.next_at))
    assert following == NINE + timedelta(days=1)


async def test_nothing_is_made_once_the_window_has_closed(bench):
    await bench.rewrote(NINE - timedelta(hours=48))
    await bench.at(NINE)
    await bench.replica().make_due()
    assert (await bench.summaries(), await bench.outcomes()) == ([], ["window_closed"])
    assert await bench.rows(sa.select(summary_schedule)) == []


async def test_nobody_who_switched_pushes_off_gets_one(bench):
    bench.wish = Wish(SHANGHAI, enabled=False)
    await bench.at(NINE)
    await bench.replica().make_due()
    assert (await bench.summaries(), await bench.outcomes()) == ([], ["switched_off"])


async def test_with_nothing_to_tell_nothing_is_told(bench):
    async with bench.database.write() as conn:
        await conn.execute(sa.delete(push))
    await bench.at(NINE)
    await bench.replica().make_due()
    assert (await bench.summaries(), await bench.outcomes()) == ([], ["nothing_pending"])


async def test_a_move_to_another_zone_makes_no_second_one_for_a_day(bench):
    await bench.at(NINE)
    await bench.replica().make_due()
    bench.wish = Wish(ZoneInfo("Europe/Berlin"))
    await bench.rewrote(NINE)
    async with bench.database.write() as conn:
        item = Item("m4", "赵六", "d", 0.9)
        await add_push(conn, "p3", NINE, item, expires_at=NINE + timedelta(days=2))
        await store.reschedule(conn, STORE, "wm-1", NINE)
    await bench.replica().make_due()
    await bench.at(datetime(2026, 3, 3, 8, tzinfo=UTC))  # nine in Berlin, the same day
    await bench.replica().make_due()
    assert len(await bench.summaries()) == 1
    await bench.at(datetime(2026, 3, 4, 8, tzinfo=UTC))
    await bench.replica().make_due()
    assert [row.dedupe_key[-10:] for row in await bench.summaries()] == ["2026-03-03", "2026-03-04"]


async def test_one_that_cannot_be_said_does_not_keep_the_others_waiting(bench):
    bench.refuse = True
    await bench.at(NINE)
    await bench.replica().make_due()
    assert await bench.outcomes() == ["failed"]
    assert await bench.replica().make_due() == 0
    held = await bench.rows(sa.select(push.c.status).order_by(push.c.id))
    assert held == [("pending",), ("deferred",)], "what it would have merged goes by itself"


async def test_a_push_that_is_being_sent_is_not_merged(bench):
    async with bench.database.write() as conn:
        await conn.execute(sa.update(push).where(push.c.id == "p1").values(status="sending"))
    await bench.at(NINE)
    await bench.replica().make_due()
    ((content,),) = await bench.rows(sa.select(push.c.content).where(push.c.purpose == "summary"))
    assert content["text"]["content"] == "李四 90%"


async def test_each_message_of_a_customer_leaves_one_schedule(bench):
    for minute in range(3):
        await heard(bench.database, bench.replica().listen, wrote(EVENING + timedelta(minutes=minute)))
    assert await bench.rows(sa.select(summary_schedule.c.open_kfid, summary_schedule.c.next_at)) == [
        (KEY.open_kfid, NINE)
    ]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("jump", [timedelta(hours=2), timedelta(hours=-2)])
@pytest.mark.parametrize("at", [NINE - timedelta(hours=1), NINE, NINE + timedelta(minutes=90)])
async def test_a_clock_that_jumps_around_nine_makes_one_a_day_and_the_next_days_at_its_time(bench, at, jump):
    await bench.at(at)
    for instant in (at, at + jump, at, at + jump / 2, NINE, NINE + timedelta(hours=1)):
        await bench.at(instant)
        await bench.replica().make_due()
    assert len(await bench.summaries()) == 1
    async with bench.database.write() as conn:
        item = Item("m4", "赵六", "d", 0.9)
        await add_push(conn, "p4", NINE, item, expires_at=NINE + timedelta(days=2))
    await bench.at(NINE + timedelta(days=1, seconds=-1))
    await bench.replica().make_due()
    assert len(await bench.summaries()) == 1
    await bench.at(NINE + timedelta(days=1))
    await bench.replica().make_due()
    assert [row.dedupe_key[-10:] for row in await bench.summaries()] == ["2026-03-03", "2026-03-04"]
