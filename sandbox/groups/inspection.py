"""Customer groups as tests and the page declare, change and see them: `/sandbox/groups`, `/sandbox/join-ways`.

POST groups         {"chat_id": "wr1", "name": "浦东店老客", "owner": "lisi", "notice": "…", "admins": ["zhangsan"], "status": 0,
                     "created_at": "2026-01-05T10:00:00+08:00", "internal": false, "announce": false,   # true: calls back
                     "members": [{"external_userid": "wm1", "name": "小王", "scene": 3, "state": "poster", "unionid": "…"},
                                 {"userid": "zhangsan", "nickname": "老张"}]}      # the owner is one anyway
                    {"groups": [{…}, {…}]}
                    {"count": 50000, "prefix": "wr-", "owners": ["lisi", "wangwu"], "customers": 20, "name": "老客群 "}
POST groups/ID      {"owner": "wangwu"} {"name": "…"} {"notice": "…"} {"status": 1}   # 1 owner left, 2 inheriting, 3 inherited
                    {"join": [{"external_userid": "wm2", "scene": 3, "state": "poster"}]}   # all of one scene: 1, 2 or 3
                    {"leave": ["wm1"], "removed": true} {"dismiss": true}
POST join-ways/ID/scan  {"external_userid": "wm3", "name": "小李"}

Each change calls back (`change_external_chat`), except of a status, for which the platform documents no event. One
request may hold several; they happen in the order in which they stand above.
"""

from collections.abc import Sequence
from itertools import islice

from starlette.requests import Request

from sandbox.clock import parse_instant
from sandbox.documents import Document, document_of, flag, number, object_of, only, queried, text, texts
from sandbox.groups.chats import CUSTOMER, EMPLOYEE, INVITED, Group, Member
from sandbox.world import Handler, World

_MOST_MADE = 200_000
_MOST_LISTED = 10_000
_GROUP = {
    "chat_id",
    "name",
    "owner",
    "notice",
    "admins",
    "status",
    "created_at",
    "internal",
    "announce",
    "members",
}
_BULK = {"count", "prefix", "owners", "customers", "name"}
_CHANGES = {"owner", "name", "notice", "status", "join", "leave", "removed", "dismiss"}
_MEMBER = {"external_userid", "userid", "name", "nickname", "unionid", "scene", "state", "invitor"}


async def _list(world: World, request: Request) -> object:
    query = request.query_params
    after, limit = queried(query.get("after"), 0, 2**62), queried(query.get("limit"), 1000, _MOST_LISTED)
    owner = query.get("owner", "").lower()
    matching = (one for one in world.groups.groups.after(after) if not owner or one.owner.lower() == owner)
    found = list(islice(matching, limit + 1))
    page, more = found[:limit], len(found) > limit
    return {
        "groups": [group.view() for group in page],
        "count": len(page),
        "total": len(world.groups.groups),
        "more": more,
        "next": page[-1].number if more else len(world.groups.groups),
    }


async def _declare(world: World, request: Request) -> object:
    document = await document_of(request)
    if "count" in document:
        return _make_many(world, document)
    if "groups" in document:
        only(document, {"groups"})
        several = document["groups"]
        if not isinstance(several, list):
            raise ValueError("groups is a list of objects")
        return {"groups": [_make(world, object_of(one)).view() for one in several]}
    return _make(world, document).view()


def _make(world: World, document: Document) -> Group:
    only(document, _GROUP)
    owner = _employee(world, text(document, "owner"))
    created = document.get("created_at")
    now = world.clock.now() if created is None else parse_instant(str(created))
    members = _members(world, document, "members", now)
    name, notice = text(document, "name", ""), text(document, "notice", "")
    status, admins = _status(document), tuple(texts(document, "admins"))
    internal, announced = flag(document, "internal", False), flag(document, "announce", False)
    chat_id = text(document, "chat_id", "")
    group = world.groups.create(chat_id, name, owner, now, announced=announced and not internal)
    group.notice, group.status, group.admins, group.internal = notice, status, admins, internal
    for member in members:
        group.members.setdefault(member.id, member)
    return group


def _make_many(world: World, document: Document) -> object:
    only(document, _BULK)
    count = number(document, "count", 0, 1)
    if count > _MOST_MADE:
        raise ValueError(f"count is {_MOST_MADE} at most")
    prefix, name = text(document, "prefix", "wr-"), text(document, "name", "客户群 ")
    owners = [_employee(world, owner) for owner in texts(document, "owners")]
    if not owners:
        raise ValueError("owners says whose they are, in turn")
    customers, now = number(document, "customers", 0, 0), world.clock.now()
    ids = [f"{prefix}{index:06d}" for index in range(1, count + 1)]
    if world.groups.groups.get(ids[0]) is not None or world.groups.groups.get(ids[-1]) is not None:
        raise ValueError(f"there are groups {prefix!r} already: give another prefix")
    for index, chat_id in enumerate(ids):
        owner = owners[index % len(owners)]
        world.groups.create(chat_id, f"{name}{index + 1}", owner, now, customers, announced=False)
    return {"made": count, "first": ids[0], "last": ids[-1]}


async def _show(world: World, request: Request) -> object:
    return _shown(_group(world, request))


async def _change(world: World, request: Request) -> object:
    document, desk, now = await document_of(request), world.groups, world.clock.now()
    only(document, _CHANGES)
    group = _group(world, request)
    if group.dismissed_at is not None:
        raise ValueError(f"the group {group.chat_id!r} was dismissed")
    # All is read before anything happens: a request that does not fit changes nothing.
    owner = _employee(world, text(document, "owner")) if "owner" in document else None
    name = text(document, "name", "") if "name" in document else None
    notice = text(document, "notice", "") if "notice" in document else None
    status = _status(document) if "status" in document else None
    joining = _members(world, document, "join", now)
    if len({member.scene for member in joining}) > 1:
        raise ValueError("those who join in one request come by the same scene")
    leaving, removed = texts(document, "leave"), flag(document, "removed", False)
    _check_there(group, joining, leaving)
    dismissed = flag(document, "dismiss", False)
    if owner is not None:
        desk.hand_over(group, owner, now)
    if name is not None:
        desk.rename(group, name, now)
    if notice is not None:
        desk.post_notice(group, notice, now)
    if status is not None:
        desk.inherit(group, status, now)
    if joining:
        desk.join(group, joining, now)
    if leaving:
        desk.leave(group, leaving, now, removed=removed)
    if dismissed:
        desk.dismiss(group, now)
    return _shown(group)


def _check_there(group: Group, joining: Sequence[Member], leaving: Sequence[str]) -> None:
    for member in joining:
        if member.id in group.members:
            raise ValueError(f"{member.id} is in that group already")
    for id_ in leaving:
        if id_ not in group.members or id_ == group.owner:
            raise ValueError(
                f"{id_} is not in that group" if id_ != group.owner else "its owner cannot leave"
            )


async def _list_ways(world: World, request: Request) -> object:
    return {"join_ways": [way.view() for way in world.groups.ways.all()]}


async def _scan(world: World, request: Request) -> object:
    document = await document_of(request)
    only(document, {"external_userid", "name"})
    external_userid, name = text(document, "external_userid"), text(document, "name", "")
    config_id = request.path_params["config_id"]
    way = world.groups.ways.get(config_id)
    if way is None:
        raise LookupError(f"there is no join way {config_id!r}")
    group, joined = world.groups.scan(way, external_userid, name, world.clock.now())
    return {"chat_id": group.chat_id, "name": group.name, "joined": joined, "members": group.size}


def _shown(group: Group) -> dict[str, object]:
    rows = [member.row(named=True) for member in group.members.values()]
    return {**group.view(), "notice": group.notice, "member_list": rows, "member_version": group.version}


def _group(world: World, request: Request) -> Group:
    chat_id = request.path_params["chat_id"]
    group = world.groups.groups.get(chat_id)
    if group is None:
        raise LookupError(f"there is no group {chat_id!r}: POST /sandbox/groups declares one")
    return group


def _employee(world: World, userid: str) -> str:
    """The userid as it is declared."""
    user = world.directory.user(userid)
    if user is None or user.status == "invalid":
        raise LookupError(f"there is no member {userid!r}")
    return user.userid


def _members(world: World, document: Document, name: str, now: float) -> list[Member]:
    value = document.get(name, [])
    if not isinstance(value, list):
        raise ValueError(f"{name} is a list of objects")
    return [_member(world, object_of(one), now) for one in value]


def _member(world: World, document: Document, now: float) -> Member:
    only(document, _MEMBER)
    if ("userid" in document) == ("external_userid" in document):
        raise ValueError("each member has a userid or an external_userid")
    scene = number(document, "scene", INVITED, 1)
    if scene > 3:
        raise ValueError("scene is 1 (invited), 2 (by a link) or 3 (by a QR code)")
    external = "external_userid" in document
    return Member(
        id=text(document, "external_userid") if external else _employee(world, text(document, "userid")),
        kind=CUSTOMER if external else EMPLOYEE,
        joined_at=now,
        scene=scene,
        state=text(document, "state", ""),
        invitor=text(document, "invitor", ""),
        name=text(document, "name", ""),
        nickname=text(document, "nickname", ""),
        unionid=text(document, "unionid", ""),
    )


def _status(document: Document) -> int:
    status = number(document, "status", 0, 0)
    if status > 3:
        raise ValueError("status is 0 (normal), 1 (the owner left), 2 (being inherited) or 3 (inherited)")
    return status


ROUTES: list[tuple[str, str, Handler]] = [
    ("GET", "/sandbox/groups", _list),
    ("POST", "/sandbox/groups", _declare),
    ("GET", "/sandbox/groups/{chat_id}", _show),
    ("POST", "/sandbox/groups/{chat_id}", _change),
    ("GET", "/sandbox/join-ways", _list_ways),
    ("POST", "/sandbox/join-ways/{config_id}/scan", _scan),
]
