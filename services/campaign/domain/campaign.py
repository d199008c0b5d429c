"""What a campaign says, to whom, when and how: the values that an approval binds.

A campaign is edited as a whole: every edit is a new version, and nobody's approval of an older one holds for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

import orjson

from services.campaign.domain.window import SendWindow
from shared.text.instants import instant_text
from shared.values import value_class

TEXT_BYTES: Final = 4000
"""Most bytes of a text, in UTF-8 (platform)."""
ATTACHMENTS: Final = 9
"""Most attachments (platform)."""
GROUPS_A_TASK: Final = 2000
"""Most groups of one task (platform)."""


class AttachmentKind(StrEnum):
    """What an attachment is, in the platform's words."""

    IMAGE = "image"
    LINK = "link"
    MINIPROGRAM = "miniprogram"
    VIDEO = "video"
    FILE = "file"


@value_class
class Attachment:
    """One attachment; which fields it uses depends on its kind."""

    kind: AttachmentKind
    material: str = ""
    """Name of the stored material: of an image, a video, a file, a mini-program's picture."""
    digest: str = ""
    """SHA-256 of the material's bytes when the version was written: an approval binds the very picture."""
    title: str = ""
    """Of a link (128 bytes) or a mini-program (64 bytes)."""
    url: str = ""
    """Where a link leads."""
    picture_url: str = ""
    """What a link shows."""
    description: str = ""
    """Of a link, 512 bytes."""
    appid: str = ""
    page: str = ""


@value_class
class Content:
    """What customers read."""

    text: str = ""
    attachments: tuple[Attachment, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to send."""
        return not self.text.strip() and not self.attachments


@value_class
class Canary:
    """The first owners are asked alone, and what they bring decides whether the others are asked."""

    owners: int = 0
    """How many are asked first; 0: no canary."""
    wait: timedelta = timedelta(0)
    """How long after their tasks were made the others begin, at the earliest."""


@value_class
class Spec:
    """All that somebody who approves says yes to, but for the groups themselves, which the snapshot holds."""

    name: str
    content: Content
    audience: Mapping[str, Any]
    """The filter that chooses the groups, as plain JSON (``domain/audience.py`` reads it)."""
    window: SendWindow
    """When tasks may be made."""
    schedule_at: datetime | None = None
    """When it begins; None: when somebody runs it."""
    canary: Canary = Canary()
    confirm_within: timedelta = timedelta(hours=72)
    """How long an owner has to confirm."""
    banned_words: tuple[str, ...] = ()
    """Words that it may not hold, beside those of the deployment."""
    theme: str = ""
    """What it is about; for those who write it, people or applications."""
    tone: str = ""
    """Name of the tone profile."""

    def document(self) -> dict[str, Any]:
        """As plain JSON, the same for the same spec."""
        found: dict[str, Any] = _plain(self)
        return found


def content_hash(spec: Spec, store_id: str, set_hash: str) -> str:
    """What an approval binds: the store, all the spec says, and the hash of the frozen groups and their senders."""
    whole = {"store_id": store_id, "spec": spec.document(), "audience": set_hash}
    return hashlib.sha256(_bytes(whole)).hexdigest()


def set_hash(groups: Sequence[tuple[str, str]]) -> str:
    """The hash of (chat id, owner) pairs in any order: one group more, less, or with another sender is another set."""
    return set_text_hash("".join(f"{len(one)}:{one}" for pair in sorted(groups) for one in pair))


def set_text_hash(text: str) -> str:
    """The same of the pairs written one after the other by chat id, each word with its length before it.

    A database writes that faster than we could ask it for the pairs, and it is asked for in every claim.
    """
    return hashlib.sha256(text.encode()).hexdigest()


def message_hash(content: Content) -> str:
    """What two tasks of the same words share; the same sender is asked for one of them at a time."""
    return hashlib.sha256(_bytes(_plain(content))).hexdigest()


def _bytes(value: object) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return instant_text(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list | frozenset):
        items = sorted(value) if isinstance(value, frozenset) else value
        return [_plain(item) for item in items]
    if hasattr(value, "document") and not isinstance(value, Spec):
        return _plain(value.document())
    if hasattr(value, "__dataclass_fields__"):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    return value
