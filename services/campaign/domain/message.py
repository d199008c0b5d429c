"""A task in the platform's words, and whether a task that the platform lists has the same words."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from services.campaign.domain.campaign import Attachment, AttachmentKind, Content, message_hash

_STABLE: Final = {
    "link": ("title", "url"),
    "miniprogram": ("title", "appid", "page"),
    "image": (),
    "video": (),
    "file": (),
}
"""Of each kind, what the platform gives back as it came; ids of files are made anew and pictures get addresses."""


def body_of(
    content: Content, owner: str, chat_ids: Sequence[str], media_ids: Mapping[str, str]
) -> dict[str, object]:
    """The request that has *owner* asked to send *content* to the groups; *media_ids* by the names of materials.

    Raises KeyError for a material that has no id.
    """
    body: dict[str, object] = {"chat_type": "group", "sender": owner, "chat_id_list": list(chat_ids)}
    if content.text:
        body["text"] = {"content": content.text}
    if content.attachments:
        body["attachments"] = [_attachment(one, media_ids) for one in content.attachments]
    return body


def lane_of(owner: str, content: Content) -> str:
    """What tasks of one sender with the same words share, in whatever campaign: they are made one after the other."""
    return hashlib.sha256(f"{owner}\0{message_hash(content)}".encode()).hexdigest()


def materials_of(content: Content) -> frozenset[str]:
    """The names of the stored files that it needs."""
    return frozenset(one.material for one in content.attachments if one.material)


def same_words(content: Content, text: str, attachments: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a listed task has the words of *content*: its text, and what its attachments keep of theirs."""
    if _plain(content.text) != _plain(text) or len(content.attachments) != len(attachments):
        return False
    return all(_same(one, listed) for one, listed in zip(content.attachments, attachments, strict=True))


def _same(one: Attachment, listed: Mapping[str, Any]) -> bool:
    kind = one.kind.value
    if listed.get("msgtype") != kind:
        return False
    inside = listed.get(kind)
    found: Mapping[str, Any] = inside if isinstance(inside, dict) else {}
    return all(_plain(str(found.get(name) or "")) == _plain(getattr(one, name)) for name in _STABLE[kind])


def _plain(text: str) -> str:
    return text.replace("\r\n", "\n").strip()


def _attachment(one: Attachment, media_ids: Mapping[str, str]) -> dict[str, object]:
    inside: dict[str, object]
    match one.kind:
        case AttachmentKind.LINK:
            told = {"picurl": one.picture_url, "desc": one.description}
            inside = {"title": one.title, "url": one.url, **{k: v for k, v in told.items() if v}}
        case AttachmentKind.MINIPROGRAM:
            inside = {
                "title": one.title,
                "pic_media_id": media_ids[one.material],
                "appid": one.appid,
                "page": one.page,
            }
        case AttachmentKind.IMAGE | AttachmentKind.VIDEO | AttachmentKind.FILE:
            inside = {"media_id": media_ids[one.material]}
    return {"msgtype": one.kind.value, one.kind.value: inside}
