"""Customer groups: the list, one group, what an opengid stands for."""

from collections.abc import Mapping

from sandbox.answers import Refused, missing
from sandbox.call import CUSTOMER_SECRET, Answer, Call, Endpoint
from sandbox.wecom.fields import Fields, text_of
from sandbox.wecom.groups_fields import (
    cursor_at,
    cursor_of,
    group_of,
    is_visible,
    may_have_customers,
    named_group,
    texts_of,
)
from sandbox.wecom.kf_fields import number_of

_LISTING = "groups"
_MOST_OWNERS = 100


def _list(call: Call) -> Answer:
    body = call.json()
    if "limit" not in body:
        raise missing("limit")
    limit = number_of(body, "limit", 0, 1, 1000)
    status = number_of(body, "status_filter", 0, 0, 3)
    owners = _owners(call, body)
    seen: dict[str, bool] = {}
    rows: list[dict[str, object]] = []
    last = 0
    for group in call.world.groups.groups.after(cursor_of(body, _LISTING)):
        owner = group.owner.lower()
        if group.dismissed_at is not None or group.internal or (status and group.status != status):
            continue
        if owners and owner not in owners:
            continue
        if owner not in seen:
            seen[owner] = is_visible(call, group)
        if not seen[owner]:
            continue
        if len(rows) == limit:
            return {
                "errcode": 0,
                "errmsg": "ok",
                "group_chat_list": rows,
                "next_cursor": cursor_at(_LISTING, last),
            }
        rows.append({"chat_id": group.chat_id, "status": group.status})
        last = group.number
    return {"errcode": 0, "errmsg": "ok", "group_chat_list": rows}


def _owners(call: Call, body: Fields) -> frozenset[str]:
    """The owners that are asked for, in lower case; empty for everybody in the app's range."""
    asked = body.get("owner_filter", {})
    if not isinstance(asked, dict):
        raise Refused(40058, "`owner_filter` is not an object. invalid Request Parameter")
    owners = texts_of(asked, "userid_list", _MOST_OWNERS)
    if owners:
        return frozenset(may_have_customers(call, owner).userid.lower() for owner in owners)
    most, directory = call.world.profile.group_list_range, call.world.directory
    if most and sum(directory.sees(call.app, user) for user in directory.users.values()) > most:
        raise Refused(81017)
    return frozenset()


def _get(call: Call) -> Answer:
    body = call.json()
    named = bool(number_of(body, "need_name", 0, 0, 1))
    group = named_group(call, body)
    return {
        "errcode": 0,
        "errmsg": "ok",
        "group_chat": call.world.groups.seen(group, call.now, named=named),
    }


def _chat_of_opengid(call: Call) -> Answer:
    """The sandbox's opengid of a group is `og-` and its chat_id."""
    opengid = text_of(call.json(), "opengid", "opengid")
    chat_id = opengid.removeprefix("og-")
    if chat_id == opengid or call.world.groups.groups.get(chat_id) is None:
        raise Refused(90511)
    return {"errcode": 0, "errmsg": "ok", "chat_id": group_of(call, chat_id).chat_id}


ENDPOINTS: Mapping[str, Endpoint] = {
    "/cgi-bin/externalcontact/groupchat/list": Endpoint("POST", _list, kinds=CUSTOMER_SECRET),
    "/cgi-bin/externalcontact/groupchat/get": Endpoint("POST", _get, kinds=CUSTOMER_SECRET),
    "/cgi-bin/externalcontact/opengid_to_chatid": Endpoint("POST", _chat_of_opengid, kinds=CUSTOMER_SECRET),
}
