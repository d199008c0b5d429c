"""Issues, lists, renews and revokes tokens; for the command line."""

from __future__ import annotations

import hmac
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Row, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.clock import Clock
from shared.db.engine import Database
from shared.db.rows import insert_into
from shared.errors import Conflict, Invalid, NotFound
from shared.identity.claims import JWT_TOKEN, SEPARATOR
from shared.identity.secret import TokenText
from shared.identity.tables import revocation, token
from shared.rpc.principal import EVERY_STORE, SCOPES, Principal
from shared.values import value_class

LONGEST_SUBJECT = 128


@value_class
class TokenRecord:
    """A token as it may be shown: without its secret."""

    principal: Principal
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None

    def is_live(self, now: datetime) -> bool:
        """Whether it opens doors at *now*."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


RevocationKind = Literal["subject", "token", "issuer"]


@value_class
class Revocation:
    """What ends JWTs: all of a subject (with its issuer), one by its token id, or all of an issuer."""

    kind: RevocationKind
    name: str
    revoked_at: datetime
    """Whoever proved themselves later is not meant."""


class TokenRegistry:
    """The only writer of the identity schema."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def create(
        self,
        subject: str,
        kind: Literal["human", "service"],
        scopes: Collection[str],
        stores: Collection[str],
        ttl: timedelta | None = None,
    ) -> str:
        """Issue a token and return its text, which cannot be had again.

        *stores* are store ids, or ``*`` for every store. *ttl* None: valid until revoked. A human is
        logged in by it. Raises ``Invalid`` for unknown scopes and empty or contradictory arguments.
        """
        _check(subject, kind, scopes, stores, ttl)
        fresh, now = TokenText.generate(), self._clock.now()
        row = {
            "id": fresh.id,
            "hash": fresh.hash,
            "subject": subject,
            "kind": kind,
            "scopes": sorted(set(scopes)),
            "stores": sorted(set(stores)),
            "created_at": now,
            "login_at": now if kind == "human" else None,
            "expires_at": now + ttl if ttl is not None else None,
        }
        async with self._database.write() as connection:
            await connection.execute(insert(token).values(row))
        return fresh.text

    async def list(self) -> list[TokenRecord]:
        """Every token ever issued, oldest first."""
        async with self._database.read() as connection:
            found = await connection.execute(select(token).order_by(token.c.created_at, token.c.id))
            return [record(row) for row in found]

    async def revoke(self, token_or_id: str) -> None:
        """Make the token useless, everywhere within five seconds. Revoking again changes nothing.

        The id of a JWT (``jwt:…``, as logs and the audit log have it) is taken as it is: nobody has a list of them.
        """
        async with self._database.write() as connection:
            if token_or_id.startswith(JWT_TOKEN):
                await self._end(connection, "token", token_or_id)
                return
            row = await _find(connection, token_or_id)
            if row.revoked_at is None:
                await connection.execute(
                    update(token).where(token.c.id == row.id).values(revoked_at=self._clock.now())
                )

    async def revoke_subject(self, subject: str) -> int:
        """End all that *subject* can show by now: their tokens, their JWTs, and what they approved with either.

        A JWT's subject is its issuer, ``#`` and its name. How many tokens ended; JWTs nobody can count. A later login is
        not meant.
        """
        if not subject:
            raise Invalid.field("subject", "must say whose tokens")
        async with self._database.write() as connection:
            await self._end(connection, "subject", subject)
            live = (token.c.subject == subject) & token.c.revoked_at.is_(None)
            ended = await connection.execute(update(token).where(live).values(revoked_at=self._clock.now()))
        return ended.rowcount

    async def revoke_issuer(self, issuer: str) -> None:
        """End every JWT of *issuer* whose bearer logged in before now; for a key of theirs that was stolen."""
        if not issuer or SEPARATOR in issuer:
            raise Invalid.field("issuer", "must be an issuer's URL")
        async with self._database.write() as connection:
            await self._end(connection, "issuer", issuer)

    async def revocations(self) -> Sequence[Revocation]:
        """What ends JWTs, oldest first."""
        async with self._database.read() as connection:
            order = (revocation.c.revoked_at, revocation.c.kind, revocation.c.name)
            found = await connection.execute(select(revocation).order_by(*order))
            return [Revocation(row.kind, row.name, row.revoked_at) for row in found]

    async def _end(self, connection: AsyncConnection, kind: RevocationKind, name: str) -> None:
        """Again is later: who logged in since then is meant, too."""
        now = self._clock.now()
        statement = insert_into(self._database.dialect, revocation).values(
            kind=kind, name=name, revoked_at=now
        )
        await connection.execute(
            statement.on_conflict_do_update(
                index_elements=[revocation.c.kind, revocation.c.name], set_={"revoked_at": now}
            )
        )

    async def login(self, token_or_id: str) -> datetime:
        """Note that the person behind the token is there now; approvals ask how long ago that was.

        Raises ``Conflict`` (STATE_INVALID) for a service's token and for one that is no longer valid.
        """
        now = self._clock.now()
        async with self._database.write() as connection:
            row = await _find(connection, token_or_id)
            if row.kind != "human":
                raise Conflict(
                    "STATE_INVALID", "only people log in; this is a service's token", state=row.kind
                )
            if not record(row).is_live(now):
                raise Conflict("STATE_INVALID", "the token is revoked or has expired", state="ended")
            await connection.execute(update(token).where(token.c.id == row.id).values(login_at=now))
        return now


def record(row: Row[Any]) -> TokenRecord:
    """What a row of the table says."""
    stores: Literal["*"] | frozenset[str] = "*" if EVERY_STORE in row.stores else frozenset(row.stores)
    principal = Principal(row.subject, row.kind, frozenset(row.scopes), stores, row.login_at, row.id)
    return TokenRecord(principal, row.created_at, row.expires_at, row.revoked_at)


async def _find(connection: AsyncConnection, token_or_id: str) -> Row[Any]:
    """The row named by an id, or by a whole token, whose secret must then be right."""
    given = TokenText.parse(token_or_id)
    wanted = given.id if given is not None else token_or_id
    row = (await connection.execute(select(token).where(token.c.id == wanted))).one_or_none()
    if row is None or (given is not None and not hmac.compare_digest(row.hash, given.hash)):
        raise NotFound("NOT_FOUND", "no such token", resource="token")
    return row


def _check(
    subject: str, kind: str, scopes: Collection[str], stores: Collection[str], ttl: timedelta | None
) -> None:
    if not 1 <= len(subject) <= LONGEST_SUBJECT or not subject.isprintable():
        raise Invalid.field("subject", f"must have 1 to {LONGEST_SUBJECT} printable characters")
    if SEPARATOR in subject:
        raise Invalid.field("subject", f"must not hold {SEPARATOR}, which tells people of a JWT's issuer")
    if kind not in ("human", "service"):
        raise Invalid.field("kind", "must be human or service")
    unknown = sorted(set(scopes) - SCOPES)
    if unknown or not scopes:
        raise Invalid.field("scopes", f"must be some of {', '.join(sorted(SCOPES))}; not {unknown}")
    if not stores or not all(stores):
        raise Invalid.field("stores", "must name at least one store, or * for every store")
    if EVERY_STORE in stores and len(set(stores)) > 1:
        raise Invalid.field("stores", "is either * or a list of stores")
    if ttl is not None and ttl <= timedelta(0):
        raise Invalid.field("ttl", "must be positive")
