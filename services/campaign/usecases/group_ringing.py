"""``/callback/external-contact``: the platform tells that a group changed, which is a hint to read it again.

What the callback says of the change is not believed: it may come late, twice or not at all, and the reading tells all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.groups import GoneReason
from services.campaign.store import groups
from shared.db.engine import Database

PATH: Final = "/callback/external-contact"
_ID: Final = re.compile(r"[\x21-\x7e]{1,64}", re.ASCII)


class Verdict(StrEnum):
    """What a callback came to; labels of a metric."""

    HINT = "hint"
    DISMISSED = "dismissed"
    IGNORED = "ignored"
    """Nothing of ours: a customer changed, or an event that we know nothing of."""


class GroupRinging:
    """Takes callbacks, in the transaction that remembers them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, conn: AsyncConnection, said: Mapping[str, str], now: datetime) -> Verdict:
        """Take a callback's fields."""
        chat_id = said.get("ChatId", "")
        known = said.get("MsgType") == "event" and said.get("Event") == "change_external_chat"
        if not known or not _ID.fullmatch(chat_id):
            return Verdict.IGNORED
        await groups.hint(conn, chat_id, now)
        self._database.wakeups.notify(conn, groups.WAKEUP)
        if said.get("ChangeType") != "dismiss":
            return Verdict.HINT
        # Nothing is sent to it from now on; should it not be true, its reading brings it back.
        await groups.mark_gone(conn, chat_id, GoneReason.DISMISSED, now)
        return Verdict.DISMISSED
