"""Figures of customer groups: by owner, and day by day. What was said in a group is what mass sends brought there."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from sandbox.answers import Refused, missing
from sandbox.call import CUSTOMER_SECRET, Answer, Call, Endpoint
from sandbox.groups.chats import Group
from sandbox.wecom.fields import Fields, object_of
from sandbox.wecom.groups_fields import may_have_customers, page_limit, seconds_of, texts_of
from sandbox.wecom.kf_fields import number_of

_ZONE = timezone(timedelta(hours=8))
_DAY = 86_400
_LONGEST = 30
_OLDEST = 180
_MOST_OWNERS = 100
_ORDERS = ("new_chat_cnt", "chat_total", "new_member_cnt", "member_total")

Data = dict[str, int]


@dataclass(frozen=True, slots=True)
class _Span:
    """From one midnight to another."""

    start: float
    end: float

    def holds(self, at: float) -> bool:
        return self.start <= at < self.end


def _by_owner(call: Call) -> Answer:
    body = call.json()
    span, owners = _span(call, body), _owners(call, body)
    order, ascending = number_of(body, "order_by", 1, 1, 4), number_of(body, "order_asc", 0, 0, 1)
    offset, limit = number_of(body, "offset", 0, 0, 2**31 - 1), page_limit(body, 500, 1000)
    sent = _sent(call)
    found = [(owner, _data(groups, span, sent)) for owner, groups in owners.items() if groups]
    found.sort(key=lambda one: one[1][_ORDERS[order - 1]], reverse=not ascending)
    page = [{"owner": owner, "data": data} for owner, data in found[offset : offset + limit]]
    return {
        "errcode": 0,
        "errmsg": "ok",
        "total": len(found),
        "next_offset": offset + len(page),
        "items": page,
    }


def _by_day(call: Call) -> Answer:
    body = call.json()
    span, owners = _span(call, body), _owners(call, body)
    groups, sent = [group for owned in owners.values() for group in owned], _sent(call)
    items = [{"stat_time": int(day.start), "data": _data(groups, day, sent)} for day in _days(span)]
    return {"errcode": 0, "errmsg": "ok", "items": items}


def _span(call: Call, body: Fields) -> _Span:
    """The days that are asked for; 40058 for more than 30, or one longer ago than 180."""
    first = _midnight(seconds_of(body, "day_begin_time"))
    last = _midnight(seconds_of(body, "day_end_time")) if "day_end_time" in body else first
    if not first <= last < first + _LONGEST * _DAY or first < call.now - _OLDEST * _DAY - _DAY:
        raise Refused(40058, "`day_begin_time` or `day_end_time` out of range. invalid Request Parameter")
    return _Span(first, last + _DAY)


def _days(span: _Span) -> Iterator[_Span]:
    start = span.start
    while start < span.end:
        yield _Span(start, start + _DAY)
        start += _DAY


def _midnight(at: int) -> float:
    day = datetime.fromtimestamp(at, _ZONE)
    return day.replace(hour=0, minute=0, second=0).timestamp()


def _owners(call: Call, body: Fields) -> dict[str, list[Group]]:
    """The owners that are asked for, and the groups that each has."""
    named = texts_of(object_of(body, "owner_filter"), "userid_list", _MOST_OWNERS)
    if not named:
        raise missing("owner_filter.userid_list")
    owners: dict[str, list[Group]] = {may_have_customers(call, one).userid: [] for one in named}
    keys = {owner.lower(): owner for owner in owners}
    for group in call.world.groups.groups.after(0):
        owner = keys.get(group.owner.lower())
        if owner is not None and group.dismissed_at is None and not group.internal:
            owners[owner].append(group)
    return owners


def _sent(call: Call) -> Mapping[str, list[float]]:
    """When each group got a mass message."""
    call.world.mass_sends.settle(call.now)
    sent: dict[str, list[float]] = {}
    for mass in call.world.mass_sends.after(0):
        for outcome in mass.outcomes.values():
            if outcome.result == "sent":
                sent.setdefault(outcome.chat_id, []).append(outcome.at)
    return sent


def _data(groups: Iterable[Group], span: _Span, sent: Mapping[str, list[float]]) -> Data:
    data = dict.fromkeys((*_ORDERS, "chat_has_msg", "member_has_msg", "msg_total"), 0)
    data["migrate_trainee_chat_cnt"] = 0
    for group in groups:
        if group.created_at >= span.end:
            continue
        messages = sum(span.holds(at) for at in sent.get(group.chat_id, ()))
        data["chat_total"] += 1
        data["new_chat_cnt"] += span.holds(group.created_at)
        data["chat_has_msg"] += messages > 0
        data["member_has_msg"] += messages > 0  # its owner
        data["msg_total"] += messages
        for member in group.members.values():
            data["member_total"] += member.joined_at < span.end
            data["new_member_cnt"] += span.holds(member.joined_at)
    return data


ENDPOINTS: Mapping[str, Endpoint] = {
    "/cgi-bin/externalcontact/groupchat/statistic": Endpoint("POST", _by_owner, kinds=CUSTOMER_SECRET),
    "/cgi-bin/externalcontact/groupchat/statistic_group_by_day": Endpoint(
        "POST", _by_day, kinds=CUSTOMER_SECRET
    ),
}
