"""Takes apart what a pull brought: strangers wrote it, so nothing in it is taken for granted."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import field
from datetime import UTC, datetime, timedelta
from typing import Final

from services.kf_session.domain.message import Inbound, Origin
from shared.values import value_class

EVENT: Final = "event"
_CODES: Final = ("welcome_code", "msg_code")
_ID = re.compile(r"[\x21-\x7e]{1,128}", re.ASCII)
_TYPE = re.compile(r"[a-z0-9_]{1,64}", re.ASCII)
_EARLIEST = datetime(2015, 1, 1, tzinfo=UTC)
_MOST_DEPTH = 16
CLOCK_BEHIND: Final = timedelta(hours=3)
"""By so much our clock may be behind the platform's; a time that is further ahead is none."""
_WELCOME_LIVES = timedelta(seconds=20)
_CODE_LIVES: Final[Mapping[str, timedelta]] = {
    "entered": _WELCOME_LIVES,
    "pooled": timedelta(hours=48),
    "accepted": timedelta(hours=48),
    "ended": timedelta(seconds=20),
}


class Unreadable(Exception):
    """An item that says nothing we can keep; the text is for our log and holds nothing of it."""


@value_class
class Code:
    """A one-shot allowance beside the five."""

    id: str
    """A hash of the code."""
    occasion: str
    """entered, pooled, accepted or ended."""
    code: str = field(repr=False)
    issued_at: datetime
    expires_at: datetime


@value_class
class Item:
    """One item of a pull."""

    inbound: Inbound
    code: Code | None = None
    """What an event allows to send, once."""

    @property
    def event_type(self) -> str:
        """Which event it is; empty for a message."""
        return self.text("event_type") if self.inbound.msgtype == EVENT else ""

    def text(self, name: str) -> str:
        """A field of its object that is text; empty where it is not."""
        value = self.inbound.content.get(name)
        return value if isinstance(value, str) else ""

    def number(self, name: str) -> int:
        """A field of its object that is a whole number; 0 where it is not."""
        value = self.inbound.content.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else 0


def read_item(raw: object, open_kfid: str, store_id: str, now: datetime) -> Item:
    """One item of a pull of *open_kfid*. Raises :class:`Unreadable`.

    A time that is far ahead is taken for *now*: nobody's window is longer than 48 hours from here. One that is ahead by
    less is the platform's, and our clock is wrong: taken for now, it would be older than what came before it.
    """
    if not isinstance(raw, Mapping):
        raise Unreadable("no object")
    kind = raw.get("msgtype")
    if not isinstance(kind, str) or not _TYPE.fullmatch(kind):
        raise Unreadable("no msgtype")
    body = raw.get(kind)
    content = _clean(body) if isinstance(body, Mapping) else {}
    assert isinstance(content, dict)
    inside: Mapping[str, object] = content if kind == EVENT else {}
    whose = _id(raw.get("open_kfid") or inside.get("open_kfid") or open_kfid, "open_kfid")
    if whose != open_kfid:
        raise Unreadable("another account's")
    customer = raw.get("external_userid") or inside.get("external_userid") or ""
    if customer or kind != EVENT:
        customer = _id(customer, "external_userid")
    origin = _origin(raw.get("origin"), kind)
    at = _time(raw.get("send_time"), now)
    code = _code_of(inside, at)
    kept = {name: value for name, value in content.items() if name not in _CODES}
    servicer = raw.get("servicer_userid") or ""
    inbound = Inbound(
        open_kfid=open_kfid,
        external_userid=str(customer),
        store_id=store_id,
        msgid=_msgid(raw),
        origin=origin,
        msgtype=kind,
        content=kept,
        sent_at=at,
        servicer_userid=_id(servicer, "servicer_userid") if servicer else "",
    )
    return Item(inbound, code)


def code_of(code: str, occasion: str, at: datetime) -> Code:
    """The allowance that *code* is, given out at *at*."""
    known_by = hashlib.sha256(f"kf code\0{code}".encode("utf-8", "surrogatepass")).hexdigest()
    return Code(known_by, occasion, code, at, at + _CODE_LIVES[occasion])


def _code_of(event: Mapping[str, object], at: datetime) -> Code | None:
    welcome, told = event.get("welcome_code"), event.get("msg_code")
    if isinstance(welcome, str) and welcome and event.get("event_type") == "enter_session":
        return code_of(welcome, "entered", at)
    if isinstance(told, str) and told and event.get("event_type") == "session_status_change":
        occasion = {1: "accepted", 3: "ended"}.get(_whole(event.get("change_type")))
        return code_of(told, occasion, at) if occasion else None
    return None


def _whole(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _origin(value: object, kind: str) -> Origin:
    if kind == EVENT:
        return Origin.SYSTEM
    try:
        return Origin(_whole(value))
    except ValueError:
        raise Unreadable("an origin that is not known") from None


def _id(value: object, name: str) -> str:
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise Unreadable(f"no {name}")
    return value


def _msgid(raw: Mapping[str, object]) -> str:
    """The item's own id; where the platform gave none, a hash of the item stands for it."""
    value = raw.get("msgid")
    if isinstance(value, str) and _ID.fullmatch(value):
        return value
    text = json.dumps(_clean(raw), sort_keys=True, default=str)
    return f"sha256-{hashlib.sha256(text.encode()).hexdigest()[:48]}"


def _time(value: object, now: datetime) -> datetime:
    try:
        at = datetime.fromtimestamp(_whole(value), UTC)
    except (ValueError, OverflowError, OSError):
        raise Unreadable("no send_time") from None
    if at < _EARLIEST:
        raise Unreadable("no send_time")
    return at if at <= now + CLOCK_BEHIND else now


def _clean(value: object, depth: int = 0) -> object:
    """*value* as both databases keep it: no NUL, no half characters, no numbers beyond 64 bits, bounded in depth."""
    if depth > _MOST_DEPTH:
        return None
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {str(_clean(key)): _clean(one, depth + 1) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(one, depth + 1) for one in value]
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
        return str(value)
    return value
