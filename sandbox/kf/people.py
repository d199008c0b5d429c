"""KF accounts, the servicers who answer for them and the customers who write to them.

In open mode an account or a customer that was not declared exists as soon as it is named, unless its name, after the
`wk`, `wm` or `wo` that the platform's ids begin with, starts with `wrong`, `invalid` or `nobody`. Servicers are only
those who were declared or added.
"""

from dataclasses import dataclass, field
from typing import Literal

from sandbox.profile import Profile

ServicerStatus = Literal["receiving", "stopped", "suspended"]
_PREFIXES = ("wk", "wm", "wo")
_ABSENT = ("wrong", "invalid", "nobody")


@dataclass(slots=True)
class Account:
    """A KF account. `authorised`: whether its management was handed to the API (48007 when not)."""

    open_kfid: str
    name: str
    avatar: str = ""
    authorised: bool = True
    servicers: dict[str, ServicerStatus] = field(default_factory=dict)  # by userid in lower case
    departments: set[int] = field(default_factory=set)

    def view(self) -> dict[str, object]:
        """As JSON shows it."""
        return {
            "open_kfid": self.open_kfid,
            "name": self.name,
            "authorised": self.authorised,
            "servicers": [{"userid": userid, "status": status} for userid, status in self.servicers.items()],
            "departments": sorted(self.departments),
        }


@dataclass(slots=True)
class Customer:
    """A customer in WeChat. `refuses`: takes no messages, each send fails later (fail_type 10)."""

    external_userid: str
    nickname: str = ""
    gender: int = 0
    unionid: str = ""
    refuses: bool = False

    def view(self) -> dict[str, object]:
        """As JSON shows it."""
        return {
            "external_userid": self.external_userid,
            "nickname": self.nickname,
            "gender": self.gender,
            "unionid": self.unionid,
            "refuses": self.refuses,
        }


@dataclass(frozen=True, slots=True)
class Servicer:
    """One declared reception: a member, or a department's members. Without an account: of every account."""

    userid: str
    department_id: int
    open_kfid: str
    status: ServicerStatus


@dataclass(frozen=True, slots=True)
class DeclaredKf:
    """The `kf` part of a declaration. `secret` is None where it declares none."""

    secret: str | None
    accounts: tuple[Account, ...] = ()
    servicers: tuple[Servicer, ...] = ()
    customers: tuple[Customer, ...] = ()


class KfPeople:
    """Who there is in WeChat KF."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self.clear()

    def clear(self) -> None:
        """Forget everybody."""
        self.accounts: dict[str, Account] = {}
        self.customers: dict[str, Customer] = {}
        self._deleted: set[str] = set()

    def check(self, declared: DeclaredKf) -> None:
        """ValueError when a servicer is declared for an account that there is not."""
        known = {*self.accounts, *(account.open_kfid for account in declared.accounts)}
        for servicer in declared.servicers:
            if servicer.open_kfid and servicer.open_kfid not in known:
                raise ValueError(f"kf.servicers: there is no account {servicer.open_kfid!r}")

    def declare(self, declared: DeclaredKf) -> None:
        """Add or change what was declared; an account that is declared again keeps its servicers."""
        for account in declared.accounts:
            known = self.accounts.get(account.open_kfid)
            if known is not None:
                account.servicers, account.departments = known.servicers, known.departments
            self.add(account)
        for servicer in declared.servicers:
            named = [self.accounts[servicer.open_kfid]] if servicer.open_kfid else self.accounts.values()
            for account in named:
                if servicer.userid:
                    account.servicers[servicer.userid.lower()] = servicer.status
                else:
                    account.departments.add(servicer.department_id)
        for customer in declared.customers:
            self.customers[customer.external_userid] = customer

    def add(self, account: Account) -> None:
        """A new account, or the same one anew."""
        self.accounts[account.open_kfid] = account
        self._deleted.discard(account.open_kfid)

    def delete(self, account: Account) -> None:
        """Remove an account for good."""
        self.accounts.pop(account.open_kfid, None)
        self._deleted.add(account.open_kfid)

    def account(self, open_kfid: str) -> Account | None:
        """The account of an id; None when there is none."""
        account = self.accounts.get(open_kfid)
        if account is None and open_kfid not in self._deleted and self._imagined(open_kfid):
            account = self.accounts[open_kfid] = Account(open_kfid, f"客服 {open_kfid[-4:]}")
        return account

    def customer(self, external_userid: str) -> Customer | None:
        """The customer of an id; None when there is none."""
        customer = self.customers.get(external_userid)
        if customer is None and self._imagined(external_userid):
            customer = Customer(external_userid, f"客户 {external_userid[-4:]}")
            self.customers[external_userid] = customer
        return customer

    def view(self) -> dict[str, object]:
        """What is declared, and what was named since."""
        return {
            "accounts": [account.view() for account in self.accounts.values()],
            "customers": [customer.view() for customer in self.customers.values()],
        }

    def _imagined(self, name: str) -> bool:
        if self._profile.directory != "open" or not name:
            return False
        bare = name.lower()
        return not (bare.startswith(_ABSENT) or (bare.startswith(_PREFIXES) and bare[2:].startswith(_ABSENT)))
