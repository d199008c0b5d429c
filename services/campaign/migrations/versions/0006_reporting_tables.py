"""What reports and top-ups need: what dry runs left out, groups handed on, and the ways to a run's groups."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from shared.db.types import Id

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "run_left_out",
        sa.Column("run_id", Id, nullable=False),
        sa.Column("chat_id", Id, nullable=False),
        sa.Column("owner", Id, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("reason", Id, nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "chat_id"),
    )
    op.create_index("run_left_out_of_group", "run_left_out", ["chat_id"], unique=False)
    op.create_index("audience_target_of_group", "audience_target", ["chat_id", "campaign_id"], unique=False)
    op.create_table(
        "top_up_group",
        sa.Column("parent_id", Id, nullable=False),
        sa.Column("chat_id", Id, nullable=False),
        sa.Column("campaign_id", Id, nullable=False),
        sa.PrimaryKeyConstraint("parent_id", "chat_id"),
    )
    op.create_index("top_up_group_of_campaign", "top_up_group", ["campaign_id"], unique=False)
    op.create_index(
        "campaign_of_parent",
        "campaign",
        ["top_up_of", "created_at"],
        unique=False,
        sqlite_where=sa.text("top_up_of IS NOT NULL"),
        postgresql_where=sa.text("top_up_of IS NOT NULL"),
    )
    op.create_index(
        "campaign_target_by_outcome", "campaign_target", ["run_id", "status", "chat_id"], unique=False
    )
    op.create_index(
        "campaign_target_of_owner", "campaign_target", ["run_id", "owner", "chat_id"], unique=False
    )
    # The first of these begins with what it is of.
    op.drop_index("campaign_target_by_status", table_name="campaign_target")


def downgrade() -> None:
    op.create_index("campaign_target_by_status", "campaign_target", ["run_id", "status"], unique=False)
    op.drop_index("campaign_target_of_owner", table_name="campaign_target")
    op.drop_index("campaign_target_by_outcome", table_name="campaign_target")
    op.drop_index("campaign_of_parent", table_name="campaign")
    op.drop_index("audience_target_of_group", table_name="audience_target")
    op.drop_table("top_up_group")
    op.drop_table("run_left_out")
