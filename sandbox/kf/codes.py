"""Codes that let an app say one thing on an occasion: a customer enters, is put into the pool, accepted, or let go."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from sandbox.kf.sessions import ENDED, HUMAN, POOL, Session

Occasion = Literal["enter", "pool", "accepted", "ended"]
_SECONDS = {"enter": 20, "pool": 48 * 3600, "accepted": 48 * 3600, "ended": 20}
_STATES = {"pool": POOL, "accepted": HUMAN, "ended": ENDED}
_KEPT = 50_000


@dataclass(frozen=True, slots=True)
class EventCode:
    """A code that was given. Except on entering it serves only while the session stays in its state."""

    session: Session
    occasion: Occasion
    expires_at: float

    @property
    def msgtypes(self) -> tuple[str, ...]:
        """What may be said with it."""
        return ("text", "msgmenu") if self.occasion in ("enter", "ended") else ("text",)

    @property
    def fits_state(self) -> bool:
        """Whether the session is still where the code was given."""
        return self.session.state == _STATES.get(self.occasion, self.session.state)


class EventCodes:
    """Those that were given and not used yet."""

    def __init__(self, new_id: Callable[[str], str]) -> None:
        self._new_id = new_id
        self.clear()

    def clear(self) -> None:
        """Forget all of them."""
        self._open: dict[str, EventCode] = {}

    def issue(self, session: Session, occasion: Occasion, now: float) -> str:
        """A code for one message to the customer of *session*."""
        code = self._new_id("kc")
        self._open[code] = EventCode(session, occasion, now + _SECONDS[occasion])
        if len(self._open) > _KEPT:
            del self._open[next(iter(self._open))]
        return code

    def find(self, code: str, now: float) -> EventCode | None:
        """What *code* is for; None when it was used, is too old or never was."""
        found = self._open.get(code)
        return None if found is None or found.expires_at <= now else found

    def spend(self, code: str) -> None:
        """It serves no second time."""
        self._open.pop(code, None)
