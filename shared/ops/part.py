"""What a service contributes to the operators' view of its process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from shared.audit import AuditLog
from shared.bus import Incoming
from shared.credentials import Credentials
from shared.db.engine import Database
from shared.db.once import Once
from shared.db.queue import DueQueue
from shared.ops.finding import CheckStatus, Finding
from shared.values import value_class

__all__ = [
    "Check",
    "CheckStatus",
    "Finding",
    "LimitDesk",
    "LimitView",
    "Part",
    "Replay",
    "ScheduleView",
    "Schedules",
    "UnknownDesk",
    "UnknownSend",
    "Verdict",
]

Check = Callable[[], Awaitable[Sequence[Finding]]]
"""Runs one group of checks; never raises for what it is there to find."""


class Verdict(StrEnum):
    """What a person found out about an unknown send."""

    SENT = "sent"
    NOT_SENT = "not_sent"
    RESEND = "resend"


@value_class
class UnknownSend:
    """A send whose outcome nobody can tell."""

    id: str
    kind: str
    store_id: str
    event_id: str
    channel: str
    detail: str
    unknown_at: datetime


class UnknownDesk(Protocol):
    """Where a service keeps its unknown sends."""

    async def list_unknown(
        self, stores: Collection[str] | None, after_id: str, limit: int
    ) -> Sequence[UnknownSend]:
        """Those of *stores* (None: every store) with an id beyond *after_id*, by id."""
        ...

    async def resolve(
        self,
        id: str,  # noqa: A002  # the contract's word
        verdict: Verdict,
        *,
        stores: Collection[str] | None,
        by: str,
        comment: str,
        once: Once,
    ) -> str | None:
        """Record what was found out; the status after it, or None when this desk has no such id.

        A repeat by the key of *once* answers as the first time. Raises Conflict (STATE_INVALID) when it is no
        longer unknown.
        """
        ...


@value_class
class BreakerView:
    """How something stands that may fail as a whole; the words of the contract."""

    key: str
    state: str
    """closed, open or half_open."""
    failures: int = 0
    since: datetime | None = None
    opened_at: datetime | None = None
    retry_at: datetime | None = None
    probe: str = ""
    reason: str = ""
    errcode: int | None = None
    detail: str = ""
    openings: int = 0
    failed_probes: int = 0
    waiting: int = 0
    alert: str = ""
    """due, sent, undeliverable; empty where nobody has to be told."""
    alerted_at: datetime | None = None
    reset_by: str = ""


class BreakerDesk(Protocol):
    """Where a service keeps its breakers."""

    async def list_breakers(self) -> Sequence[BreakerView]:
        """All of them, by key."""
        ...

    async def reset(self, key: str, *, by: str, once: Once) -> BreakerView | None:
        """Close one by hand; None when there is none of that key. A repeat by the key of *once* changes nothing."""
        ...


@value_class
class ScheduleView:
    """Work that begins by itself; the words of the contract."""

    name: str
    description: str
    cron: str = ""
    """Of what begins by the clock, read on the clocks of *time_zone*."""
    time_zone: str = ""
    event_type: str = ""
    """Of what an event begins."""
    stores: int = 0
    last_at: datetime | None = None
    next_at: datetime | None = None


Schedules = Callable[[datetime], Awaitable[Sequence[ScheduleView]]]
"""All that begins by itself in a service, as it stands at an instant."""

Replay = Callable[[Incoming], Awaitable[None]]
"""Takes a dead letter's message as if it had just come; raises what it is refused with."""


@value_class
class LimitView:
    """How much of a limit is used; the words of the contract."""

    key: str
    window: str
    max: int
    used: int
    per: timedelta
    free_at: datetime | None = None
    """When the next one may go; None is now, or when somebody else brings it about."""


class LimitDesk(Protocol):
    """Where a service keeps what is limited."""

    async def list_limits(self, prefix: str, after: str, now: datetime, limit: int) -> Sequence[LimitView]:
        """The lines of at most *limit* keys that begin with *prefix*, by key, those behind *after*."""
        ...


@value_class
class Part:
    """One service of the process, as operators see it."""

    service: str
    database: Database
    checks: Sequence[Check]
    replay: Replay
    unknown: UnknownDesk
    limits: LimitDesk
    credentials: Credentials
    audit: AuditLog
    breakers: BreakerDesk | None = None
    """None where nothing has one."""
    schedules: Schedules | None = None
    """None where nothing begins by itself."""
    queues: Mapping[str, DueQueue] = field(default_factory=dict)
    """What waits in it to be done, by name."""
