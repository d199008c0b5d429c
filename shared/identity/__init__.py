"""Who may call: tokens, hashed at rest, in a schema (SQLite: a file) of their own; and JWTs of one issuer.

The CLI writes it (``TokenRegistry``); every process reads it (``Authenticator``).
"""

from pathlib import Path
from typing import Final

from shared.db.migrate import Location
from shared.identity.authenticator import Authenticator, is_jwt
from shared.identity.binding import require_safe_binding
from shared.identity.registry import Revocation, TokenRecord, TokenRegistry

SCHEMA = "identity"
"""The PostgreSQL schema, and the name of the SQLite file."""

LOCATION: Final = Location(SCHEMA, Path(__file__).parent / "migrations" / "versions")
"""Its migrations."""

__all__ = [
    "LOCATION",
    "SCHEMA",
    "Authenticator",
    "Revocation",
    "TokenRecord",
    "TokenRegistry",
    "is_jwt",
    "require_safe_binding",
]
