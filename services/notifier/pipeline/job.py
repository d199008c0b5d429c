"""A delivery in a sender's hands, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from services.notifier.domain.content import Content
from services.notifier.domain.digest import Heading
from services.notifier.domain.routing import Role, Target
from shared.db.limits import Release
from shared.wecom.outcome import Outcome


@dataclass(slots=True)
class Job:
    """One attempt to be made, under a lease. Its attempt row is committed."""

    delivery_id: str
    store_id: str
    event_id: str
    event_type: str
    rule_id: str
    channel: str
    """``app:<credential>`` or ``robot:<name>``."""

    part: int
    content: Content
    """The payload is built from it the same way every time."""

    targets: tuple[Target, ...]
    priority: int
    attempt_no: int
    epoch: int
    claimed_at: datetime
    """When it was claimed and what it takes of rates was reserved."""

    lease_until: datetime
    retries: int
    """Tries used up so far, the first one not counted."""

    refreshes: int
    """Attempts made again only because the token had to be renewed."""

    resend_mark: bool
    """Whether the text is marked 「可能重复」."""

    unclear_since: datetime | None
    """When the first try began whose outcome nobody knows."""

    traceparent: str | None
    created_at: datetime
    lane: str | None = None
    roles: Mapping[Target, Role] = field(default_factory=dict)
    """What each of the targets that were found by a role is told for."""

    heading: Heading | None = None
    """Of a digest that still gathers: it gets its words when it goes."""

    counted: tuple[Release, ...] = ()
    """What it took of operators' budgets: given back where it certainly did not arrive."""
    member: str = ""
    """The robot of a pool that posts, as ``robot:<name>``; empty where the channel is one credential."""

    others: bool = False
    """Whether further robots serve the same group."""

    fallback_step: int = 0
    """Steps of its rule's fallback chain that led to it."""

    probe: bool = False
    """Whether it tries a credential whose breaker is open."""

    @property
    def credential(self) -> str:
        """What it is sent with, as breakers know it."""
        return self.member or self.channel


@dataclass(slots=True)
class Finished:
    """An attempt that is over."""

    job: Job
    outcome: Outcome | None
    """None where no request was made: the delivery goes back as it was."""

    started_at: datetime
    finished_at: datetime
    why: str = ""
    """Why no request was made."""
