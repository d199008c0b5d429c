"""What is used of customers' windows and of their days, for the operators' list of limits."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.eligibility import day_end, day_start
from services.kf_session.domain.preference import merged
from services.kf_session.domain.window import CREDITS, WINDOW
from services.kf_session.store import outgoing, sessions
from services.kf_session.store.sessions import SessionView
from shared.db.engine import Database
from shared.ops.part import LimitView

KEY: Final = "kf:"
"""What the key of a customer begins with; the account, a space and the customer follow."""

_DAY = timedelta(days=1)


class WindowDesk:
    """Customers whose window is open; see ``LimitDesk``."""

    def __init__(self, database: Database, zone: ZoneInfo) -> None:
        self._database = database
        self._zone = zone

    async def list_limits(self, prefix: str, after: str, now: datetime, limit: int) -> Sequence[LimitView]:
        """Of each its five messages, and its day."""
        wanted = prefix[len(KEY) :] if prefix.startswith(KEY) else ""
        if not (KEY.startswith(prefix) or prefix.startswith(KEY)):
            return ()
        if after > KEY and not after.startswith(KEY):
            return ()
        behind = after.removeprefix(KEY).partition(" ") if after.startswith(KEY) else ("", "", "")
        async with self._database.read() as conn:
            found = await sessions.open_windows(conn, wanted, (behind[0], behind[2]), now=now, limit=limit)
            return [line for view in found for line in await self._lines(conn, view, now)]

    async def _lines(self, conn: AsyncConnection, view: SessionView, now: datetime) -> list[LimitView]:
        name = f"{KEY}{view.key.open_kfid} {view.key.external_userid}"
        wishes = await outgoing.wishes(conn, view.store_id, view.key.external_userid)
        said = merged(self._zone, *wishes.said)
        today = await outgoing.today(conn, view.key, day_start(said, now))
        tomorrow = day_end(said, now) if today >= said.daily_limit else None
        return [
            LimitView(name, "window", CREDITS, view.used, WINDOW),
            LimitView(name, "day", said.daily_limit, today, _DAY, free_at=tomorrow),
        ]
