"""What is known of a customer group, and what a reading of it changes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from shared.values import value_class
from shared.wecom.customer_groups import GroupDetail, GroupMember

REREAD_AFTER: Final = timedelta(hours=24)
"""The list tells of no change but of the status, so what was read so long ago is read again."""
SETTLES: Final = timedelta(seconds=3)
"""What the platform answers may lag what it told of by about two seconds."""
OPTED_OUT: Final = "opted_out"
"""The label of a group that no campaign goes to."""
_HASH_BYTES: Final = 8


class GroupStatus(StrEnum):
    """What the list says of a group."""

    NORMAL = "normal"
    OWNER_LEFT = "owner_left"
    BEING_INHERITED = "being_inherited"
    INHERITED = "inherited"
    """It has a new owner."""
    OTHER = "other"
    """A number that the platform's documents do not name."""


class GoneReason(StrEnum):
    """Why a group is no longer here."""

    DISMISSED = "dismissed"
    NOT_IN_RANGE = "not_in_range"
    """The secret does not see it any more."""


class ChangeKind(StrEnum):
    """What became different about a group."""

    OWNER = "owner"
    NAME = "name"
    STORE = "store"
    STATUS = "status"
    GONE = "gone"
    BACK = "back"


class SyncStatus(StrEnum):
    """How a sync stands."""

    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"


class SyncPhase(StrEnum):
    """What a sync is about."""

    LISTING = "listing"
    """It walks over the list."""
    CLOSING = "closing"
    """It marks those that were not in it."""
    READING = "reading"
    """It reads those that are new, changed or read long ago."""


STATUSES: Final[Mapping[int, GroupStatus]] = {
    0: GroupStatus.NORMAL,
    1: GroupStatus.OWNER_LEFT,
    2: GroupStatus.BEING_INHERITED,
    3: GroupStatus.INHERITED,
}


def status_of(number: int) -> GroupStatus:
    """The status that the list tells by a number."""
    return STATUSES.get(number, GroupStatus.OTHER)


@value_class
class Change:
    """One thing that became different."""

    kind: ChangeKind
    before: str
    after: str


@value_class
class Before:
    """A group as it was before it was read again."""

    store_id: str
    owner: str
    name: str
    gone_reason: str
    read: bool
    """Whether it had been read before."""
    members: bytes
    last_changed_at: datetime | None


@value_class
class Reading:
    """What a reading of a group comes to."""

    changes: tuple[Change, ...]
    members: bytes
    joined: tuple[datetime, ...]
    """Of those who are new since the last reading: when they joined, by the platform."""
    left: int
    last_joined_at: datetime | None
    last_changed_at: datetime | None

    @property
    def differs(self) -> bool:
        """Whether anything is different, members included."""
        return bool(self.changes or self.joined or self.left)


def compared(before: Before, detail: GroupDetail, store_id: str, now: datetime) -> Reading:
    """What *detail*, read at *now*, changes; a first reading changes nothing, it begins."""
    known, present = _unpacked(before.members), {_digest(one.id): one for one in detail.members}
    new = [one for key, one in present.items() if key not in known] if before.read else []
    left = len(known - present.keys()) if before.read else 0
    joins = [one.joined_at for one in detail.members if one.joined_at is not None]
    last_joined = max(joins, default=None)
    joined = tuple(min(one.joined_at or now, now) for one in new)
    stirs = [at for at in (before.last_changed_at, last_joined if not before.read else None) if at]
    stirs += [*joined, *([now] if left else [])]
    return Reading(
        _changes(before, detail, store_id),
        _packed(present),
        joined,
        left,
        last_joined,
        max(stirs, default=None),
    )


def _changes(before: Before, detail: GroupDetail, store_id: str) -> tuple[Change, ...]:
    found = [Change(ChangeKind.BACK, before.gone_reason, "")] if before.gone_reason else []
    if not before.read:
        return tuple(found)
    pairs = (
        (ChangeKind.OWNER, before.owner, detail.owner),
        (ChangeKind.NAME, before.name, detail.name),
        (ChangeKind.STORE, before.store_id, store_id),
    )
    return (*found, *(Change(kind, was, now) for kind, was, now in pairs if was != now))


def member_hash(key: bytes, external_userid: str) -> str:
    """What a customer is known by in the ledger of joins: the same in every group, and nothing without *key*."""
    return hashlib.blake2b(external_userid.encode(), key=key, digest_size=16).hexdigest()


@value_class
class Joined:
    """A customer in a group who came by a join way."""

    member: str
    state: str
    joined_at: datetime


def joined_by_ways(members: Sequence[GroupMember], key: bytes, now: datetime) -> list[Joined]:
    """Those of *members* who came by a join way with a state."""
    return [
        Joined(member_hash(key, one.id), one.state, min(one.joined_at, now))
        for one in members
        if one.external and one.state and one.joined_at is not None
    ]


def _digest(member: str) -> bytes:
    return hashlib.blake2b(member.encode(), digest_size=_HASH_BYTES).digest()


def _packed(keys: Mapping[bytes, object]) -> bytes:
    return b"".join(sorted(keys))


def _unpacked(packed: bytes) -> set[bytes]:
    return {packed[at : at + _HASH_BYTES] for at in range(0, len(packed), _HASH_BYTES)}
