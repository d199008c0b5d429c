"""Who exists: users, departments, tags, apps, robots, and the people of WeChat KF.

Open mode (the default) lets a first message through with no preparation: whatever was not declared exists,
except that names tell how they behave:

* a corp id or secret starting with `wrong` or `invalid` is refused (40013, 40001); a secret starting with
  `contacts` is a contact-sync secret, which may not send (48002), one starting with `kf` is that of WeChat KF,
  one starting with `customer` that of customer contact;
* a userid starting with `wrong`, `invalid` or `nobody` is an invalid receiver, one starting with `unlicensed`
  an unlicensed one; a department or tag id that is not a number is invalid;
* a robot key starting with `wrong` or `invalid` is unknown (93000), one starting with `disabled` is disabled
  (93004);
* an undeclared secret belongs to the first agentid it sends with; every other agentid is foreign to it (301002).

A declared thing behaves as declared, whatever its name. In strict mode only declared things exist. Things are
declared with `POST /sandbox/directory`:

    {"replace": false,
     "corp_id": "ww1",                                  # optional: the only corp id accepted
     "ip_allowlist": ["10.0.0.0/8"],                    # for apps without a list of their own
     "users": [{"userid": "zhangsan", "name": "张三", "mobile": "13800000000", "departments": [2],
                "tags": [1], "status": "active",        # active | invalid | unlicensed
                "no_customers": false}],                # true: without the permission to have customers, 84074
     "departments": [{"id": 2, "name": "前厅", "parentid": 1}],
     "tags": [{"id": 1, "name": "店长"}],
     "apps": [{"agentid": 1000002, "name": "触达", "secret": "s1", "kind": "app",   # app | contacts | kf | customer
               "visible": {"users": ["zhangsan"], "departments": [2], "tags": []},  # absent: everyone
               "ip_allowlist": ["127.0.0.1"],
               "corp_id": "ww1",                       # another corp with this secret: 40091
               "disabled": false,                      # the profile's `disabled_app` says how it shows
               "calls_kf": false,                      # may call WeChat KF beside its own API
               "calls_customers": false}],             # may call customer contact beside its own API
     "robots": [{"key": "k1", "group": "前厅群", "disabled": false, "removed": false}],   # 93004; 93000
     "kf": {"secret": "s5",                            # WeChat KF's own; any other secret gets 48002 there
            "accounts": [{"open_kfid": "wk1", "name": "门店客服",
                          "unauthorised": false}],     # true: not handed to the API, 48007
            "servicers": [{"userid": "zhangsan", "open_kfid": "wk1",       # without open_kfid: of every account
                           "status": "receiving"},     # receiving | stopped | suspended
                          {"department_id": 2}],
            "customers": [{"external_userid": "wm1", "nickname": "小王", "gender": 1, "unionid": "",
                           "refuses": false}]}}        # true: what is sent fails later, fail_type 10
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field

from sandbox.declarations import App, AppKind, Department, Robot, Tag, User, Visible, parse
from sandbox.kf.people import KfPeople
from sandbox.profile import Profile

ROOT_DEPARTMENT = 1


@dataclass(slots=True)
class Resolved:
    """The receivers of one app message: who gets it, and what was not valid, as the platform reports it."""

    users: dict[str, User] = field(default_factory=dict)  # by userid in lower case
    parties: list[str] = field(default_factory=list)  # undeclared, valid in open mode: members unknown
    tags: list[str] = field(default_factory=list)
    everyone: bool = False
    found: bool = False
    """Whether any receiver named exists and lies in the app's range."""
    invalid_users: list[str] = field(default_factory=list)
    invalid_parties: list[str] = field(default_factory=list)
    invalid_tags: list[str] = field(default_factory=list)
    unlicensed: list[str] = field(default_factory=list)


class Directory:
    """The corp's people and things. Ids are matched the platform's way: userids without regard to case."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self.kf = KfPeople(profile)
        self.clear()

    def clear(self) -> None:
        """Forget every declaration."""
        self.corp_id: str | None = None
        self.users: dict[str, User] = {}
        self.departments: dict[int, Department] = {}
        self.tags: dict[int, Tag] = {}
        self.apps: dict[str, App] = {}  # by secret
        self.robots: dict[str, Robot] = {}
        self.ip_allowlist: tuple[str, ...] = ()
        self.kf.clear()
        self._agents_met: dict[str, int] = {}

    @property
    def open(self) -> bool:
        """Whether undeclared things exist."""
        return self._profile.directory == "open"

    def declare(self, document: object) -> None:
        """Add or change what the document declares, all or none; ValueError says what does not fit."""
        declared = parse(document)
        if declared.replace:
            KfPeople(self._profile).check(declared.kf)
            self.clear()
        self.kf.check(declared.kf)
        self.corp_id = declared.corp_id if declared.corp_id is not None else self.corp_id
        self.ip_allowlist = declared.ip_allowlist if declared.ip_allowlist is not None else self.ip_allowlist
        self.users.update((user.userid.lower(), user) for user in declared.users)
        self.departments.update((department.id, department) for department in declared.departments)
        self.tags.update((tag.id, tag) for tag in declared.tags)
        self.apps.update((app.secret, app) for app in declared.apps)
        self.robots.update((robot.key, robot) for robot in declared.robots)
        if declared.kf.secret is not None:
            # A new secret ends the old one.
            self.apps = {secret: app for secret, app in self.apps.items() if app.kind != "kf"}
            self.apps[declared.kf.secret] = App(0, "微信客服", declared.kf.secret, kind="kf")
        self.kf.declare(declared.kf)

    def knows_corp(self, corp_id: str) -> bool:
        """Whether this corp exists."""
        if self.corp_id is not None:
            return corp_id == self.corp_id
        return self.open and not corp_id.lower().startswith(("wrong", "invalid"))

    def app_of(self, secret: str) -> App | None:
        """The app of a secret; None when the secret is wrong."""
        app = self.apps.get(secret)
        if app is not None or not self.open or secret.lower().startswith(("wrong", "invalid")):
            return app
        kinds: tuple[AppKind, ...] = ("contacts", "kf", "customer")
        for kind in kinds:
            if secret.lower().startswith(kind):
                return App(agentid=None, name="", secret=secret, kind=kind)
        return App(agentid=None, name="", secret=secret)

    def owns(self, app: App, agentid: int) -> bool:
        """Whether the agentid is the app's; an undeclared app takes the first one it is asked about."""
        if app.agentid is not None:
            return app.agentid == agentid
        if agentid <= 0 or any(agentid == other.agentid for other in self.apps.values()):
            return False
        return self._agents_met.setdefault(app.secret, agentid) == agentid

    def is_agent(self, app: App, agentid: int) -> bool:
        """Whether the agentid is known to be the app's, without binding an undeclared app to it."""
        return (app.agentid if app.agentid is not None else self._agents_met.get(app.secret)) == agentid

    def app_name(self, agentid: int) -> str:
        """The app's name as members see it."""
        for app in self.apps.values():
            if app.agentid == agentid and app.name:
                return app.name
        return f"应用 {agentid}"

    def admits(self, app: App, host: str) -> bool:
        """Whether the app's allowlist lets this address call; an empty list lets everyone."""
        allowed = app.ip_allowlist or self.ip_allowlist
        if not allowed:
            return True
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        return any(address in ipaddress.ip_network(network, strict=False) for network in allowed)

    def robot(self, key: str) -> Robot | None:
        """The robot of a webhook key; None when there is none."""
        robot = self.robots.get(key)
        if robot is not None and robot.removed:
            return None
        if robot is not None or not self.open or not key or key.lower().startswith(("wrong", "invalid")):
            return robot
        return Robot(key=key, group=f"群聊 {key[:8]}", disabled=key.lower().startswith("disabled"))

    def user(self, userid: str) -> User | None:
        """The person of a userid; None when there is none."""
        user = self.users.get(userid.lower())
        if user is not None or not self.open:
            return user
        name = userid.lower()
        if name.startswith(("wrong", "invalid", "nobody")):
            return User(userid=userid, status="invalid")
        return User(userid=userid, status="unlicensed" if name.startswith("unlicensed") else "active")

    def sees(self, app: App, user: User) -> bool:
        """Whether the person lies in the app's visible range."""
        visible = app.visible
        if visible is None:
            return True
        return (
            user.userid.lower() in visible.users
            or any(tag in visible.tags for tag in user.tags)
            or any(self.within(department, visible.departments) for department in user.departments)
        )

    def within(self, department: int, ancestors: Iterable[int]) -> bool:
        """Whether the department is one of these or lies below one."""
        wanted, seen = set(ancestors), set[int]()
        current: int | None = department
        while current is not None and current not in seen:
            if current in wanted:
                return True
            seen.add(current)
            known = self.departments.get(current)
            current = known.parentid if known is not None else None
        return False

    def members_of(self, department: int) -> list[User]:
        """The people of a department and of those below it."""
        return [
            user
            for user in self.users.values()
            if any(self.within(d, (department,)) for d in user.departments)
        ]

    def resolve(self, app: App, users: list[str], parties: list[str], tags: list[str]) -> Resolved:
        """Who an app message reaches, and which of the given ids are not valid for this app."""
        result = Resolved()
        if users == ["@all"]:
            result.everyone = result.found = True
            self._add(result, app, self.users.values(), named=False)
            return result
        for userid in users:
            user = self.user(userid)
            if user is None or user.status == "invalid" or not self.sees(app, user):
                result.invalid_users.append(userid.lower())
            else:
                self._add(result, app, (user,), named=True)
        for party in parties:
            if (
                party.isdecimal()
                and (self.open or int(party) in self.departments)
                and self.sees_department(app, int(party))
            ):
                result.found = True
                self._add(result, app, self.members_of(int(party)), named=False)
                if int(party) not in self.departments:
                    result.parties.append(party)
            else:
                result.invalid_parties.append(party)
        for tag in tags:
            if tag.isdecimal() and (self.open or int(tag) in self.tags):
                result.found = True
                self._add(result, app, (u for u in self.users.values() if int(tag) in u.tags), named=False)
                if int(tag) not in self.tags:
                    result.tags.append(tag)
            else:
                result.invalid_tags.append(tag)
        return result

    def sees_department(self, app: App, department: int) -> bool:
        """Whether the department lies in the app's visible range."""
        return app.visible is None or self.within(department, app.visible.departments)

    def _add(self, result: Resolved, app: App, users: Iterable[User], *, named: bool) -> None:
        for user in users:
            if not named and (user.status == "invalid" or not self.sees(app, user)):
                continue
            if user.status == "unlicensed":
                result.unlicensed.append(user.userid.lower())
            else:
                result.found = True
                result.users.setdefault(user.userid.lower(), user)

    def view(self) -> dict[str, object]:
        """What is declared; secrets are not shown."""
        return {
            "mode": self._profile.directory,
            "corp_id": self.corp_id,
            "ip_allowlist": self.ip_allowlist,
            "users": [user.view() for user in self.users.values()],
            "departments": [department.view() for department in self.departments.values()],
            "tags": [tag.view() for tag in self.tags.values()],
            "apps": [app.view() for app in self.apps.values()],
            "robots": [robot.view() for robot in self.robots.values()],
            "kf": self.kf.view(),
        }


__all__ = ["App", "Department", "Directory", "Resolved", "Robot", "Tag", "User", "Visible"]
