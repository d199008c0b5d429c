"""The way out to the platform, and the way of a dry run, which leads nowhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from services.campaign.pipeline.deciding import Job, Look
from services.campaign.pipeline.looking_up import BEFORE, SPAN
from shared.clock import Clock
from shared.credentials import FIRST
from shared.errors import ReachError
from shared.wecom.credentials import App
from shared.wecom.errcodes import RetryClass
from shared.wecom.mass_send import Created, ListPage, MassSend, MemberPage
from shared.wecom.outcome import Outcome, State

CustomerApp = Callable[[], Awaitable[App | None]]
"""What opens customer contact; None where no secret is stored."""

_MISSING: Final = Outcome(
    State.REJECTED_PERMANENT,
    cause="credential_missing",
    detail=f"no secret of customer contact is stored; add it with `reach credentials add customer {FIRST}`",
    retry_class=RetryClass.PERM_CONFIG,
)


class PlatformWay:
    """Calls the platform with the customer-contact secret."""

    def __init__(self, app: CustomerApp, api: MassSend, clock: Clock) -> None:
        self._app = app
        self._api = api
        self._clock = clock

    async def ready(self, deadline: float) -> None:
        """See ``sending.Way``."""
        app = await self._opened()
        if isinstance(app, App):
            await self._api.ready(app, deadline=deadline)

    async def make(self, job: Job, still: Callable[[], bool], deadline: float) -> Created:
        """See ``sending.Way``."""
        app = await self._opened()
        if isinstance(app, Outcome):
            return Created(app)
        return await self._api.create(
            app, job.body, deadline=deadline, traceparent=job.traceparent, still=still
        )

    async def listed(self, look: Look, cursor: str, deadline: float) -> ListPage:
        """See ``looking_up.Lists``."""
        app, now = await self._opened(), self._clock.now()
        if isinstance(app, Outcome):
            return ListPage(app)
        begin = (look.task.unclear_at or look.task.created_at) - BEFORE
        end = min(now + BEFORE, begin + SPAN)
        return await self._api.listed(app, begin, end, cursor=cursor, deadline=deadline)

    async def members(self, look: Look, msgid: str, cursor: str, deadline: float) -> MemberPage:
        """See ``looking_up.Lists``."""
        app = await self._opened()
        if isinstance(app, Outcome):
            return MemberPage(app)
        return await self._api.members(app, msgid, cursor=cursor, deadline=deadline)

    async def _opened(self) -> App | Outcome:
        try:
            app = await self._app()
        except ReachError as failure:
            return Outcome(State.NOT_SENT, cause="own_database", detail=failure.message)
        return _MISSING if app is None else app


class DryWay:
    """Says yes to everything. It holds nothing that could reach a network."""

    async def ready(self, deadline: float) -> None:
        """See ``sending.Way``."""

    async def make(self, job: Job, still: Callable[[], bool], deadline: float) -> Created:
        """See ``sending.Way``."""
        return Created(Outcome(State.ACCEPTED))
