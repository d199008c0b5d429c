"""Profiles and intents find each other on both databases: in batches, after crashes, once for each state."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.matching.conditions import Among, Between, Keywords
from services.kf_session.domain.push import NewPush
from services.kf_session.pipeline.matching import Matching
from services.kf_session.pipeline.telling import Telling
from services.kf_session.store import matches
from services.kf_session.store.ledger import SessionKey
from services.kf_session.store.matching_tables import intent_anchor, match, match_work, profile_term
from shared.clock import ManualClock
from shared.db.engine import Database
from shared.db.tables import outbox
from shared.rpc.principal import LOCAL_OPERATOR, acting_as
from tests.kf_session.matching_support import CUSTOMER, KEY, KFID, STORE, Bench, admit, ai_intent, ai_profile


async def test_a_new_intent_finds_profiles_and_tells_of_the_best_three(bench: Bench) -> None:
    await bench.open_session()
    await bench.write_profiles(
        *(ai_profile(n, "懂AI" + ("，在北京" if n < 2 else "")) for n in range(5)), ai_profile(9, "I SAID so")
    )
    await bench.settle()
    wanted = (Keywords(("AI",), Among.ANY, 3, True), Keywords(("北京",), Among.ANY, 1))
    await bench.create(conditions=wanted)
    await bench.settle()
    found = await bench.matches()
    assert [(row.profile_id, row.score) for row in found] == [
        ("p00000", 1.0),
        ("p00001", 1.0),
        ("p00002", 0.75),
        ("p00003", 0.75),
        ("p00004", 0.75),
    ]
    pushes = await bench.pushes()
    assert {row.dedupe_key.split(":")[2] for row in pushes} >= {"p00000", "p00001"}
    assert len(pushes) == 3
    assert {row.open_kfid for row in pushes} == {KFID}
    assert all(row.expires_at == bench.clock.now() + timedelta(hours=48) for row in pushes)


async def test_a_new_profile_finds_intents_and_each_customer_is_told(bench: Bench) -> None:
    other = SessionKey("kf-2", "wm-2")
    await bench.open_session()
    await bench.open_session(other)
    await bench.create("i1")
    await bench.create("i2", customer="wm-2")
    await bench.create("i3", conditions=(Keywords(("上海",), Among.ANY),))
    await bench.settle()
    await bench.write_profiles(ai_profile(1))
    await bench.settle()
    assert [
        (row.intent_id, row.pushed_fingerprint == row.profile_fingerprint) for row in await bench.matches()
    ] == [
        ("i1", True),
        ("i2", True),
    ]
    assert {(row.open_kfid, row.external_userid) for row in await bench.pushes()} == {
        (KFID, CUSTOMER),
        ("kf-2", "wm-2"),
    }


async def test_a_pair_is_pushed_again_only_when_the_profile_really_changed(bench: Bench) -> None:
    await bench.open_session()
    await bench.create()
    assert await bench.write_profiles(ai_profile(1)) == ["p00001"]
    await bench.settle()
    assert await bench.write_profiles(ai_profile(1)) == []
    assert await bench.write_profiles(ai_profile(1, "懂ＡＩ")) == []
    await bench.settle()
    with acting_as(LOCAL_OPERATOR):
        changed = ai_intent(now=bench.clock.now(), min_score=0.5)
        kept = await bench.intents.update(changed, 1, once=bench.once("UpdateIntent"))
    assert kept.version == 2
    await bench.settle()
    assert len(await bench.pushes()) == 1
    assert await bench.write_profiles(ai_profile(1, "懂AI和芯片")) == ["p00001"]
    await bench.settle()
    assert len(await bench.pushes()) == 2
    # Back to what it was: the first push's key, so nobody hears it a third time.
    await bench.write_profiles(ai_profile(1))
    await bench.settle()
    assert len(await bench.pushes()) == 2


async def test_an_intent_that_passes_to_another_customer_is_news_to_them(bench: Bench) -> None:
    other = SessionKey("kf-2", "wm-2")
    await bench.open_session()
    await bench.open_session(other)
    await bench.create()
    await bench.write_profiles(ai_profile(1))
    await bench.settle()
    with acting_as(LOCAL_OPERATOR):
        passed = ai_intent(now=bench.clock.now(), customer="wm-2")
        await bench.intents.update(passed, 1, once=bench.once("UpdateIntent"))
    await bench.settle()
    assert sorted(row.external_userid for row in await bench.pushes()) == sorted([CUSTOMER, "wm-2"])
    (found,) = await bench.matches()
    (theirs,) = [row.id for row in await bench.pushes() if row.external_userid == "wm-2"]
    assert found.push_id == theirs
    # What still waits for the first customer is about an intent that is not theirs any more.
    ids = [row.id for row in await bench.pushes()]
    async with bench.database.read() as conn:
        assert await matches.void(conn, ids) == {one for one in ids if one != theirs}


async def test_what_no_longer_matches_is_withdrawn_and_comes_back(bench: Bench) -> None:
    await bench.create()
    await bench.write_profiles(ai_profile(1))
    await bench.settle()
    (first,) = await bench.matches()
    await bench.write_profiles(ai_profile(1, "懂芯片"))
    await bench.settle()
    assert await bench.matches() == []
    await bench.write_profiles(ai_profile(1))
    await bench.settle()
    (again,) = await bench.matches()
    assert again.id == first.id


async def test_who_never_wrote_is_not_told_and_can_be_later(bench: Bench) -> None:
    await bench.create()
    await bench.write_profiles(ai_profile(1))
    await bench.settle()
    (row,) = await bench.matches()
    assert (row.unpushed_reason, row.push_id) == ("no_session", None)
    await bench.open_session()
    with acting_as(LOCAL_OPERATOR):
        (told,) = await bench.intents.push(STORE, 3, customer=CUSTOMER, once=bench.once("PushMatches"))
        again = await bench.intents.push(STORE, 3, customer=CUSTOMER, once=bench.once("PushMatches"))
    assert (told.told, told.unpushed_reason) == (True, None)
    assert again == []


async def test_the_account_that_was_written_to_last_tells(bench: Bench) -> None:
    now = bench.clock.now()
    await bench.open_session(SessionKey("kf-a", CUSTOMER), wrote_at=now - timedelta(hours=3))
    await bench.open_session(SessionKey("kf-b", CUSTOMER), wrote_at=now - timedelta(hours=1))
    await bench.open_session(SessionKey("kf-c", CUSTOMER), store="store-2", wrote_at=now)
    await bench.create()
    await bench.write_profiles(ai_profile(1))
    await bench.settle()
    assert [row.open_kfid for row in await bench.pushes()] == ["kf-b"]


async def test_stores_do_not_meet_and_ids_differ_by_case(bench: Bench) -> None:
    await bench.write_profiles(ai_profile(1), store="store-2")
    await bench.create("a")
    await bench.create("A")
    await bench.write_profiles(ai_profile(2))
    await bench.settle()
    assert [(row.intent_id, row.profile_id) for row in await bench.matches()] == [
        ("A", "p00002"),
        ("a", "p00002"),
    ]


async def test_each_match_is_announced_once_without_names(bench: Bench) -> None:
    await bench.create()
    await bench.write_profiles(ai_profile(1))
    await bench.settle()
    await bench.write_profiles(ai_profile(1))
    await bench.settle()
    (row,) = await bench.rows(outbox)
    assert row.type == "intent.matched"
    assert "张1" not in str(row.body)


async def test_an_intent_that_is_gone_or_over_matches_nothing(
    bench: Bench, manual_clock: ManualClock
) -> None:
    await bench.create("gone")
    await bench.create("over", expires_at=bench.clock.now() + timedelta(hours=1))
    await bench.write_profiles(ai_profile(1))
    await bench.settle()
    assert len(await bench.matches()) == 2
    with acting_as(LOCAL_OPERATOR):
        await bench.intents.delete(STORE, "gone", once=bench.once("DeleteIntent", "k"))
        await bench.intents.delete(STORE, "gone", once=bench.once("DeleteIntent", "k"))
    manual_clock.advance(timedelta(hours=2))
    await bench.write_profiles(ai_profile(2))
    await bench.settle()
    assert [(row.intent_id, row.profile_id) for row in await bench.matches()] == [("over", "p00001")]
    assert await bench.rows(intent_anchor, intent_anchor.c.intent_id == "gone") == []


async def test_many_candidates_go_in_batches_and_a_crash_goes_on_where_it_was(
    database: Database, manual_clock: ManualClock
) -> None:
    bench = Bench(database, manual_clock, batch=10)
    for start in range(0, 45, 15):
        await bench.write_profiles(*(ai_profile(n) for n in range(start, start + 15)))
    await bench.create()
    await bench.settle()

    with acting_as(LOCAL_OPERATOR):
        await bench.intents.update(ai_intent(now=bench.clock.now()), 0, once=bench.once("UpdateIntent"))
    assert await bench.matching.step()
    (work,) = await bench.rows(match_work)
    assert work.cursor == "p00009"
    # Another replica, after the first one died: nothing is left over, nothing done twice.
    successor = Bench(database, manual_clock, batch=10)
    assert await successor.settle() == 4
    assert len(await successor.matches()) == 45
    assert {row.intent_version for row in await successor.matches()} == {2}


async def test_two_replicas_share_the_work_and_store_each_pair_once(
    database: Database, manual_clock: ManualClock
) -> None:
    replicas = [Bench(database, manual_clock, batch=5) for _ in range(3)]
    await replicas[0].open_session()
    for number in range(4):
        await replicas[0].create(f"i{number}")
    await replicas[0].write_profiles(*(ai_profile(n) for n in range(12)))
    await asyncio.gather(*(one.settle() for one in replicas))
    assert len(await replicas[0].matches()) == 48
    assert len(await replicas[0].pushes()) == 48
    assert await replicas[0].rows(match_work) == []


async def test_an_intent_and_a_profile_that_come_at_once_do_not_miss_each_other(bench: Bench) -> None:
    for turn in range(5):
        await asyncio.gather(bench.create(f"i{turn}"), bench.write_profiles(ai_profile(turn)))
        await bench.settle()
    assert len(await bench.matches()) == 25


async def test_what_cannot_be_compared_waits_and_the_rest_goes_on(
    database: Database, manual_clock: ManualClock
) -> None:
    async def refuse(conn: AsyncConnection, new: NewPush, now: object) -> str:
        if "p00001" in new.dedupe_key:
            raise RuntimeError("a bug")
        return await admit(conn, new, manual_clock.now())

    bench = Bench(database, manual_clock)
    bench.matching = Matching(database, Telling(refuse), manual_clock)
    await bench.open_session()
    await bench.create()
    await bench.settle()
    await bench.write_profiles(ai_profile(1), ai_profile(2))
    await bench.settle()
    assert [row.profile_id for row in await bench.matches()] == ["p00002"]
    (work,) = await bench.rows(match_work)
    assert (work.object_id, work.failures) == ("p00001", 1)
    assert work.due_at > manual_clock.now()


@pytest.mark.parametrize("direction", ["intent", "profile"])
async def test_candidates_come_from_the_index_and_not_from_a_scan(bench: Bench, direction: str) -> None:
    await bench.write_profiles(
        *(ai_profile(n, "厨师，在广州", 年龄=30.0) for n in range(60)), ai_profile(99, 年龄=30.0)
    )
    await bench.settle()
    if direction == "intent":
        wanted = (Keywords(("AI",), Among.ANY, 1, True), Between("年龄", 20.0, 40.0, 5))
        await bench.create(conditions=wanted)
        small = Matching(bench.database, bench.telling, bench.clock, batch=2)
        assert await small.step()
        assert await bench.rows(match_work) == []
    else:
        await bench.create(conditions=(Keywords(("AI",), Among.ANY),))
        await bench.settle()
        async with bench.database.read() as conn:
            terms = sa.select(profile_term.c.profile_id).where(profile_term.c.term == "w:ai")
            assert list((await conn.execute(terms)).scalars()) == ["p00099"]
    await bench.settle()
    assert [row.profile_id for row in await bench.matches()] == ["p00099"]


async def test_a_preview_stores_nothing(bench: Bench) -> None:
    await bench.open_session()
    await bench.create(auto=False)
    await bench.settle()
    await bench.write_profiles(ai_profile(1))
    found = await bench.intents.preview(STORE, "i1", 10)
    assert [(one.profile_id, one.id) for one in found.matches] == [("p00001", "")]
    assert found.complete
    assert await bench.rows(match) == []
    now = await bench.intents.match(STORE, "i1", 10)
    assert [one.profile_id for one in now.matches] == ["p00001"]
    assert now.complete
    assert await bench.pushes() == []
    assert KEY.external_userid == now.matches[0].external_userid


async def test_what_a_fast_clock_was_to_compare_is_compared_when_it_has_gone_back(bench: Bench) -> None:
    bench.clock.advance(timedelta(hours=2))
    await bench.write_profiles(ai_profile(1))
    await bench.create()
    bench.clock.advance(timedelta(hours=-2))
    await bench.settle()
    assert len(await bench.matches()) == 1
