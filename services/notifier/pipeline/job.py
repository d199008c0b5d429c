"""A delivery in a sender's hands, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from services.notifier.domain.content import Content
from services.notifier.domain.routing import Target
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
