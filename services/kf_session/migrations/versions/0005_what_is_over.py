"""Indexes by which retention finds what is over."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "match_by_withdrawal",
        "match",
        ["withdrawn_at"],
        sqlite_where=sa.text("withdrawn_at IS NOT NULL"),
        postgresql_where=sa.text("withdrawn_at IS NOT NULL"),
    )
    op.create_index(
        "intent_by_deletion",
        "intent",
        ["deleted_at"],
        sqlite_where=sa.text("deleted_at IS NOT NULL AND external_userid <> ''"),
        postgresql_where=sa.text("deleted_at IS NOT NULL AND external_userid <> ''"),
    )


def downgrade() -> None:
    op.drop_index("intent_by_deletion", table_name="intent")
    op.drop_index("match_by_withdrawal", table_name="match")
