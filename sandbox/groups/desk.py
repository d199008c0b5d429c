"""Customer groups at work: who comes, goes and changes what, and that the app is told of it."""

from collections.abc import Callable, Mapping, Sequence
from xml.sax.saxutils import escape

from sandbox.courier import Courier
from sandbox.groups.chats import BY_CODE, CUSTOMER, Group, Groups, Member
from sandbox.groups.ways import JoinWay, JoinWays
from sandbox.profile import Profile

_JOIN_SCENES = {1: 0, 2: 1, BY_CODE: 3}  # the event counts otherwise than groupchat/get does


class GroupDesk:
    """The state of customer groups, and every change to it."""

    def __init__(self, profile: Profile, courier: Courier, new_id: Callable[[str], str]) -> None:
        self._profile = profile
        self._courier = courier
        self._new_id = new_id
        self.groups = Groups()
        self.ways = JoinWays(new_id)

    def clear(self) -> None:
        """Forget groups and ways in."""
        for part in (self.groups, self.ways):
            part.clear()

    # What people do in their clients. Each tells the app.

    def create(
        self, chat_id: str, name: str, owner: str, now: float, customers: int = 0, *, announced: bool = True
    ) -> Group:
        """A new group of *owner* and so many *customers* of its own; without an id it gets one."""
        group = self.groups.add(chat_id or self._new_id("wr"), name, owner, now, customers)
        if announced:
            self._tell(group, "create", now)
        return group

    def rename(self, group: Group, name: str, now: float) -> None:
        """It is called something else."""
        self._age(group, now)
        group.name = name
        self._tell(group, "update", now, UpdateDetail="change_name")

    def post_notice(self, group: Group, notice: str, now: float) -> None:
        """Its notice says something else."""
        self._age(group, now)
        group.notice = notice
        self._tell(group, "update", now, UpdateDetail="change_notice")

    def hand_over(self, group: Group, owner: str, now: float) -> None:
        """It has another owner, who is in it from here on."""
        self._age(group, now)
        if owner not in group.members:
            group.admit(Member(owner, 1, now))
        group.owner = owner
        self._tell(group, "update", now, UpdateDetail="change_owner")

    def inherit(self, group: Group, status: int, now: float) -> None:
        """Its owner left (1), it is handed on (2) or was (3). The platform documents no event of that."""
        self._age(group, now)
        group.status = status

    def join(self, group: Group, members: Sequence[Member], now: float) -> None:
        """Some come in, all in the same way."""
        self._age(group, now)
        before = group.version
        for member in members:
            group.admit(member)
        scene = _JOIN_SCENES[members[0].scene]
        self._moved(group, "add_member", "JoinScene", scene, [one.id for one in members], before, now)

    def leave(self, group: Group, ids: Sequence[str], now: float, *, removed: bool) -> None:
        """Some go, or were removed."""
        self._age(group, now)
        before = group.version
        for id_ in ids:
            group.remove(id_)
        self._moved(group, "del_member", "QuitScene", int(removed), ids, before, now)

    def dismiss(self, group: Group, now: float) -> None:
        """There is no such group any more."""
        group.dismissed_at = now
        group.stale = None
        self._tell(group, "dismiss", now)

    def scan(self, way: JoinWay, external_userid: str, name: str, now: float) -> tuple[Group, bool]:
        """A customer scans a way's code: the group they are in then, and whether they joined just now.

        It is the first of the way's groups that has room; of full ones, a new one where the way makes some, else
        ValueError.
        """
        groups = [self.groups.get(chat_id) for chat_id in (*way.chat_ids, *way.made)]
        living = [group for group in groups if group is not None and group.dismissed_at is None]
        for group in living:
            if external_userid in group.members:
                return group, False
        most = self._profile.group_members
        roomy = (group for group in living if not most or group.size < most)
        group = next(roomy, None) or self._next_room(way, living, now)
        member = Member(external_userid, CUSTOMER, now, BY_CODE, way.state, name=name)
        self.join(group, [member], now)
        return group, True

    def seen(self, group: Group, now: float, *, named: bool) -> dict[str, object]:
        """What groupchat/get answers, which may lag behind."""
        if group.stale is not None and group.stale[0] > now:
            return group.stale[1][named]
        return group.answer(named=named)

    def _next_room(self, way: JoinWay, full: Sequence[Group], now: float) -> Group:
        if not way.auto_create_room or not full:
            raise ValueError("every group of this way is full or gone, and it makes no new one")
        first = full[0]
        name = f"{way.room_base_name}{way.room_base_id}" if way.room_base_name else first.name
        way.room_base_id += 1
        made = self.create("", name, first.owner, now)
        way.made.append(made.chat_id)
        return made

    def _age(self, group: Group, now: float) -> None:
        """Let groupchat/get go on showing how the group was, for as long as the profile says."""
        lag = self._profile.group_lag_seconds
        if lag and (group.stale is None or group.stale[0] <= now):
            group.stale = now + lag, {named: group.answer(named=named) for named in (True, False)}

    def _moved(
        self,
        group: Group,
        detail: str,
        scene_field: str,
        scene: int,
        ids: Sequence[str],
        before: str,
        now: float,
    ) -> None:
        more: dict[str, str | list[str]] = {
            "UpdateDetail": detail,
            scene_field: str(scene),
            "MemChangeCnt": str(len(ids)),
            "MemChangeList": list(ids),
            "LastMemVer": before,
            "CurMemVer": group.version,
        }
        self._tell(group, "update", now, **more)

    def _tell(self, group: Group, change_type: str, now: float, **more: str | list[str]) -> None:
        if group.internal:
            return
        door = self._courier.door("customer")
        fields: Mapping[str, str | list[str]] = {
            "ToUserName": door.corp_id if door is not None else "",
            "FromUserName": "sys",
            "CreateTime": str(int(now)),
            "MsgType": "event",
            "Event": "change_external_chat",
            "ChatId": group.chat_id,
            "ChangeType": change_type,
            **more,
        }
        xml = "".join(f"<{name}>{_inner(value)}</{name}>" for name, value in fields.items())
        facts = {"event": "change_external_chat", "chat_id": group.chat_id, "change_type": change_type}
        if isinstance(detail := more.get("UpdateDetail"), str):
            facts["update_detail"] = detail
        self._courier.send("customer", f"<xml>{xml}</xml>", facts)


def _inner(value: str | list[str]) -> str:
    if isinstance(value, str):
        return escape(value)
    return "".join(f"<Item>{escape(one)}</Item>" for one in value)
