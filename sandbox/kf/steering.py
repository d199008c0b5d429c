"""Customers and servicers as tests and the page play them: `POST /sandbox/kf/…`.

messages    {"external_userid": "wm1", "open_kfid": "wk1", "text": "几点关门？", "menu_id": "m1"}
            {…, "msgtype": "location", "location": {…}}          # any type; of a file {"base64": "…", "filename": "a.png"}
enter       {"external_userid", "open_kfid", "scene", "scene_param", "wechat_channels": {…}}
servicer    {"action": "accept" | "transfer" | "end" | "write" | "reject", "open_kfid", "external_userid", "userid",
             "text" or "msgtype" with its object, "on": true}    # of write; of reject
            {"action": "recall", "open_kfid", "external_userid", "msgid"}
            {"action": "status", "open_kfid", "userid", "status": "receiving" | "stopped" | "suspended"}
fail        {"external_userid": "wm1", "open_kfid": "wk1", "count": 2, "fail_type": 13}   # the next sends fail later
customers/… {"refuses": true, "nickname": "小王", "recall": "MSGID"}
accounts    {"open_kfid": "wk1", "authorised": false}            # the admin hands it to the API, or takes it back
sync        {"open_kfid": "wk1", "empty_pages": 2}               # the next pages of sync_msg hold nothing, has_more 1
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import cast

from sandbox.documents import Document, flag, number, only, text
from sandbox.kf.lines import By, Line
from sandbox.kf.people import Account, ServicerStatus
from sandbox.kf.sessions import Session
from sandbox.media import Media, MediaType
from sandbox.world import World

Answer = dict[str, object]

_FILES = ("image", "voice", "video", "file")
_TYPES = (
    "text",
    *_FILES,
    "location",
    "link",
    "business_card",
    "miniprogram",
    "msgmenu",
    "channels_shop_product",
    "channels_shop_order",
    "channels",
    "merged_msg",
)
_PAIR = {"external_userid", "open_kfid"}
_MESSAGE = {"text", "menu_id", "msgtype", *_TYPES}
_STATUSES = ("receiving", "stopped", "suspended")


def write(world: World, document: Document) -> Answer:
    """A customer writes."""
    only(document, _PAIR | _MESSAGE)
    msgtype, content = _message(world, document)
    session = _session(world, document)
    msgid = world.kf.customer_writes(session, msgtype, content, world.clock.now())
    return {"msgid": msgid, "session": world.kf.sessions.view(session)}


def enter(world: World, document: Document) -> Answer:
    """A customer opens the chat."""
    only(document, _PAIR | {"scene", "scene_param", "wechat_channels"})
    context: dict[str, object] = {
        "scene": text(document, "scene", ""),
        "scene_param": text(document, "scene_param", ""),
    }
    channels = document.get("wechat_channels")
    if channels is not None:
        if not isinstance(channels, dict):
            raise ValueError("wechat_channels is an object")
        context["wechat_channels"] = channels
    session = _session(world, document)
    return {"welcome_code": world.kf.customer_enters(session, context, world.clock.now())}


def serve(world: World, document: Document) -> Answer:
    """A servicer does something in the client."""
    action = document.get("action")
    if not isinstance(action, str) or action not in _ACTIONS:
        raise ValueError(f"action is one of {', '.join(_ACTIONS)}")
    return _ACTIONS[action](world, {name: value for name, value in document.items() if name != "action"})


def _accept(world: World, document: Document) -> Answer:
    only(document, _PAIR | {"userid"})
    session = _session(world, document)
    code = world.kf.servicer_accepts(session, _servicer(world, document), world.clock.now())
    return {"msg_code": code, "session": world.kf.sessions.view(session)}


def _transfer(world: World, document: Document) -> Answer:
    only(document, _PAIR | {"userid"})
    session = _session(world, document)
    world.kf.servicer_transfers(session, _servicer(world, document), world.clock.now())
    return {"session": world.kf.sessions.view(session)}


def _end(world: World, document: Document) -> Answer:
    only(document, _PAIR | {"userid"})
    session = _session(world, document)
    code = world.kf.servicer_ends(session, world.clock.now())
    return {"msg_code": code, "session": world.kf.sessions.view(session)}


def _write(world: World, document: Document) -> Answer:
    only(document, _PAIR | _MESSAGE | {"userid"})
    msgtype, content = _message(world, document)
    session, userid = _session(world, document), _servicer(world, document)
    msgid = world.kf.servicer_writes(session, userid, msgtype, content, world.clock.now())
    return {"msgid": msgid, "session": world.kf.sessions.view(session)}


def _recall(world: World, document: Document) -> Answer:
    only(document, _PAIR | {"msgid"})
    line = _line(world, "servicer", text(document, "external_userid"), text(document, "msgid"))
    world.kf.servicer_recalls(line, world.clock.now())
    return {"msgid": line.msgid}


def _reject(world: World, document: Document) -> Answer:
    only(document, _PAIR | {"userid", "on"})
    session = _session(world, document)
    on = flag(document, "on", True)
    world.kf.servicer_rejects(session, _servicer(world, document), on, world.clock.now())
    return {"on": on}


def _status(world: World, document: Document) -> Answer:
    only(document, {"open_kfid", "userid", "status"})
    status = document.get("status")
    if status not in _STATUSES:
        raise ValueError(f"status is one of {', '.join(_STATUSES)}")
    account, userid = _account(world, document), _servicer(world, document)
    world.kf.servicer_status(account, userid, cast(ServicerStatus, status), world.clock.now())
    return account.view()


_ACTIONS: Mapping[str, Callable[[World, Document], Answer]] = {
    "accept": _accept,
    "transfer": _transfer,
    "end": _end,
    "write": _write,
    "recall": _recall,
    "reject": _reject,
    "status": _status,
}


def fail(world: World, document: Document) -> Answer:
    """Let the next messages to a customer fail after they were accepted."""
    only(document, _PAIR | {"count", "fail_type"})
    external_userid, open_kfid = text(document, "external_userid"), text(document, "open_kfid", "")
    count, fail_type = number(document, "count", 1, 1), number(document, "fail_type", 0, 0)
    world.kf.fail_next(open_kfid or None, external_userid, count, fail_type)
    return {"failing": world.kf.failing}


def change_customer(world: World, external_userid: str, document: Document) -> Answer:
    """A customer refuses messages, takes one back or is called something else."""
    only(document, {"refuses", "nickname", "recall"})
    customer = world.directory.kf.customer(external_userid)
    if customer is None:
        raise LookupError(f"there is no customer {external_userid!r}")
    refuses = flag(document, "refuses", customer.refuses)
    nickname, recalled = text(document, "nickname", customer.nickname), text(document, "recall", "")
    if recalled:
        world.kf.customer_recalls(_line(world, "customer", external_userid, recalled), world.clock.now())
    changed = replace(customer, refuses=refuses, nickname=nickname)
    world.directory.kf.customers[external_userid] = changed
    return changed.view()


def change_account(world: World, document: Document) -> Answer:
    """The administrator hands an account to the API, or takes it back."""
    only(document, {"open_kfid", "authorised"})
    account = _account(world, document)
    world.kf.authorise(account, flag(document, "authorised", True), world.clock.now())
    return account.view()


def steer_sync(world: World, document: Document) -> Answer:
    """Let pages of sync_msg be empty although there is more."""
    only(document, {"open_kfid", "empty_pages"})
    account, pages = _account(world, document), number(document, "empty_pages", 1, 0)
    world.kf.history.leave_empty(account.open_kfid, pages)
    return {"open_kfid": account.open_kfid, "empty_pages": pages}


def sessions(world: World, open_kfid: str | None, external_userid: str | None) -> Answer:
    """States and counts as they stand."""
    found = world.kf.sessions.find(open_kfid or None, external_userid or None, world.clock.now())
    return {
        "sessions": [world.kf.sessions.view(session) for session in found],
        "failing": world.kf.failing,
    }


def _message(world: World, document: Document) -> tuple[str, dict[str, object]]:
    msgtype = document.get("msgtype", "text")
    if not isinstance(msgtype, str) or msgtype not in _TYPES:
        raise ValueError(f"msgtype is one of {', '.join(_TYPES)}")
    content = document.get(msgtype)
    if msgtype == "text" and isinstance(content, str):
        content = {"content": content}
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{msgtype} says what the message holds")
    others = sorted((set(document) & set(_TYPES)) - {msgtype})
    if others:
        raise ValueError(f"a message of type {msgtype} has no {others[0]!r}")
    if msgtype == "text":
        text(content, "content")
        menu_id = text(document, "menu_id", "")
        content = {**content, **({"menu_id": menu_id} if menu_id else {})}
    if msgtype in _FILES and "base64" in content:
        return msgtype, {"media_id": _stored(world, msgtype, content)}
    return msgtype, dict(content)


def _stored(world: World, msgtype: str, content: Mapping[str, object]) -> str:
    """What a customer sent as a file, kept so that the app can fetch it."""
    try:
        raw = base64.b64decode(text(content, "base64"), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"{msgtype}.base64 is Base64") from None
    door = world.callbacks.of(None, "kf")
    owner = world.directory.corp_id or (door.corp_id if door is not None else "")
    if not owner:
        raise ValueError("a file belongs to a corp: declare corp_id, or set up the callback of kind kf")
    name = text(content, "filename", msgtype)
    media = Media(world.new_id("media"), cast(MediaType, msgtype), name, raw, owner, world.clock.now())
    world.media.add(media)
    return media.media_id


def _line(world: World, by: By, external_userid: str, msgid: str) -> Line:
    """A message in a customer's chats that can still be taken back by its writer."""
    lines = world.kf.lines.find(None, external_userid)
    found = next(
        (line for line in lines if line.msgid == msgid and line.by == by and not line.recalled), None
    )
    if found is None:
        raise LookupError(f"the {by} has written no message {msgid!r} that can be recalled")
    return found


def _session(world: World, document: Document) -> Session:
    account, external_userid = _account(world, document), text(document, "external_userid")
    if world.directory.kf.customer(external_userid) is None:
        raise LookupError(f"there is no customer {external_userid!r}")
    return world.kf.sessions.of(account.open_kfid, external_userid, world.clock.now())


def _account(world: World, document: Document) -> Account:
    open_kfid = text(document, "open_kfid")
    account = world.directory.kf.account(open_kfid)
    if account is None:
        raise LookupError(f"there is no KF account {open_kfid!r}")
    return account


def _servicer(world: World, document: Document) -> str:
    userid = text(document, "userid")
    user = world.directory.user(userid)
    if user is None or user.status != "active":
        raise LookupError(f"there is no active member {userid!r}")
    return userid.lower()
