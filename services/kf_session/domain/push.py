"""A push that is wanted: what goes to whom, why, and until when it makes sense."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from enum import StrEnum

from shared.values import value_class


class Purpose(StrEnum):
    """Why something is sent; what a customer asked for passes gates that what we offer does not."""

    MATCH = "match"
    """Somebody matches an intent of the customer."""
    SUMMARY = "summary"
    """The day's matches in one."""
    MESSAGE = "message"
    """A caller of Push wants it."""
    REPLY = "reply"
    """An answer to what the customer just wrote."""
    NOTICE = "notice"
    """What happened in the session, by a one-shot code: moved to the pool, accepted, ended."""
    WELCOME = "welcome"
    """A greeting to who enters, by a one-shot code."""

    @property
    def asked_for(self) -> bool:
        """Whether the customer waits for it: quiet hours, the daily limit and the reserve do not hold it."""
        return self in (Purpose.REPLY, Purpose.NOTICE, Purpose.WELCOME)


@value_class
class Item:
    """One line of a list that a customer may ask about by its number."""

    item_id: str
    """The match."""
    line: str = field(repr=False)
    """What the list says of it."""
    details: str = field(repr=False)
    """What 查看 answers with."""
    score: float | None = None
    facts: Mapping[str, object] = field(default_factory=dict, repr=False, hash=False)
    """What templates may name (``domain.templates.FIELDS``); empty for an item that was read back, which has its line."""


@value_class
class NewPush:
    """One push to admit. *dedupe_key* is unique in its store: a repeat is the first one."""

    store_id: str
    open_kfid: str
    external_userid: str
    purpose: Purpose
    dedupe_key: str
    content: Mapping[str, object] = field(repr=False)
    """``{"msgtype": …, <msgtype>: {…}}`` as kf/send_msg takes it, checked before (domain/content.py)."""
    expires_at: datetime
    """From when on it makes no sense any more."""
    items: tuple[Item, ...] = field(default=(), repr=False)
    score: float | None = None
    code_id: str | None = None
    """Goes by this one-shot code, and needs no credit."""
    answer_to: str | None = None
    template_id: str | None = None
    template_version: int | None = None
    variant: str | None = None
    traceparent: str | None = None
