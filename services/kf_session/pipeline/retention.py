"""What of kf_session's own is past its time, for ``shared.ops.retention``."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.effects import LONGEST_PERIOD
from services.kf_session.store import accounts, aging, sessions

BELLS_KEPT: Final = timedelta(days=3)
"""The platform keeps no message longer."""
CODES_KEPT: Final = timedelta(days=7)
"""After they ran out, for who asks why nothing went by them."""
MESSAGES_KEPT: Final = timedelta(days=30)
HISTORY_KEPT: Final = LONGEST_PERIOD + timedelta(days=7)
"""Sessions, matches, intents and experiments that are over: figures may be asked for so long."""


class OldRows:
    """Deletes what is past its time; *horizon* is how long a repeat is recognised, which nothing undercuts."""

    def __init__(self, horizon: timedelta) -> None:
        self._history = max(HISTORY_KEPT, horizon)
        self._messages = max(MESSAGES_KEPT, horizon)

    async def purge(self, conn: AsyncConnection, now: datetime, limit: int) -> int:
        """A batch of everything; the most of one kind."""
        over = now - self._history
        return max(
            # Sessions before what belongs to them, as by all.
            await aging.purge_sessions(conn, over, limit),
            await aging.empty_intents(conn, over, limit),
            await aging.purge_matches(conn, over, limit),
            await aging.purge_experiments(conn, over, limit),
            await accounts.purge_bells(conn, now - BELLS_KEPT, limit),
            await sessions.purge_messages(conn, now - self._messages, limit),
            await sessions.purge_codes(conn, now - CODES_KEPT, limit),
        )
