"""App messages: send, recall, statistics."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone

import orjson

from sandbox.answers import Refused
from sandbox.call import Answer, Call, Endpoint
from sandbox.directory import Resolved
from sandbox.journal import Message
from sandbox.wecom.cards import INTERACTIVE
from sandbox.wecom.content import APP_TYPES, Content

_CHINA = timezone(timedelta(hours=8))
_RECALL_SECONDS = 86_400
_DUPLICATES_KEPT = 100_000


def _send(call: Call) -> Answer:
    body = call.json()
    agentid = agent_of(call, body.get("agentid"))
    if call.app.disabled:
        raise Refused(50003)
    receivers = _receivers(body)
    msgtype = body.get("msgtype")
    if not isinstance(msgtype, str) or msgtype not in APP_TYPES:
        raise Refused(40008)
    if body.get("safe", 0) not in (0, 1, 2):
        raise Refused(40035)
    content = APP_TYPES[msgtype](call, body)
    resolved = call.world.directory.resolve(call.app, *receivers)
    lists = _invalid_lists(resolved)
    if not resolved.found:
        raise Refused(81013, extra=lists)
    key = _duplicate_key(call, body)
    if key is not None and (first := _sent_before(call, key)) is not None:
        call.world.journal.totals["suppressed"] += 1
        shown = {"msgid": first} if call.world.profile.duplicate_answer == "with_msgid" else {}
        return {"errcode": 0, "errmsg": "ok", **lists, **shown}
    _count_against_account(call, agentid, len(resolved.users))
    message = _accept(call, agentid, msgtype, content, resolved)
    if key is not None:
        _remember(call, key, body, message.msgid)
    answer: dict[str, object] = {"errcode": 0, "errmsg": "ok", **lists, "msgid": message.msgid}
    if content.get("card_type") in INTERACTIVE:
        answer["response_code"] = call.world.codes.issue(message, call.now)
    return answer


def agent_of(call: Call, agentid: object) -> int:
    """The agentid of a call; Refused with 41011, 40056, or 301002 when it is not the token's."""
    if agentid is None:
        raise Refused(41011)
    if isinstance(agentid, str) and agentid.isascii() and agentid.isdecimal():
        agentid = int(agentid)
    if isinstance(agentid, bool) or not isinstance(agentid, int) or agentid <= 0:
        raise Refused(40056)
    if not call.world.directory.owns(call.app, agentid):
        raise Refused(301002)
    return agentid


def _receivers(body: Mapping[str, object]) -> tuple[list[str], list[str], list[str]]:
    users = _ids(body, "touser")
    if "@all" in users:
        return ["@all"], [], []
    parties, tags = _ids(body, "toparty"), _ids(body, "totag")
    if not (users or parties or tags):
        raise Refused(82001)
    for ids, limit, errcode in ((users, 1000, 40032), (parties, 100, 82002), (tags, 100, 82003)):
        if len(ids) > limit:
            raise Refused(errcode)
    return users, parties, tags


def _ids(body: Mapping[str, object], name: str) -> list[str]:
    value = body.get(name)
    if value is None or value == "":
        return []
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise Refused(40058, f"`{name}` is not a string. invalid Request Parameter")
    if "|" not in value:
        return [value.strip()] if value.strip() else []
    return list(dict.fromkeys(part.strip() for part in value.split("|") if part.strip()))


def _invalid_lists(resolved: Resolved) -> dict[str, str]:
    lists = {
        "invaliduser": resolved.invalid_users,
        "invalidparty": resolved.invalid_parties,
        "invalidtag": resolved.invalid_tags,
        "unlicenseduser": list(dict.fromkeys(resolved.unlicensed)),
    }
    return {name: "|".join(ids) for name, ids in lists.items() if ids}


def _accept(call: Call, agentid: int, msgtype: str, content: Content, resolved: Resolved) -> Message:
    world, journal = call.world, call.world.journal
    message = Message(
        msgid=world.new_id("M"),
        msgtype=msgtype,
        content=content,
        sender=world.directory.app_name(agentid),
        agentid=agentid,
        corp_id=call.corp_id,
        received_at=call.now,
        request_number=call.record.number,
        secret=call.app.secret,
    )
    journal.remember(message)
    journal.totals["accepted"] += 1
    for key, user in resolved.users.items():
        dropped = not _fits_member_limits(call, agentid, key)
        journal.arrive("user", user.userid, user.name or user.userid, message, dropped=dropped)
    for party in resolved.parties:
        journal.arrive("party", f"party:{party}", f"部门 {party}", message)
    for tag in resolved.tags:
        journal.arrive("tag", f"tag:{tag}", f"标签 {tag}", message)
    if resolved.everyone and not resolved.users:
        journal.arrive("all", "@all", "全体成员", message)
    journal.sends_by_day[call.corp_id, agentid, _day(call.now)] += len(resolved.users)
    return message


def _fits_member_limits(call: Call, agentid: int, member: str) -> bool:
    world, profile = call.world, call.world.profile
    key = f"{call.corp_id}/{agentid}/{member}"
    limits = ((world.minute, profile.member_per_minute), (world.hour, profile.member_per_hour))
    if not all(windows.room(key, limit, call.now, profile.rate_window) for windows, limit in limits):
        return False
    for windows, limit in limits:
        if limit:
            windows.take(key, call.now)
    return True


def _count_against_account(call: Call, agentid: int, persons: int) -> None:
    cap = call.world.profile.account_cap * 200
    if cap and call.world.journal.sends_by_day[call.corp_id, agentid, _day(call.now)] + persons > cap:
        raise Refused(45009)


def _duplicate_key(call: Call, body: Mapping[str, object]) -> bytes | None:
    if body.get("enable_duplicate_check") not in (1, True):
        return None
    canonical = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(
        call.corp_id.encode() + b"\0" + call.app.secret.encode() + b"\0" + canonical
    ).digest()


def _sent_before(call: Call, key: bytes) -> str | None:
    until, msgid = call.world.suppressed_until.get(key, (0.0, ""))
    return msgid if until > call.now else None


def _remember(call: Call, key: bytes, body: Mapping[str, object], msgid: str) -> None:
    interval = body.get("duplicate_check_interval")
    seconds = interval if isinstance(interval, int) and interval > 0 else 1800
    known = call.world.suppressed_until
    known.pop(key, None)
    known[key] = (call.now + min(seconds, 14_400), msgid)
    if len(known) > _DUPLICATES_KEPT:
        del known[next(iter(known))]


def _recall(call: Call) -> Answer:
    msgid = call.json().get("msgid")
    message = call.world.journal.message(msgid) if isinstance(msgid, str) else None
    if message is None or message.secret != call.app.secret or message.corp_id != call.corp_id:
        raise Refused(40058, "invalid msgid. invalid Request Parameter")
    if message.received_at + _RECALL_SECONDS < call.now:
        raise Refused(42052)
    call.world.journal.recall(message, call.now)
    return {"errcode": 0, "errmsg": "ok"}


def _statistics(call: Call) -> Answer:
    time_type = call.json().get("time_type", 0)
    if time_type not in (0, 1):
        raise Refused(40035)
    day = _day(call.now - 86_400 * int(time_type == 1))
    found = call.world.journal.sends_by_day
    rows = [
        {"agentid": agentid, "app_name": call.world.directory.app_name(agentid), "count": count}
        for (corp_id, agentid, sent_on), count in sorted(found.items())
        if corp_id == call.corp_id and sent_on == day
    ]
    return {"errcode": 0, "errmsg": "ok", "statistics": rows}


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).astimezone(_CHINA).date().isoformat()


ENDPOINTS: Mapping[str, Endpoint] = {
    "/cgi-bin/message/send": Endpoint("POST", _send, counted=False),
    "/cgi-bin/message/recall": Endpoint("POST", _recall),
    "/cgi-bin/message/get_statistics": Endpoint("POST", _statistics),
}
