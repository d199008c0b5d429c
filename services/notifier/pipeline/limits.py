"""The rates that the platform grants, kept on our side: past them it refuses (robots) or drops in silence (members)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from services.notifier.domain.gates import Gate
from services.notifier.domain.policy import BUDGET, Counted, Excess, Policies, limit_behind
from services.notifier.domain.routing import Role, Target, TargetKind
from services.notifier.domain.rules import Priority
from services.notifier.pipeline.job import Job
from shared.db.limits import Release, Request
from shared.limits import Limit, Wait
from shared.settings import Limits
from shared.values import value_class

_MINUTE, _HOUR, _DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
_OPERATOR = "operator:"
_LOOKUP = "lookup:"

LOOKUPS = (Limit("day", 500, _DAY, exact=False),)
"""Mobile numbers that are looked up: whoever tries numbers out must not use up what the platform grants the corp."""


@value_class
class Held:
    """Why one recipient's message does not go now."""

    until: datetime
    reason: str
    """What the delivery is held by, or why it is suppressed."""
    drop: bool = False
    """Whether it never goes."""

    @property
    def limit(self) -> str:
        """What kind of limit it is, for counting."""
        return "budget" if self.reason.startswith(BUDGET) else self.reason

    @property
    def on_purpose(self) -> bool:
        """Whether operators want it held: by quiet hours or a budget, which urgent messages pass."""
        return self.limit in (Gate.QUIET.value, Gate.BUDGET.value)


@value_class
class Toll:
    """What one message to one recipient takes of the platform's rates and of operators' budgets."""

    rate: tuple[str, Sequence[Limit]] | None
    budgets: Sequence[Counted] = ()

    @property
    def request(self) -> Request | None:
        """To be reserved before it goes; None where nobody counts it."""
        if not self.budgets:
            return Request(*self.rate) if self.rate is not None else None
        windows = [(one.key, one.limits) for one in self.budgets]
        if self.rate is not None:
            windows.append((self.rate[0], tuple(self.rate[1])))
        (key, limits), *beside = windows
        return Request(key, limits, beside=tuple(beside))

    def held(self, wait: Wait, now: datetime, rates: Rates) -> Held:
        """What *wait*, the answer to the request, means for the message."""
        only = self.rate[0] if self.rate is not None else self.budgets[0].key
        refused = dict(wait.refused) or {only: wait.until}
        held = [
            Held(
                one.budget.free_at(refused[one.key], now, one.zone),
                one.hold_reason,
                one.budget.excess is Excess.DROP,
            )
            for one in self.budgets
            if one.key in refused
        ]
        if self.rate is not None and self.rate[0] in refused:
            held.append(Held(refused[self.rate[0]], rates.hold_reason(self.rate[0])))
        # One that wants nothing kept is not made to keep it by another that does.
        return max(held, key=lambda one: (one.drop, one.until))

    def releases(self, granted_at: datetime) -> list[Release]:
        """What of the budgets is given back when the message certainly did not arrive."""
        return [Release(one.key, one.limits, granted_at) for one in self.budgets]


@value_class
class Rates:
    """Which limits apply to what."""

    robot: tuple[Limit, ...]
    member: tuple[Limit, ...]
    operator: tuple[Limit, ...] = ()
    """Messages and reports that one caller may write."""

    @classmethod
    def of(cls, figures: Limits) -> Rates:
        """From the settings."""
        return cls(
            robot=(Limit("minute", figures.robot_per_minute, _MINUTE, exact=True),),
            member=(
                Limit("minute", figures.member_per_minute, _MINUTE, exact=True),
                Limit("hour", figures.member_per_hour, _HOUR, exact=False),
            ),
            operator=(
                Limit("minute", figures.operator_per_minute, _MINUTE, exact=True),
                Limit("day", figures.operator_per_day, _DAY, exact=False),
            ),
        )

    def key(self, channel: str, target: Target) -> str | None:
        """The key under which sends to *target* by *channel* are counted; None where only the platform can count.

        For a robot *channel* is the robot itself, also where it posts for a pool.
        """
        if target.kind is TargetKind.ROBOT:
            return channel
        if target.kind is TargetKind.USER and not target.id.startswith("@"):
            return f"{channel}:user:{target.id.lower()}"
        return None

    def toll(
        self,
        channel: str,
        target: Target,
        policies: Policies,
        store_id: str,
        role: Role | None,
        priority: Priority,
        now: datetime,
    ) -> Toll:
        """What a message takes."""
        key = self.key(channel, target)
        rate = None if key is None else (key, self.limits_of(key))
        if policies.empty:
            return Toll(rate)
        return Toll(rate, policies.counted(store_id, target, role, priority, now))

    @staticmethod
    def operator_key(subject: str) -> str:
        """The key under which what *subject* writes is counted."""
        return f"{_OPERATOR}{subject}"

    @staticmethod
    def lookup_key(account: str) -> str:
        """The key under which numbers that are looked up are counted."""
        return f"{_LOOKUP}{account}"

    def limits_of(self, key: str) -> Sequence[Limit]:
        """The limits behind a key."""
        if key.startswith(BUDGET):
            return (limit_behind(key),)
        if key.startswith(_OPERATOR):
            return self.operator
        if key.startswith(_LOOKUP):
            return LOOKUPS
        return self.robot if key.startswith("robot:") else self.member

    def releases(self, job: Job, targets: Iterable[Target]) -> list[Release]:
        """What was reserved for *targets* when *job* was claimed, to be given back."""
        keys = [key for target in targets if (key := self.key(job.credential, target)) is not None]
        return [Release(key, self.limits_of(key), job.claimed_at) for key in keys]

    def hold_reason(self, key: str) -> str:
        """What a delivery that waits for *key* is held by."""
        return "rate:robot" if key.startswith("robot:") else "rate:member"
