"""Rules of every kind, for circles of readers that overlap: what the tests of policies bring events of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from services.notifier.domain.merging import MergeMode, Merging
from services.notifier.domain.policy import Policy
from services.notifier.domain.routing import Role, Target, TargetKind
from services.notifier.domain.rules import Priority, Rule
from services.notifier.pipeline.admission import Arrival, by_rules
from services.notifier.store.rulebook import Binding, PolicyRow, add_missing_presets, set_binding, set_policy
from shared.db.engine import Database
from shared.events.envelope import make_event
from shared.events.kinds import Field, FieldKind
from tests.notifier.pipeline.bench import STORE, robot, user

NOON = datetime(2026, 3, 2, 4, tzinfo=UTC)
"""In Shanghai, on a Monday."""

MINUTE = timedelta(minutes=1)
SHANGHAI = ZoneInfo("Asia/Shanghai")

WINDOW, COOL = Merging(MergeMode.WINDOW, MINUTE), Merging(MergeMode.COOLDOWN, 2 * MINUTE)
KINDS: dict[str, tuple[Priority, Merging | None]] = {
    "alarm": (Priority.URGENT, None),
    "high": (Priority.HIGH, None),
    "plain": (Priority.NORMAL, None),
    "alone": (Priority.NORMAL, Merging(MergeMode.OFF)),
    "window": (Priority.NORMAL, WINDOW),
    "cool": (Priority.LOW, COOL),
}
PARTY = Target.checked(TargetKind.PARTY, "7")
WHO: dict[str, tuple[Role, tuple[Target, ...]]] = {
    "ann": (Role.MANAGER, (user("ann"),)),
    "both": (Role.CASHIER, (user("ann"), user("bob"))),
    "hall": (Role.KITCHEN_STAFF, (robot("hall"),)),
    "mix": (Role.FRONT_DESK, (user("bob"), PARTY, robot("hall"))),
}


def rules() -> list[Rule]:
    """One rule for each kind of message and each circle of readers."""
    return [
        Rule(
            f"{kind}-{who}",
            1,
            f"test.{kind}.{who}",
            f"{kind} {who}",
            priority,
            (role,),
            "{text}",
            variables=(Field("text", FieldKind.TEXT, required=True),),
            merging=merging,
        )
        for kind, (priority, merging) in KINDS.items()
        for who, (role, _) in WHO.items()
    ]


async def furnish(database: Database) -> None:
    """The rules, and who holds the roles."""

    async def write(conn: Any) -> None:
        await add_missing_presets(conn, database.dialect, rules(), NOON)
        for role, targets in WHO.values():
            await set_binding(conn, database.dialect, Binding("", role.value, targets, NOON, "test"))

    await database.transact(write)


async def say(database: Database, *policies: Policy) -> None:
    """Set *policies*."""

    async def write(conn: Any) -> None:
        for one in policies:
            await set_policy(conn, database.dialect, PolicyRow(one, NOON, "test"))

    if policies:
        await database.transact(write)


def brought(key: str, kind: str, who: str, now: datetime) -> Arrival:
    """An event of a kind, for some readers."""
    return by_rules(
        make_event(f"test.{kind}.{who}", {"text": key}, id=key, store_id=STORE, now=now, door="grpc")
    )
