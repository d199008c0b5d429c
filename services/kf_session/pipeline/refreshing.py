"""Asks the platform in whose hands a session is, where ours may be out of date."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import structlog

from services.kf_session.domain.sessions import Hands
from services.kf_session.domain.window import SessionState
from services.kf_session.store import sessions
from services.kf_session.store.ledger import SessionKey
from services.kf_session.store.sessions import SessionView
from shared.clock import Clock
from shared.credentials import FIRST, Credentials
from shared.db.engine import Database
from shared.wecom.client import WeComClient
from shared.wecom.kf import KfApi, StateOf
from shared.wecom.outcome import Outcome, State

STALE: Final = timedelta(minutes=10)
"""After which a session that is not over is looked at again when somebody asks for it."""

_SECONDS = 5.0
_log = structlog.get_logger("reach.kf_session.states")


class States:
    """Looks sessions up at the platform."""

    def __init__(
        self, database: Database, credentials: Credentials, wecom: WeComClient, clock: Clock
    ) -> None:
        self._database = database
        self._credentials = credentials
        self._wecom = wecom
        self._clock = clock

    def is_stale(self, view: SessionView) -> bool:
        """Whether what we know may be too old: events tell of most changes, and of none that is lost."""
        known_at = max(view.state_at, view.checked_at or view.state_at)
        return view.hands.state is not SessionState.ENDED and self._clock.now() - known_at > STALE

    async def refresh(self, key: SessionKey) -> StateOf:
        """Ask, and write the answer down; for whoever was just contradicted. What came of it."""
        app = await self._credentials.kf(FIRST)
        if app is None:
            return StateOf(Outcome(State.NOT_SENT, "no_secret", "no secret of WeChat KF is stored"))
        asked_at = self._clock.now()
        found = await KfApi(self._wecom, app).state(key.open_kfid, key.external_userid, deadline=_SECONDS)
        if found.state is None:
            _log.warning(
                "a session could not be looked up",
                open_kfid=key.open_kfid,
                errcode=found.outcome.errcode,
                detail=found.outcome.detail,
            )
            return found
        hands = Hands(SessionState(found.state), found.servicer_userid)
        await self._database.transact(
            lambda conn: sessions.checked(conn, key, hands, asked_at, self._clock.now())
        )
        return found
