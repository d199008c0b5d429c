"""Tokens → callers, with a memory short enough for revocations to bite."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Mapping, Sequence

from sqlalchemy import select

from shared.clock import Clock
from shared.db.engine import Database
from shared.errors import Unauthenticated
from shared.identity.registry import TokenRecord, record
from shared.identity.secret import TokenText
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
    """All tokens as they were at ``taken`` (monotonic seconds, before the query began)."""

    taken: float
    by_id: Mapping[str, tuple[str, TokenRecord]]


class Authenticator:
    """Verifies bearer tokens. Never serves from a look older than ``MAX_AGE``, also when the database is down."""

    def __init__(self, database: Database, clock: Clock, *, local_operator: bool) -> None:
        """*local_operator*: while no token was ever issued, a caller without one may do everything.

        Only for listeners that nobody but this machine can reach.
        """
        self._database = database
        self._clock = clock
        self._local_operator = local_operator
        self._snapshot = _Snapshot(float("-inf"), {})
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
        given = TokenText.parse(token)
        if given is None:
            raise Unauthenticated("TOKEN_INVALID", "that is not a token of ours")
        found = await self._find(given)
        if found is None or found.revoked_at is not None:
            raise Unauthenticated("TOKEN_INVALID", "that token is unknown or revoked")
        if not found.is_live(self._clock.now()):
            raise Unauthenticated("TOKEN_EXPIRED", "that token has expired", expired_at=found.expires_at)
        return found.principal

    async def has_tokens(self) -> bool:
        """Whether a token was ever issued. Revoking the last one does not open the door again."""
        return bool((await self._look(MAX_AGE)).by_id)

    async def issued(self) -> Sequence[TokenRecord]:
        """Every token that was ever issued, as of at most ``MAX_AGE`` seconds ago.

        Raises ``Unavailable`` when the database cannot be asked.
        """
        return [found for _, found in (await self._look(MAX_AGE)).by_id.values()]

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
            return _Snapshot(taken, {row.id: (row.hash, record(row)) for row in found})
