"""When people may be reached and how often: operators' policies for a store, a role or one address.

Of several that say something about the same thing the closest one counts: the address before the role before the store,
and what one store says before what all stores say. Quiet hours, budgets and merging are looked up each by themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from services.notifier.domain.merging import Merging
from services.notifier.domain.routing import ROLE_NAMES, Role, Target
from services.notifier.domain.rules import Priority
from shared.errors import Invalid
from shared.limits import Limit
from shared.quiet import QuietHours, QuietMode, Window
from shared.values import value_class

EVERYBODY = ""
"""The subject that means everybody in the store."""

MOST_PERIOD = timedelta(days=1)
"""The longest rolling period of a budget."""

BUDGET = "budget:"
"""Begins the key under which messages are counted for a budget."""

T = TypeVar("T")


class Excess(StrEnum):
    """What becomes of a message for which a budget has no room."""

    HOLD = "hold"
    """It goes as soon as there is room."""
    DROP = "drop"
    """It is recorded and never goes."""


@value_class
class Budget:
    """So many messages for one recipient in a period."""

    most: int
    """At least 1."""
    per: timedelta | None
    """A rolling period of at most a day; None is the calendar day."""
    excess: Excess = Excess.HOLD

    @property
    def name(self) -> str:
        """``30/1h``, ``100/day``: as operators write it."""
        return f"{self.most}/{'day' if self.per is None else words_of(self.per)}"

    def window(self, subject: str, at: datetime, zone: ZoneInfo) -> tuple[str, tuple[Limit, ...]]:
        """The key and the limit under which messages at *at* are counted for *subject*."""
        if self.per is not None:
            return f"{BUDGET}{self.name}:{subject}", (Limit("budget", self.most, self.per, exact=False),)
        today = at.astimezone(zone).date()
        # What is counted under a day's own key never leaves its window before the day is over.
        limit = Limit("budget", self.most, timedelta(days=2), exact=False)
        return f"{BUDGET}{self.name}:{subject}:{today.isoformat()}", (limit,)

    def free_at(self, counted: datetime, at: datetime, zone: ZoneInfo) -> datetime:
        """When there is room again, where its window says *counted*: of a calendar day, the next midnight."""
        if self.per is not None:
            return counted
        return next_midnight(at, zone)


def limit_behind(key: str) -> Limit:
    """The limit of a budget's key, as it is shown: that of a calendar day is over a day."""
    most, _, period = key.removeprefix(BUDGET).partition(":")[0].partition("/")
    if period == "day":
        return Limit("budget", int(most), timedelta(days=1), exact=False)
    seconds = int(period[:-1]) * {"h": 3600, "m": 60, "s": 1}[period[-1]]
    return Limit("budget", int(most), timedelta(seconds=seconds), exact=False)


def next_midnight(at: datetime, zone: ZoneInfo) -> datetime:
    """When the next day begins on the clocks of *zone*."""
    tomorrow: date = at.astimezone(zone).date() + timedelta(days=1)
    return datetime(tomorrow.year, tomorrow.month, tomorrow.day, tzinfo=zone)


def words_of(period: timedelta) -> str:
    """``90s``, ``10m``, ``1h``: the largest unit that has no remainder."""
    seconds = int(period.total_seconds())
    for unit, length in (("h", 3600), ("m", 60)):
        if seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


@value_class
class Policy:
    """What is said about one subject in one store or in all; None where it says nothing."""

    store_id: str
    """Empty is every store."""
    subject: str
    """``EVERYBODY``, or what ``subject_of`` makes of a role or an address."""
    zone: str | None = None
    """On whose clocks its hours and days are; None is the suite's own zone."""
    quiet: QuietHours | None = None
    budgets: tuple[Budget, ...] | None = None
    merging: Merging | None = None
    """For rules that say nothing about merging themselves."""

    @property
    def empty(self) -> bool:
        """Whether it says nothing at all."""
        return self.quiet is None and self.budgets is None and self.merging is None

    @property
    def words(self) -> str:
        """What it is called: ``role:manager@s1``, ``everybody``."""
        return (self.subject or "everybody") + (f"@{self.store_id}" if self.store_id else "")

    @property
    def words_zh(self) -> str:
        """The same in Chinese."""
        kind, _, name = self.subject.partition(":")
        subject = f"岗位「{ROLE_NAMES[Role(name)]}」" if kind == "role" else self.subject or "所有人"
        return f"门店 {self.store_id} {subject}" if self.store_id else f"所有门店 {subject}"

    def to_json(self) -> dict[str, object]:
        """As plain JSON, without what it says nothing about."""
        plain: dict[str, object] = {}
        if self.zone is not None:
            plain["zone"] = self.zone
        if self.quiet is not None:
            plain["quiet"] = {
                "mode": self.quiet.mode.value,
                "windows": [
                    [f"{w.start:%H:%M}", f"{w.end:%H:%M}", sorted(w.days)] for w in self.quiet.windows
                ],
            }
        if self.budgets is not None:
            plain["budgets"] = [
                [b.most, None if b.per is None else b.per.total_seconds(), b.excess.value]
                for b in self.budgets
            ]
        if self.merging is not None:
            plain["merging"] = self.merging.to_json()
        return plain

    @classmethod
    def from_json(cls, store_id: str, subject: str, plain: Mapping[str, Any]) -> Policy:
        """What ``to_json`` wrote."""
        quiet, budgets, merging = plain.get("quiet"), plain.get("budgets"), plain.get("merging")
        return cls(
            store_id,
            subject,
            plain.get("zone"),
            quiet
            and QuietHours(
                tuple(
                    Window.read(start, end, frozenset(days), field="windows")
                    for start, end, days in quiet["windows"]
                ),
                QuietMode(quiet["mode"]),
            ),
            None
            if budgets is None
            else tuple(
                Budget(most, None if per is None else timedelta(seconds=per), Excess(excess))
                for most, per, excess in budgets
            ),
            merging and Merging.from_json(merging),
        )

    def check(self, zone: ZoneInfo) -> None:
        """Raises Invalid naming the field of what cannot be meant; *zone* is the suite's own."""
        zone = zone_named(self.zone, field="policy.time_zone") if self.zone else zone
        if self.quiet is not None:
            self.quiet.check(zone, field="policy.quiet_hours.windows")
        if len({one.name for one in self.budgets or ()}) < len(self.budgets or ()):
            raise Invalid.field("policy.budgets", "says the same twice; leave one out")
        for at, budget in enumerate(self.budgets or ()):
            field = f"policy.budgets.budgets[{at}]"
            if budget.most < 1:
                raise Invalid.field(
                    f"{field}.max_messages", "must be at least 1; to silence somebody, use no role"
                )
            if budget.per is not None and not timedelta(seconds=60) <= budget.per <= MOST_PERIOD:
                raise Invalid.field(f"{field}.period", "must be from 1 minute to 24 hours; or a calendar day")
        if self.merging is not None:
            self.merging.check("policy.merging")
            if self.merging.key or self.merging.line:
                raise Invalid.field("policy.merging", "the key and the line are a rule's own; set them there")


def zone_named(name: str, *, field: str) -> ZoneInfo:
    """The IANA zone of that name. Raises Invalid for *field*."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise Invalid.field(field, f"{name} is no IANA time zone; write one such as Asia/Shanghai") from None


def subject_of(who: Role | Target) -> str:
    """What a policy for *who* is kept under."""
    if isinstance(who, Role):
        return f"role:{who.value}"
    address, kind, ident = who.key
    return f"{kind}:{ident}" if kind == "robot" else f"{kind}:{ident}@{address.partition(':')[2]}"


@value_class
class Counted:
    """A budget that counts a message, and the window in which it does."""

    policy: Policy
    budget: Budget
    key: str
    limits: tuple[Limit, ...]
    zone: ZoneInfo

    @property
    def hold_reason(self) -> str:
        """What a delivery that waits for it is held by, and why one is dropped: ``budget:30/1h:role:manager``."""
        return f"budget:{self.budget.name}:{self.policy.words}"


@value_class
class Said:
    """What holds for one recipient, and which policy says so."""

    quiet: Policy | None
    budgets: Policy | None
    merging: Policy | None


NOTHING_SAID = Said(None, None, None)


class Policies:
    """All of them, by whom they are for."""

    def __init__(self, policies: Iterable[Policy], zone: ZoneInfo) -> None:
        self.zone = zone
        """The suite's own, for policies that name none."""
        self._by_subject = {(one.store_id, one.subject): one for one in policies}
        self._known: dict[tuple[str, str, str], Said] = {}

    @cached_property
    def empty(self) -> bool:
        """Whether there is none at all."""
        return not self._by_subject

    def zone_of(self, policy: Policy) -> ZoneInfo:
        """On whose clocks its hours are."""
        return ZoneInfo(policy.zone) if policy.zone else self.zone

    def own(self, store_id: str, subject: str) -> Policy | None:
        """The one that was set for exactly this."""
        return self._by_subject.get((store_id, subject))

    def said(self, store_id: str, target: Target | None, role: Role | None) -> Said:
        """What holds for *target* in the store, told for *role*; None where it was addressed directly."""
        if self.empty:
            return NOTHING_SAID
        subjects = [subject_of(one) for one in (target, role) if one is not None] + [EVERYBODY]
        key = (store_id, subjects[0] if target is not None else "", role.value if role else "")
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._look(store_id, subjects)
        return known

    def counted(
        self, store_id: str, target: Target, role: Role | None, priority: Priority, at: datetime
    ) -> list[Counted]:
        """The budgets that count a message at *at*; none counts an urgent one."""
        policy = self.said(store_id, target, role).budgets
        if policy is None or priority is Priority.URGENT:
            return []
        zone, subject = self.zone_of(policy), f"{policy.words}>{subject_of(target)}"
        return [
            Counted(policy, one, *one.window(subject, at, zone), zone=zone) for one in policy.budgets or ()
        ]

    def _look(self, store_id: str, subjects: list[str]) -> Said:
        found = [
            policy
            for subject in subjects
            for store in dict.fromkeys((store_id, ""))
            if (policy := self._by_subject.get((store, subject))) is not None
        ]
        return Said(
            next((one for one in found if one.quiet is not None), None),
            next((one for one in found if one.budgets is not None), None),
            next((one for one in found if one.merging is not None), None),
        )


NO_POLICIES = Policies((), ZoneInfo("UTC"))
