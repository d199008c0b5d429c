"""Who may call: tokens, hashed at rest, in a schema (SQLite: a file) of their own.

The CLI writes it (``TokenRegistry``); every process reads it (``Authenticator``).
"""

from pathlib import Path
from typing import Final

from shared.db.migrate import Location
from shared.identity.authenticator import Authenticator
from shared.identity.binding import require_safe_binding
from shared.identity.registry import TokenRecord, TokenRegistry

SCHEMA = "identity"
"""The PostgreSQL schema, and the name of the SQLite file."""

LOCATION: Final = Location(SCHEMA, Path(__file__).parent / "migrations" / "versions")
"""Its migrations."""

__all__ = ["LOCATION", "SCHEMA", "Authenticator", "TokenRecord", "TokenRegistry", "require_safe_binding"]
