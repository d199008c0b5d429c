"""Pictures that cards show."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from shared.db.types import Id, Instant

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "picture",
        sa.Column("id", Id, nullable=False),
        sa.Column("store_id", Id, nullable=False),
        sa.Column("name", Id, nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("media_id", sa.Text(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=True),
        sa.Column("failure", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("rank", Instant(), nullable=False),
        sa.Column("due_at", Instant(), nullable=False),
        sa.Column("hold_reason", sa.String(), nullable=True),
        sa.Column("attempt_no", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lease_owner", sa.String(), nullable=True),
        sa.Column("lease_epoch", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("lease_until", Instant(), nullable=True),
        sa.Column("lane", Id, nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    for name, columns, condition in (
        ("ix_picture_ready", ["rank", "id", "due_at"], "status = 'pending'"),
        ("ix_picture_deferred", ["due_at", "id"], "status = 'deferred'"),
        ("ix_picture_running", ["lease_until", "id"], "status = 'uploading'"),
        (
            "ix_picture_lane",
            ["lane", "rank", "id"],
            "lane IS NOT NULL AND status IN ('pending', 'deferred')",
        ),
    ):
        where = sa.text(condition)
        op.create_index(name, "picture", columns, sqlite_where=where, postgresql_where=where)
    running = sa.text("lane IS NOT NULL AND status = 'uploading'")
    op.create_index(
        "uq_picture_running_lane",
        "picture",
        ["lane"],
        unique=True,
        sqlite_where=running,
        postgresql_where=running,
    )
    op.create_index("picture_by_name", "picture", ["store_id", "name"], unique=True)


def downgrade() -> None:
    op.drop_table("picture")
