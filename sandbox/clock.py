"""The sandbox's own time: the host's clock plus an offset, or standing still."""

import time
from datetime import UTC, datetime

from sandbox.wakeup import Signal


def rfc3339(at: float) -> str:
    """UTC with microseconds and a Z, from seconds since the epoch."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_instant(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 instant; ValueError when it has no offset or is no instant."""
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(f"{text!r} has no UTC offset")
    return instant.timestamp()


class SandboxClock:
    """Every time that the simulated platform looks at: token expiry, rate windows, media life, recall.

    `version` grows with every change made by hand and never repeats, so that a follower notices each one.
    """

    def __init__(self) -> None:
        self._offset = 0.0
        self._frozen_at: float | None = None
        self.version = 1
        self.changed = Signal()

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time() + self._offset if self._frozen_at is None else self._frozen_at

    def move(self, to: float | None = None, *, frozen: bool | None = None) -> None:
        """Jump to an instant (seconds since the epoch), stop or run on, in one step.

        What is not given stays: a frozen clock that jumps stays frozen, one that runs on starts where it stood.
        ValueError outside the years 1970 to 9999; nothing has changed then.
        """
        # Whole microseconds, as they are shown: who jumps to an instant that was read here arrives at it.
        at = round(self.now() if to is None else to, 6)
        if not 0 <= at < 253_402_300_800:
            raise ValueError("the clock goes from 1970 to 9999")
        stands = frozen if frozen is not None else self._frozen_at is not None
        self._offset, self._frozen_at = at - time.time(), at if stands else None
        self._announce()

    def reset(self) -> None:
        """Back to the host's time, running."""
        self._offset, self._frozen_at = 0.0, None
        self._announce()

    def view(self) -> dict[str, object]:
        """As `GET /sandbox/clock` shows it."""
        now = self.now()
        return {
            "now": rfc3339(now),
            "offset_seconds": now - time.time() if self._frozen_at is not None else self._offset,
            "frozen": self._frozen_at is not None,
            "version": self.version,
        }

    def _announce(self) -> None:
        self.version += 1
        self.changed.send()
