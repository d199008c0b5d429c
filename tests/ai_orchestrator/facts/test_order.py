"""Facts that come late, twice or in any order: what is known in the end is the same, and what was made before is stale."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.ai_orchestrator.domain.facts.kinds import Kind, MemberFact, NoteFact, VisitFact
from services.ai_orchestrator.pipeline.learning import learn, load
from services.ai_orchestrator.store.fact_tables import member, visit
from services.ai_orchestrator.store.result_tables import member_news
from shared.db.engine import Database
from shared.events.envelope import make_event
from shared.events.kinds import Event
from tests.ai_orchestrator.facts.support import NOW, SHANGHAI, STORE, opened

DAY, HOUR = timedelta(days=1), timedelta(hours=1)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with opened(database_url) as made:
        yield made


def _event(kind: str, number: int, at: datetime) -> Event:
    """Something that happened to the member *at* some time; it comes in now."""
    who = {"member_id": "m1", "member_name": f"张三{number}"}
    data: dict[str, object]
    match kind:
        case "member.points_changed":
            data = {**who, "change": 1, "balance": number, "reason": "消费"}
        case "member.upgraded":
            data = {**who, "old_level": "银卡", "new_level": f"第{number}级"}
        case _:
            data = {"member_id": "m1", "has_assistant": False, "amount": f"{number}.00"}
            data["settled_time"] = at.isoformat()
    return make_event(kind, data, id=f"e{number}", store_id=STORE, now=NOW, occurred_at=at)


HAPPENED = [
    _event(kind, number, NOW - (12 - number) * HOUR)
    for number, kind in enumerate(["member.points_changed", "member.upgraded", "consumption.settled"] * 4, 1)
]


async def _known(database: Database) -> tuple[list[object], list[object]]:
    async with database.read() as conn:
        people = [tuple(row) for row in await conn.execute(sa.select(member))]
        visits = await conn.execute(sa.select(visit.c.visit_id, visit.c.cents).order_by(visit.c.visit_id))
        return people, [tuple(row) for row in visits]


async def _empty(database: Database) -> None:
    async with database.write() as conn:
        for table in (member, visit, member_news):
            await conn.execute(sa.delete(table))


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(order=st.permutations(HAPPENED), again=st.lists(st.sampled_from(HAPPENED), max_size=4))
async def test_events_in_any_order_and_twice_leave_the_same_knowledge(
    database: Database, order: list[Event], again: list[Event]
) -> None:
    async def take(events: list[Event]) -> tuple[list[object], list[object]]:
        await _empty(database)
        for event in events:
            await database.transact(lambda conn, event=event: learn(conn, event, SHANGHAI, NOW))
        return await _known(database)

    expected = await take(HAPPENED)
    people, visits = expected
    assert len(people) == 1
    assert len(visits) == 4
    assert await take([*order, *again]) == expected


async def _news(database: Database) -> dict[str, datetime]:
    async with database.read() as conn:
        found = await conn.execute(sa.select(member_news.c.member_id, member_news.c.at))
        return {row.member_id: row.at for row in found}


async def test_what_comes_late_is_news_and_what_is_known_already_is_none(database: Database) -> None:
    late = _event("consumption.settled", 3, NOW - 20 * DAY)
    await database.transact(lambda conn: learn(conn, late, SHANGHAI, NOW))
    assert await _news(database) == {"m1": NOW}

    rows = [VisitFact("v1", NOW - 9 * DAY, 100, "m2"), VisitFact("v2", NOW - 8 * DAY, 100)]
    notes = [NoteFact("n1", "m3", "常来", "小李", NOW - DAY), NoteFact("n2", "m2", "靠窗", "小李", NOW - DAY)]
    at = NOW + HOUR
    assert await database.transact(lambda conn: load(conn, STORE, Kind.VISIT, rows, at)) == 2
    assert await _news(database) == {"m1": NOW, "m2": at}
    at += HOUR
    assert await database.transact(lambda conn: load(conn, STORE, Kind.VISIT, rows, at)) == 0
    assert await _news(database) == {"m1": NOW, "m2": at - HOUR}
    assert await database.transact(lambda conn: load(conn, STORE, Kind.NOTE, notes, at)) == 2
    assert await _news(database) == {"m1": NOW, "m2": at, "m3": at}
    people = [MemberFact("m4", NOW, "李四")]
    assert await database.transact(lambda conn: load(conn, STORE, Kind.MEMBER, people, at)) == 1
    assert await database.transact(lambda conn: load(conn, STORE, Kind.MEMBER, people, at + DAY)) == 0
    assert (await _news(database))["m4"] == at


async def test_nothing_older_takes_the_place_of_news(database: Database) -> None:
    for at in (NOW, NOW - HOUR):
        event = _event("member.upgraded", 2, at)
        await database.transact(lambda conn, event=event, at=at: learn(conn, event, SHANGHAI, at))
    assert await _news(database) == {"m1": NOW}
