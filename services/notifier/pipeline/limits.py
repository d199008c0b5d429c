"""The rates that the platform grants, kept on our side: past them it refuses (robots) or drops in silence (members)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

from services.notifier.domain.routing import Target, TargetKind
from services.notifier.pipeline.job import Job
from shared.db.limits import Release
from shared.limits import Limit
from shared.settings import Limits
from shared.values import value_class

_MINUTE, _HOUR = timedelta(minutes=1), timedelta(hours=1)


@value_class
class Rates:
    """Which limits apply to what."""

    robot: tuple[Limit, ...]
    member: tuple[Limit, ...]

    @classmethod
    def of(cls, figures: Limits) -> Rates:
        """From the settings."""
        return cls(
            robot=(Limit("minute", figures.robot_per_minute, _MINUTE, exact=True),),
            member=(
                Limit("minute", figures.member_per_minute, _MINUTE, exact=True),
                Limit("hour", figures.member_per_hour, _HOUR, exact=False),
            ),
        )

    def key(self, channel: str, target: Target) -> str | None:
        """The key under which sends to *target* are counted; None where only the platform can count."""
        if target.kind is TargetKind.ROBOT:
            return f"robot:{target.id}"
        if target.kind is TargetKind.USER and not target.id.startswith("@"):
            return f"{channel}:user:{target.id.lower()}"
        return None

    def limits_of(self, key: str) -> Sequence[Limit]:
        """The limits behind a key."""
        return self.robot if key.startswith("robot:") else self.member

    def releases(self, job: Job, targets: Iterable[Target]) -> list[Release]:
        """What was reserved for *targets* when *job* was claimed, to be given back."""
        keys = [key for target in targets if (key := self.key(job.channel, target)) is not None]
        return [Release(key, self.limits_of(key), job.claimed_at) for key in keys]

    def hold_reason(self, key: str) -> str:
        """What a delivery that waits for *key* is held by."""
        return "rate:robot" if key.startswith("robot:") else "rate:member"
