"""What is sent, as the exact bytes: an app message or a robot's post within the platform's limits.

Every app message ends in a short reference made from its delivery. The platform drops equal messages within
half an hour; the reference keeps two orders with the same words apart, and makes a repeat of the same
delivery recognisable as just that. Numbers are WeCom's (message/send 90236, webhook/send 91770), in bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from enum import StrEnum

import orjson

from services.notifier.domain.cards import TEXT_CHARACTERS, card, card_text
from services.notifier.domain.routing import Channel, Target, TargetKind
from shared.errors import Invalid, Violation
from shared.text.cutting import clip, size
from shared.text.neutral import Dialect
from shared.values import value_class

DUPLICATE_INTERVAL = timedelta(minutes=30)
"""How long the platform recognises the same bytes from the same app, as we ask it to (at most 4 h)."""

RESEND_MARK = "「可能重复」"
"""The first line of a robot's post that may have arrived before."""

TITLE_BYTES, DESCRIPTION_BYTES, URL_BYTES = 128, 512, 2048
BUTTON_CHARACTERS = 4

_REFERENCE_LETTERS = b"0123456789abcdefghjkmnpqrstvwxyz" * 8  # no i, l, o, u: it is read out on the phone
_REFERENCE_LENGTH = 6


class Format(StrEnum):
    """The form of a message; the platform's ``msgtype``."""

    TEXT = "text"
    MARKDOWN = "markdown"
    TEXTCARD = "textcard"
    MARKDOWN_V2 = "markdown_v2"
    """With tables and code blocks, without colours and mentions; robots only."""
    TEMPLATE_CARD = "template_card"
    """With buttons, for rules that escalate; apps only."""

    @property
    def is_markdown(self) -> bool:
        """Whether headings, fences and tables mean anything in it."""
        return self in (Format.MARKDOWN, Format.MARKDOWN_V2)

    @property
    def dialect(self) -> Dialect:
        """What the reader's client makes of its characters."""
        return Dialect.MARKDOWN if self.is_markdown else Dialect.PLAIN


LIMITS: Mapping[tuple[Channel, Format], int] = {
    (Channel.APP, Format.TEXT): 2048,
    (Channel.APP, Format.MARKDOWN): 2048,
    (Channel.APP, Format.TEXTCARD): DESCRIPTION_BYTES,
    (Channel.ROBOT, Format.TEXT): 2048,
    (Channel.ROBOT, Format.MARKDOWN): 4096,
    (Channel.ROBOT, Format.MARKDOWN_V2): 4096,
}
"""Bytes of a message's main text; a form that a channel lacks is not in it."""

CARD_BYTES = 4 * TEXT_CHARACTERS
"""A card's text is counted in characters, of which none has more than four bytes."""


@value_class
class Content:
    """The words of a message, before a channel adds its own."""

    format: Format
    text: str
    """The message; the description of a card."""
    title: str = ""
    """Of a card."""
    url: str = ""
    """Of a card."""
    button: str = ""
    """Of a card; empty shows 详情."""
    mentioned: tuple[str, ...] = ()
    """Userids, or ``@all``, that a robot's text mentions."""
    mentioned_mobiles: tuple[str, ...] = ()
    """Telephone numbers that a robot's text mentions."""

    @classmethod
    def card(cls, title: str, description: str, url: str, button: str = "") -> Content:
        """A card with a link. Raises Invalid where a field cannot be sent as it is and cannot be cut."""
        wrong: list[Violation] = []
        if not title.strip() or not description.strip():
            wrong.append(Violation("textcard", "a card needs a title and a description"))
        if not url.startswith(("https://", "http://")) or size(url) > URL_BYTES:
            wrong.append(Violation("textcard.url", f"needs https:// and at most {URL_BYTES} bytes"))
        if len(button) > BUTTON_CHARACTERS:
            wrong.append(Violation("textcard.button_text", f"at most {BUTTON_CHARACTERS} characters"))
        if wrong:
            raise Invalid("FIELD_INVALID", f"{wrong[0].field}: {wrong[0].description}", violations=wrong)
        return cls(Format.TEXTCARD, description, title, url, button)

    def to_json(self) -> dict[str, object]:
        """As plain JSON, without what is empty."""
        plain: dict[str, object] = {"format": str(self.format), "text": self.text}
        for name in ("title", "url", "button"):
            if value := getattr(self, name):
                plain[name] = value
        for name in ("mentioned", "mentioned_mobiles"):
            if values := getattr(self, name):
                plain[name] = list(values)
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, object]) -> Content:
        """What ``to_json`` wrote."""
        texts = {name: str(plain.get(name, "")) for name in ("text", "title", "url", "button")}
        return cls(
            Format(str(plain["format"])),
            **texts,
            mentioned=_strings(plain.get("mentioned")),
            mentioned_mobiles=_strings(plain.get("mentioned_mobiles")),
        )


def _strings(value: object) -> tuple[str, ...]:
    return tuple(str(item) for item in value) if isinstance(value, list) else ()


@value_class
class Fitted:
    """A main text as it is sent on one channel."""

    text: str
    byte_count: int
    byte_limit: int
    cut: bool
    """Whether something had to be left out."""


def reference(delivery_id: str) -> str:
    """``#k3f9x2``: always the same for a delivery, one of a thousand million."""
    digest = hashlib.blake2s(delivery_id.encode(), digest_size=_REFERENCE_LENGTH).digest()
    return "#" + digest.translate(_REFERENCE_LETTERS).decode()


_ADDED = {Channel.APP: size("\n" + reference("")), Channel.ROBOT: size(RESEND_MARK + "\n")}
"""Bytes that each channel adds to a main text, or may have to add."""

_ADDRESSED = {TargetKind.USER: "touser", TargetKind.PARTY: "toparty", TargetKind.TAG: "totag"}


def room(channel: Channel, form: Format) -> int:
    """Bytes that are left for the words of one message once the channel has added its own.

    Raises Invalid (FIELD_INVALID) where the channel has no such form.
    """
    limit = _limit(channel, form)
    return limit - _ADDED[channel]


def fit(content: Content, channel: Channel, delivery_id: str, *, resend: bool = False) -> Fitted:
    """The main text as it goes out: cut to the limit, with the reference or the mark.

    Cut alike whether it is marked or not, so that a repeat says what the first one said.
    """
    limit = _limit(channel, content.format)
    if content.format is Format.TEMPLATE_CARD:
        text = card_text(content.text, reference(delivery_id))
        return Fitted(text, size(text), limit, cut=not text.startswith(content.text + "\n"))
    words = clip(content.text, room(channel, content.format))
    if channel is Channel.APP:
        text = f"{words}\n{reference(delivery_id)}"
    else:
        text = f"{RESEND_MARK}\n{words}" if resend else words
    return Fitted(text, size(text), limit, cut=words != content.text)


def shown_on_card(words: str) -> str:
    """*words* as far as a card shows them."""
    sample = reference("")
    return card_text(words, sample).removesuffix(f"\n{sample}")


def _limit(channel: Channel, form: Format) -> int:
    if form is Format.TEMPLATE_CARD and channel is Channel.APP:
        return CARD_BYTES
    try:
        return LIMITS[channel, form]
    except KeyError:
        name = "an app" if channel is Channel.APP else "a robot"
        raise Invalid.field("format", f"{name} cannot send {form}; choose text or markdown") from None


def app_payload(
    content: Content, targets: Sequence[Target], *, agent_id: int, delivery_id: str
) -> dict[str, object]:
    """The body of message/send. It is the same for every try of a delivery, which is what makes a repeat safe."""
    main = fit(content, Channel.APP, delivery_id).text
    body: dict[str, object] = {
        "msgtype": str(content.format),
        "agentid": agent_id,
        "enable_duplicate_check": 1,
        "duplicate_check_interval": int(DUPLICATE_INTERVAL.total_seconds()),
        str(content.format): _body(content, main, delivery_id),
    }
    ids: dict[str, list[str]] = {}
    for target in targets:
        ids.setdefault(_ADDRESSED[target.kind], []).append(target.id)
    for name, listed in ids.items():
        # In one order, wherever the targets were read: the platform compares texts, not sets.
        body[name] = "|".join(sorted(listed))
    return body


def _body(content: Content, main: str, delivery_id: str) -> Mapping[str, object]:
    if content.format is Format.TEMPLATE_CARD:
        return card(content.title, main, delivery_id)
    return _card(content, main) if content.format is Format.TEXTCARD else {"content": main}


def _card(content: Content, description: str) -> dict[str, str]:
    card = {"title": clip(content.title, TITLE_BYTES), "description": description, "url": content.url}
    return card | {"btntxt": content.button} if content.button else card


def robot_payload(content: Content, *, resend: bool = False) -> dict[str, object]:
    """The body of webhook/send. Raises Invalid for a card, which robots cannot post."""
    inner: dict[str, object] = {"content": fit(content, Channel.ROBOT, "", resend=resend).text}
    if content.format is Format.TEXT:
        if content.mentioned:
            inner["mentioned_list"] = list(content.mentioned)
        if content.mentioned_mobiles:
            inner["mentioned_mobile_list"] = list(content.mentioned_mobiles)
    return {"msgtype": str(content.format), str(content.format): inner}


def payload_bytes(payload: Mapping[str, object]) -> bytes:
    """*payload* as JSON in its one form: the same payload is the same bytes, in every process and version."""
    return orjson.dumps(payload, option=orjson.OPT_SORT_KEYS)
