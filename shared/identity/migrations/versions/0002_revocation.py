"""What ends JWTs, which have no rows of their own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from shared.db.types import Id, Instant

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "revocation",
        sa.Column("kind", Id, nullable=False),
        sa.Column("name", Id, nullable=False),
        sa.Column("revoked_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "name"),
        sa.CheckConstraint("kind IN ('subject', 'token', 'issuer')", name="revocation_kind_known"),
    )


def downgrade() -> None:
    op.drop_table("revocation")
