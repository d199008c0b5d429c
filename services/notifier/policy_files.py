"""Policies as people write them: ``22:00-08:00/1-5``, ``30/1h``, ``window:60s``; in files and on command lines.

[[policies]]
role = "kitchen_staff"              # or for = "user:zhangsan"; neither is everybody
store = "s1"                        # left out: every store without one of its own
quiet = ["22:00-08:00/1-5"]
mode = "digest"
budgets = ["30/1h", "100/day/drop"]
merging = { mode = "window", length = "60s" }
zone = "Asia/Shanghai"
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar
from zoneinfo import ZoneInfo

from services.notifier.domain.policy import EVERYBODY, Budget, Excess, Policy, subject_of
from services.notifier.domain.routing import Role, Target
from services.notifier.merging_files import read_merging
from services.notifier.toml_tables import Table
from shared.errors import Invalid
from shared.events.identity import check_store
from shared.quiet import QuietHours, QuietMode, Window

T = TypeVar("T")

KEYS = ("store", "role", "for", "zone", "quiet", "mode", "budgets", "merging")

_QUIET = re.compile(r"([0-9]{1,2}:[0-9]{2})-([0-9]{1,2}:[0-9]{2})(?:/([0-9,-]+))?")
_DAYS = re.compile(r"([1-7])(?:-([1-7]))?")
_BUDGET = re.compile(r"([0-9]{1,6})/(day|[0-9]{1,5}[smhd])(?:/(hold|drop))?")
_UNITS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}
_PLACES = {"policy.quiet_hours": "quiet", "policy.budgets": "budgets", "policy.time_zone": "zone"}


def read_policy(table: Table, zone: ZoneInfo, targets: Callable[[Table, str], tuple[Target, ...]]) -> Policy:
    """The policy of *table*, checked; *zone* is for one that names none. Raises Invalid with place and fix."""
    table.only(KEYS)
    if "role" in table.plain and "for" in table.plain:
        raise table.wrong("for", "a policy is for one: leave out role, or for")
    subject = EVERYBODY
    if "role" in table.plain:
        subject = subject_of(table.member("role", table.text("role"), Role))
    elif "for" in table.plain:
        given = table.text("for")
        subject = subject_of(targets(Table({"for": [given]}, table.place), "for")[0])
    quiet = None
    if "quiet" in table.plain:
        windows = tuple(_each(table, "quiet", read_window))
        quiet = QuietHours(windows, table.choice("mode", QuietMode, QuietMode.HOLD))
    elif "mode" in table.plain:
        raise table.wrong("mode", 'is about quiet hours: add quiet = ["22:00-08:00"]')
    policy = Policy(
        _store(table),
        subject,
        table.text("zone", "") or None,
        quiet,
        tuple(_each(table, "budgets", read_budget)) if "budgets" in table.plain else None,
        read_merging(table.table("merging")) if "merging" in table.plain else None,
    )
    if policy.empty:
        raise table.wrong("", "says nothing; say quiet, budgets or merging")
    try:
        policy.check(zone)
    except Invalid as refusal:
        one = refusal.violations[0]
        where = next((key for start, key in _PLACES.items() if one.field.startswith(start)), "merging")
        raise table.wrong(where, one.description) from None
    return policy


def _store(table: Table) -> str:
    store = table.text("store", "")
    try:
        return check_store(store) if store else ""
    except Invalid as refusal:
        raise table.wrong("store", refusal.violations[0].description) from None


def _each(table: Table, key: str, read: Callable[[str], T]) -> list[T]:
    found = []
    for written in table.texts(key):
        try:
            found.append(read(written))
        except ValueError as error:
            raise table.wrong(key, f"{written}: {error}") from None
    if key == "quiet" and not found:
        raise table.wrong(key, 'is empty; write ["22:00-08:00"], or leave it out')
    return found


def read_window(written: str) -> Window:
    """``22:00-08:00``, ``22:00-08:00/1-5``. Raises ValueError with what it should be."""
    found = _QUIET.fullmatch(written)
    if not found:
        raise ValueError("must be like 22:00-08:00, or with weekdays 22:00-08:00/1-5")
    days = read_weekdays(found[3]) if found[3] else frozenset[int]()
    try:
        return Window.read(found[1].zfill(5), found[2].zfill(5), days, field="quiet")
    except Invalid as refusal:
        raise ValueError(refusal.violations[0].description) from None


def read_weekdays(written: str) -> frozenset[int]:
    """``1-5``, ``6,7``: Monday is 1 here, and 0 in the answer. Raises ValueError."""
    days: set[int] = set()
    for part in written.split(","):
        found = _DAYS.fullmatch(part)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if first > last:
            raise ValueError(f"weekdays are 1 (Monday) to 7 (Sunday), like 1-5 or 6,7, not {written}")
        days.update(range(first - 1, last))
    return frozenset(days)


def read_budget(written: str, excess: Excess = Excess.HOLD) -> Budget:
    """``30/1h``, ``100/day``, ``5/10m/drop``. Raises ValueError with what it should be."""
    found = _BUDGET.fullmatch(written)
    if not found:
        raise ValueError("must be like 30/1h or 100/day, or with its excess 5/10m/drop")
    per = None if found[2] == "day" else int(found[2][:-1]) * _UNITS[found[2][-1]]
    return Budget(int(found[1]), per, Excess(found[3]) if found[3] else excess)
