"""A valid thing in one line; a test mentions only what it is about."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from services.notifier.domain.routing import Role, Target, TargetKind
from services.notifier.domain.rules import Priority, Rule
from shared.events.kinds import Event, EventType, Field, FieldKind

SHANGHAI = ZoneInfo("Asia/Shanghai")
NOW = datetime(2026, 2, 20, 4, 30, tzinfo=UTC)
SECOND = timedelta(seconds=1)
PRESETS = Path(__file__).parents[3] / "services/notifier/presets.toml"

FIELDS = {
    field.name: field
    for field in (
        Field("order_number", FieldKind.ID, required=True),
        Field("total", FieldKind.MONEY, required=True),
        Field("stock", FieldKind.QUANTITY, required=True),
        Field("people", FieldKind.COUNT, required=True),
        Field("phone", FieldKind.PHONE, required=True),
        Field("at", FieldKind.INSTANT, required=True),
        Field("day", FieldKind.DATE, required=False),
        Field("note", FieldKind.TEXT, required=False),
        Field("other", FieldKind.TEXT, required=False),
        Field("happy", FieldKind.FLAG, required=False),
        Field("tags", FieldKind.TEXT, required=False, repeated=True),
        Field("items", FieldKind.ANY, required=False, repeated=True),
        Field("unit", FieldKind.TEXT, required=False),
    )
}

SHOP = EventType("shop.thing", tuple(FIELDS.values()), announced=False)
TYPES = {SHOP.name: SHOP}


def event(store_id: str = "s1", **data: object) -> Event:
    return Event("e1", SHOP.name, store_id, {"order_number": "A1", **data}, "hash", NOW)


def rule(ident: str = "r1", **changes: object) -> Rule:
    values: dict[str, object] = {
        "id": ident,
        "version": 1,
        "event_type": SHOP.name,
        "name": f"规则 {ident}",
        "priority": Priority.NORMAL,
        "roles": (Role.MANAGER,),
        "template": "订单 {order_number}",
    }
    return Rule(**{**values, **changes})  # type: ignore[arg-type]


def user(ident: str, account: str = "default") -> Target:
    return Target(TargetKind.USER, ident, account)


def robot(name: str) -> Target:
    return Target(TargetKind.ROBOT, name)
