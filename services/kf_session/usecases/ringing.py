"""``/callback/kf``: the platform rings, and tells nothing but for which account; a pull fetches what there is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.pipeline.finding import Stores
from services.kf_session.store.accounts import WAKEUP, Accounts
from shared.db.engine import Database

PATH: Final = "/callback/kf"
_ID = re.compile(r"[0-9A-Za-z_-]{1,64}", re.ASCII)
_TOKEN = re.compile(r"[\x21-\x7e]{0,128}", re.ASCII)


class Verdict(StrEnum):
    """What a callback came to; labels of a metric."""

    RUNG = "rung"
    CHANGED = "changed"
    """Accounts became ours, or are no longer."""
    IGNORED = "ignored"
    """Nothing of ours, or of an account that belongs to no store."""


class Ringing:
    """Takes callbacks, in the transaction that remembers them."""

    def __init__(self, database: Database, accounts: Accounts, stores: Stores) -> None:
        self._database = database
        self._accounts = accounts
        self._stores = stores

    async def take(self, conn: AsyncConnection, said: Mapping[str, str], now: datetime) -> Verdict:
        """Take a callback's fields."""
        if said.get("MsgType") != "event":
            return Verdict.IGNORED
        if said.get("Event") == "kf_msg_or_event":
            return await self._ring(conn, said, now)
        if said.get("Event") == "kf_account_auth_change":
            return await self._change(conn, said, now)
        return Verdict.IGNORED

    async def _ring(self, conn: AsyncConnection, said: Mapping[str, str], now: datetime) -> Verdict:
        open_kfid, token = said.get("OpenKfId", ""), said.get("Token", "")
        if not _ID.fullmatch(open_kfid):
            return Verdict.IGNORED
        stores = self._stores.placed([open_kfid])
        if not stores:
            return Verdict.IGNORED
        kept = token if _TOKEN.fullmatch(token) else ""
        await self._accounts.ring(conn, open_kfid, stores[open_kfid], kept, now)
        self._database.wakeups.notify(conn, WAKEUP)
        return Verdict.RUNG

    async def _change(self, conn: AsyncConnection, said: Mapping[str, str], now: datetime) -> Verdict:
        added, gone = (_ids(said.get(name, "")) for name in ("AuthAddOpenKfId", "AuthDelOpenKfId"))
        stores = self._stores.placed(added)
        await self._accounts.add(conn, dict.fromkeys(stores, ""), stores, now)
        await self._accounts.remove(conn, gone, now)
        if stores:
            self._database.wakeups.notify(conn, WAKEUP)
        return Verdict.CHANGED if stores or gone else Verdict.IGNORED


def _ids(words: str) -> list[str]:
    return sorted({word for word in words.split() if _ID.fullmatch(word)})
