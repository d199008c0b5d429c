"""JWTs → claims: form, signature, then what they say; what was proved once is not proved again."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from shared.identity import keyset
from shared.identity.claims import Claims, Terms, read_claims
from shared.identity.key_sources import Keys
from shared.identity.keyset import Key

REMEMBERED: Final = 2000
"""JWTs whose signature need not be calculated again."""


class JwtVerifier:
    """Proves the JWTs of one issuer."""

    def __init__(self, keys: Keys, terms: Terms, algorithms: Sequence[str]) -> None:
        self._keys, self._terms, self._algorithms = keys, terms, tuple(algorithms)
        self._proved: OrderedDict[bytes, tuple[Key, Claims]] = OrderedDict()

    @property
    def issuer(self) -> str:
        """Whose JWTs are taken."""
        return self._terms.issuer

    async def claims(self, token: str) -> Claims:
        """What *token* says, whose signature is right by a key that the issuer has now; its times are not looked at.

        Raises ``Unauthenticated`` (TOKEN_INVALID), and ``Unavailable`` when the keys cannot be had.
        """
        digest = hashlib.sha256(token.encode()).digest()
        key, known = self._proved.get(digest, (None, None))
        # The very object must still be there: a key that was read anew proves anew.
        if key is not None and known is not None and await self._keys.find(key.kid) is key:
            self._proved.move_to_end(digest)
            return known
        found = await self._prove(token)
        self._proved[digest] = found
        while len(self._proved) > REMEMBERED:
            self._proved.popitem(last=False)
        return found[1]

    async def _prove(self, token: str) -> tuple[Key, Claims]:
        header = keyset.read_header(token, self._algorithms)
        key = await self._keys.find(header.kid)
        if key is None:
            raise keyset.refused("the key of that JWT is unknown (kid)")
        said = keyset.proven_claims(token, header, key)
        return key, read_claims(said, self._terms, keyset.fingerprint(token))
