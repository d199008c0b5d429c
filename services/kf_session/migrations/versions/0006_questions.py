"""What a model is asked about matches, and the opinion that it gives."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from shared.db.types import Id, Instant

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("match", sa.Column("ai_reason", sa.Text(), server_default="", nullable=False))
    op.create_table(
        "question",
        sa.Column("id", Id, nullable=False),
        sa.Column("match_id", Id, nullable=False),
        sa.Column("kind", Id, nullable=False),
        sa.Column("fingerprint", Id, nullable=False),
        sa.Column("push_id", Id, nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
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
        ("ix_question_ready", ["rank", "id", "due_at"], "status = 'pending'"),
        ("ix_question_deferred", ["due_at", "id"], "status = 'deferred'"),
        ("ix_question_running", ["lease_until", "id"], "status = 'asking'"),
        (
            "ix_question_lane",
            ["lane", "rank", "id"],
            "lane IS NOT NULL AND status IN ('pending', 'deferred')",
        ),
    ):
        where = sa.text(condition)
        op.create_index(name, "question", columns, sqlite_where=where, postgresql_where=where)
    running = sa.text("lane IS NOT NULL AND status = 'asking'")
    op.create_index(
        "uq_question_running_lane",
        "question",
        ["lane"],
        unique=True,
        sqlite_where=running,
        postgresql_where=running,
    )
    op.create_index("question_once", "question", ["match_id", "kind"], unique=True)
    op.create_index("question_of_push", "question", ["push_id"], unique=False)


def downgrade() -> None:
    op.drop_table("question")
    op.drop_column("match", "ai_reason")
