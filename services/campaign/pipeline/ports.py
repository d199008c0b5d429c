"""Where the rooms of campaign meet: what each asks of another."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.campaign import Attachment, Content
from services.campaign.store.campaigns import Kept
from shared.values import value_class


@value_class
class Group:
    """A customer group as whoever sends to it needs to know it."""

    chat_id: str
    owner: str
    """Who would be asked."""
    name: str
    members: int


@value_class
class LeftOut:
    """A group of the audience that nothing is sent to."""

    group: Group
    reason: str
    """Stable: owner_left, being_inherited, dismissed, silent, opted_out, no_slot_today, not_in_range, …"""
    detail: str = ""
    """The fact that decided, for people."""


@value_class
class Selection:
    """Whom a filter chooses."""

    included: tuple[Group, ...]
    """By chat id."""
    excluded: tuple[LeftOut, ...]
    """Those that the filter chooses and that cannot be sent to."""


class Groups(Protocol):
    """What is known of groups (room: groups)."""

    async def select(
        self,
        conn: AsyncConnection,
        store_id: str,
        audience: Mapping[str, Any],
        now: datetime,
        *,
        with_room: bool = False,
    ) -> Selection:
        """Whom *audience* chooses now; *with_room*: of those only who may receive one more in the period of *now*.

        Raises Invalid where it cannot be read.
        """
        ...

    def check(self, audience: Mapping[str, Any], field: str) -> None:
        """Raises Invalid, naming the part of *field*, where it cannot be read."""
        ...

    async def standing(
        self, conn: AsyncConnection, store_id: str, chat_ids: Collection[str], now: datetime
    ) -> Mapping[str, Group | str]:
        """Each of *chat_ids* as it is now, or the reason for which nothing may be sent to it."""
        ...


@value_class
class Hit:
    """A word that may not be there."""

    field: str
    """``content.text``, ``content.attachments[0].title``, …"""
    word: str
    """As the list has it."""
    start: int
    """Of what was found in the field, in characters."""
    end: int
    found: str
    """What stands there."""
    reason: str = "block_word"
    """``block_word``, or ``link`` where a link leads to a host that is not allowed."""


class Lint(Protocol):
    """What may not be said (room: writing)."""

    async def hits(
        self, conn: AsyncConnection, store_id: str, content: Content, banned_words: Sequence[str]
    ) -> Sequence[Hit]:
        """All that is wrong with the words; asked at every save, approval and claim."""
        ...


class Permit(Protocol):
    """Whether a campaign may send now (room: approval): the one check, in the transaction of every claim."""

    async def refusal(
        self, conn: AsyncConnection, held: Kept, version: int, content_hash: str, now: datetime
    ) -> str:
        """'' where it may; else the stable reason why it may not. *held* is locked by the caller (``share``)."""
        ...


class Caps(Protocol):
    """How many mass messages a group has received (room: reconciling)."""

    async def full(
        self, conn: AsyncConnection, store_id: str, chat_ids: Collection[str], at: datetime
    ) -> Mapping[str, str]:
        """Those of *chat_ids* with no room left in the period of *at*, and which limit it is (``1 a day``)."""
        ...


@value_class
class Made:
    """A task that exists at the platform."""

    task_id: str
    run_id: str
    campaign_id: str
    store_id: str
    owner: str
    msgid: str
    made_at: datetime
    confirm_by: datetime


class Follow(Protocol):
    """Whoever follows tasks up (room: reconciling)."""

    async def made(self, conn: AsyncConnection, tasks: Sequence[Made], now: datetime) -> None:
        """These exist from now on; in the transaction that settles them."""
        ...

    async def run_changed(self, conn: AsyncConnection, campaign_id: str, now: datetime) -> None:
        """Tasks or targets of it came to an end, or it was paused, resumed or cancelled: look whether all is over."""
        ...


class MediaAnswer(Protocol):
    """What the platform calls files, or why there is no saying."""

    @property
    def ids(self) -> Mapping[str, str]:
        """By the material's name; empty where a reason is given."""
        ...

    @property
    def reason(self) -> str:
        """Stable; '' where the ids are there."""
        ...

    @property
    def again(self) -> bool:
        """Whether the same question may have another answer later."""
        ...

    @property
    def detail(self) -> str:
        """For people."""
        ...


class Materials(Protocol):
    """Files that the platform keeps for three days (room: writing). No transaction may be open: it may upload."""

    async def media_ids(self, store_id: str, attachments: Sequence[Attachment]) -> MediaAnswer:
        """What the platform calls the very bytes that the digests of *attachments* name; uploads what it has to."""
        ...

    async def forget(self, store_id: str, media_ids: Collection[str]) -> None:
        """The platform does not know one of these any more: they are uploaded when they are next asked for."""
        ...


class Start(Protocol):
    """Whoever makes tasks (room: sending)."""

    async def plan(
        self,
        conn: AsyncConnection,
        held: Kept,
        *,
        dry: bool,
        groups: Sequence[Group],
        content_hash: str,
        by: str,
        now: datetime,
    ) -> str:
        """Write a run with its tasks and targets; its id. *groups* are the frozen ones. One live run a version."""
        ...

    async def resumed(self, conn: AsyncConnection, campaign_id: str, now: datetime) -> None:
        """It runs again: look at its tasks now, rather than within half a minute."""
        ...

    async def stop(self, conn: AsyncConnection, campaign_id: str, now: datetime) -> None:
        """End, as cancelled, the tasks and targets of which nothing left yet; those under way are left to themselves."""
        ...
