"""The way out: a job becomes one call to WeChat KF, with the KF credential."""

from __future__ import annotations

from typing import Final

from services.kf_session.pipeline.deciding import Job
from shared.credentials import FIRST, Credentials
from shared.errors import ReachError
from shared.wecom.errcodes import RetryClass
from shared.wecom.kf_sending import KfSending, Sent
from shared.wecom.outcome import Outcome, State

_MISSING: Final = Sent(
    Outcome(
        State.REJECTED_PERMANENT,
        cause="credential_missing",
        detail=f"no KF secret is registered as {FIRST}; add it with `reach credentials add kf {FIRST}`",
        retry_class=RetryClass.PERM_CONFIG,
    )
)


class KfWay:
    """Sends pushes through the platform."""

    def __init__(self, credentials: Credentials, api: KfSending) -> None:
        self._credentials = credentials
        self._api = api

    async def send(self, job: Job, deadline: float) -> Sent:
        """See ``Way``."""
        try:
            app = await self._credentials.kf(FIRST)
        except ReachError as failure:
            return Sent(Outcome(State.NOT_SENT, cause="own_database", detail=failure.message))
        if app is None:
            return _MISSING
        if job.by_code:
            return await self._api.send_on_event(app, job.body, deadline=deadline)
        return await self._api.send(app, job.body, deadline=deadline)
