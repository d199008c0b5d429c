"""Reading what `POST /sandbox/directory` declares, strictly: a misspelt field is an error, not a surprise."""

import ipaddress
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal, cast

from sandbox.kf.people import Account, Customer, DeclaredKf, Servicer, ServicerStatus

AppKind = Literal["app", "contacts", "kf", "customer"]


@dataclass(frozen=True, slots=True)
class User:
    """A member. `status`: active, invalid (left, or never was) or unlicensed (no base licence).

    `no_customers`: without the permission to have customers outside the corp (84074).
    """

    userid: str
    name: str = ""
    mobile: str = ""
    departments: tuple[int, ...] = ()
    tags: tuple[int, ...] = ()
    status: Literal["active", "invalid", "unlicensed"] = "active"
    no_customers: bool = False

    def view(self) -> dict[str, object]:
        """As JSON shows it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Department:
    """A department; the root has id 1 and parent 0."""

    id: int
    name: str = ""
    parentid: int = 0

    def view(self) -> dict[str, object]:
        """As JSON shows it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag of members."""

    id: int
    name: str = ""

    def view(self) -> dict[str, object]:
        """As JSON shows it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Visible:
    """The members that an app may see; userids in lower case."""

    users: frozenset[str] = frozenset()
    departments: frozenset[int] = frozenset()
    tags: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class App:
    """A secret and what it stands for. `agentid` is None for an undeclared app that has not named one yet."""

    agentid: int | None
    name: str
    secret: str
    kind: AppKind = "app"
    visible: Visible | None = None
    ip_allowlist: tuple[str, ...] = ()
    corp_id: str = ""
    """The corp it is an app of; empty: of whichever corp asks."""
    disabled: bool = False
    calls_kf: bool = False
    """Whether the admin let this app call the API of WeChat KF, too."""
    calls_customers: bool = False
    """Whether the admin let this app call the API of customer contact, too."""

    @property
    def powers(self) -> frozenset[str]:
        """The kinds of secret whose calls this one may make."""
        lent = (("kf", self.calls_kf), ("customer", self.calls_customers))
        return frozenset({self.kind, *(kind for kind, may in lent if may)})

    def view(self) -> dict[str, object]:
        """As JSON shows it: without the secret."""
        visible = self.visible
        shown = visible and {
            part: sorted(getattr(visible, part)) for part in ("users", "departments", "tags")
        }
        return {
            "agentid": self.agentid,
            "name": self.name,
            "kind": self.kind,
            "visible": shown,
            "ip_allowlist": self.ip_allowlist,
            "corp_id": self.corp_id,
            "disabled": self.disabled,
            "calls_kf": self.calls_kf,
            "calls_customers": self.calls_customers,
        }


@dataclass(frozen=True, slots=True)
class Robot:
    """A group robot, known by its webhook key; `removed` from its group, the key is worth nothing."""

    key: str
    group: str
    disabled: bool = False
    removed: bool = False

    def view(self) -> dict[str, object]:
        """As JSON shows it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Declared:
    """One declaration document, read."""

    replace: bool
    corp_id: str | None
    ip_allowlist: tuple[str, ...] | None
    users: list[User]
    departments: list[Department]
    tags: list[Tag]
    apps: list[App]
    robots: list[Robot]
    kf: DeclaredKf


class _Reader:
    """Takes fields out of one JSON object and complains about what is left over."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, Mapping):
            raise ValueError(f"{where} is an object")
        self._left = dict(value)
        self._where = where

    def text(self, name: str, default: str | None = None) -> str:
        value = self._left.pop(name, default)
        if not isinstance(value, str) or (default is None and not value):
            raise ValueError(f"{self._where}.{name} is a text" + (" and needed" if default is None else ""))
        return value

    def number(self, name: str, default: int | None = None) -> int:
        value = self._left.pop(name, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"{self._where}.{name} is a whole number")
        return value

    def flag(self, name: str) -> bool:
        value = self._left.pop(name, False)
        if not isinstance(value, bool):
            raise ValueError(f"{self._where}.{name} is true or false")
        return value

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        value = self._left.pop(name, choices[0])
        if value not in choices:
            raise ValueError(f"{self._where}.{name} is one of {', '.join(choices)}")
        return cast(str, value)

    def items(self, name: str) -> list[object]:
        value = self._left.pop(name, [])
        if not isinstance(value, list):
            raise ValueError(f"{self._where}.{name} is a list")
        return value

    def numbers(self, name: str) -> tuple[int, ...]:
        values = self.items(name)
        if not all(isinstance(value, int) and not isinstance(value, bool) for value in values):
            raise ValueError(f"{self._where}.{name} is a list of whole numbers")
        return tuple(cast(list[int], values))

    def texts(self, name: str) -> tuple[str, ...]:
        values = self.items(name)
        if not all(isinstance(value, str) for value in values):
            raise ValueError(f"{self._where}.{name} is a list of texts")
        return tuple(cast(list[str], values))

    def networks(self, name: str) -> tuple[str, ...]:
        values = self.texts(name)
        for value in values:
            ipaddress.ip_network(value, strict=False)
        return values

    def has(self, name: str) -> bool:
        return self._left.get(name) is not None

    def raw(self, name: str) -> object:
        return self._left.pop(name, None)

    def end(self) -> None:
        if self._left:
            raise ValueError(f"{self._where} has no field {sorted(self._left)[0]!r}")


def parse(document: object) -> Declared:
    """The declarations of a document; ValueError names the first field that does not fit."""
    top = _Reader(document, "directory")
    declared = Declared(
        replace=top.flag("replace"),
        corp_id=top.text("corp_id") if top.has("corp_id") else None,
        ip_allowlist=top.networks("ip_allowlist") if top.has("ip_allowlist") else None,
        users=[_user(_Reader(item, f"users[{i}]")) for i, item in enumerate(top.items("users"))],
        departments=[
            _department(_Reader(x, f"departments[{i}]")) for i, x in enumerate(top.items("departments"))
        ],
        tags=[_tag(_Reader(item, f"tags[{i}]")) for i, item in enumerate(top.items("tags"))],
        apps=[_app(_Reader(item, f"apps[{i}]")) for i, item in enumerate(top.items("apps"))],
        robots=[_robot(_Reader(item, f"robots[{i}]")) for i, item in enumerate(top.items("robots"))],
        kf=_kf(_Reader(top.raw("kf"), "kf")) if top.has("kf") else DeclaredKf(secret=None),
    )
    top.end()
    return declared


def _user(reader: _Reader) -> User:
    status = reader.choice("status", ("active", "invalid", "unlicensed"))
    user = User(
        userid=reader.text("userid"),
        name=reader.text("name", ""),
        mobile=reader.text("mobile", ""),
        departments=reader.numbers("departments"),
        tags=reader.numbers("tags"),
        status=cast(Literal["active", "invalid", "unlicensed"], status),
        no_customers=reader.flag("no_customers"),
    )
    reader.end()
    return user


def _department(reader: _Reader) -> Department:
    department = Department(reader.number("id"), reader.text("name", ""), reader.number("parentid", 0))
    reader.end()
    return department


def _tag(reader: _Reader) -> Tag:
    tag = Tag(reader.number("id"), reader.text("name", ""))
    reader.end()
    return tag


def _app(reader: _Reader) -> App:
    visible: Visible | None = None
    if reader.has("visible"):
        ranges = _Reader(reader.raw("visible"), "visible")
        users = frozenset(userid.lower() for userid in ranges.texts("users"))
        visible = Visible(users, frozenset(ranges.numbers("departments")), frozenset(ranges.numbers("tags")))
        ranges.end()
    kind = reader.choice("kind", ("app", "contacts", "kf", "customer"))
    app = App(
        agentid=reader.number("agentid", 0),
        name=reader.text("name", ""),
        secret=reader.text("secret"),
        kind=cast(AppKind, kind),
        visible=visible,
        ip_allowlist=reader.networks("ip_allowlist"),
        corp_id=reader.text("corp_id", ""),
        disabled=reader.flag("disabled"),
        calls_kf=reader.flag("calls_kf"),
        calls_customers=reader.flag("calls_customers"),
    )
    reader.end()
    return app


def _robot(reader: _Reader) -> Robot:
    key = reader.text("key")
    group = reader.text("group", "") or f"群聊 {key[:8]}"
    robot = Robot(key, group, reader.flag("disabled"), reader.flag("removed"))
    reader.end()
    return robot


def _kf(reader: _Reader) -> DeclaredKf:
    declared = DeclaredKf(
        secret=reader.text("secret") if reader.has("secret") else None,
        accounts=tuple(
            _account(_Reader(item, f"kf.accounts[{i}]")) for i, item in enumerate(reader.items("accounts"))
        ),
        servicers=tuple(
            _servicer(_Reader(item, f"kf.servicers[{i}]")) for i, item in enumerate(reader.items("servicers"))
        ),
        customers=tuple(
            _customer(_Reader(item, f"kf.customers[{i}]")) for i, item in enumerate(reader.items("customers"))
        ),
    )
    reader.end()
    return declared


def _account(reader: _Reader) -> Account:
    open_kfid = reader.text("open_kfid")
    name = reader.text("name", "") or f"客服 {open_kfid[-4:]}"
    account = Account(open_kfid, name, reader.text("avatar", ""), not reader.flag("unauthorised"))
    reader.end()
    return account


def _servicer(reader: _Reader) -> Servicer:
    servicer = Servicer(
        userid=reader.text("userid", ""),
        department_id=reader.number("department_id", 0),
        open_kfid=reader.text("open_kfid", ""),
        status=cast(ServicerStatus, reader.choice("status", ("receiving", "stopped", "suspended"))),
    )
    if bool(servicer.userid) == bool(servicer.department_id):
        raise ValueError("each of kf.servicers has a userid or a department_id")
    reader.end()
    return servicer


def _customer(reader: _Reader) -> Customer:
    external_userid = reader.text("external_userid")
    customer = Customer(
        external_userid=external_userid,
        nickname=reader.text("nickname", "") or f"客户 {external_userid[-4:]}",
        gender=reader.number("gender", 0),
        unionid=reader.text("unionid", ""),
        refuses=reader.flag("refuses"),
    )
    reader.end()
    return customer
