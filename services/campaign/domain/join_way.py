"""A way into groups: what it may be, what an update makes of it, and where the platform has it otherwise."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

from shared.errors import Invalid, Violation
from shared.values import value_class
from shared.wecom.customer_groups import JoinWaySpec

MOST_GROUPS: Final = 5
STATE_CHARS: Final = 30
NAME_CHARS: Final = 40
REMARK_CHARS: Final = 30
SCENES: Final = (1, 2)
CHECK_EVERY: Final = timedelta(hours=6)
"""How often each is compared with what the platform has."""
LOST_AFTER: Final = timedelta(seconds=60)
"""A call has ended so long after it left; whoever made it and wrote nothing is gone."""

FIELDS: Final = (
    "scene",
    "chat_ids",
    "remark",
    "auto_create_room",
    "room_base_name",
    "room_base_id",
    "state",
    "mark_source",
)
"""What can be set."""
ALL: Final = "*"


class WayStatus(StrEnum):
    """Where a join way stands."""

    PENDING = "pending"
    """The platform is being asked for it."""
    UNKNOWN = "unknown"
    """The platform was asked, and whether it made it cannot be told: it has no list of them."""
    ACTIVE = "active"
    """It is what we made it, as of the last check."""
    DRIFTED = "drifted"
    """Somebody changed it by another way; ``drift`` says where."""
    GONE = "gone"
    """The platform does not know it any more."""
    REFUSED = "refused"
    """The platform was asked and certainly made none."""
    DELETED = "deleted"

    @property
    def live(self) -> bool:
        """Whether the platform has it, for all we know."""
        return self in (WayStatus.ACTIVE, WayStatus.DRIFTED)


@value_class
class Drift:
    """A field that the platform has otherwise."""

    field: str
    ours: str
    theirs: str


def check(spec: JoinWaySpec, field: str = "spec") -> None:
    """Raises Invalid naming every field that the platform would refuse, or would cut without a word."""
    found: list[Violation] = []

    def wrong(name: str, words: str) -> None:
        found.append(Violation(f"{field}.{name}", words))

    if spec.scene not in SCENES:
        wrong("scene", "is 1 (a mini-program's plug-in) or 2 (a QR code)")
    if not 1 <= len(spec.chat_ids) <= MOST_GROUPS:
        wrong("chat_ids", f"names 1 to {MOST_GROUPS} groups")
    if len(set(spec.chat_ids)) != len(spec.chat_ids):
        wrong("chat_ids", "names a group twice")
    for name, most in (("state", STATE_CHARS), ("room_base_name", NAME_CHARS), ("remark", REMARK_CHARS)):
        if len(getattr(spec, name)) > most:
            wrong(name, f"has at most {most} characters")
    if not 0 <= spec.room_base_id < 2**31:
        wrong("room_base_id", "is a whole number from 0 to 2,147,483,647")
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise Invalid("FIELD_INVALID", f"{found[0].field}: {found[0].description}{more}", violations=found)


def merged(present: JoinWaySpec, wanted: JoinWaySpec, mask: Collection[str]) -> JoinWaySpec:
    """*present* with the fields of *mask* taken from *wanted*: the platform's update overwrites all. Raises Invalid."""
    if not mask:
        raise Invalid.field("update_mask", f"names what changes, or is {ALL}")
    unknown = sorted(set(mask) - {ALL, *FIELDS})
    if unknown:
        raise Invalid.field("update_mask", f"{unknown[0]} is none of: {', '.join(FIELDS)}")
    if ALL in mask:
        return wanted
    return replace(present, **{name: getattr(wanted, name) for name in FIELDS if name in mask})


def drift(ours: JoinWaySpec, theirs: JoinWaySpec) -> tuple[Drift, ...]:
    """Where the platform has it otherwise.

    What the platform is known to tell otherwise is no drift: the scene (its own sample has another), a number that we
    left to it, and the source mark, which only some corps have.
    """
    found = []
    for name in ("chat_ids", "remark", "auto_create_room", "room_base_name", "room_base_id", "state"):
        mine, other = getattr(ours, name), getattr(theirs, name)
        if name == "chat_ids":
            mine, other = tuple(sorted(mine)), tuple(sorted(other))
        if name == "room_base_id" and not mine:
            continue
        if mine != other:
            found.append(Drift(name, _text(mine), _text(other)))
    return tuple(found)


def document(spec: JoinWaySpec) -> dict[str, Any]:
    """As plain JSON."""
    return {name: _plain(getattr(spec, name)) for name in FIELDS}


def read(found: Mapping[str, Any]) -> JoinWaySpec:
    """From ``document``."""
    return JoinWaySpec(**{**found, "chat_ids": tuple(found["chat_ids"])})


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _text(value: object) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
