"""Somebody answers an urgent message: by a press of its card's button, or by a call."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from datetime import datetime
from enum import StrEnum

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.domain.escalation import Action, State, action_of
from services.notifier.pipeline.announcing import escalated
from services.notifier.pipeline.cards import WAKEUP as CARDS
from services.notifier.pipeline.climbing import WAKEUP as ESCALATIONS
from services.notifier.store import escalation_stories, escalations, reading
from services.notifier.store.cards import Cards
from services.notifier.store.escalations import Asked, Note
from services.notifier.store.reading import DeliveryView
from shared.audit import AuditLog, NewEntry
from shared.clock import Clock
from shared.credentials import Credentials
from shared.db import outbox
from shared.db.engine import Database
from shared.db.once import Once
from shared.errors import Conflict, NotFound
from shared.rpc.principal import current
from shared.values import value_class

_USERID = re.compile(r"[A-Za-z0-9_.@-]{1,64}", re.ASCII)
_TASK_ID = re.compile(r"[0-9A-Za-z_@-]{1,128}", re.ASCII)
_CODE = re.compile(r"[\x21-\x7e]{1,1024}", re.ASCII)
_log = structlog.get_logger("reach.notifier.escalations")


class Verdict(StrEnum):
    """What a callback came to; labels of a metric."""

    COUNTED = "counted"
    """It changed something."""
    LATE = "late"
    """A genuine press, after somebody else's."""
    IGNORED = "ignored"
    """Nothing of ours, or of somebody who was not sent the card."""


@value_class
class Press:
    """A button that a member pressed."""

    userid: str
    delivery_id: str
    action: Action
    code: str
    """What the press allows to update; empty where none came."""
    agent_id: str

    @classmethod
    def of_event(cls, said: Mapping[str, str]) -> Press | None:
        """From the fields of a callback; None for anything but a press of one of our buttons."""
        if said.get("MsgType") != "event" or said.get("Event") != "template_card_event":
            return None
        userid, task, code = (said.get(name, "") for name in ("FromUserName", "TaskId", "ResponseCode"))
        action = action_of(said.get("EventKey", ""))
        if action is None or not _USERID.fullmatch(userid) or not _TASK_ID.fullmatch(task):
            return None
        return cls(userid, task, action, code if _CODE.fullmatch(code) else "", said.get("AgentID", ""))


@value_class
class Acknowledged:
    """How a delivery stands after a call."""

    view: DeliveryView
    state: State


class Acknowledging:
    """Takes answers; the first one that settles an escalation counts."""

    def __init__(
        self, database: Database, cards: Cards, credentials: Credentials, audit: AuditLog, clock: Clock
    ) -> None:
        self._database = database
        self._cards = cards
        self._credentials = credentials
        self._audit = audit
        self._clock = clock

    async def press(self, conn: AsyncConnection, said: Mapping[str, str], now: datetime) -> Verdict:
        """Take a callback's fields, in the transaction that remembers it."""
        press = Press.of_event(said)
        asked = await escalations.hold(conn, press.delivery_id, None) if press is not None else None
        if (
            press is None
            or asked is None
            or asked.escalated is None
            or not await self._may(conn, press, asked)
        ):
            return Verdict.IGNORED
        await escalations.pressed(conn, asked.delivery_id, now)
        if press.code:
            await self._cards.press(conn, asked, press.code, now)
            if asked.escalated.state is State.ACKNOWLEDGED:
                self._database.wakeups.notify(conn, CARDS)
        counted = await self._answer(conn, asked, press.action, press.userid, "card", "", now)
        return Verdict.COUNTED if counted else Verdict.LATE

    async def call(
        self, delivery_id: str, stores: Collection[str] | None, action: Action, comment: str, *, once: Once
    ) -> Acknowledged:
        """Take a caller's answer. Raises NotFound, Conflict (NOT_ESCALATED)."""
        now, by = self._clock.now(), current().subject

        async def write(conn: AsyncConnection) -> None:
            asked = await self._asked(conn, delivery_id, stores)
            if await once.is_first(conn, now):
                await self._answer(conn, asked, action, by, "rpc", comment, now)
                done = NewEntry(once.name, delivery_id, asked.store_id, detail={"action": action.value})
                await self._audit.record(conn, done, now)

        await self._database.transact(write)
        async with self._database.read() as conn:
            (view,) = await reading.get_deliveries(conn, [delivery_id], stores)
            found = await escalation_stories.of_events(conn, [(view.store_id, view.event_id)])
        states = [one.state for one, _ in found[view.store_id, view.event_id] if one.rule_id == view.rule_id]
        return Acknowledged(view, states[0])

    async def _asked(self, conn: AsyncConnection, delivery_id: str, stores: Collection[str] | None) -> Asked:
        asked = await escalations.hold(conn, delivery_id, stores)
        if asked is None:
            raise NotFound("NOT_FOUND", f"there is no delivery {delivery_id}", resource="delivery")
        if asked.escalated is None:
            raise Conflict(
                "NOT_ESCALATED",
                "nothing waits for an answer to this delivery: its rule does not escalate",
                delivery_id=delivery_id,
            )
        return asked

    async def _may(self, conn: AsyncConnection, press: Press, asked: Asked) -> bool:
        """Whether the press can be one of a card we sent: by the app that sent it, from somebody it was sent to."""
        app = await self._credentials.app(asked.channel.partition(":")[2])
        ours = app is not None and press.agent_id == str(app.agent_id)
        if ours and await escalations.was_sent_to(conn, asked.delivery_id, press.userid):
            return True
        _log.warning("a press from somebody the card was not sent to", delivery_id=asked.delivery_id)
        return False

    async def _answer(
        self,
        conn: AsyncConnection,
        asked: Asked,
        action: Action,
        who: str,
        via: str,
        comment: str,
        now: datetime,
    ) -> bool:
        """Whether the answer has an effect."""
        one = asked.escalated
        assert one is not None  # the callers have looked
        if action.settles:
            counted = await escalations.answer(conn, asked, action, who, via, now)
        else:
            # Of two who hand over, the second must not skip those who have just been told.
            counted = one.state is State.OPEN and asked.created_at >= one.climbed_at
        note = Note("answered", one.level, now, who, action.value, via, counted, comment, asked.delivery_id)
        await escalations.note(conn, one, note)
        if not counted:
            return False
        if action.settles:
            await self._cards.show(conn, asked, now)
            await outbox.add(conn, [escalated(one, "acknowledged", one.level, now, action.value)])
            self._database.wakeups.notify(conn, outbox.WAKEUP, others=False)
            self._database.wakeups.notify(conn, CARDS)
        else:
            await escalations.hurry(conn, one, now)
            self._database.wakeups.notify(conn, ESCALATIONS)
        return True
