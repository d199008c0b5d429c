"""Takes one page of a pull: everything that it says becomes true in one transaction, or nothing of it.

An item that is known already has no effect, so a page may come any number of times. Sessions are locked in the order
of their keys before anything is done with them. Who waits for what comes in is called in that transaction, and so has
no effect outside of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.message import Entered, Inbound, Origin
from services.kf_session.domain.push import NewPush, Purpose
from services.kf_session.domain.reading import Item, Unreadable, read_item
from services.kf_session.domain.sessions import BLOCKING, Hands, moved
from services.kf_session.domain.window import SessionState, is_open
from services.kf_session.pipeline.admitting import Admit
from services.kf_session.pipeline.announcing import received, session_changed
from services.kf_session.store import ledger, sessions
from services.kf_session.store.accounts import Held
from services.kf_session.store.ledger import SessionKey, Standing
from shared.db import outbox
from shared.db.engine import Database
from shared.db.outbox import NewEvent

Listener = Callable[[AsyncConnection, Inbound, Standing], Awaitable[None]]
"""Hears each new message of a customer, with the session as it stands after it."""

FailListener = Callable[[AsyncConnection, str, str, int, datetime], Awaitable[None]]
"""Hears that a message of ours did not arrive: open_kfid, its msgid, the platform's fail_type, now."""

EnterListener = Callable[[AsyncConnection, Entered], Awaitable[None]]
"""Hears that a customer opened the chat."""

MoveListener = Callable[[AsyncConnection, SessionKey], Awaitable[None]]
"""Hears that a session is in other hands, or over."""

WAKEUP: Final = "kf inbound"
"""Given when a customer wrote or entered: what was held may go now."""

_log = structlog.get_logger("reach.kf_session.inbound")


@dataclass(slots=True)
class Listeners:
    """Who hears what; called in the order they are listed."""

    messages: Sequence[Listener] = ()
    failures: Sequence[FailListener] = ()
    entries: Sequence[EnterListener] = ()
    moves: Sequence[MoveListener] = ()


@dataclass(slots=True)
class Taken:
    """What a page came to, by kind: customer, servicer, event, known, unreadable."""

    counts: dict[str, int] = field(default_factory=dict)

    def count(self, kind: str, number: int = 1) -> None:
        """Add to a kind."""
        self.counts[kind] = self.counts.get(kind, 0) + number


class Taking:
    """See the module."""

    def __init__(self, database: Database, listeners: Listeners, admit: Admit, welcome: str = "") -> None:
        """Without *welcome* nobody is greeted."""
        self._database = database
        self._listeners = listeners
        self._admit = admit
        self._welcome = welcome

    async def take(
        self, conn: AsyncConnection, held: Held, raw_items: Sequence[object], now: datetime
    ) -> Taken:
        """Take the items of one page, in the caller's transaction."""
        taken, items = Taken(), []
        for raw in raw_items:
            try:
                items.append(read_item(raw, held.id, held.store_id, now))
            except Unreadable as why:
                taken.count("unreadable")
                _log.warning("an item of a pull was left out", open_kfid=held.id, why=str(why))
        fresh = await sessions.keep(conn, [item.inbound for item in items], now)
        new = [item for item in items if _takes(fresh, item.inbound.msgid)]
        taken.count("known", len(items) - len(new))
        keys = await self._sessions(conn, new, held.store_id, now)
        page = _Page(conn, keys, now)
        for item in sorted(new, key=lambda item: item.inbound.sent_at):
            taken.count("event" if item.event_type else item.inbound.origin.name.lower())
            await self._item(page, item)
        await sessions.touch(conn, keys, now)
        await outbox.add(conn, page.events)
        if page.events:
            self._database.wakeups.notify(conn, outbox.WAKEUP, others=False)
        if keys:
            self._database.wakeups.notify(conn, WAKEUP)
        return taken

    @staticmethod
    async def _sessions(
        conn: AsyncConnection, new: Sequence[Item], store_id: str, now: datetime
    ) -> dict[SessionKey, Standing]:
        """The sessions that the items are about, locked."""
        since: dict[SessionKey, datetime] = {}
        for item in new:
            if item.inbound.external_userid:
                key, at = _key(item.inbound), item.inbound.sent_at
                since[key] = min(at, since.get(key, at))
        await sessions.ensure(conn, since, store_id, now)
        found: dict[SessionKey, Standing] = {}
        for key in sorted(since, key=lambda key: (key.open_kfid, key.external_userid)):
            standing = await ledger.lock(conn, key)
            assert standing is not None  # made above
            found[key] = standing
        return found

    async def _item(self, page: _Page, item: Item) -> None:
        key = _key(item.inbound)
        standing = page.standing.get(key)
        if standing is None:  # of the account, of nobody's session
            return
        item = _in_store(item, standing.store_id)
        await self._move(page, item, standing)
        if item.inbound.origin is Origin.CUSTOMER:
            await self._said(page, item.inbound)
        elif item.event_type:
            await self._happened(page, item, key)

    async def _move(self, page: _Page, item: Item, standing: Standing) -> None:
        before = Hands(SessionState(standing.state), standing.servicer_userid)
        change, at = moved(before, item), item.inbound.sent_at
        if change is None or not await sessions.move(page.conn, standing.key, change.hands, at, page.now):
            return
        await page.look(standing.key)
        for listener in self._listeners.moves:
            await listener(page.conn, standing.key)
        if change.word:
            page.announce(change.word, standing, change.hands.state, at)

    async def _said(self, page: _Page, said: Inbound) -> None:
        key = _key(said)
        before = page.standing[key]
        if await ledger.open_window(page.conn, before, said.msgid, said.sent_at, page.now):
            after = await page.look(key)
            if is_open(said.sent_at, page.now) and not is_open(before.customer_at, page.now):
                page.announce("opened", after, SessionState(after.state), said.sent_at)
        page.events.append(received(said, page.now))
        for listener in self._listeners.messages:
            await listener(page.conn, said, page.standing[key])
            # It may have reserved a credit, or moved the session.
            await page.look(key)

    async def _happened(self, page: _Page, item: Item, key: SessionKey) -> None:
        if item.code is not None and item.code.expires_at > page.now:
            await sessions.keep_code(page.conn, key, item.code)
        if item.event_type == "enter_session":
            await self._entered(page, item, key)
        elif item.event_type == "msg_send_fail":
            await self._failed(page, item, key)
        elif item.event_type in ("user_recall_msg", "servicer_recall_msg"):
            at = item.inbound.sent_at
            await sessions.recall(page.conn, key, item.text("recall_msgid"), at)

    async def _entered(self, page: _Page, item: Item, key: SessionKey) -> None:
        said, scene, param = item.inbound, item.text("scene"), item.text("scene_param")
        await sessions.entered(page.conn, key, scene, param, page.now)
        entered = Entered(key.open_kfid, key.external_userid, said.store_id, scene, param, said.sent_at)
        for listener in self._listeners.entries:
            await listener(page.conn, entered)
        if not self._welcome or item.code is None or item.code.expires_at <= page.now:
            return
        greeting = NewPush(
            store_id=said.store_id,
            open_kfid=key.open_kfid,
            external_userid=key.external_userid,
            purpose=Purpose.WELCOME,
            dedupe_key=f"welcome/{item.code.id}",
            content={"msgtype": "text", "text": {"content": self._welcome}},
            expires_at=item.code.expires_at,
            code_id=item.code.id,
        )
        await self._admit(page.conn, greeting, page.now)

    async def _failed(self, page: _Page, item: Item, key: SessionKey) -> None:
        kind = item.number("fail_type")
        if kind == BLOCKING:
            await sessions.block(page.conn, key, item.inbound.sent_at, page.now)
        for listener in self._listeners.failures:
            await listener(page.conn, key.open_kfid, item.text("fail_msgid"), kind, page.now)
        await page.look(key)


@dataclass(slots=True)
class _Page:
    """One transaction's work."""

    conn: AsyncConnection
    standing: dict[SessionKey, Standing]
    now: datetime
    events: list[NewEvent] = field(default_factory=list)

    async def look(self, key: SessionKey) -> Standing:
        """The session as it stands now."""
        found = await ledger.lock(self.conn, key)
        assert found is not None  # it is locked by us, so that nothing deletes it
        self.standing[key] = found
        return found

    def announce(self, word: str, standing: Standing, state: SessionState, at: datetime) -> None:
        """The event of a session."""
        self.events.append(session_changed(word, standing.key, standing.store_id, state, at, self.now))


def _takes(fresh: set[str], msgid: str) -> bool:
    """Whether *msgid* is among *fresh*, for the first that asks."""
    if msgid not in fresh:
        return False
    fresh.remove(msgid)
    return True


def _key(said: Inbound) -> SessionKey:
    return SessionKey(said.open_kfid, said.external_userid)


def _in_store(item: Item, store_id: str) -> Item:
    """A session stays in the store it began in, whatever its account belongs to by now."""
    if item.inbound.store_id == store_id:
        return item
    return replace(item, inbound=replace(item.inbound, store_id=store_id))
