"""The tables of this schema."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, MetaData, PrimaryKeyConstraint, String, Table

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

# JWTs have no row that could be marked. What stands here ends those it names, up to an instant.
revocation = Table(
    "revocation",
    metadata,
    Column("kind", Id, nullable=False),  # subject, token, issuer
    Column("name", Id, nullable=False),  # the subject with its issuer, a token id, an issuer
    Column("revoked_at", Instant, nullable=False),  # whoever logged in later is not meant
    PrimaryKeyConstraint("kind", "name"),
    CheckConstraint("kind IN ('subject', 'token', 'issuer')", name="revocation_kind_known"),
)
