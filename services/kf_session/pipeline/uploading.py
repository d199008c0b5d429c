"""The loop that keeps pictures alive at the platform: each is uploaded by one process at a time, before its file ends."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.picture import kind_of, pause_after
from services.kf_session.pipeline.admitting import WAKEUP as PUSHES
from services.kf_session.store.pictures import WAKEUP, Held, Pictures
from shared.clock import Clock
from shared.credentials import FIRST, Credentials
from shared.db.engine import Database
from shared.supervise import Turn
from shared.telemetry import metrics
from shared.telemetry.metrics import Metrics
from shared.wecom.client import WeComClient
from shared.wecom.outcome import Outcome, State

LEASE: Final = timedelta(seconds=60)
DEADLINE: Final = 20.0
"""Bound on one upload, in seconds."""
_POLL: Final = 5.0
_log = structlog.get_logger("reach.kf_session.pictures")


class Uploader:
    """Its ``run`` is a loop."""

    def __init__(
        self,
        database: Database,
        pictures: Pictures,
        credentials: Credentials,
        wecom: WeComClient,
        clock: Clock,
        numbers: Metrics,
        owner: str,
    ) -> None:
        self._database = database
        self._pictures = pictures
        self._credentials = credentials
        self._wecom = wecom
        self._clock = clock
        self._numbers = numbers
        self._owner = owner

    async def run(self, turn: Turn) -> None:
        """Upload what is due until cancelled."""
        signal = self._database.wakeups.listen(WAKEUP)
        while True:
            uploaded = await self.once()
            turn()
            if not uploaded:
                await signal.wait(_POLL)

    async def once(self) -> bool:
        """One that is due; whether there was any. Without a secret nothing is due."""
        app = await self._credentials.kf(FIRST)
        if app is None:
            return False
        held = await self._database.transact(
            lambda conn: self._pictures.claim(conn, self._owner, self._clock.now(), LEASE)
        )
        if held is None:
            return False
        # The file's three days begin after this, whenever the answer comes.
        began = self._clock.now()
        filename = f"{held.name}.{kind_of(held.content, field='content')}"
        answer = await self._wecom.upload_media(app, "image", filename, held.content, deadline=DEADLINE)
        media_id = str(answer.data.get("media_id") or "")
        failure = "" if media_id else _word(answer.outcome)

        async def settle(conn: AsyncConnection) -> bool:
            now = self._clock.now()
            if failure:
                return await self._pictures.failed(
                    conn, held, failure, now + pause_after(held.failures + 1), now
                )
            self._database.wakeups.notify(conn, PUSHES)
            return await self._pictures.uploaded(conn, held, media_id, began, now)

        if not await self._database.transact(settle):
            self._numbers.add(metrics.WRITES_FENCED, service="kf_session")
        if failure:
            _tell(held, failure, answer.outcome)
        return True


def _tell(held: Held, failure: str, outcome: Outcome) -> None:
    told = outcome.errmsg or outcome.detail
    _log.error("picture not uploaded", name=held.name, store_id=held.store_id, reason=failure, detail=told)


def _word(outcome: Outcome) -> str:
    """A stable word, with the platform's errcode where there is one."""
    if outcome.errcode:
        return f"refused:{outcome.errcode}"
    return "no_media_id" if outcome.state is State.ACCEPTED else outcome.cause or outcome.state.value
