"""An issuer of JWTs, made in a test for that test."""

from __future__ import annotations

import json
import secrets
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

ISSUER, AUDIENCE = "https://id.example/realms/shop", "reach"


def new_key(algorithm: str = "ES256") -> Any:
    """A private key for *algorithm*."""
    if algorithm == "ES256":
        return ec.generate_private_key(ec.SECP256R1())
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(65537, 2048)


def public_jwk(key: Any, algorithm: str, kid: str, **more: Any) -> dict[str, Any]:
    """The public half, as an issuer publishes it."""
    made = jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key(), as_dict=True)
    made.pop("key_ops", None)
    return {**made, "kid": kid, "use": "sig", "alg": algorithm, **more}


class Issuer:
    """Has keys, publishes their public halves, and signs what it is told to."""

    def __init__(self, algorithm: str = "ES256") -> None:
        self.keys: dict[str, tuple[str, Any]] = {}
        self.kid = ""
        self.rotate(algorithm)

    def rotate(self, algorithm: str = "ES256") -> str:
        """Sign with a new key from now on; its id. The old ones stay published until ``forget``."""
        self.kid = f"k{secrets.token_hex(4)}"
        self.keys[self.kid] = (algorithm, new_key(algorithm))
        return self.kid

    def forget(self, kid: str) -> None:
        """Publish a key no more."""
        del self.keys[kid]

    def published(self) -> bytes:
        """The JWK set."""
        keys = [public_jwk(key, algorithm, kid) for kid, (algorithm, key) in self.keys.items()]
        return json.dumps({"keys": keys}).encode()

    def publish(self, path: Path) -> Path:
        """Write it, at once."""
        fresh = path.with_suffix(".new")
        fresh.write_bytes(self.published())
        return fresh.rename(path)

    def sign(self, claims: dict[str, Any], *, headers: dict[str, Any] | None = None, **other: Any) -> str:
        """*claims* as they are; *other* may name another ``key`` or ``algorithm``."""
        algorithm, key = self.keys[self.kid]
        said = {"kid": self.kid, **(headers or {})}
        return jwt.PyJWS().encode(
            json.dumps(claims).encode(),
            other.get("key", key),
            algorithm=other.get("algorithm", algorithm),
            headers={name: value for name, value in said.items() if value is not None},
        )

    def token(self, now: datetime, subject: str = "alice", **claims: Any) -> str:
        """A good one for ten minutes from *now*, with *claims* besides; None takes a claim away."""
        return self.sign(claims_of(now, subject, **claims))


def claims_of(now: datetime, subject: str = "alice", **claims: Any) -> dict[str, Any]:
    """What a good one says; None takes a claim away."""
    said = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": subject,
        "iat": int(now.timestamp()),
        "exp": int((now + timedelta(minutes=10)).timestamp()),
        "auth_time": int(now.timestamp()),
        "jti": secrets.token_hex(8),
        "scope": "notify.read campaign.approve",
        "stores": ["s1"],
        "sub_kind": "human",
        **claims,
    }
    return {name: value for name, value in said.items() if value is not None}
