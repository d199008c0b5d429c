"""What a customer answers is about the list that this customer was shown, and is answered once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
import sqlalchemy as sa

from services.kf_session.domain.matching.lines import listing, text_message
from services.kf_session.domain.message import Origin
from services.kf_session.domain.push import Item, NewPush, Purpose
from services.kf_session.store.ledger import SessionKey
from services.kf_session.store.tables import message, push, push_attempt
from shared.clock import ManualClock
from shared.db.queue import DEFERRED
from tests.kf_session.matching_support import CUSTOMER, KEY, KFID, LATER, STORE, Bench, admit, ai_profile


def _items(*names: str) -> tuple[Item, ...]:
    return tuple(Item(f"m-{name}", f"【{name}】", f"{name}的详情", 0.9) for name in names)


def _list(
    bench: Bench, items: Sequence[Item], key: str, purpose: Purpose = Purpose.MATCH, of: SessionKey = KEY
) -> NewPush:
    until = bench.clock.now() + timedelta(hours=48)
    content = text_message(listing(items)) if items else text_message("通知")
    return NewPush(STORE, of.open_kfid, of.external_userid, purpose, key, content, until, tuple(items))


@pytest.fixture
async def shown(bench: Bench) -> str:
    """A customer who was shown three matches in one message."""
    await bench.open_session()
    return await bench.show(_list(bench, _items("甲", "乙", "丙"), "list"))


async def test_the_second_is_the_second_of_the_list_that_was_shown_even_when_newer_ones_exist(
    bench: Bench, shown: str, manual_clock: ManualClock
) -> None:
    """Acceptance 8, as far as answers go: three matches were merged into one message that lists three."""
    manual_clock.advance(LATER)
    await bench.create()
    await bench.write_profiles(*(ai_profile(n) for n in range(4)))
    await bench.settle()
    assert len(await bench.pushes()) >= 4  # newer ones are waiting, and nobody has seen them
    await bench.says("查看2")
    assert await bench.answers() == ["乙的详情"]


async def test_a_list_that_was_shown_later_is_the_one_that_counts(
    bench: Bench, shown: str, manual_clock: ManualClock
) -> None:
    manual_clock.advance(LATER)
    await bench.show(_list(bench, _items("丁"), "newer"))
    await bench.says("查看1")
    await bench.says("查看2")
    assert await bench.answers() == ["丁的详情", "上一份列表里没有第2条，请回复“查看1”。"]


async def test_a_list_that_the_platform_handed_back_was_not_shown(
    bench: Bench, shown: str, manual_clock: ManualClock
) -> None:
    manual_clock.advance(LATER)
    lost = await bench.show(_list(bench, _items("丁"), "lost"))
    async with bench.database.write() as conn:
        await conn.execute(sa.update(push).where(push.c.id == lost).values(fail_type=4))
    await bench.says("查看1")
    assert await bench.answers() == ["甲的详情"]


async def test_a_tapped_menu_means_its_own_list(bench: Bench, shown: str, manual_clock: ManualClock) -> None:
    manual_clock.advance(LATER)
    await bench.show(_list(bench, _items("丁", "戊"), "newer"))
    await bench.says("【乙】", menu_id=f"view:{shown}:2")
    await bench.says("【丙】", menu_id="details:m-丙")
    await bench.says("【甲】", menu_id="view:nobody-s:1")
    answers = await bench.answers()
    assert answers[:2] == ["乙的详情", "丙的详情"]
    assert "目前没有" in answers[2]


async def test_a_list_whose_fate_nobody_knew_reached_who_taps_it(bench: Bench, shown: str) -> None:
    async with bench.database.write() as conn:
        lost = {"status": "unknown", "accepted_at": None}
        await conn.execute(sa.update(push).where(push.c.id == shown).values(**lost))
    await bench.says("【乙】", menu_id=f"view:{shown}:2")
    await bench.says("【丙】", menu_id="details:m-丙")
    assert await bench.answers() == ["乙的详情", "丙的详情"]


async def test_where_nobody_knows_whether_the_newest_list_arrived_the_line_of_either_is_told(
    bench: Bench, shown: str, manual_clock: ManualClock
) -> None:
    """Only the customer knows which one they saw last; what they get names it, and is never of the wrong one alone."""
    manual_clock.advance(LATER)
    async with bench.database.write() as conn:
        lost = await admit(conn, _list(bench, _items("丁"), "lost"), bench.clock.now())
        tried = {"epoch": 1, "http_status": 0, "detail": "", "owner": "a", "started_at": bench.clock.now()}
        await conn.execute(
            sa.insert(push_attempt).values(push_id=lost, attempt_no=1, state="unknown", **tried)
        )
    await bench.says("查看1")
    await bench.says("查看2")
    await bench.says("1")
    both = "丁的详情\n\n如果您看到的是再前一份列表，这一条是：\n甲的详情"
    assert await bench.answers() == [both, "乙的详情", both]
    manual_clock.advance(LATER)
    await bench.show(_list(bench, _items("戊"), "newest"))
    await bench.says("查看1")
    async with bench.database.write() as conn:
        gone = {"status": "failed", "accepted_at": None}
        await conn.execute(sa.update(push).where(push.c.id != shown).values(**gone))
    await bench.says("查看1", msgid="last")
    assert (await bench.answers())[3:] == ["戊的详情", "甲的详情"]


async def test_nobody_sees_what_another_customer_was_shown(bench: Bench, shown: str) -> None:
    other = SessionKey(KFID, "wm-2")
    await bench.open_session(other)
    await bench.says("甲", menu_id=f"view:{shown}:1", key=other)
    await bench.says("甲", menu_id="details:m-甲", key=other)
    await bench.says("查看1", key=other)
    assert all("目前没有" in answer for answer in await bench.answers())


async def test_a_number_that_the_list_does_not_have_is_answered_with_those_it_has(
    bench: Bench, shown: str
) -> None:
    await bench.says("查看9")
    await bench.says("查看0")
    assert await bench.answers() == [
        "上一份列表里没有第9条，请回复“查看1”到“查看3”。",
        "上一份列表里没有第0条，请回复“查看1”到“查看3”。",
    ]


async def test_a_number_alone_is_a_line_while_the_list_is_the_last_word(
    bench: Bench, shown: str, manual_clock: ManualClock
) -> None:
    await bench.says("2")
    (reply,) = await bench.pushes("reply")
    await bench.accept(reply.id, bench.clock.now() + timedelta(seconds=1))
    await bench.says("３")  # our own answer came in between, and is no other subject
    assert await bench.answers() == ["乙的详情", "丙的详情"]
    manual_clock.advance(LATER)
    await bench.show(_list(bench, (), "hello", Purpose.MESSAGE))
    await bench.says("1")
    assert len(await bench.answers()) == 2


async def test_a_number_alone_after_a_servicer_wrote_is_for_the_servicer(
    bench: Bench, shown: str, manual_clock: ManualClock
) -> None:
    manual_clock.advance(LATER)
    now = bench.clock.now()
    row = {
        "open_kfid": KFID,
        "msgid": "by-hand",
        "external_userid": CUSTOMER,
        "store_id": STORE,
        "origin": 5,
        "msgtype": "text",
        "content": {},
        "servicer_userid": "li",
        "sent_at": now,
        "received_at": now,
    }
    async with bench.database.write() as conn:
        await conn.execute(sa.insert(message).values(**row))
    await bench.says("2")
    assert await bench.answers() == []
    await bench.says("查看2")
    assert await bench.answers() == ["乙的详情"]


async def test_a_number_alone_without_a_list_and_other_words_are_not_answered(bench: Bench) -> None:
    await bench.open_session()
    await bench.says("2")
    await bench.says("你好")
    assert await bench.answers() == []


async def test_one_message_has_one_answer_and_it_says_to_which(bench: Bench, shown: str) -> None:
    await bench.says("查看1", msgid="in-1")
    await bench.says("查看1", msgid="in-1")
    (reply,) = await bench.pushes("reply")
    assert (reply.dedupe_key, reply.answer_to) == (f"reply:{KFID}:in-1", "in-1")


@pytest.mark.parametrize("origin", [Origin.SYSTEM, Origin.SERVICER])
async def test_only_customers_are_answered(bench: Bench, shown: str, origin: Origin) -> None:
    await bench.says("查看1", origin=origin)
    await bench.says("退订", origin=origin)
    assert await bench.answers() == []
    assert await bench.preference() is None


async def test_unsubscribing_brings_what_is_held_before_the_gates_and_subscribing_undoes_it(
    bench: Bench, shown: str
) -> None:
    waiting = _list(bench, _items("丁"), "waiting")
    deferred = _list(bench, _items("戊"), "deferred", Purpose.SUMMARY)
    spoken = _list(bench, (), "spoken", Purpose.MESSAGE)
    async with bench.database.write() as conn:
        now = bench.clock.now()
        ids = [await admit(conn, one, now) for one in (waiting, deferred, spoken)]
        await conn.execute(
            sa.update(push)
            .where(push.c.id != shown)
            .values(status=DEFERRED, hold_reason="quiet_hours", due_at=now + LATER)
        )
        await conn.execute(sa.update(push).where(push.c.id == ids[2]).values(hold_reason="retry:not_sent"))
    await bench.says("TD")
    states = {row.id: (row.status, row.due_at) for row in await bench.rows(push)}
    assert [states[one] for one in ids] == [("pending", now), ("pending", now), ("deferred", now + LATER)]
    assert states[shown][0] == "accepted"
    assert (await bench.preference()).unsubscribed_at == bench.clock.now()
    await bench.says("订阅")
    assert (await bench.preference()).unsubscribed_at is None
    off, on = await bench.answers()
    assert "已为您退订" in off
    assert "已为您恢复" in on
