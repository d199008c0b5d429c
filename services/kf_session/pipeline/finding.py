"""Finds the KF accounts that the secret sees: at the start, once an hour, and when the platform says so."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.store.accounts import WAKEUP, Accounts
from shared.clock import Clock
from shared.credentials import FIRST, Credentials
from shared.db.engine import Database
from shared.settings import Settings
from shared.supervise import Turn
from shared.wecom.client import WeComClient
from shared.wecom.kf import KfApi
from shared.wecom.outcome import State

EVERY: Final = timedelta(hours=1)
AGAIN: Final = timedelta(seconds=30)
"""After a listing that failed."""
_POLL = 5.0
_log = structlog.get_logger("reach.kf_session.accounts")


class Stores:
    """Which store an account belongs to."""

    def __init__(self, settings: Settings) -> None:
        self._kf, self._default = settings.kf, settings.default_store

    def of(self, open_kfid: str) -> str | None:
        """Its store; None where no setting names one, and the account is left alone."""
        return self._kf.store_of(open_kfid, self._default)

    def placed(self, open_kfids: Sequence[str]) -> dict[str, str]:
        """By account, the store of each that has one; the others are told in the log."""
        found = {one: store for one in open_kfids if (store := self.of(one)) is not None}
        for one in open_kfids:
            if one not in found:
                _log.error("an account belongs to no store: set REACH_KF_STORES", open_kfid=one)
        return found


class Finder:
    """The loop that lists accounts."""

    def __init__(
        self,
        database: Database,
        accounts: Accounts,
        stores: Stores,
        credentials: Credentials,
        wecom: WeComClient,
        clock: Clock,
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._stores = stores
        self._credentials = credentials
        self._wecom = wecom
        self._clock = clock

    async def run(self, turn: Turn) -> None:
        """List until cancelled. Where no secret is stored, look for one again and again: one may be added."""
        next_at: datetime | None = None
        while True:
            now = self._clock.now()
            if next_at is None or now >= next_at or next_at - now > EVERY:
                done = await self.find()
                next_at = self._clock.now() + (EVERY if done else AGAIN)
            turn()
            await asyncio.sleep(_POLL)

    async def find(self) -> bool:
        """List once; whether that worked."""
        app = await self._credentials.kf(FIRST)
        if app is None:
            return False
        asked_at = self._clock.now()
        listed = await KfApi(self._wecom, app).accounts()
        if listed.outcome.state is not State.ACCEPTED:
            _log.error(
                "the KF accounts could not be listed",
                errcode=listed.outcome.errcode,
                errmsg=listed.outcome.errmsg,
                detail=listed.outcome.detail,
            )
            return False
        names = dict(listed.accounts)
        await self._database.transact(lambda conn: self._take(conn, names, asked_at))
        return True

    async def _take(self, conn: AsyncConnection, names: Mapping[str, str], asked_at: datetime) -> None:
        now, stores = self._clock.now(), self._stores.placed(list(names))
        known = await self._accounts.rename(conn, {one: names[one] for one in stores}, stores, now)
        new = {one: names[one] for one in stores if one not in known}
        await self._accounts.add(conn, new, stores, now)
        gone = await self._accounts.unlisted(conn, list(names), asked_at)
        await self._accounts.remove(conn, gone, now)
        if gone:
            _log.warning("KF accounts are no longer listed", open_kfids=gone)
        if new:
            self._database.wakeups.notify(conn, WAKEUP)
