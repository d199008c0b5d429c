"""What the engine needs of the other rooms; each Protocol is met by one class of theirs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import field
from datetime import datetime
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.call import Call, CallProblem, Completion, Outcome
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
    "Made",
    "Mask",
    "Materials",
    "Provider",
    "Results",
    "RunEnded",
    "Sites",
    "Sought",
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

    async def pass_(
        self, conn: AsyncConnection, wishes: Sequence[Wish], now: datetime
    ) -> Sequence[Granted] | Refused:
        """All of them passed and their tokens are held; or the verdict of the first gate that refuses one of them, with
        nothing taken."""
        ...

    async def settle(
        self, conn: AsyncConnection, ends: Sequence[tuple[Wish, Outcome]], now: datetime
    ) -> Sequence[int]:
        """Charge what they cost and count them for the breakers; the tokens that were charged for each. A second time
        changes nothing."""
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
        self, conn: AsyncConnection, asked: Sequence[tuple[AppDefinition, Subject]], now: datetime
    ) -> Sequence[Material]:
        """What the views of each app show of its subject."""
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


@value_class
class Sought:
    """A result that may be kept already."""

    app: AppDefinition
    subject: Subject
    fingerprint: str


@value_class
class Made:
    """A result that is to be kept."""

    app: AppDefinition
    subject: Subject
    result: Mapping[str, Any] = field(hash=False)
    prompt: Prompt
    run_id: str
    triggered_by: str
    known_at: datetime
    """When its facts were read: what became known later makes it stale."""


class Results(Protocol):
    """What replies are worth, and what is kept of them."""

    def read(self, app: AppDefinition, reply: Completion) -> Mapping[str, Any] | Bad:
        """The result of a reply: a JSON object that meets the app's schema. Never repaired into data."""
        ...

    async def fresh(
        self, conn: AsyncConnection, sought: Sequence[Sought]
    ) -> Sequence[Mapping[str, Any] | None]:
        """The kept results, each where it was made from these very facts by this version."""
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

    async def keep(self, conn: AsyncConnection, made: Sequence[Made], now: datetime) -> None:
        """Insights, clues and what is announced of them, in the caller's transaction."""
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
