"""Customer groups and join ways as the platform has them: values alone.

Sources: developer.work.weixin.qq.com 92122 (one group), 92229 (join ways).
"""

from __future__ import annotations

from dataclasses import field
from datetime import datetime

from shared.values import value_class


@value_class
class GroupMember:
    """Somebody in a group."""

    id: str = field(repr=False)
    """userid of a colleague, external_userid of a customer."""
    external: bool
    joined_at: datetime | None
    state: str = ""
    """Of the join way that a customer came by; empty otherwise."""


@value_class
class GroupDetail:
    """One group as the platform has it; names of members are never asked for."""

    chat_id: str
    name: str
    owner: str
    created_at: datetime | None
    members: tuple[GroupMember, ...] = field(repr=False)
    version: str = ""


@value_class
class JoinWaySpec:
    """What a join way is; an update writes all of it."""

    scene: int
    """1 a mini-program's plug-in, 2 a QR code."""
    chat_ids: tuple[str, ...]
    """One to five groups."""
    remark: str = ""
    auto_create_room: bool = True
    """Whether a new group is made when all of them are full."""
    room_base_name: str = ""
    room_base_id: int = 0
    """What the running number of new groups begins with; 0 leaves it to the platform."""
    state: str = ""
    """What whoever comes by it is known by."""
    mark_source: bool = True
