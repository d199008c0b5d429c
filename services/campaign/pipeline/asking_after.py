"""Asks the platform what became of a task that exists: whether its owner pressed send, and what each group got."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

from services.campaign.pipeline.reading_pace import NoSlot, ReadingPace
from services.campaign.store.follows import Followed
from shared.clock import Clock
from shared.credentials import FIRST
from shared.errors import ReachError
from shared.telemetry import metrics
from shared.telemetry.metrics import Metrics
from shared.values import value_class
from shared.wecom.credentials import App
from shared.wecom.errcodes import RetryClass
from shared.wecom.mass_send import MassSend, MemberStatus, Result
from shared.wecom.outcome import Outcome, State

TASK, RESULTS, REMIND, CANCEL = (
    "get_groupmsg_task",
    "get_groupmsg_send_result",
    "remind_groupmsg_send",
    "cancel_groupmsg_send",
)
"""The calls, as logs and figures name them."""
DEADLINE: Final = 10.0
"""Seconds, for one request."""
MOST_PAGES: Final = 100

_MISSING: Final = Outcome(
    State.REJECTED_PERMANENT,
    cause="credential_missing",
    detail=f"no secret of customer contact is stored; add it with `reach credentials add customer {FIRST}`",
    retry_class=RetryClass.PERM_CONFIG,
)
_NO_SLOT: Final = Outcome(State.NOT_SENT, "pace", "no slot for the call came free in time")
_ENDLESS: Final = Outcome(State.UNKNOWN, "endless", "the list does not end")
_FINE: Final = Outcome(State.ACCEPTED)


@value_class
class Sight:
    """What a look brought: all of it, or the outcome of the call that failed, and what came before that."""

    outcome: Outcome
    api: str
    """The last call."""
    confirmed: bool = False
    """Whether the owner has pressed send, for one group at least."""
    confirmed_at: datetime | None = None
    """When, by the platform's clock."""
    results: tuple[Result, ...] = ()
    """Groups that the platform tells of."""


class Asker:
    """Makes the calls that follow tasks, each in a slot of its own. Never raises for what the other side does."""

    def __init__(
        self,
        app: Callable[[], Awaitable[App | None]],
        api: MassSend,
        pace: ReadingPace,
        clock: Clock,
        numbers: Metrics,
    ) -> None:
        self._app = app
        self._api = api
        self._pace = pace
        self._clock = clock
        self._numbers = numbers

    async def look(self, one: Followed, *, whole: bool) -> Sight:
        """Who has confirmed, and what each group got; the latter is left out where nobody has and *whole* does not ask
        for it."""
        app = await self._opened()
        if isinstance(app, Outcome):
            return Sight(app, TASK)
        try:
            seen = await self._member(app, one)
            if seen.outcome.state is not State.ACCEPTED or not (seen.confirmed or whole):
                return seen
            return await self._results(app, one, seen)
        except NoSlot:
            return Sight(_NO_SLOT, TASK)

    async def stop(self, one: Followed, still: Callable[[], bool]) -> Outcome:
        """Stop at the platform what was not sent yet; a repeat does no harm."""
        app = await self._opened()
        if isinstance(app, Outcome):
            return app
        try:
            await self._pace.wait()
        except NoSlot:
            return _NO_SLOT
        return self._counted(CANCEL, await self._api.cancel(app, one.msgid, deadline=DEADLINE, still=still))

    async def ready(self) -> Outcome | None:
        """Have at hand what a request needs, so that it leaves at once; why it cannot, else None."""
        app = await self._opened()
        if isinstance(app, Outcome):
            return app
        await self._api.ready(app, deadline=DEADLINE)
        return None

    async def remind(self, one: Followed, still: Callable[[], bool], traceparent: str | None) -> Outcome:
        """Remind the owner of a task; the slot is the caller's."""
        app = await self._opened()
        if isinstance(app, Outcome):
            return app
        told = await self._api.remind(app, one.msgid, deadline=DEADLINE, still=still, traceparent=traceparent)
        return self._counted(REMIND, told)

    async def _member(self, app: App, one: Followed) -> Sight:
        cursor, confirmed, at = "", False, one.confirmed_at
        for _ in range(MOST_PAGES):
            await self._pace.wait()
            page = await self._api.members(app, one.msgid, cursor=cursor, deadline=DEADLINE)
            outcome = self._counted(TASK, page.outcome)
            if outcome.state is not State.ACCEPTED:
                return Sight(outcome, TASK)
            for member in page.members:
                if member.userid.lower() == one.owner.lower() and member.status == MemberStatus.SENT:
                    confirmed, at = True, at or member.sent_at
            cursor = page.next_cursor
            if not cursor:
                return Sight(_FINE, TASK, confirmed, at)
        return Sight(_ENDLESS, TASK)

    async def _results(self, app: App, one: Followed, seen: Sight) -> Sight:
        cursor, found = "", list[Result]()
        outcome = _ENDLESS
        for _ in range(MOST_PAGES):
            await self._pace.wait()
            page = await self._api.results(app, one.msgid, one.owner, cursor=cursor, deadline=DEADLINE)
            outcome = self._counted(RESULTS, page.outcome)
            if outcome.state is not State.ACCEPTED:
                break
            found += page.results
            cursor = page.next_cursor
            if not cursor:
                break
        else:
            outcome = _ENDLESS
        at = seen.confirmed_at or min((r.sent_at for r in found if r.sent_at is not None), default=None)
        return Sight(outcome, RESULTS, seen.confirmed or at is not None, at, tuple(found))

    def _counted(self, api: str, outcome: Outcome) -> Outcome:
        word = outcome.state.value if outcome.errcode in (None, 0) else outcome.retry_class.value
        self._numbers.add(metrics.CAMPAIGN_LOOKS, api=api, outcome=word)
        if outcome.errcode:
            self._numbers.add(metrics.CAMPAIGN_ERRORS, api=api, errcode=str(outcome.errcode))
        return outcome

    async def _opened(self) -> App | Outcome:
        try:
            app = await self._app()
        except ReachError as failure:
            return Outcome(State.NOT_SENT, cause="own_database", detail=failure.message)
        return _MISSING if app is None else app
