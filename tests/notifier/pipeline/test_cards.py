"""A card's update is work: it outlives who makes it, ends somewhere, and takes a new code when one comes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast

import pytest
import sqlalchemy as sa

from services.notifier.domain.climbing import Opening
from services.notifier.domain.escalation import Action
from services.notifier.domain.routing import Role
from services.notifier.pipeline.cards import CODE_LIVES, LEASE, PAUSES, CardUpdates
from services.notifier.store import escalations
from services.notifier.store.cards import Cards, Sent
from services.notifier.store.tables import card, delivery
from shared.clock import ManualClock
from shared.credentials import Credentials
from shared.db.engine import Database
from shared.events.kinds import Event
from shared.wecom.client import Answer, WeComClient
from shared.wecom.credentials import App
from shared.wecom.errcodes import RetryClass
from shared.wecom.outcome import Outcome, State
from tests.notifier.pipeline.bench import STORE, Replica, arrival, user

OPENING = Opening("r1", 1, "断电", "停电了", (Role.MANAGER,), timedelta(minutes=5))
DONE = Outcome(State.ACCEPTED, errcode=0, http_status=200)
BUSY = Outcome(State.REJECTED_RETRYABLE, errcode=-1, http_status=200, retry_class=RetryClass.RETRY)
LOST = Outcome(State.UNKNOWN, cause="timeout")
REFUSED = Outcome(State.REJECTED_PERMANENT, errcode=40058, http_status=200)


class _Apps:
    async def app(self, name: str) -> App:
        return App("ww1", 7, "secret", name)


@dataclass
class Platform:
    """Answers updates as told, and knows no names."""

    answer: Callable[[], Outcome] = lambda: DONE
    updates: list[dict[str, Any]] = field(default_factory=list)

    async def update_card(self, app: App, payload: bytes, *, deadline: float) -> Outcome:
        self.updates.append(json.loads(payload))
        return self.answer()

    async def get(self, app: App, path: str, params: dict[str, str], *, deadline: float) -> Answer:
        return Answer(REFUSED)


class Desk:
    """One answered card, and replicas that update it."""

    def __init__(self, replica: Replica) -> None:
        self.replica, self.database, self.clock = replica, replica.database, replica.clock
        self.cards = Cards(self.database.dialect)
        self.platform = Platform()
        self.delivery_id = ""

    def updates(self, owner: str = "a") -> CardUpdates:
        """The loop of one replica."""
        apps, wecom = cast("Credentials", _Apps()), cast("WeComClient", self.platform)
        return CardUpdates(self.database, self.cards, apps, wecom, self.clock, owner)

    async def prepare(self, code: str | None = "rc-1") -> None:
        """A card that went out with *code*."""
        await self.replica.admit(arrival("e1", self.clock.now(), user("tom")))
        (row,) = await self.replica.deliveries()
        self.delivery_id = row.id
        now = self.clock.now()
        sent = Sent(row.id, STORE, "e1", row.rule_id, row.channel, code)
        opening = Opening(row.rule_id, 1, OPENING.title, OPENING.words, OPENING.roles, OPENING.after)
        event = Event("e1", row.event_type, STORE, {}, "", now)
        async with self.database.write() as conn:
            await escalations.open_many(conn, [escalations.row_of(event, opening, now)])
            assert not await self.cards.keep(conn, [sent], now)

    async def answer(self, code: str = "") -> None:
        """Somebody answers, or presses again with a new *code*."""
        now = self.clock.now()
        async with self.database.write() as conn:
            asked = await escalations.hold(conn, self.delivery_id, None)
            assert asked is not None
            if code:
                await self.cards.press(conn, asked, code, now)
            if await escalations.answer(conn, asked, Action.ACKNOWLEDGE, "tom", "card", now):
                await self.cards.show(conn, asked, now)

    async def row(self) -> Any:
        """The card as stored."""
        (found,) = await self.replica.rows(card, "id")
        return found


@pytest.fixture
async def desk(replica: Replica) -> Desk:
    return Desk(replica)


async def test_nothing_is_updated_before_somebody_answers(desk: Desk) -> None:
    await desk.prepare()
    assert await desk.updates().update_due() == 0
    await desk.answer()
    assert await desk.updates().update_due() == 1
    assert await desk.updates().update_due() == 0
    assert desk.platform.updates == [
        {"atall": 1, "agentid": 7, "response_code": "rc-1", "button": {"replace_name": "tom 已确认"}}
    ]
    assert (await desk.row()).status == "updated"


async def test_an_update_whose_maker_died_is_made_by_another(desk: Desk, manual_clock: ManualClock) -> None:
    await desk.prepare()
    await desk.answer()
    async with desk.database.write() as conn:
        assert len(await desk.cards.claim(conn, "a", manual_clock.now(), LEASE, 10)) == 1
    assert await desk.updates("b").update_due() == 0
    manual_clock.advance(LEASE)
    assert await desk.updates("b").update_due() == 1
    assert (await desk.row()).status == "updated"
    assert len(desk.platform.updates) == 1


async def test_a_card_sent_after_the_answer_is_due_at_once(desk: Desk) -> None:
    await desk.prepare()
    await desk.answer()
    row = await desk.row()
    late = Sent("d-late", STORE, "e1", row.rule_id, row.channel, "rc-2")
    async with desk.database.write() as conn:
        assert await desk.cards.keep(conn, [late], desk.clock.now())
    assert await desk.updates().update_due() == 2
    assert sorted(one["response_code"] for one in desk.platform.updates) == ["rc-1", "rc-2"]


async def test_it_is_given_up_after_eight_tries(desk: Desk, manual_clock: ManualClock) -> None:
    desk.platform.answer = lambda: BUSY
    await desk.prepare()
    await desk.answer()
    for pause in (*PAUSES, timedelta(0)):
        assert await desk.updates().update_due() == 1
        assert await desk.updates().update_due() == 0
        manual_clock.advance(pause)
    row = await desk.row()
    assert (row.status, row.reason, len(desk.platform.updates)) == ("given_up", "retries_exhausted", 8)


async def test_a_refusal_after_an_unclear_try_means_that_it_was_made(
    desk: Desk, manual_clock: ManualClock
) -> None:
    answers = iter([LOST, BUSY, REFUSED])
    desk.platform.answer = lambda: next(answers)
    await desk.prepare()
    await desk.answer()
    for _ in range(3):
        await desk.updates().update_due()
        manual_clock.advance(timedelta(seconds=10))
    row = await desk.row()
    assert (row.status, row.reason) == ("updated", "presumed")


@pytest.mark.parametrize("why", ["code_expired", "no_code", "errcode:40058"])
async def test_what_cannot_be_updated_is_once_a_press_brings_a_new_code(
    desk: Desk, manual_clock: ManualClock, why: str
) -> None:
    await desk.prepare(None if why == "no_code" else "rc-1")
    if why == "code_expired":
        manual_clock.advance(CODE_LIVES)
    if why.startswith("errcode"):
        desk.platform.answer = lambda: REFUSED
    await desk.answer()
    await desk.updates().update_due()
    row = await desk.row()
    assert (row.status, row.reason) == ("given_up", why)
    desk.platform.answer = lambda: DONE
    await desk.answer("rc-new")
    await desk.updates().update_due()
    assert (await desk.row()).status == "updated"
    assert desk.platform.updates[-1]["response_code"] == "rc-new"


async def test_the_answer_stands_on_the_delivery(desk: Desk, database: Database) -> None:
    await desk.prepare()
    await desk.answer()
    async with database.read() as conn:
        row = (await conn.execute(sa.select(delivery))).one()
    assert (row.acknowledged_by, row.acknowledged_at) == ("tom", desk.clock.now())
