"""The one table of this schema."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, MetaData, String, Table

from shared.db.types import Id, Instant, Json

metadata = MetaData()

token = Table(
    "token",
    metadata,
    Column("id", Id, primary_key=True),  # the public part, shown in lists and logs
    Column("hash", String, nullable=False, unique=True),  # SHA-256 (hex) of the whole token
    Column("subject", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("scopes", Json, nullable=False),  # list of scope names
    Column("stores", Json, nullable=False),  # list of store ids, ["*"] for every store
    Column("created_at", Instant, nullable=False),
    Column("login_at", Instant),  # humans only
    Column("expires_at", Instant),
    Column("revoked_at", Instant),
    CheckConstraint("kind IN ('human', 'service')", name="token_kind_known"),
)
