"""The public keys of an issuer (a JWK set, RFC 7517), and what a JWT's signature proves by them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import field
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from shared.errors import Unauthenticated
from shared.strict_json import BadJson, load_object
from shared.values import value_class

ALGORITHMS: Final = ("ES256", "EdDSA", "RS256", "PS256")
"""Signatures that are understood; none can be made with what is public."""

MOST_KEYS: Final = 64
SHORTEST_RSA: Final = 2048
"""Bits."""

LONGEST: Final = 6 * 1024
"""Characters of a JWT; it has to travel in 8 KiB of metadata."""

_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_TYPES: Final = frozenset({"jwt", "at+jwt", "application/at+jwt"})
_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth"})
_FITTING: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("RSA", ""): ("RS256", "PS256"),
    ("EC", "P-256"): ("ES256",),
    ("OKP", "Ed25519"): ("EdDSA",),
}
"""Type and curve of a key → the signatures it can make."""


class BadKeys(ValueError):
    """Why a text is no set of keys that can be used."""


@value_class
class Key:
    """One public key under each algorithm it may be used with; what a header says of itself decides nothing."""

    kid: str
    by_algorithm: Mapping[str, jwt.PyJWK] = field(repr=False)


KeySet = Mapping[str, Key]
"""By key id."""


def parse_keys(body: bytes, allowed: Collection[str]) -> KeySet:
    """The keys in *body* that can be used with one of the *allowed* algorithms; others are left out.

    Raises ``BadKeys`` when none is left, a key id comes twice, or a key is a private one.
    """
    try:
        listed = load_object(body).get("keys")
    except BadJson as error:
        raise BadKeys(f"is not a JWK set: {error}") from None
    if not isinstance(listed, list) or len(listed) > MOST_KEYS:
        raise BadKeys(f"is not a JWK set: keys must be a list of at most {MOST_KEYS}")
    found: dict[str, Key] = {}
    for one in listed:
        key = _key(one, allowed)
        if key is None:
            continue
        if key.kid in found:
            raise BadKeys("has a key id (kid) twice")
        found[key.kid] = key
    if not found:
        raise BadKeys(f"has no key with an id (kid) for {', '.join(sorted(allowed))}")
    return found


def _key(one: object, allowed: Collection[str]) -> Key | None:
    if not isinstance(one, dict):
        raise BadKeys("has a key that is not an object")
    if _PRIVATE & one.keys() and one.get("kty") != "oct":
        raise BadKeys("has a private key: publish only the public half, and make new keys")
    kid, operations = one.get("kid"), one.get("key_ops")
    if not isinstance(kid, str) or not kid or one.get("use", "sig") != "sig":
        return None
    if operations is not None and (not isinstance(operations, list) or "verify" not in operations):
        return None
    usable = {name: made for name in _algorithms(one) if name in allowed and (made := _made(one, name))}
    return Key(kid, usable) if usable else None


def _algorithms(one: Mapping[str, Any]) -> Iterator[str]:
    curve = one.get("crv", "") if one.get("kty") != "RSA" else ""
    fitting = _FITTING.get((str(one.get("kty")), str(curve)), ())
    declared = {"Ed25519": "EdDSA"}.get(str(one.get("alg")), one.get("alg"))
    return (name for name in fitting if declared in (None, name))


def _made(one: dict[str, Any], algorithm: str) -> jwt.PyJWK | None:
    try:
        made = jwt.PyJWK(one, algorithm=algorithm)
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    if isinstance(made.key, RSAPublicKey) and made.key.key_size < SHORTEST_RSA:
        return None
    return made


@value_class
class Header:
    """What a JWT says of its signature; nothing of it is proved yet."""

    algorithm: str
    kid: str


def looks_like_jwt(token: str) -> bool:
    """Whether *token* has the form of a signed JWT, whatever its length."""
    return token.count(".") == 2


def read_header(token: str, allowed: Collection[str]) -> Header:
    """Read what *token* says of its signature.

    Raises ``Unauthenticated`` (TOKEN_INVALID) for what is too long, is none, or names an algorithm that is not *allowed*.
    """
    if len(token) > LONGEST:
        raise refused(f"a JWT may have {LONGEST} characters at most")
    if not _FORM.fullmatch(token):
        raise refused("that is not a signed JWT")
    header = _object(token.partition(".")[0])
    algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
    if algorithm not in allowed or not isinstance(algorithm, str):
        raise refused(f"a JWT must be signed with one of {', '.join(allowed)}")
    if not isinstance(kid, str) or not kid:
        raise refused("a JWT must name its key (kid)")
    if not isinstance(kind, str) or kind.lower() not in _TYPES or "crit" in header or "b64" in header:
        raise refused("that is another kind of JWT (typ, crit, b64)")
    return Header(algorithm, kid)


def proven_claims(token: str, header: Header, key: Key) -> dict[str, object]:
    """The claims of *token*, whose signature by *key* is right; raises ``Unauthenticated`` (TOKEN_INVALID) else."""
    made = key.by_algorithm.get(header.algorithm)
    if made is None:
        raise refused("the key of that JWT is not for its algorithm")
    try:
        jwt.PyJWS().decode_complete(token, made, algorithms=[header.algorithm])
    except jwt.PyJWTError:
        raise refused("the signature of that JWT is wrong") from None
    return _object(token.split(".")[1])


def fingerprint(token: str) -> str:
    """Tells a JWT from every other one, however its signature is written."""
    return hashlib.sha256(token.rpartition(".")[0].encode()).hexdigest()[:32]


def refused(why: str) -> Unauthenticated:
    """What the bearer of a JWT is told that is not taken; *why* holds nothing of it."""
    return Unauthenticated("TOKEN_INVALID", why)


def _object(part: str) -> dict[str, object]:
    try:
        return load_object(base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, BadJson):
        raise refused("that is not a signed JWT") from None
