"""What may not be said in a campaign: words, links, and what the platform would not take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from services.campaign.domain.blockwords import BlockWords
from services.campaign.domain.campaign import ATTACHMENTS, TEXT_BYTES, Attachment, AttachmentKind, Content
from services.campaign.domain.links import LinkHosts, host_of, links
from services.campaign.domain.material import MaterialKind
from shared.errors import Invalid, Violation
from shared.text.cutting import size
from shared.values import value_class

WORD: Final = "block_word"
LINK: Final = "link"

_LIMITS: Final[Mapping[AttachmentKind, Mapping[str, int]]] = {
    AttachmentKind.LINK: {"title": 128, "url": 2048, "picture_url": 2048, "description": 512},
    AttachmentKind.MINIPROGRAM: {"title": 64},
}
"""Most bytes of a field (platform)."""
_NEEDED: Final[Mapping[AttachmentKind, tuple[str, ...]]] = {
    AttachmentKind.IMAGE: ("material",),
    AttachmentKind.LINK: ("title", "url"),
    AttachmentKind.MINIPROGRAM: ("title", "appid", "page", "material"),
    AttachmentKind.VIDEO: ("material",),
    AttachmentKind.FILE: ("material",),
}
_SHOWN: Final = 40
"""Characters of what was found that a refusal repeats."""


@value_class
class Finding:
    """One thing that is wrong with a field."""

    field: str
    """Below the content: ``text``, ``attachments[0].link.title``."""
    word: str
    """The word of the list; the host's link where it is one."""
    start: int
    end: int
    found: str
    reason: str


def field_of(attachment: Attachment, at: int, name: str) -> str:
    """The path of a field of the attachment at *at*, as the contract spells it."""
    return f"attachments[{at}].{attachment.kind.value}.{name}"


def readable(content: Content, filenames: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Every field that people read, and what it says; *filenames* by material."""
    yield "text", content.text
    for at, one in enumerate(content.attachments):
        for name in ("title", "description"):
            if said := getattr(one, name):
                yield field_of(one, at, name), said
        if one.kind in (AttachmentKind.FILE, AttachmentKind.VIDEO) and one.material:
            # Without its ending, whose dot would make a host of it.
            name, _, ending = filenames.get(one.material, one.material).rpartition(".")
            yield field_of(one, at, "material"), name or ending


def findings(
    content: Content, words: BlockWords, hosts: LinkHosts, filenames: Mapping[str, str]
) -> Sequence[Finding]:
    """All that may not be said, field by field."""
    found: list[Finding] = []
    for field, said in readable(content, filenames):
        found += [Finding(field, p.word, p.start, p.end, p.found, WORD) for p in words.find(said)]
        found += [
            Finding(field, one.url, one.start, one.end, one.found, LINK)
            for one in links(said)
            if not hosts.allows(one.url)
        ]
    for at, one in enumerate(content.attachments):
        for name in ("url", "picture_url"):
            url = getattr(one, name)
            if url and ("://" not in url or not hosts.allows(url)):
                found.append(Finding(field_of(one, at, name), url, 0, len(url), url, LINK))
    return found


def refuse(found: Sequence[Finding], under: str = "content") -> None:
    """Raises Invalid where anything was found: BLOCK_WORD where a word is among it, else URL_NOT_ALLOWED."""
    if not found:
        return
    words = any(one.reason == WORD for one in found)
    violations = [Violation(f"{under}.{one.field}", _say(one)) for one in found]
    raise Invalid(
        "BLOCK_WORD" if words else "URL_NOT_ALLOWED",
        f"{violations[0].field}: {violations[0].description}",
        violations=violations,
        **({"count": len(found)} if words else {"host": host_of(found[0].word) or found[0].found[:_SHOWN]}),
    )


def check(content: Content, under: str = "content") -> None:
    """Raises Invalid, naming every field that the platform would not take. An empty content is none of them."""
    wrong = [Violation(f"{under}.{field}", said) for field, said in _objections(content)]
    if wrong:
        text = f"{wrong[0].field}: {wrong[0].description}"
        raise Invalid("FIELD_INVALID", text, violations=wrong)


def _objections(content: Content) -> Iterator[tuple[str, str]]:
    if size(content.text) > TEXT_BYTES:
        yield "text", f"has {size(content.text)} bytes in UTF-8; at most {TEXT_BYTES}"
    if len(content.attachments) > ATTACHMENTS:
        yield "attachments", f"are {len(content.attachments)}; at most {ATTACHMENTS}"
    for at, one in enumerate(content.attachments):
        for name in _NEEDED[one.kind]:
            if not getattr(one, name).strip():
                yield field_of(one, at, name), "is missing"
        for name, most in _LIMITS.get(one.kind, {}).items():
            if (has := size(getattr(one, name))) > most:
                yield field_of(one, at, name), f"has {has} bytes in UTF-8; at most {most}"


def _say(one: Finding) -> str:
    what = one.found if len(one.found) <= _SHOWN else one.found[: _SHOWN - 1] + "…"
    where = f"characters {one.start} to {one.end}"
    if one.reason == LINK:
        return f"{where}: “{what}” leads to a host that WECOM_CUSTOMER_LINK_HOSTS does not allow"
    return f"{where}: “{what}” is the word “{one.word}”, which may not be said"


def material_kind(kind: AttachmentKind) -> MaterialKind:
    """What the material of an attachment has to be; of those that have one."""
    return MaterialKind.IMAGE if kind is AttachmentKind.MINIPROGRAM else MaterialKind(kind.value)
