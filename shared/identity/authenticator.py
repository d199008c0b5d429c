"""Tokens → callers, with a memory short enough for revocations to bite."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import select

from shared.clock import Clock
from shared.db.engine import Database
from shared.errors import Unauthenticated
from shared.identity.claims import JWT_TOKEN, SEPARATOR
from shared.identity.jwt_verifier import JwtVerifier
from shared.identity.keyset import looks_like_jwt, refused
from shared.identity.registry import TokenRecord, record
from shared.identity.secret import TokenText
from shared.identity.tables import revocation
from shared.identity.tables import token as tokens
from shared.rpc.principal import LOCAL_OPERATOR, Principal
from shared.values import value_class

MAX_AGE = 4.0
"""Seconds a look at the table may be old. With a second for running streams: five from revocation to effect."""

NEWCOMER_AGE = 0.25
"""The same for a token that was not there; so a new one works at once, and a flood of wrong ones costs
four queries a second."""


@value_class
class _Snapshot:
    """All tokens, and what ends JWTs, as they were at ``taken`` (monotonic seconds, before the query began)."""

    taken: float
    by_id: Mapping[str, tuple[str, TokenRecord]]
    ended: Mapping[tuple[str, str], datetime]
    """By kind and name of a revocation."""


class Authenticator:
    """Verifies bearer tokens. Never serves from a look older than ``MAX_AGE``, also when the database is down."""

    def __init__(
        self, database: Database, clock: Clock, *, local_operator: bool, jwt: JwtVerifier | None = None
    ) -> None:
        """*local_operator*: while no token was ever issued, a caller without one may do everything.

        Only for listeners that nobody but this machine can reach. *jwt* proves JWTs; None: none are taken. Where they
        are, everybody has to show something.
        """
        self._database = database
        self._clock = clock
        self._jwt = jwt
        self._local_operator = local_operator and jwt is None
        self._snapshot = _Snapshot(float("-inf"), {}, {})
        self._loading = asyncio.Lock()

    async def authenticate(self, token: str | None) -> Principal:
        """The caller behind *token* (None: none was sent).

        Raises ``Unauthenticated`` (TOKEN_MISSING, TOKEN_INVALID, TOKEN_EXPIRED), ``Unavailable`` when the
        database cannot be asked.
        """
        if token is None:
            if self._local_operator and not await self.has_tokens():
                return LOCAL_OPERATOR
            raise Unauthenticated("TOKEN_MISSING", "send a bearer token (reach token create)")
        if self._jwt is not None and looks_like_jwt(token):
            return await self._bearer_of(token, self._jwt)
        given = TokenText.parse(token)
        if given is None:
            raise Unauthenticated("TOKEN_INVALID", "that is not a token of ours")
        found = await self._find(given)
        if found is None or found.revoked_at is not None:
            raise Unauthenticated("TOKEN_INVALID", "that token is unknown or revoked")
        if not found.is_live(self._clock.now()):
            raise Unauthenticated("TOKEN_EXPIRED", "that token has expired", expired_at=found.expires_at)
        return found.principal

    async def takes_credentials(self) -> bool:
        """Whether there is anything that a caller could show: a token was issued, or JWTs are taken."""
        return self._jwt is not None or await self.has_tokens()

    async def has_tokens(self) -> bool:
        """Whether a token was ever issued. Revoking the last one does not open the door again."""
        return bool((await self._look(MAX_AGE)).by_id)

    async def issued(self) -> Sequence[TokenRecord]:
        """Every token that was ever issued, as of at most ``MAX_AGE`` seconds ago.

        Raises ``Unavailable`` when the database cannot be asked.
        """
        return [found for _, found in (await self._look(MAX_AGE)).by_id.values()]

    async def upholds(self, subject: str, token_id: str, login_at: datetime) -> bool:
        """Whether what *subject* did with the JWT *token_id*, logged in at *login_at*, may still stand.

        It does while its issuer's JWTs are taken and nobody revoked the subject, the JWT or the issuer since that
        login; what the issuer thinks of the person by now, nobody can ask. Raises ``Unavailable`` when the database
        cannot be asked.
        """
        if self._jwt is None or not subject.startswith(self._jwt.issuer + SEPARATOR):
            return False
        snapshot = await self._look(MAX_AGE)
        return not _is_ended(snapshot, subject, token_id, self._jwt.issuer, login_at)

    async def _bearer_of(self, token: str, jwt: JwtVerifier) -> Principal:
        claims = await jwt.claims(token)
        claims.check(self._clock.now())
        caller = claims.principal
        snapshot = await self._look(MAX_AGE)
        if _is_ended(snapshot, caller.subject, caller.token_id or "", claims.issuer, claims.known_since):
            raise refused("that JWT was revoked; log in again")
        return caller

    async def _find(self, given: TokenText) -> TokenRecord | None:
        snapshot = await self._look(MAX_AGE)
        if given.id not in snapshot.by_id:
            snapshot = await self._look(NEWCOMER_AGE)
        digest, found = snapshot.by_id.get(given.id, ("", None))
        return found if hmac.compare_digest(digest, given.hash) else None

    async def _look(self, age: float) -> _Snapshot:
        """The tokens as of at most *age* seconds ago; one query however many ask."""
        if time.monotonic() - self._snapshot.taken > age:
            async with self._loading:
                if time.monotonic() - self._snapshot.taken > age:
                    self._snapshot = await self._load()
        return self._snapshot

    async def _load(self) -> _Snapshot:
        taken = time.monotonic()
        async with self._database.read() as connection:
            found = await connection.execute(select(tokens))
            by_id = {row.id: (row.hash, record(row)) for row in found}
            ends = await connection.execute(select(revocation))
            return _Snapshot(taken, by_id, {(row.kind, row.name): row.revoked_at for row in ends})


def is_jwt(token_id: str) -> bool:
    """Whether *token_id* is of a JWT, which has no record."""
    return token_id.startswith(JWT_TOKEN)


def _is_ended(snapshot: _Snapshot, subject: str, token_id: str, issuer: str, since: datetime) -> bool:
    """Whether a revocation covers a JWT whose bearer has been known *since* then."""

    ends = (snapshot.ended.get(("subject", subject)), snapshot.ended.get(("issuer", issuer)))
    return ("token", token_id) in snapshot.ended or any(at is not None and since <= at for at in ends)
