"""What is known: stores, members, assistants, visits, notes and tasks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from shared.db.types import Id, Instant, Json

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "assistant",
        sa.Column("store_id", Id, nullable=False),
        sa.Column("assistant_id", Id, nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("level", sa.Text(), nullable=True),
        sa.Column("skills", sa.Text(), nullable=True),
        sa.Column("joined_on", sa.Text(), nullable=True),
        sa.Column("name_at", Instant(), nullable=True),
        sa.Column("level_at", Instant(), nullable=True),
        sa.Column("skills_at", Instant(), nullable=True),
        sa.Column("joined_on_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("store_id", "assistant_id"),
    )
    op.create_table(
        "member",
        sa.Column("store_id", Id, nullable=False),
        sa.Column("member_id", Id, nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("level", sa.Text(), nullable=True),
        sa.Column("points", sa.Float(), nullable=True),
        sa.Column("joined_on", sa.Text(), nullable=True),
        sa.Column("name_at", Instant(), nullable=True),
        sa.Column("level_at", Instant(), nullable=True),
        sa.Column("points_at", Instant(), nullable=True),
        sa.Column("joined_on_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("store_id", "member_id"),
    )
    op.create_table(
        "note",
        sa.Column("store_id", Id, nullable=False),
        sa.Column("note_id", Id, nullable=False),
        sa.Column("member_id", Id, nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("noted_by", sa.Text(), nullable=False),
        sa.Column("noted_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("store_id", "note_id"),
    )
    op.create_index("note_of_member", "note", ["store_id", "member_id", "noted_at"], unique=False)
    op.create_table(
        "store_profile",
        sa.Column("store_id", Id, nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("zone", sa.Text(), nullable=True),
        sa.Column("areas", Json(), nullable=True),
        sa.Column("time_dimensions", Json(), nullable=True),
        sa.Column("active", sa.Boolean(), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("store_id"),
    )
    op.create_table(
        "task",
        sa.Column("store_id", Id, nullable=False),
        sa.Column("task_id", Id, nullable=False),
        sa.Column("member_id", Id, nullable=False),
        sa.Column("assistant_id", Id, nullable=False),
        sa.Column("assigned_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("store_id", "task_id"),
    )
    op.create_index("task_of_member", "task", ["store_id", "member_id", "assigned_at"], unique=False)
    op.create_table(
        "visit",
        sa.Column("store_id", Id, nullable=False),
        sa.Column("visit_id", Id, nullable=False),
        sa.Column("member_id", Id, nullable=True),
        sa.Column("assistant_id", Id, nullable=True),
        sa.Column("cents", sa.BigInteger(), nullable=False),
        sa.Column("area", sa.Text(), nullable=True),
        sa.Column("area_folded", Id, nullable=False),
        sa.Column("seconds", sa.BigInteger(), nullable=True),
        sa.Column("settled_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("store_id", "visit_id"),
    )
    op.create_index("visit_by_time", "visit", ["store_id", "settled_at"], unique=False)
    op.create_index("visit_of_assistant", "visit", ["store_id", "assistant_id", "settled_at"], unique=False)
    op.create_index("visit_of_member", "visit", ["store_id", "member_id", "settled_at"], unique=False)
    op.create_table(
        "visit_item",
        sa.Column("store_id", Id, nullable=False),
        sa.Column("visit_id", Id, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", Id, nullable=False),
        sa.Column("thousandths", sa.BigInteger(), nullable=False),
        sa.Column("cents", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("store_id", "visit_id", "position"),
    )


def downgrade() -> None:
    op.drop_table("visit_item")
    op.drop_index("visit_of_member", table_name="visit")
    op.drop_index("visit_of_assistant", table_name="visit")
    op.drop_index("visit_by_time", table_name="visit")
    op.drop_table("visit")
    op.drop_index("task_of_member", table_name="task")
    op.drop_table("task")
    op.drop_table("store_profile")
    op.drop_index("note_of_member", table_name="note")
    op.drop_table("note")
    op.drop_table("member")
    op.drop_table("assistant")
