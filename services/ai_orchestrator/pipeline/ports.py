"""What the engine needs of the other rooms; each Protocol is met by one class of theirs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.call import Call, CallProblem, Completion
from services.ai_orchestrator.domain.definitions import AppDefinition, Subject
from services.ai_orchestrator.domain.gating import Granted, Refusal, Refused, Wish
from services.ai_orchestrator.domain.lifecycle import RunStatus
from services.ai_orchestrator.domain.material import Input, Material, Prompt
from services.ai_orchestrator.domain.planning import Site
from services.ai_orchestrator.domain.reading import Bad
from shared.events.kinds import Event
from shared.values import value_class

__all__ = [
    "ActiveStores",
    "Alerts",
    "Announce",
    "Bad",
    "Gates",
    "Learn",
    "Mask",
    "Materials",
    "Provider",
    "Results",
    "RunEnded",
    "Sites",
    "Waiting",
]


class Provider(Protocol):
    """DashScope: one request on the wire for each `complete`, no more."""

    async def complete(self, call: Call) -> Completion | CallProblem:
        """Ask, within the call's time-out; never raises but for cancellation, which closes the socket."""
        ...


class Gates(Protocol):
    """Breaker, rate and budget, as rows: they hold across replicas and restarts."""

    async def guess(self, conn: AsyncConnection, app_type: str, prompt_bytes: int) -> int:
        """The tokens that a call would be held for now; takes nothing."""
        ...

    async def pass_(self, conn: AsyncConnection, wish: Wish, now: datetime) -> Granted | Refused:
        """The verdict of the first gate that refuses, with nothing taken; or all were passed and the tokens are held."""
        ...

    async def settle(
        self,
        conn: AsyncConnection,
        wish: Wish,
        outcome: Completion | CallProblem,
        now: datetime,
    ) -> int:
        """Charge what it cost and count it for the breaker; the tokens that were charged. A second time changes nothing."""
        ...


class Waiting(Protocol):
    """The steps that a gate has put off, for the gates' desk: the engine's."""

    async def count(self, conn: AsyncConnection, refusal: Refusal) -> int:
        """How many wait for that gate."""
        ...

    async def release(self, conn: AsyncConnection, refusal: Refusal, now: datetime) -> None:
        """Let those that wait for that gate be due at once: it was opened, or is to be tried again."""
        ...


class Materials(Protocol):
    """The facts."""

    async def gather(
        self, conn: AsyncConnection, app: AppDefinition, subject: Subject, now: datetime
    ) -> Material:
        """What the views of *app* show of *subject*."""
        ...

    def assemble(
        self,
        app: AppDefinition,
        subject: Subject,
        material: Material,
        inputs: Sequence[Input],
        *,
        correction: str = "",
    ) -> Prompt:
        """The prompt; *correction* says what was wrong with the reply before, when it is asked again."""
        ...


class Results(Protocol):
    """What replies are worth, and what is kept of them."""

    def read(self, app: AppDefinition, reply: Completion) -> Mapping[str, Any] | Bad:
        """The result of a reply: a JSON object that meets the app's schema. Never repaired into data."""
        ...

    async def fresh(
        self, conn: AsyncConnection, app: AppDefinition, subject: Subject, fingerprint: str
    ) -> Mapping[str, Any] | None:
        """The kept result, when it was made from these very facts by this version."""
        ...

    async def confirm(
        self,
        conn: AsyncConnection,
        app: AppDefinition,
        subject: Subject,
        fingerprint: str,
        known_at: datetime,
    ) -> None:
        """The facts were read again at *known_at*, and are those the kept result was made from: it is not stale."""
        ...

    async def inputs(
        self, conn: AsyncConnection, app: AppDefinition, subject: Subject, now: datetime
    ) -> Sequence[Input]:
        """The newest results of the apps that *app* names as inputs, as far as this run does not bring them."""
        ...

    async def keep(
        self,
        conn: AsyncConnection,
        app: AppDefinition,
        subject: Subject,
        result: Mapping[str, Any],
        prompt: Prompt,
        *,
        run_id: str,
        triggered_by: str,
        now: datetime,
        known_at: datetime | None = None,
    ) -> None:
        """Insight, clues and what is announced of them, in the caller's transaction.

        *known_at*: when its facts were read; what became known later makes it stale. None is *now*.
        """
        ...

    async def stale(
        self, conn: AsyncConnection, store_id: str, member_id: str, reason: str, now: datetime
    ) -> None:
        """Something newer is known of a member than what is kept was made from."""
        ...


class Alerts(Protocol):
    """What operators are told."""

    async def tell(
        self,
        conn: AsyncConnection,
        *,
        store_id: str,
        app_type: str,
        kind: str,
        message: str,
        run_id: str,
        step: str,
        now: datetime,
    ) -> None:
        """Record an alert once for (run, step, kind), for WatchAlerts and the exchange. *kind*: circuit_open,
        rate_limited, budget_exceeded, timeout or failed."""
        ...


@value_class
class RunEnded:
    """What is announced of a run: ``ai.run.`` and its status."""

    run_id: str
    store_id: str
    chain: str
    event_type: str
    member_id: str
    assistant_id: str
    status: RunStatus
    reason: str
    error: str


Announce = Callable[[AsyncConnection, RunEnded, datetime], Awaitable[None]]
"""Writes the event into the outbox, in the caller's transaction."""

Learn = Callable[[AsyncConnection, Event, datetime], Awaitable[None]]
"""Keeps the facts of an event, in the caller's transaction. Raises ``Unreadable`` for one that has none to offer."""

Sites = Callable[[AsyncConnection, str], Awaitable[Site]]
"""How a store is looked at."""

ActiveStores = Callable[[AsyncConnection, datetime], Awaitable[Mapping[str, ZoneInfo]]]
"""The stores whose figures are worth preparing at an instant, with the zone of their clocks."""

Mask = Callable[[str], str]
"""Takes out of a prompt or a response what no record may hold."""
