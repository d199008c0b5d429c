"""Matches that other systems found become rows and pushes, over both buses and on both databases."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import orjson
import pytest

from services.kf_session.store.ledger import SessionKey
from services.kf_session.store.matching_tables import match
from services.kf_session.subscriptions import TYPES
from services.kf_session.usecases.stories import Stories
from shared.bus import Incoming, Outgoing
from shared.db.payload import decode_body
from shared.db.tables import dead_letter, inbox, outbox
from shared.errors import Conflict, NotFound
from tests.bus.conftest import Kit, kit, topology
from tests.kf_session.matching_support import CUSTOMER, KFID, STORE, Bench, ai_profile

__all__ = ["kit", "topology"]

DATA: dict[str, Any] = {
    "user_id": CUSTOMER,
    "profile_id": "theirs-1",
    "profile_name": "张三",
    "intent_id": "their-intent",
    "intent_name": "寻找AI合作伙伴",
    "score": 0.85,
    "explanation": "具有AI背景，在北京",
    "matched_conditions": ["AI", "北京"],
    "match_id": "their-match-1",
}


def _body(event_id: str, source: str = "crm", store: str = STORE, **data: Any) -> bytes:
    return orjson.dumps(
        {
            "specversion": "1.0",
            "id": event_id,
            "type": "intent.matched",
            "source": source,
            "storeid": store,
            "data": DATA | data,
        }
    )


def _message(event_id: str, **more: Any) -> Incoming:
    return Incoming(
        _body(event_id, **more),
        content_type="application/cloudevents+json",
        routing_key="intent.matched",
        message_id=event_id,
    )


async def test_a_match_of_another_system_is_told_where_its_customer_wrote_last(bench: Bench) -> None:
    now = bench.clock.now()
    await bench.open_session(SessionKey("kf-old", CUSTOMER), wrote_at=now - timedelta(hours=9))
    await bench.open_session()
    await bench.intake.take([_message("e1")])
    (row,) = await bench.rows(match)
    assert (row.source, row.external_id, row.score) == ("event", "their-match-1", 0.85)
    (told,) = await bench.pushes()
    assert told.open_kfid == KFID
    assert "【张三】" in told.content["text"]["content"]
    (event,) = await bench.rows(inbox)
    assert event.decision == {"match_id": row.id, "push_id": told.id}


async def test_the_story_of_an_event_goes_on_with_its_match_and_its_push_for_who_may_see_it(
    bench: Bench,
) -> None:
    await bench.open_session()
    await bench.intake.take([_message("e1"), _message("e1")])
    (told,) = await bench.pushes()
    stories = Stories(bench.database)
    assert [one.code for one in await stories.of("e1", None)] == [
        "received", "told", "matched", "admitted", "pending",
    ]  # fmt: skip
    assert [one.code for one in await stories.of(told.id, {STORE})] == ["admitted", "pending"]
    (row,) = await bench.rows(match)
    assert [one.code for one in await stories.of(row.id, None)] == ["matched", "admitted", "pending"]
    for ident in ("e1", told.id, row.id, "nothing"):
        with pytest.raises(NotFound):
            await stories.of(ident, {"store-2"})


async def test_the_same_event_and_the_same_match_count_once(bench: Bench) -> None:
    await bench.open_session()
    await bench.intake.take([_message("e1"), _message("e1")])
    await bench.intake.take([_message("e1"), _message("e2")])
    assert len(await bench.pushes()) == 1
    rows = {row.event_id: row for row in await bench.rows(inbox)}
    assert rows["e1"].duplicates == 2
    assert rows["e2"].decision["reason"] == "known"


async def test_a_pair_with_the_same_reasons_is_not_told_twice_and_with_others_it_is(bench: Bench) -> None:
    await bench.open_session()
    await bench.intake.take([_message("e1")])
    await bench.intake.take([_message("e2", match_id="their-match-2", score=0.9)])
    assert len(await bench.pushes()) == 1
    await bench.intake.take([_message("e3", match_id="their-match-3", matched_conditions=["AI", "创业"])])
    assert len(await bench.pushes()) == 2
    assert len(await bench.rows(match)) == 1


async def test_a_customer_without_a_session_is_recorded_with_the_reason(bench: Bench) -> None:
    await bench.open_session(store="store-2")
    await bench.intake.take([_message("e1")])
    (row,) = await bench.rows(match)
    assert row.unpushed_reason == "no_session"
    (event,) = await bench.rows(inbox)
    assert event.decision["reason"] == "no_session"
    assert await bench.pushes() == []


async def test_our_own_announcement_changes_nothing_when_it_comes_back(bench: Bench) -> None:
    await bench.open_session()
    await bench.create()
    await bench.write_profiles(ai_profile(1))
    await bench.settle()
    (announced,) = await bench.rows(outbox)
    headers = dict(announced.headers)
    body = decode_body(announced.body, announced.body_encoding)
    await bench.intake.take(
        [
            Incoming(
                body,
                content_type=announced.content_type,
                headers=headers,
                routing_key="intent.matched",
                message_id=announced.id,
            )
        ]
    )
    (event,) = await bench.rows(inbox)
    (row,) = await bench.rows(match)
    assert event.decision == {"reason": "our_own", "match_id": row.id}
    assert len(await bench.pushes()) == 1


async def test_what_cannot_be_read_and_what_contradicts_are_parked(bench: Bench) -> None:
    await bench.open_session()
    broken = Incoming(b"{", content_type="application/json", routing_key="intent.matched", message_id="b")
    homeless = Incoming(
        orjson.dumps(
            {"specversion": "1.0", "id": "h", "type": "intent.matched", "source": "s", "data": DATA}
        ),
        content_type="application/cloudevents+json",
        routing_key="intent.matched",
    )
    await bench.intake.take(
        [_message("e1"), broken, homeless, _message("bad", score=7), _message("e1", profile_name="李四")]
    )
    reasons = sorted(row.reason for row in await bench.rows(dead_letter))
    assert reasons == ["conflict", "decode", "schema", "store_missing"]
    assert len(await bench.pushes()) == 1


async def test_a_dead_letter_is_replayed_as_if_it_had_just_come(bench: Bench) -> None:
    await bench.open_session()
    await bench.intake.replay(_message("e1"))
    assert len(await bench.pushes()) == 1
    with pytest.raises(Conflict):
        await bench.intake.replay(_message("e1", profile_name="李四"))


async def test_three_replicas_take_the_same_events_once(bench: Bench) -> None:
    await bench.open_session()
    batch = [_message(f"e{n}", match_id=f"m{n}", profile_id=f"p{n}") for n in range(10)]
    await asyncio.gather(
        bench.intake.take(batch), bench.intake.take(batch[::-1]), bench.intake.take(batch[3:])
    )
    assert len(await bench.rows(match)) == 10
    assert len(await bench.pushes()) == 10


async def test_it_comes_by_either_bus(bench: Bench, kit: Kit) -> None:
    await bench.open_session()
    bus = await kit.started(bench.intake.take, *TYPES)
    outgoing = Outgoing("e1", "intent.matched", _body("e1"), "application/cloudevents+json")
    assert await bus.publish([outgoing]) == [None]
    async with asyncio.timeout(15):
        while not await bench.pushes():  # noqa: ASYNC110  # what is waited for has no event
            await asyncio.sleep(0.02)
    assert len(await bench.rows(match)) == 1
