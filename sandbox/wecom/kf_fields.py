"""What every call of WeChat KF reads: the account, the customer, the session between them."""

import re

from sandbox.answers import Refused, too_long
from sandbox.call import Call
from sandbox.kf.people import Account
from sandbox.kf.sessions import Session
from sandbox.wecom.fields import Fields, optional_text, text_of, within

_ID = re.compile(r"[0-9A-Za-z_@.-]{1,64}")
_MARK = re.compile(r"[0-9a-zA-Z_-]*")


def account_of(call: Call, value: object) -> Account:
    """The account of an open_kfid; Refused with 60251, 95000, 95004 or, not handed to the API, 48007."""
    if value is None or value == "":
        raise Refused(60251)
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise Refused(95000)
    account = call.world.directory.kf.account(value)
    if account is None:
        raise Refused(95004)
    if not account.authorised:
        raise Refused(48007)
    return account


def session_of(call: Call, account: Account, external_userid: str) -> Session:
    """A customer's session at an account; 40096 when there is no such customer."""
    if call.world.directory.kf.customer(external_userid) is None:
        raise Refused(40096)
    return call.world.kf.sessions.of(account.open_kfid, external_userid, call.now)


def named_session(call: Call, body: Fields) -> tuple[Account, Session]:
    """The account and the session that a body's open_kfid and external_userid name."""
    account = account_of(call, body.get("open_kfid"))
    return account, session_of(call, account, text_of(body, "external_userid", "external_userid"))


def mark_of(body: Fields, name: str) -> str:
    """A text of at most 32 bytes of letters, digits, `_` and `-`; it may be missing."""
    value = within(optional_text(body, name, name), 32, name)
    if not _MARK.fullmatch(value):
        raise Refused(40058, f"`{name}` has illegal characters. invalid Request Parameter")
    return value


def number_of(body: Fields, name: str, default: int, least: int, most: int) -> int:
    """A whole number within bounds."""
    value = body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int):
        raise Refused(40058, f"`{name}` is not a number. invalid Request Parameter")
    if value > most:
        raise too_long(name, most)
    if value < least:
        raise Refused(40058, f"`{name}` is too small. invalid Request Parameter")
    return value
