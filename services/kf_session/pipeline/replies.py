"""Answers a customer's commands: one answer to one message, from the list that this customer was shown.

The router stands in the transaction that takes a page, so an answer is admitted exactly when its message is stored.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.matching.lines import clipped, text_message
from services.kf_session.domain.message import Inbound, Origin
from services.kf_session.domain.push import NewPush, Purpose
from services.kf_session.domain.replies import (
    SUBSCRIBED,
    UNSUBSCRIBED,
    Asked,
    Command,
    either,
    no_such_line,
    read,
)
from services.kf_session.domain.window import SessionState
from services.kf_session.pipeline.admitting import Admit
from services.kf_session.store import lists
from services.kf_session.store.ledger import SessionKey, Standing
from shared.clock import Clock

ANSWERED: Final = timedelta(hours=24)
"""How long after a message an answer to it makes sense."""


class Replies:
    """A listener of customers' messages."""

    def __init__(self, admit: Admit, clock: Clock) -> None:
        self._admit = admit
        self._clock = clock

    async def hear(self, conn: AsyncConnection, inbound: Inbound, standing: Standing) -> None:
        """Answer *inbound* if it is a command of a customer; nothing else is ever answered by itself."""
        if inbound.origin is not Origin.CUSTOMER:
            return
        asked = read(inbound.text, inbound.menu_id)
        if asked is None:
            return
        answer = await self._answer(conn, asked, inbound, standing)
        if answer is None:
            return
        new = NewPush(
            store_id=inbound.store_id,
            open_kfid=inbound.open_kfid,
            external_userid=inbound.external_userid,
            purpose=Purpose.REPLY,
            dedupe_key=f"reply:{inbound.open_kfid}:{inbound.msgid}",
            content=text_message(clipped(answer)),
            expires_at=inbound.sent_at + ANSWERED,
            answer_to=inbound.msgid,
        )
        await self._admit(conn, new, self._clock.now())

    async def _answer(
        self, conn: AsyncConnection, asked: Asked, inbound: Inbound, standing: Standing
    ) -> str | None:
        now, store_id, who = self._clock.now(), inbound.store_id, inbound.external_userid
        if asked.command is Command.UNSUBSCRIBE:
            await lists.unsubscribe(conn, store_id, who, now)
            return UNSUBSCRIBED
        if asked.command is Command.SUBSCRIBE:
            await lists.subscribe(conn, store_id, who, now)
            return SUBSCRIBED
        return await _details(conn, asked, standing)


async def _details(conn: AsyncConnection, asked: Asked, standing: Standing) -> str | None:
    """What the list says of the line; None where the number is about something else."""
    key: SessionKey = standing.key
    if asked.command is Command.VIEW_MATCH:
        return await lists.details_of(conn, key, asked.ref) or no_such_line(0, 0)
    if asked.command is Command.VIEW_LINE:
        tapped = await lists.shown_as(conn, key, asked.ref)
        shown = [] if tapped is None else [tapped]
    else:
        shown = await lists.last_shown(conn, key)
    if asked.command is Command.VIEW_BARE:
        # To a servicer, or after other words, a number is whatever it is: only to a list it is a line.
        ours = standing.state in tuple(SessionState) and SessionState(standing.state).ours
        if not shown or not ours or not await lists.is_last_word(conn, key, shown[0]):
            return None
    # Where nobody knows whether the newest list arrived, only the customer does: they get the line of either.
    said = [found for one in shown if (found := one.at(asked.position)) is not None]
    return (
        either(said)
        if said
        else no_such_line(asked.position, max((len(x.details) for x in shown), default=0))
    )
