"""Campaigns: what is sent, who said so, and what came of it."""

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
        "approval",
        sa.Column("id", Id, nullable=False),
        sa.Column("campaign_id", Id, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("store_id", Id, nullable=False),
        sa.Column("content_hash", Id, nullable=False),
        sa.Column("approver", Id, nullable=False),
        sa.Column("token_id", Id, nullable=False),
        sa.Column("decision", Id, nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("login_at", Instant(), nullable=False),
        sa.Column("decided_at", Instant(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("approval_of_version", "approval", ["campaign_id", "version", "decided_at"], unique=False)
    op.create_table(
        "audience_snapshot",
        sa.Column("campaign_id", Id, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("set_hash", Id, nullable=False),
        sa.Column("content_hash", Id, nullable=False),
        sa.Column("included", sa.Integer(), nullable=False),
        sa.Column("excluded", sa.Integer(), nullable=False),
        sa.Column("taken_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("campaign_id", "version"),
    )
    op.create_table(
        "audience_target",
        sa.Column("campaign_id", Id, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("chat_id", Id, nullable=False),
        sa.Column("owner", Id, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("members", sa.Integer(), nullable=False),
        sa.Column("reason", Id, nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("campaign_id", "version", "chat_id"),
    )
    op.create_table(
        "campaign",
        sa.Column("id", Id, nullable=False),
        sa.Column("store_id", Id, nullable=False),
        sa.Column("status", Id, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("reason", Id, nullable=False),
        sa.Column("created_by", Id, nullable=False),
        sa.Column("schedule_at", Instant(), nullable=True),
        sa.Column("top_up_of", Id, nullable=True),
        sa.Column("playbook", Id, nullable=False),
        sa.Column("traceparent", sa.Text(), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.Column("started_at", Instant(), nullable=True),
        sa.Column("finished_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("campaign_by_store", "campaign", ["store_id", "created_at", "id"], unique=False)
    op.create_index("campaign_by_time", "campaign", ["created_at", "id"], unique=False)
    op.create_index(
        "campaign_scheduled",
        "campaign",
        ["schedule_at"],
        unique=False,
        sqlite_where=sa.text("status = 'scheduled'"),
        postgresql_where=sa.text("status = 'scheduled'"),
    )
    op.create_index(
        "campaign_under_way",
        "campaign",
        ["id"],
        unique=False,
        sqlite_where=sa.text("status IN ('running', 'paused', 'reconciling')"),
        postgresql_where=sa.text("status IN ('running', 'paused', 'reconciling')"),
    )
    op.create_table(
        "campaign_log",
        sa.Column("id", Id, nullable=False),
        sa.Column("campaign_id", Id, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("before", Id, nullable=False),
        sa.Column("after", Id, nullable=False),
        sa.Column("by", Id, nullable=False),
        sa.Column("reason", Id, nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("campaign_log_of_campaign", "campaign_log", ["campaign_id", "at", "id"], unique=False)
    op.create_table(
        "campaign_run",
        sa.Column("id", Id, nullable=False),
        sa.Column("campaign_id", Id, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("store_id", Id, nullable=False),
        sa.Column("dry", sa.Boolean(), nullable=False),
        sa.Column("content_hash", Id, nullable=False),
        sa.Column("started_by", Id, nullable=False),
        sa.Column("started_at", Instant(), nullable=False),
        sa.Column("finished_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("campaign_run_of_campaign", "campaign_run", ["campaign_id", "started_at"], unique=False)
    op.create_index(
        "campaign_run_once",
        "campaign_run",
        ["campaign_id", "version"],
        unique=True,
        sqlite_where=sa.text("NOT dry"),
        postgresql_where=sa.text("NOT dry"),
    )
    op.create_table(
        "campaign_target",
        sa.Column("run_id", Id, nullable=False),
        sa.Column("chat_id", Id, nullable=False),
        sa.Column("campaign_id", Id, nullable=False),
        sa.Column("task_id", Id, nullable=False),
        sa.Column("owner", Id, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("status", Id, nullable=False),
        sa.Column("raw_status", sa.Integer(), nullable=True),
        sa.Column("reason", Id, nullable=False),
        sa.Column("errcode", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("sent_at", Instant(), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "chat_id"),
    )
    op.create_index("campaign_target_by_status", "campaign_target", ["run_id", "status"], unique=False)
    op.create_index("campaign_target_of_group", "campaign_target", ["chat_id", "created_at"], unique=False)
    op.create_index("campaign_target_of_task", "campaign_target", ["task_id", "chat_id"], unique=False)
    op.create_table(
        "campaign_version",
        sa.Column("campaign_id", Id, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("spec", Json(), nullable=False),
        sa.Column("editor", Id, nullable=False),
        sa.Column("how", Id, nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("campaign_id", "version"),
    )
    op.create_table(
        "owner_task",
        sa.Column("id", Id, nullable=False),
        sa.Column("run_id", Id, nullable=False),
        sa.Column("campaign_id", Id, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("store_id", Id, nullable=False),
        sa.Column("dry", sa.Boolean(), nullable=False),
        sa.Column("owner", Id, nullable=False),
        sa.Column("chunk", sa.Integer(), nullable=False),
        sa.Column("group_count", sa.Integer(), nullable=False),
        sa.Column("canary", sa.Boolean(), nullable=False),
        sa.Column("msgid", Id, nullable=False),
        sa.Column("reason", Id, nullable=False),
        sa.Column("errcode", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.Column("made_at", Instant(), nullable=True),
        sa.Column("retries", sa.Integer(), nullable=False),
        sa.Column("renewals", sa.Integer(), nullable=False),
        sa.Column("looks", sa.Integer(), nullable=False),
        sa.Column("unclear_at", Instant(), nullable=True),
        sa.Column("take_first", sa.Boolean(), nullable=False),
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
    op.create_index(
        "ix_owner_task_deferred",
        "owner_task",
        ["due_at", "id"],
        unique=False,
        sqlite_where=sa.text("status = 'deferred'"),
        postgresql_where=sa.text("status = 'deferred'"),
    )
    op.create_index(
        "ix_owner_task_lane",
        "owner_task",
        ["lane", "rank", "id"],
        unique=False,
        sqlite_where=sa.text("lane IS NOT NULL AND status IN ('pending', 'deferred')"),
        postgresql_where=sa.text("lane IS NOT NULL AND status IN ('pending', 'deferred')"),
    )
    op.create_index(
        "ix_owner_task_ready",
        "owner_task",
        ["rank", "id", "due_at"],
        unique=False,
        sqlite_where=sa.text("status = 'pending'"),
        postgresql_where=sa.text("status = 'pending'"),
    )
    op.create_index(
        "ix_owner_task_running",
        "owner_task",
        ["lease_until", "id"],
        unique=False,
        sqlite_where=sa.text("status = 'creating'"),
        postgresql_where=sa.text("status = 'creating'"),
    )
    op.create_index(
        "owner_task_msgid",
        "owner_task",
        ["msgid"],
        unique=True,
        sqlite_where=sa.text("msgid <> ''"),
        postgresql_where=sa.text("msgid <> ''"),
    )
    op.create_index("owner_task_of_campaign", "owner_task", ["campaign_id", "status"], unique=False)
    op.create_index("owner_task_of_run", "owner_task", ["run_id", "status", "updated_at"], unique=False)
    op.create_index("owner_task_once", "owner_task", ["run_id", "owner", "chunk"], unique=True)
    op.create_index(
        "owner_task_unknown",
        "owner_task",
        ["lane"],
        unique=False,
        sqlite_where=sa.text("status = 'unknown'"),
        postgresql_where=sa.text("status = 'unknown'"),
    )
    op.create_index(
        "uq_owner_task_running_lane",
        "owner_task",
        ["lane"],
        unique=True,
        sqlite_where=sa.text("lane IS NOT NULL AND status = 'creating'"),
        postgresql_where=sa.text("lane IS NOT NULL AND status = 'creating'"),
    )
    op.create_table(
        "task_attempt",
        sa.Column("task_id", Id, nullable=False),
        sa.Column("attempt_no", sa.Integer(), nullable=False),
        sa.Column("outcome", Id, nullable=False),
        sa.Column("errcode", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("trace_id", sa.Text(), nullable=False),
        sa.Column("started_at", Instant(), nullable=False),
        sa.Column("finished_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("task_id", "attempt_no"),
    )


def downgrade() -> None:
    op.drop_table("approval")
    op.drop_table("audience_snapshot")
    op.drop_table("audience_target")
    op.drop_table("campaign")
    op.drop_table("campaign_log")
    op.drop_table("campaign_run")
    op.drop_table("campaign_target")
    op.drop_table("campaign_version")
    op.drop_table("owner_task")
    op.drop_table("task_attempt")
