"""Rows and events become facts; what is wrong with a row is said column by column."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from services.ai_orchestrator.domain.facts.events import fact_of
from services.ai_orchestrator.domain.facts.kinds import Item, Kind, MemberFact, NoteFact, TaskFact, VisitFact
from services.ai_orchestrator.domain.facts.reading import read
from shared.errors import Invalid
from shared.events.envelope import make_event
from tests.ai_orchestrator.facts.support import NOW, SHANGHAI, STORE

EVENING = datetime(2026, 11, 20, 13, 30, tzinfo=UTC)
VISIT = {"visit_id": 1001, "settled_time": "2026-11-20 21:30", "amount": 88.5, "duration_minutes": 90}


def of(kind, **row):
    return read(kind, row, SHANGHAI, NOW)


def wrong(kind, **row):
    with pytest.raises(Invalid) as caught:
        of(kind, **row)
    return [one.field for one in caught.value.violations]


def test_a_row_of_texts_is_the_fact_that_a_row_of_values_is():
    items = [{"name": "可乐", "quantity": 2, "amount": "16"}, "台费"]
    told = of(Kind.VISIT, **VISIT, items=items, member_id="m1", area="")
    texts = {name: str(value) for name, value in VISIT.items()}
    written = '[{"name": "可乐", "quantity": "2", "amount": 16.00}, "台费"]'
    assert of(Kind.VISIT, **texts, items=written, member_id="m1") == told
    assert told == VisitFact(
        "1001", EVENING, 8850, "m1", None, None, 5400, (Item("可乐", 2000, 1600), Item("台费", 1000))
    )
    assert of(Kind.VISIT, **VISIT, items="可乐；台费").items == (Item("可乐", 1000), Item("台费", 1000))


@pytest.mark.parametrize(
    ("amount", "cents"),
    [("0.005", 0), ("0.015", 2), (0.1, 10), ("-12.5", -1250), (280, 28000), (1e3, 100000)],
)
def test_money_is_whole_cents(amount, cents):
    assert of(Kind.VISIT, **VISIT | {"amount": amount}).cents == cents


@pytest.mark.parametrize("amount", ["1,280", "¥5", "", True, float("nan"), 1e13, "１２", [1]])
def test_what_is_no_money_is_refused(amount):
    assert wrong(Kind.VISIT, **VISIT | {"amount": amount}) == ["amount"]


def test_everything_wrong_with_a_row_is_said_at_once():
    row = {
        "visit_id": " ",
        "settled_time": "gestern",
        "amuont": 1,
        "duration_minutes": -1,
        "items": [{"quantity": 1}],
    }
    assert sorted(wrong(Kind.VISIT, **row)) == [
        "amount", "amuont", "duration_minutes", "items", "settled_time", "visit_id",
    ]  # fmt: skip


def test_a_store_s_areas_have_keys_of_their_own_and_lie_within_each_other():
    areas = [{"key": "patio", "title": "露台"}, {"key": "bar", "title": "吧台", "within": "patio"}]
    told = of(
        Kind.STORE, areas=areas, zone="Asia/Urumqi", time_dimensions="this_week;last_week", active="false"
    )
    assert [one.key for one in told.areas] == ["patio", "bar"]
    assert (told.zone, told.time_dimensions, told.active) == (
        "Asia/Urumqi",
        ("this_week", "last_week"),
        False,
    )
    bad = [
        {"key": "all", "title": "x"},
        {"key": "a b"},
        {"key": "bar", "within": "roof"},
        {"key": "x", "size": 1},
    ]
    for one in bad:
        assert wrong(Kind.STORE, areas=[one]) == ["areas"]
    assert wrong(Kind.STORE, zone="Mars/Base", time_dimensions=["this_year"], active="maybe") == [
        "zone", "time_dimensions", "active",
    ]  # fmt: skip


def event(kind, data, **more):
    return make_event(kind, data, id="e1", store_id=STORE, now=NOW, occurred_at=EVENING, **more)


def test_an_event_is_the_fact_of_its_id():
    settled = {
        "member_id": "m1", "has_assistant": True, "assistant_id": "a1", "amount": "88.50", "area": "A区",
        "items": ["可乐", {"name": ""}, {"size": 1}, {"name": "台费", "amount": 60}],
        "duration_minutes": 90, "settled_time": "2026-11-20T21:30:00",
    }  # fmt: skip
    visit = VisitFact(
        "e1", EVENING, 8850, "m1", "a1", "A区", 5400, (Item("可乐", 1000), Item("台费", 1000, 6000))
    )
    assert fact_of(event("consumption.settled", settled), SHANGHAI) == (Kind.VISIT, visit)
    alone = settled | {"has_assistant": False, "duration_minutes": -3, "settled_time": "9999-12-31T23:59:59"}
    _, told = fact_of(event("consumption.settled", alone), SHANGHAI)
    assert (told.assistant_id, told.seconds, told.settled_at) == (None, None, EVENING)

    noted = {
        "member_id": "m1",
        "note_content": "左手",
        "noted_by_name": "小李",
        "noted_by_created_at": "2026-11-20",
    }
    midnight = datetime(2026, 11, 19, 16, tzinfo=UTC)
    assert fact_of(event("note.created", noted), SHANGHAI)[1] == NoteFact(
        "e1", "m1", "左手", "小李", midnight
    )
    assert fact_of(event("task.assigned", {"member_id": "m1", "assistant_id": "a1"}), SHANGHAI)[
        1
    ] == TaskFact("e1", "m1", "a1", EVENING)
    risen = {"member_id": "m1", "member_name": "张三", "old_level": "银", "new_level": "金"}
    assert fact_of(event("member.upgraded", risen), SHANGHAI)[1] == MemberFact("m1", EVENING, "张三", "金")
    assert fact_of(event("dws.completed", {}), SHANGHAI) is None


def test_a_member_s_row_says_what_it_says():
    told = of(Kind.MEMBER, member_id="m1", name="张三", points="12.5", joined_date="2024-02-29")
    assert told == MemberFact("m1", NOW, "张三", None, 12.5, date(2024, 2, 29))
    assert wrong(Kind.MEMBER, member_id="m1", joined_date="2025-02-29") == ["joined_date"]
