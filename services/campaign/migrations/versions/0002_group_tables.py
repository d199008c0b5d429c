"""Groups of customers, the ways into them, and what is known of both."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from shared.db.types import Id, Instant, Json

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "customer_group",
        sa.Column("chat_id", Id, nullable=False),
        sa.Column("store_id", Id, nullable=False),
        sa.Column("owner", Id, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("status", Id, nullable=False),
        sa.Column("gone_reason", Id, nullable=False),
        sa.Column("gone_at", Instant(), nullable=True),
        sa.Column("member_count", sa.Integer(), nullable=False),
        sa.Column("customer_count", sa.Integer(), nullable=False),
        sa.Column("created_at", Instant(), nullable=True),
        sa.Column("last_joined_at", Instant(), nullable=True),
        sa.Column("last_changed_at", Instant(), nullable=True),
        sa.Column("first_seen_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.Column("read_at", Instant(), nullable=True),
        sa.Column("read_due_at", Instant(), nullable=True),
        sa.Column("read_rank", sa.Integer(), nullable=False),
        sa.Column("read_attempts", sa.Integer(), nullable=False),
        sa.Column("read_error", Id, nullable=False),
        sa.Column("read_errcode", sa.Integer(), nullable=True),
        sa.Column("hinted_at", Instant(), nullable=True),
        sa.Column("sync_id", Id, nullable=False),
        sa.Column("seen_in", Id, nullable=False),
        sa.Column("counted_in", Id, nullable=False),
        sa.PrimaryKeyConstraint("chat_id"),
    )
    op.create_index("customer_group_by_owner", "customer_group", ["owner", "store_id"], unique=False)
    op.create_index("customer_group_by_store", "customer_group", ["store_id", "chat_id"], unique=False)
    op.create_index(
        "customer_group_due",
        "customer_group",
        ["read_rank", "read_due_at"],
        unique=False,
        sqlite_where=sa.text("read_due_at IS NOT NULL"),
        postgresql_where=sa.text("read_due_at IS NOT NULL"),
    )
    op.create_index(
        "customer_group_owed",
        "customer_group",
        ["sync_id"],
        unique=False,
        sqlite_where=sa.text("sync_id <> ''"),
        postgresql_where=sa.text("sync_id <> ''"),
    )
    op.create_table(
        "group_change",
        sa.Column("id", Id, nullable=False),
        sa.Column("chat_id", Id, nullable=False),
        sa.Column("kind", Id, nullable=False),
        sa.Column("before", sa.Text(), nullable=False),
        sa.Column("after", sa.Text(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("group_change_by_time", "group_change", ["at"], unique=False)
    op.create_index("group_change_of_group", "group_change", ["chat_id", "at", "id"], unique=False)
    op.create_table(
        "group_day",
        sa.Column("chat_id", Id, nullable=False),
        sa.Column("day", Id, nullable=False),
        sa.Column("joined", sa.Integer(), nullable=False),
        sa.Column("left", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("chat_id", "day"),
    )
    op.create_index("group_day_by_day", "group_day", ["day"], unique=False)
    op.create_table(
        "group_join",
        sa.Column("chat_id", Id, nullable=False),
        sa.Column("member", Id, nullable=False),
        sa.Column("joined_at", Instant(), nullable=False),
        sa.Column("state", Id, nullable=False),
        sa.Column("left_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("chat_id", "member", "joined_at"),
    )
    op.create_index("group_join_by_state", "group_join", ["state", "joined_at"], unique=False)
    op.create_table(
        "group_label",
        sa.Column("chat_id", Id, nullable=False),
        sa.Column("label", Id, nullable=False),
        sa.Column("by", Id, nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("chat_id", "label"),
    )
    op.create_index("group_label_by_label", "group_label", ["label", "chat_id"], unique=False)
    op.create_table(
        "group_members",
        sa.Column("chat_id", Id, nullable=False),
        sa.Column("members", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("chat_id"),
    )
    op.create_table(
        "group_sync",
        sa.Column("id", Id, nullable=False),
        sa.Column("status", Id, nullable=False),
        sa.Column("phase", Id, nullable=False),
        sa.Column("whole", sa.Boolean(), nullable=False),
        sa.Column("started_by", Id, nullable=False),
        sa.Column("cursor", sa.Text(), nullable=False),
        sa.Column("pages", sa.Integer(), nullable=False),
        sa.Column("listed", sa.Integer(), nullable=False),
        sa.Column("added", sa.Integer(), nullable=False),
        sa.Column("changed", sa.Integer(), nullable=False),
        sa.Column("gone", sa.Integer(), nullable=False),
        sa.Column("read", sa.Integer(), nullable=False),
        sa.Column("denied", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("faults", sa.Integer(), nullable=False),
        sa.Column("resume_at", Instant(), nullable=True),
        sa.Column("errcode", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("started_at", Instant(), nullable=False),
        sa.Column("listed_at", Instant(), nullable=True),
        sa.Column("finished_at", Instant(), nullable=True),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("group_sync_by_time", "group_sync", ["started_at", "id"], unique=False)
    op.create_index(
        "group_sync_one",
        "group_sync",
        ["status"],
        unique=True,
        sqlite_where=sa.text("status = 'running'"),
        postgresql_where=sa.text("status = 'running'"),
    )
    op.create_table(
        "join_way",
        sa.Column("id", Id, nullable=False),
        sa.Column("store_id", Id, nullable=False),
        sa.Column("status", Id, nullable=False),
        sa.Column("config_id", Id, nullable=True),
        sa.Column("spec", Json(), nullable=False),
        sa.Column("state", Id, nullable=False),
        sa.Column("open_state", Id, nullable=True),
        sa.Column("qr_code", sa.Text(), nullable=False),
        sa.Column("drift", Json(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("errcode", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("created_by", Id, nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.Column("asked_at", Instant(), nullable=True),
        sa.Column("checked_at", Instant(), nullable=True),
        sa.Column("check_due_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("join_way_by_store", "join_way", ["store_id", "created_at", "id"], unique=False)
    op.create_index("join_way_config", "join_way", ["config_id"], unique=True)
    op.create_index(
        "join_way_due",
        "join_way",
        ["check_due_at"],
        unique=False,
        sqlite_where=sa.text("check_due_at IS NOT NULL"),
        postgresql_where=sa.text("check_due_at IS NOT NULL"),
    )
    op.create_index("join_way_state_once", "join_way", ["store_id", "open_state"], unique=True)


def downgrade() -> None:
    op.drop_table("customer_group")
    op.drop_table("group_change")
    op.drop_table("group_day")
    op.drop_table("group_join")
    op.drop_table("group_label")
    op.drop_table("group_members")
    op.drop_table("group_sync")
    op.drop_table("join_way")
