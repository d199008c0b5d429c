"""Whom a role means: eight roles, held in each store by typed addresses.

An address says what kind it is; it is never guessed from the look of an id.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum

from services.notifier.domain import attributes as own
from services.notifier.domain.attributes import Attributes
from shared.errors import Invalid
from shared.values import value_class

DEFAULT_ACCOUNT = "default"
"""The app credential that sends where a target names none."""

EVERYONE = "@all"
"""The userid that means every member in the app's visible range."""


class Role(StrEnum):
    """A post that somebody holds."""

    KITCHEN_STAFF = "kitchen_staff"
    MANAGER = "manager"
    FRONT_DESK = "front_desk"
    SERVICE_STAFF = "service_staff"
    MEMBER_MANAGER = "member_manager"
    CASHIER = "cashier"
    INVENTORY_MANAGER = "inventory_manager"
    TECH_SUPPORT = "tech_support"


ROLE_NAMES: Mapping[Role, str] = {
    Role.KITCHEN_STAFF: "后厨",
    Role.MANAGER: "店长",
    Role.FRONT_DESK: "前台",
    Role.SERVICE_STAFF: "服务员",
    Role.MEMBER_MANAGER: "会员管理员",
    Role.CASHIER: "收银员",
    Role.INVENTORY_MANAGER: "库存管理员",
    Role.TECH_SUPPORT: "技术支持",
}
"""What people call each role."""


class TargetKind(StrEnum):
    """What kind of address a target is."""

    USER = "user"
    PARTY = "party"
    TAG = "tag"
    ROBOT = "robot"


class Channel(StrEnum):
    """The way a message goes."""

    APP = "app"
    ROBOT = "robot"


_IDS: Mapping[TargetKind, tuple[re.Pattern[str], str]] = {
    TargetKind.USER: (
        re.compile(r"[A-Za-z0-9_.@-]{1,64}", re.ASCII),
        "a userid has 1 to 64 letters, digits and - _ . @",
    ),
    TargetKind.PARTY: (re.compile(r"[0-9]{1,19}"), "a department is given by its number"),
    TargetKind.TAG: (re.compile(r"[0-9]{1,19}"), "a tag is given by its number"),
    TargetKind.ROBOT: (
        re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII),
        "a robot is given by its registered name, never by its key",
    ),
}
_ACCOUNT = re.compile(r"[A-Za-z0-9_.-]{0,64}", re.ASCII)


@value_class
class Target:
    """A typed address."""

    kind: TargetKind
    id: str
    account: str = ""
    """Name of the app credential that reaches it, never empty after ``checked``; empty for robots."""
    attributes: Attributes = field(default=(), repr=False, compare=False)
    """What is known of it as the holder of a role; not shown in logs, and the same address without it is the same."""
    address: str = field(init=False, repr=False, compare=False)
    """The channel as it is stored and shown: ``app:<credential>`` or ``robot:<name>``."""
    key: tuple[str, str, str] = field(init=False, repr=False, compare=False)
    """What makes it one recipient. WeCom does not tell userids apart by case."""

    def __post_init__(self) -> None:
        robot, user = self.kind is TargetKind.ROBOT, self.kind is TargetKind.USER
        address = f"robot:{self.id}" if robot else f"app:{self.account or DEFAULT_ACCOUNT}"
        object.__setattr__(self, "address", address)
        object.__setattr__(self, "key", (address, self.kind, self.id.lower() if user else self.id))

    @classmethod
    def checked(
        cls,
        kind: TargetKind,
        ident: str,
        account: str = "",
        attributes: Mapping[str, str] | None = None,
        *,
        field: str = "target",
    ) -> Target:
        """The target, with the default account filled in.

        Raises Invalid (FIELD_INVALID) for *field* where the id, the account or an attribute cannot be one.
        """
        pattern, words = _IDS[kind]
        if not pattern.fullmatch(ident):
            raise Invalid.field(f"{field}.id", words)
        if not _ACCOUNT.fullmatch(account):
            raise Invalid.field(f"{field}.account", "a credential's name has letters, digits and - _ .")
        known = own.checked(attributes, field=f"{field}.attributes") if attributes else ()
        return cls(kind, ident, "" if kind is TargetKind.ROBOT else account or DEFAULT_ACCOUNT, known)

    @property
    def channel(self) -> Channel:
        """The way to it."""
        return Channel.ROBOT if self.kind is TargetKind.ROBOT else Channel.APP

    def __str__(self) -> str:
        return f"{self.kind}:{self.id}"


Bindings = Mapping[tuple[str, Role], tuple[Target, ...]]
"""Who holds a role: by (store, role), and by ("", role) for every store that says nothing of its own."""


@value_class
class Resolution:
    """Who is meant by a role in a store."""

    targets: tuple[Target, ...]
    """In the order they were set, none twice; empty when nobody hears what is meant for the role."""

    inherited: bool
    """Whether they are the default of all stores."""


def resolve(role: Role, store_id: str, bindings: Bindings) -> Resolution:
    """Who holds *role* in the store; a store's own word stands, also when it is "nobody"."""
    own = bindings.get((store_id, role))
    found = bindings.get(("", role), ()) if own is None else own
    if len(found) < 2:
        return Resolution(found, own is None)
    return Resolution(tuple({target.key: target for target in reversed(found)}.values())[::-1], own is None)
