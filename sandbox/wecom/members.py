"""Reading the app and its people: what a check of the configuration asks."""

from collections.abc import Mapping

from sandbox.answers import Refused
from sandbox.call import ANY_SECRET, Answer, Call, Endpoint
from sandbox.directory import ROOT_DEPARTMENT, Department, User
from sandbox.wecom.messages import agent_of


def _agent(call: Call) -> Answer:
    agentid = agent_of(call, call.query.get("agentid"))
    visible, directory = call.app.visible, call.world.directory
    users = sorted(visible.users) if visible else [user.userid for user in directory.users.values()]
    return {
        "errcode": 0,
        "errmsg": "ok",
        "agentid": agentid,
        "name": directory.app_name(agentid),
        "square_logo_url": "",
        "description": "",
        "allow_userinfos": {"user": [{"userid": userid} for userid in users]},
        "allow_partys": {"partyid": sorted(visible.departments) if visible else [ROOT_DEPARTMENT]},
        "allow_tags": {"tagid": sorted(visible.tags) if visible else []},
        "close": int(call.app.disabled),
        "redirect_domain": "",
        "report_location_flag": 0,
        "isreportenter": 0,
        "home_url": "",
    }


def _user(call: Call) -> Answer:
    userid = call.query.get("userid", "")
    if not userid:
        raise Refused(40003)
    user = call.world.directory.user(userid)
    if user is None or user.status == "invalid":
        raise Refused(60111)
    if not call.world.directory.sees(call.app, user):
        raise Refused(call.world.profile.unseen_user_errcode)
    return {"errcode": 0, "errmsg": "ok", **_row(user), "status": 1, "main_department": _departments(user)[0]}


def _userid(call: Call) -> Answer:
    mobile, directory = call.json().get("mobile"), call.world.directory
    for user in directory.users.values():
        if mobile and user.mobile == mobile and user.status != "invalid" and directory.sees(call.app, user):
            return {"errcode": 0, "errmsg": "ok", "userid": user.userid}
    raise Refused(46004)


def _list_departments(call: Call) -> Answer:
    directory = call.world.directory
    departments = {ROOT_DEPARTMENT: Department(ROOT_DEPARTMENT, "沙箱企业", 0), **directory.departments}
    below = call.query.get("id")
    if below is not None and below.isdecimal() and directory.open:
        departments.setdefault(int(below), Department(int(below), f"部门 {below}", ROOT_DEPARTMENT))
    if below is not None and (not below.isdecimal() or int(below) not in departments):
        raise Refused(60123)
    if below is not None and not directory.sees_department(call.app, int(below)):
        raise Refused(60011)
    rows = [
        {
            "id": department.id,
            "name": department.name,
            "parentid": department.parentid,
            "order": department.id,
        }
        for department in departments.values()
        if directory.sees_department(call.app, department.id)
        and (below is None or directory.within(department.id, (int(below),)))
    ]
    return {"errcode": 0, "errmsg": "ok", "department": rows}


def _tag(call: Call) -> Answer:
    text, directory = call.query.get("tagid", ""), call.world.directory
    known = text.isdecimal() and int(text) in directory.tags
    if not known and not (text.isdecimal() and directory.open):
        raise Refused(40068)
    wearing = [
        user for user in directory.users.values() if int(text) in user.tags and user.status != "invalid"
    ]
    return {
        "errcode": 0,
        "errmsg": "ok",
        "tagname": directory.tags[int(text)].name if known else f"标签 {text}",
        "userlist": [
            {"userid": user.userid, "name": user.name or user.userid}
            for user in wearing
            if directory.sees(call.app, user)
        ],
        # Who wears an undeclared tag is not known, only that it reaches somebody.
        "partylist": [] if known else [ROOT_DEPARTMENT],
    }


def _simple_list(call: Call) -> Answer:
    text, directory = call.query.get("department_id", ""), call.world.directory
    if not text.isdecimal():
        raise Refused(60123)
    department, deep = int(text), call.query.get("fetch_child") == "1"
    if department != ROOT_DEPARTMENT and department not in directory.departments and not directory.open:
        raise Refused(60123)
    rows = [
        _row(user)
        for user in directory.users.values()
        if user.status != "invalid"
        and directory.sees(call.app, user)
        and _belongs(call, user, department, deep)
    ]
    return {"errcode": 0, "errmsg": "ok", "userlist": rows}


def _belongs(call: Call, user: User, department: int, deep: bool) -> bool:
    if deep and department == ROOT_DEPARTMENT:
        return True
    own = _departments(user)
    return department in own or (deep and any(call.world.directory.within(d, (department,)) for d in own))


def _row(user: User) -> dict[str, object]:
    return {"userid": user.userid, "name": user.name or user.userid, "department": _departments(user)}


def _departments(user: User) -> list[int]:
    return list(user.departments) or [ROOT_DEPARTMENT]


ENDPOINTS: Mapping[str, Endpoint] = {
    "/cgi-bin/agent/get": Endpoint("GET", _agent),
    "/cgi-bin/user/get": Endpoint("GET", _user, kinds=ANY_SECRET),
    "/cgi-bin/user/getuserid": Endpoint("POST", _userid, kinds=ANY_SECRET),
    "/cgi-bin/user/simplelist": Endpoint("GET", _simple_list, kinds=ANY_SECRET),
    "/cgi-bin/department/list": Endpoint("GET", _list_departments, kinds=ANY_SECRET),
    "/cgi-bin/tag/get": Endpoint("GET", _tag, kinds=ANY_SECRET),
}
