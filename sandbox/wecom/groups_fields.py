"""What every call of customer groups and mass sends reads: members who may, groups, pages."""

from base64 import urlsafe_b64decode, urlsafe_b64encode

from sandbox.answers import Refused, missing, too_long
from sandbox.call import Call
from sandbox.directory import User
from sandbox.groups.chats import Group
from sandbox.wecom.fields import Fields, optional_text, text_of


def texts_of(body: Fields, name: str, most: int, *, too_many: int = 40058) -> list[str]:
    """A list of texts, empty when it is missing; `too_many` beyond *most*."""
    value = body.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        raise Refused(40058, f"`{name}` is no list of strings. invalid Request Parameter")
    if len(value) > most:
        raise too_long(name, most) if too_many == 40058 else Refused(too_many)
    return value


def may_have_customers(call: Call, userid: str) -> User:
    """The member of a userid; Refused with 60111 (there is none), 60011 (not in the range) or 84074."""
    user = call.world.directory.user(userid)
    if user is None or user.status == "invalid":
        raise Refused(60111)
    if not call.world.directory.sees(call.app, user):
        raise Refused(60011)
    if user.no_customers:
        raise Refused(84074)
    return user


def is_visible(call: Call, group: Group) -> bool:
    """Whether an app gets to see a group: its owner lies in the app's range and may have customers."""
    user = call.world.directory.user(group.owner)
    return user is not None and not user.no_customers and call.world.directory.sees(call.app, user)


def group_of(call: Call, chat_id: str) -> Group:
    """The customer group of an id; Refused with the profile's codes, 49008 (dismissed) or 60011 (its owner is not seen)."""
    group, profile = call.world.groups.groups.get(chat_id), call.world.profile
    if group is None:
        raise Refused(profile.group_unknown_errcode)
    if group.internal:
        raise Refused(profile.group_internal_errcode)
    if group.dismissed_at is not None:
        raise Refused(49008)
    if not is_visible(call, group):
        raise Refused(60011)
    return group


def named_group(call: Call, body: Fields) -> Group:
    """The group that a body's chat_id names."""
    return group_of(call, text_of(body, "chat_id", "chat_id"))


def page_limit(body: Fields, default: int, most: int) -> int:
    """How many rows are wanted: one that is missing or out of range is the default, without an error."""
    value = body.get("limit")
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int):
        raise Refused(40058, "`limit` is not a number. invalid Request Parameter")
    return value if 1 <= value <= most else default


def cursor_of(body: Fields, listing: str) -> int:
    """How far a listing has been read; 50100 for a cursor that this listing never gave."""
    cursor = optional_text(body, "cursor", "cursor")
    if not cursor:
        return 0
    try:
        name, separator, number = urlsafe_b64decode(cursor.encode()).decode().partition(":")
    except ValueError:
        raise Refused(50100) from None
    if name != listing or not separator or not number.isdecimal():
        raise Refused(50100)
    return int(number)


def cursor_at(listing: str, number: int) -> str:
    """What to give back to read on."""
    return urlsafe_b64encode(f"{listing}:{number}".encode()).decode()


def seconds_of(body: Fields, name: str) -> int:
    """A needed instant in seconds since the epoch."""
    value = body.get(name)
    if value is None:
        raise missing(name)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise Refused(40058, f"`{name}` is not a number. invalid Request Parameter")
    return value
