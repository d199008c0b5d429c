"""Mass sends to customer groups: making, steering and asking what came of them."""

from collections.abc import Callable, Mapping, Sequence

from sandbox.answers import Refused
from sandbox.call import CUSTOMER_SECRET, Answer, Call, Endpoint
from sandbox.groups.mass import CORP, PERSONAL, MassSend
from sandbox.wecom.fields import Fields, optional_text, text_of
from sandbox.wecom.groups_content import content_of
from sandbox.wecom.groups_fields import (
    cursor_at,
    cursor_of,
    may_have_customers,
    page_limit,
    seconds_of,
    texts_of,
)
from sandbox.wecom.kf_fields import number_of

_MOST_GROUPS = 2000
_LONGEST_SPAN = 31 * 86_400
_UNSENT, _SENT = 0, 2
_STATUS = {"sent": 1, "over_cap": 3}  # of one group; a task's own status counts otherwise
_OK: Mapping[str, object] = {"errcode": 0, "errmsg": "ok"}


def _add(call: Call) -> Answer:
    body, mass_sends = call.json(), call.world.mass_sends
    mass_sends.settle(call.now)
    if body.get("chat_type", "single") == "single":
        raise Refused(41048, "no customer to send: the sandbox knows mass sends to groups only")
    _chat_type(body)
    text, attachments = content_of(call, body)
    sender = may_have_customers(call, text_of(body, "sender", "sender"))
    named = texts_of(body, "chat_id_list", _MOST_GROUPS)
    served = [chat_id for chat_id in named if _serves(call, sender.userid, chat_id)]
    if named and not served:
        raise Refused(41048)
    refused = [chat_id for chat_id in named if chat_id not in set(served)]
    mass = mass_sends.create(
        call.corp_id,
        sender.userid,
        served,
        text,
        attachments,
        call.now,
        request_number=call.record.number,
        refused=refused,
    )
    told = refused if call.world.profile.mass_send_unserved == "fail_list" else []
    return {**_OK, "fail_list": told, "msgid": mass.msgid}


def _serves(call: Call, sender: str, chat_id: str) -> bool:
    """Whether a sender can send to a group: it is there, and theirs."""
    group = call.world.groups.groups.get(chat_id)
    if group is None or group.internal or group.dismissed_at is not None:
        return False
    return group.owner.lower() == sender.lower()


def _remind(call: Call) -> Answer:
    mass = _named(call, call.json())
    if not call.world.mass_sends.remind(mass, call.now):
        raise Refused(41094)
    return dict(_OK)


def _cancel(call: Call) -> Answer:
    call.world.mass_sends.cancel(_named(call, call.json()), call.now)
    return dict(_OK)


def _list(call: Call) -> Answer:
    body = call.json()
    chat_type = _chat_type(body)
    start, end = seconds_of(body, "start_time"), seconds_of(body, "end_time")
    if end < start or end - start > _LONGEST_SPAN:
        raise Refused(40058, "`end_time` is not within a month of `start_time`. invalid Request Parameter")
    creator = optional_text(body, "creator", "creator").lower()
    kinds = ((CORP,), (PERSONAL,), (CORP, PERSONAL))[number_of(body, "filter_type", 2, 0, 2)]
    limit = page_limit(body, 50, 100)
    call.world.mass_sends.settle(call.now)
    rows: list[MassSend] = []
    for mass in call.world.mass_sends.after(cursor_of(body, "sends")):
        if chat_type != "group" or mass.corp_id != call.corp_id or mass.kind not in kinds:
            continue
        if not start <= mass.created_at <= end or (creator and mass.creator.lower() != creator):
            continue
        if call.world.profile.mass_send_listed == "once_dispatched" and _is_dispatching(call, mass):
            continue
        if len(rows) == limit:
            return _page("group_msg_list", [_task(one) for one in rows], cursor_at("sends", rows[-1].number))
        rows.append(mass)
    return _page("group_msg_list", [_task(one) for one in rows])


def _task(mass: MassSend) -> dict[str, object]:
    row: dict[str, object] = {"msgid": mass.msgid}
    if mass.creator:  # an app has none
        row["creator"] = mass.creator
    row |= {"create_time": int(mass.created_at), "create_type": mass.kind}
    if mass.text:
        row["text"] = {"content": mass.text}
    return {**row, "attachments": mass.attachments}


def _senders(call: Call) -> Answer:
    body = call.json()
    mass, limit = _queried(call, body), page_limit(body, 500, 1000)
    row: dict[str, object] = {
        "userid": mass.sender,
        "status": _UNSENT if mass.sent_at is None else _SENT,
    }
    if mass.sent_at is not None:
        row["send_time"] = int(mass.sent_at)
    return _slice("task_list", [row], f"tasks-{mass.number}", body, limit)


def _results(call: Call) -> Answer:
    body = call.json()
    mass, limit = _queried(call, body), page_limit(body, 500, 1000)
    userid = text_of(body, "userid", "userid")
    rows: list[dict[str, object]] = []
    if userid.lower() == mass.sender.lower():
        for outcome in mass.answered():
            row: dict[str, object] = {
                "chat_id": outcome.chat_id,
                "userid": mass.sender,
                "status": _STATUS[outcome.result],
            }
            rows.append({**row, "send_time": int(outcome.at)} if outcome.result == "sent" else row)
    elif call.world.directory.user(userid) is None:
        raise Refused(60111)
    return _slice("send_list", rows, f"results-{mass.number}", body, limit)


def _slice(name: str, rows: Sequence[dict[str, object]], listing: str, body: Fields, limit: int) -> Answer:
    """A page of what is complete: rows come at its end only, so a cursor stays good."""
    start = cursor_of(body, listing)
    page, more = rows[start : start + limit], len(rows) > start + limit
    return _page(name, page, cursor_at(listing, start + limit) if more else "")


def _page(name: str, rows: Sequence[dict[str, object]], cursor: str = "") -> Answer:
    return {**_OK, name: rows, "next_cursor": cursor}


def _named(call: Call, body: Fields) -> MassSend:
    """The task that a body's msgid names; Refused with 41046, 41047 or 41093."""
    mass = _found(call, body)
    if mass.cancelled_at is not None:
        raise Refused(41093)
    return mass


def _queried(call: Call, body: Fields) -> MassSend:
    """The task that is asked after; Refused as above, and with 41063 while it is being dispatched."""
    mass = _found(call, body)
    if _is_dispatching(call, mass):
        raise Refused(41063)
    if mass.cancelled_at is not None and call.world.profile.mass_send_cancelled == "refused":
        raise Refused(41093)
    return mass


def _found(call: Call, body: Fields) -> MassSend:
    call.world.mass_sends.settle(call.now)
    mass = call.world.mass_sends.get(text_of(body, "msgid", "msgid", absent=41046))
    if mass is None or mass.corp_id != call.corp_id:
        raise Refused(41047)
    return mass


def _is_dispatching(call: Call, mass: MassSend) -> bool:
    return call.now < mass.created_at + call.world.profile.mass_send_dispatch_seconds


def _chat_type(body: Fields) -> str:
    chat_type = text_of(body, "chat_type", "chat_type")
    if chat_type not in ("single", "group"):
        raise Refused(40058, "`chat_type` is neither single nor group. invalid Request Parameter")
    return chat_type


def _endpoint(handle: Callable[[Call], Answer]) -> Endpoint:
    return Endpoint("POST", handle, kinds=CUSTOMER_SECRET)


ENDPOINTS: Mapping[str, Endpoint] = {
    "/cgi-bin/externalcontact/add_msg_template": _endpoint(_add),
    "/cgi-bin/externalcontact/remind_groupmsg_send": _endpoint(_remind),
    "/cgi-bin/externalcontact/cancel_groupmsg_send": _endpoint(_cancel),
    "/cgi-bin/externalcontact/get_groupmsg_list_v2": _endpoint(_list),
    "/cgi-bin/externalcontact/get_groupmsg_task": _endpoint(_senders),
    "/cgi-bin/externalcontact/get_groupmsg_send_result": _endpoint(_results),
}
