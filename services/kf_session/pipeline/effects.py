"""Recording what customers do after a push, in the transaction that takes what they did."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.effects import TICK, Kind, named_in
from services.kf_session.domain.message import Entered, Inbound, Origin
from services.kf_session.store import effects as store
from services.kf_session.store.effects import Sent
from services.kf_session.store.ledger import SessionKey, Standing
from services.kf_session.store.tables import preference
from shared.clock import Clock
from shared.db.types import DialectName


class Effects:
    """`listen` comes behind the router of replies, so that it sees who has just unsubscribed."""

    def __init__(self, dialect: DialectName, clock: Clock, window: timedelta) -> None:
        """*window* is how long after a push what a customer does counts as its effect."""
        self._dialect = dialect
        self._clock = clock
        self._window = window

    async def listen(self, conn: AsyncConnection, inbound: Inbound, standing: Standing) -> None:
        """A customer wrote, or tapped a menu."""
        if inbound.origin is not Origin.CUSTOMER:
            return
        key, at = standing.key, inbound.sent_at
        tapped = (
            await store.with_menu(conn, key, inbound.menu_id, at, self._window) if inbound.menu_id else None
        )
        if tapped is not None:
            await self._keep(conn, tapped, Kind.MENU_CLICK, at)
        last = await store.last_before(conn, key, at, self._window)
        if last is None:
            return
        if tapped is None:
            await self._keep(conn, last, Kind.REPLY, at)
        if await self._unsubscribed(conn, standing, last):
            await self._keep(conn, tapped or last, Kind.UNSUBSCRIBED, at)

    async def entered(self, conn: AsyncConnection, entered: Entered) -> None:
        """A customer came into the chat; by a push, where the scene parameter says so."""
        push_id, item_id = named_in(entered.scene_param)
        key = SessionKey(entered.open_kfid, entered.external_userid)
        if push_id:
            found = await store.of_id(conn, push_id)
            # The parameter is in a link that anybody may pass on: it counts for the one it was sent to.
            if found is None or (found.store_id, found.external_userid) != (
                entered.store_id,
                entered.external_userid,
            ):
                return
        else:
            found = await store.with_item(conn, key, item_id, entered.at, self._window) if item_id else None
        if found is not None and self.in_time(found, entered.at):
            await self._keep(conn, found, Kind.MINIPROGRAM_ENTER, entered.at)

    async def unsubscribed(self, conn: AsyncConnection, keys: Sequence[SessionKey], at: datetime) -> None:
        """A customer of these sessions was unsubscribed otherwise than by a message: after the last push of all."""
        found = [await store.last_before(conn, key, at, self._window) for key in keys]
        last = max((one for one in found if one is not None), key=lambda one: one.accepted_at, default=None)
        if last is not None:
            await self._keep(conn, last, Kind.UNSUBSCRIBED, at)

    def in_time(self, sent: Sent, at: datetime) -> bool:
        """Whether something at *at* may be an effect of a push."""
        return sent.accepted_at - TICK <= at < sent.accepted_at + self._window

    async def record(self, conn: AsyncConnection, sent: Sent, kind: Kind, at: datetime) -> bool:
        """What somebody else saw the customer do; False where it was known, or comes too late to count."""
        if not self.in_time(sent, at):
            return False
        return await store.add(conn, self._dialect, sent.id, kind, at, self._clock.now())

    async def _keep(self, conn: AsyncConnection, sent: Sent, kind: Kind, at: datetime) -> None:
        await store.add(conn, self._dialect, sent.id, kind, at, self._clock.now())

    @staticmethod
    async def _unsubscribed(conn: AsyncConnection, standing: Standing, last: Sent) -> bool:
        """Whether they did since the last push, which is now."""
        since: datetime | None = await conn.scalar(
            sa.select(preference.c.unsubscribed_at).where(
                preference.c.store_id == standing.store_id,
                preference.c.external_userid == standing.key.external_userid,
            )
        )
        return since is not None and since >= last.accepted_at
