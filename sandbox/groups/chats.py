"""Customer groups and who is in them, flat enough for fifty thousand."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from sandbox.clock import rfc3339

NORMAL, OWNER_LEFT, INHERITING, INHERITED = range(4)
EMPLOYEE, CUSTOMER = 1, 2
INVITED, BY_LINK, BY_CODE = 1, 2, 3


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody in a group: of ours (`kind` 1), or a customer (2). `state` is that of the join way they came by."""

    id: str
    kind: int
    joined_at: float
    scene: int = INVITED
    state: str = ""
    invitor: str = ""
    name: str = ""
    nickname: str = ""
    unionid: str = ""

    def row(self, *, named: bool) -> dict[str, object]:
        """As groupchat/get lists it."""
        row: dict[str, object] = {
            "userid": self.id,
            "type": self.kind,
            "join_time": int(self.joined_at),
            "join_scene": self.scene,
        }
        if self.kind == CUSTOMER:
            row["state"] = self.state
            if self.unionid:
                row["unionid"] = self.unionid
        if self.invitor:
            row["invitor"] = {"userid": self.invitor}
        row["group_nickname"] = self.nickname
        if named:
            row["name"] = self.name
        return row


@dataclass(slots=True)
class Group:
    """One customer group. Its first members, the owner and *customers* of its own, are made when they are asked for."""

    number: int
    chat_id: str
    name: str
    owner: str
    created_at: float
    customers: int = 0
    notice: str = ""
    status: int = NORMAL
    internal: bool = False
    """Whether it is a group of members only, which the API of customer groups does not know."""
    admins: tuple[str, ...] = ()
    dismissed_at: float | None = None
    changes: int = 0
    """How often its members have changed."""
    stale: tuple[float, dict[bool, dict[str, object]]] | None = None
    """What groupchat/get answers until an instant, with names and without: how it was before it changed."""
    _members: dict[str, Member] | None = field(default=None, repr=False)

    @property
    def members(self) -> dict[str, Member]:
        """By id, in the order they joined."""
        if self._members is None:
            first = [Member(self.owner, EMPLOYEE, self.created_at)]
            first += [self._customer(number) for number in range(1, self.customers + 1)]
            self._members = {member.id: member for member in first}
        return self._members

    @property
    def size(self) -> int:
        """How many are in it."""
        return 1 + self.customers if self._members is None else len(self._members)

    @property
    def version(self) -> str:
        """The platform's mark of this set of members."""
        return f"{self.chat_id}v{self.changes}"

    def admit(self, member: Member) -> None:
        """Somebody comes in."""
        self.members[member.id] = member
        self.changes += 1

    def remove(self, id_: str) -> None:
        """Somebody is no longer in it."""
        del self.members[id_]
        self.changes += 1

    def answer(self, *, named: bool) -> dict[str, object]:
        """As groupchat/get shows it."""
        return {
            "chat_id": self.chat_id,
            "name": self.name,
            "owner": self.owner,
            "create_time": int(self.created_at),
            "notice": self.notice,
            "member_list": [member.row(named=named) for member in self.members.values()],
            "admin_list": [{"userid": userid} for userid in self.admins],
            "member_version": self.version,
        }

    def view(self) -> dict[str, object]:
        """As `GET /sandbox/groups` shows it."""
        return {
            "number": self.number,
            "chat_id": self.chat_id,
            "name": self.name,
            "owner": self.owner,
            "status": self.status,
            "internal": self.internal,
            "members": self.size,
            "created_at": rfc3339(self.created_at),
            "dismissed_at": None if self.dismissed_at is None else rfc3339(self.dismissed_at),
        }

    def _customer(self, number: int) -> Member:
        id_ = f"wm{self.chat_id}-{number}"
        return Member(id_, CUSTOMER, self.created_at, BY_CODE, name=f"客户 {number}")


class Groups:
    """All groups, in the order they were made, which is the order they are listed in."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget them."""
        self._by_id: dict[str, Group] = {}
        self._in_order: list[Group] = []

    def __len__(self) -> int:
        return len(self._in_order)

    def get(self, chat_id: str) -> Group | None:
        """The group of an id, dismissed or not."""
        return self._by_id.get(chat_id)

    def add(self, chat_id: str, name: str, owner: str, now: float, customers: int = 0) -> Group:
        """A new group; ValueError when there is one of that id."""
        if chat_id in self._by_id:
            raise ValueError(
                f"there is a group {chat_id!r} already: POST /sandbox/groups/{chat_id} changes it"
            )
        group = Group(len(self._in_order) + 1, chat_id, name, owner, now, customers)
        self._by_id[chat_id] = group
        self._in_order.append(group)
        return group

    def after(self, number: int) -> Iterator[Group]:
        """Those with a greater number."""
        for index in range(number, len(self._in_order)):
            yield self._in_order[index]
