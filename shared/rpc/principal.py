"""Who is calling: set at the door, read where it matters, without being passed along."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Final, Literal

from shared.errors import Denied, Unauthenticated
from shared.values import value_class

Kind = Literal["human", "service", "local"]
"""A person · a program · whoever sits at this machine while no token exists (loopback only)."""

EVERY_STORE: Final = "*"

SCOPES: Final = frozenset(
    {
        "events.publish",
        "notify.read",
        "notify.send",
        "notify.send_all",
        "rules.read",
        "rules.write",
        "ai.trigger",
        "ai.read",
        "campaign.read",
        "campaign.write",
        "campaign.approve",
        "campaign.operate",
        "kf.read",
        "kf.send",
        "kf.write",
        "ops.read",
        "ops.replay",
        "ops.resolve",
        "audit.read",
        "config.admin",
    }
)
"""Every permission there is."""


@value_class
class Principal:
    """An authenticated caller and what it may do."""

    subject: str
    """Stable name for logs, audit and four-eyes checks (``alice``, ``pos-gateway``)."""

    kind: Kind
    scopes: frozenset[str]
    stores: Literal["*"] | frozenset[str]
    login_at: datetime | None = None
    """When a person last proved to be there; None for programs and the local operator."""

    token_id: str | None = None
    """The public part of the token, for audit and revocation; None for the local operator."""

    def may_touch(self, store_id: str) -> bool:
        """Whether *store_id* is one of this caller's stores."""
        return self.stores == EVERY_STORE or store_id in self.stores


LOCAL_OPERATOR: Final = Principal("local", "local", SCOPES, EVERY_STORE)
"""Whoever reaches the loopback port of a deployment that has no token yet. Approvals refuse its kind."""

_current: ContextVar[Principal | None] = ContextVar("reach_principal", default=None)


def current() -> Principal:
    """The caller of the work at hand.

    Raises ``Unauthenticated`` where nobody is: background work has no caller and must not ask.
    """
    principal = _current.get()
    if principal is None:
        raise Unauthenticated("TOKEN_MISSING", "nobody is known to be calling")
    return principal


def enter(principal: Principal) -> None:
    """Make *principal* the caller for the rest of this task; for doors whose task is the call."""
    _current.set(principal)


@contextmanager
def acting_as(principal: Principal) -> Iterator[None]:
    """Make *principal* the caller inside the block."""
    token = _current.set(principal)
    try:
        yield
    finally:
        _current.reset(token)


def authorise_store(store_id: str) -> None:
    """Refuse (``Denied``, STORE_FORBIDDEN) unless the caller may touch *store_id*."""
    if not current().may_touch(store_id):
        raise Denied("STORE_FORBIDDEN", "this token does not list that store")


def authorise_every_store() -> None:
    """Refuse (``Denied``, STORE_FORBIDDEN) unless the caller may touch every store there is or will be."""
    if current().stores != EVERY_STORE:
        raise Denied("STORE_FORBIDDEN", "what holds for all stores needs a token for all stores")


def authorise_store_or_every(store_id: str) -> None:
    """Refuse (``Denied``) unless the caller may decide for the store, or for every store when none is named."""
    if store_id:
        authorise_store(store_id)
    else:
        authorise_every_store()


def visible_stores() -> frozenset[str] | None:
    """The stores a list may show to the caller; None means every store."""
    stores = current().stores
    return None if stores == EVERY_STORE else frozenset(stores)


def stores_named(store_id: str) -> frozenset[str] | None:
    """The stores a list is asked for: the one named, which must be the caller's, else all it may show."""
    if not store_id:
        return visible_stores()
    authorise_store(store_id)
    return frozenset({store_id})
