"""Tokens."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from shared.db.types import Id, Instant, Json

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "token",
        sa.Column("id", Id, nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("scopes", Json(), nullable=False),
        sa.Column("stores", Json(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("login_at", Instant()),
        sa.Column("expires_at", Instant()),
        sa.Column("revoked_at", Instant()),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("hash"),
        sa.CheckConstraint("kind IN ('human', 'service')", name="token_kind_known"),
    )


def downgrade() -> None:
    op.drop_table("token")
