"""KF accounts, their servicers, the ways in and the customers."""

from collections.abc import Callable, Iterable, Mapping
from urllib.parse import quote

from sandbox.answers import Refused, missing, too_long
from sandbox.call import KF_SECRET, Answer, Call, Endpoint
from sandbox.kf.people import Account, Customer
from sandbox.wecom.content import media_of
from sandbox.wecom.fields import Fields, optional_text, text_of, within
from sandbox.wecom.kf_fields import account_of, mark_of, number_of

_OK: Mapping[str, object] = {"errcode": 0, "errmsg": "ok"}
_STATUS = {
    "receiving": {"status": 0},
    "stopped": {"status": 1, "stop_type": 0},
    "suspended": {"status": 1, "stop_type": 1},
}


def _add(call: Call) -> Answer:
    body, people = call.json(), call.world.directory.kf
    name = _name(text_of(body, "name", "name", absent=95006))
    avatar = _avatar(call, body)
    if call.world.profile.kf_accounts and len(people.accounts) >= call.world.profile.kf_accounts:
        raise Refused(95005)
    account = Account(call.world.new_id("wk"), name, avatar)
    people.add(account)
    return {**_OK, "open_kfid": account.open_kfid}


def _delete(call: Call) -> Answer:
    call.world.directory.kf.delete(account_of(call, call.json().get("open_kfid")))
    return dict(_OK)


def _update(call: Call) -> Answer:
    body = call.json()
    account = account_of(call, body.get("open_kfid"))
    name = _name(optional_text(body, "name", "name"))
    avatar = _avatar(call, body) if body.get("media_id") else ""
    account.name, account.avatar = name or account.name, avatar or account.avatar
    return dict(_OK)


def _list(call: Call) -> Answer:
    body = call.json()
    offset, limit = number_of(body, "offset", 0, 0, 2**31), number_of(body, "limit", 100, 1, 100)
    accounts = list(call.world.directory.kf.accounts.values())[offset : offset + limit]
    rows = [
        {
            "open_kfid": account.open_kfid,
            "name": account.name,
            "avatar": account.avatar,
            "manage_privilege": account.authorised,
        }
        for account in accounts
    ]
    return {**_OK, "account_list": rows}


def _add_contact_way(call: Call) -> Answer:
    body = call.json()
    account = account_of(call, body.get("open_kfid"))
    scene = mark_of(body, "scene")
    way = f"https://work.weixin.qq.com/kfid/{quote(account.open_kfid)}"
    return {**_OK, "url": f"{way}?enc_scene=ENC{scene}" if scene else way}


def _add_servicers(call: Call) -> Answer:
    def add_member(account: Account, userid: str) -> tuple[int, str]:
        user = call.world.directory.user(userid)
        if user is None or user.status == "invalid":
            return 60111, "userid not found"
        if userid.lower() in account.servicers:
            return 0, "ignored"
        account.servicers[userid.lower()] = "receiving"
        return 0, "success"

    def add_department(account: Account, department: int) -> tuple[int, str]:
        directory = call.world.directory
        if not directory.open and department not in directory.departments:
            return 60123, "invalid department id"
        if department in account.departments:
            return 0, "ignored"
        account.departments.add(department)
        return 0, "success"

    return _each(call, 20, add_member, add_department)


def _remove_servicers(call: Call) -> Answer:
    def remove_member(account: Account, userid: str) -> tuple[int, str]:
        if account.servicers.pop(userid.lower(), None) is None:
            return 60253, "user is not a servicer"
        return 0, "success"

    def remove_department(account: Account, department: int) -> tuple[int, str]:
        if department not in account.departments:
            return 60253, "department is not a servicer"
        account.departments.remove(department)
        return 0, "success"

    return _each(call, 100, remove_member, remove_department)


def _each(
    call: Call,
    most_departments: int,
    with_member: Callable[[Account, str], tuple[int, str]],
    with_department: Callable[[Account, int], tuple[int, str]],
) -> Answer:
    body = call.json()
    account = account_of(call, body.get("open_kfid"))
    users = _listed(body, "userid_list", str, 100)
    departments = _listed(body, "department_id_list", int, most_departments)
    if not users and not departments:
        raise missing("userid_list")
    members = (("userid", user, with_member(account, str(user))) for user in users)
    parts = (("department_id", one, with_department(account, int(str(one)))) for one in departments)
    rows: Iterable[tuple[str, object, tuple[int, str]]] = [*members, *parts]
    return {
        **_OK,
        "result_list": [{name: value, "errcode": code, "errmsg": text} for name, value, (code, text) in rows],
    }


def _list_servicers(call: Call) -> Answer:
    account = account_of(call, call.query.get("open_kfid"))
    members = [{"userid": userid, **_STATUS[status]} for userid, status in account.servicers.items()]
    departments = [{"department_id": department} for department in sorted(account.departments)]
    return {**_OK, "servicer_list": [*members, *departments]}


def _customers(call: Call) -> Answer:
    body, people = call.json(), call.world.directory.kf
    ids = [str(one) for one in _listed(body, "external_userid_list", str, 100)]
    if not ids:
        raise missing("external_userid_list")
    with_context = number_of(body, "need_enter_session_context", 0, 0, 1)
    found = {one: people.customer(one) for one in dict.fromkeys(ids)}
    return {
        **_OK,
        "customer_list": [_row(call, one, bool(with_context)) for one in found.values() if one is not None],
        "invalid_external_userid": [one for one, customer in found.items() if customer is None],
    }


def _row(call: Call, customer: Customer, with_context: bool) -> dict[str, object]:
    row: dict[str, object] = {
        "external_userid": customer.external_userid,
        "nickname": customer.nickname,
        "avatar": "",
        "gender": customer.gender,
        "unionid": customer.unionid,
    }
    if with_context:
        sessions = call.world.kf.sessions.find(None, customer.external_userid, call.now)
        entered = [session.context for session in sessions if session.context]
        if entered:
            row["enter_session_context"] = entered[-1]
    return row


def _listed(body: Fields, name: str, kind: type, most: int) -> list[object]:
    value = body.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(type(one) is kind for one in value):
        raise Refused(40058, f"`{name}` is no list of that kind. invalid Request Parameter")
    if len(value) > most:
        raise too_long(name, most)
    return value


def _name(name: str) -> str:
    if len(name) > 16:
        raise Refused(95006)
    return name


def _avatar(call: Call, body: Fields) -> str:
    within(text_of(body, "media_id", "media_id", absent=41006), 128, "media_id")
    media = media_of(call, body, "media_id", "image", call.corp_id)
    return f"https://wework.qpic.cn/wwpic/sandbox_{media.media_id}/0"


def _endpoint(handle: Callable[[Call], Answer]) -> Endpoint:
    return Endpoint("POST", handle, kinds=KF_SECRET)


ENDPOINTS: Mapping[str, Endpoint] = {
    "/cgi-bin/kf/account/add": _endpoint(_add),
    "/cgi-bin/kf/account/del": _endpoint(_delete),
    "/cgi-bin/kf/account/update": _endpoint(_update),
    "/cgi-bin/kf/account/list": _endpoint(_list),
    "/cgi-bin/kf/add_contact_way": _endpoint(_add_contact_way),
    "/cgi-bin/kf/servicer/add": _endpoint(_add_servicers),
    "/cgi-bin/kf/servicer/del": _endpoint(_remove_servicers),
    "/cgi-bin/kf/servicer/list": Endpoint("GET", _list_servicers, kinds=KF_SECRET),
    "/cgi-bin/kf/customer/batchget": _endpoint(_customers),
}
