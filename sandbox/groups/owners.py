"""Owners, and when they press send: at once, late, never, or by the hand of whoever plays them."""

from dataclasses import dataclass
from typing import Literal

from sandbox.clock import rfc3339
from sandbox.profile import Profile

Manner = Literal["at_once", "late", "never", "by_hand"]
MANNERS: tuple[Manner, ...] = ("at_once", "late", "never", "by_hand")


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How an owner treats prompts. `delay_seconds`: between a prompt and the press, of `at_once` and `late`."""

    manner: Manner
    delay_seconds: float = 0.0
    since: float = 0.0

    def presses_at(self, prompted_at: float) -> float | None:
        """When a prompt is confirmed; None for one that this owner does not confirm by themselves."""
        if self.manner in ("never", "by_hand"):
            return None
        # Whoever changes their mind does not change what has been.
        return max(prompted_at + self.delay_seconds, self.since)

    def view(self) -> dict[str, object]:
        """As JSON shows it."""
        return {
            "behaviour": self.manner,
            "delay_seconds": self.delay_seconds,
            "since": rfc3339(self.since) if self.since else None,
        }


class Owners:
    """What each owner does; whoever was not told does what the profile says."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self.clear()

    def clear(self) -> None:
        """Everybody does what the profile says."""
        self._told: dict[str, Behaviour] = {}

    def of(self, userid: str) -> Behaviour:
        """What an owner does."""
        return self._told.get(userid.lower()) or self.usual(self._profile.owner_behaviour)

    def usual(self, manner: Manner, since: float = 0.0) -> Behaviour:
        """A manner with the profile's delays."""
        hours = self._profile.owner_late_hours if manner == "late" else 0
        seconds = self._profile.owner_delay_seconds if manner == "at_once" else hours * 3600
        return Behaviour(manner, float(seconds), since)

    def tell(self, userid: str, behaviour: Behaviour) -> None:
        """An owner behaves like this from here on, towards old prompts too."""
        self._told[userid.lower()] = behaviour

    @property
    def told(self) -> list[str]:
        """Those who were told, in lower case."""
        return list(self._told)
