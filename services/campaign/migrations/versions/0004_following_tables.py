"""What happens to tasks that exist: follow-ups, reminders, what groups have received."""

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
        "group_receipt",
        sa.Column("task_id", Id, nullable=False),
        sa.Column("chat_id", Id, nullable=False),
        sa.Column("store_id", Id, nullable=False),
        sa.Column("received", sa.Boolean(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("task_id", "chat_id"),
    )
    op.create_index("group_receipt_by_time", "group_receipt", ["at"], unique=False)
    op.create_index("group_receipt_of_group", "group_receipt", ["chat_id", "at"], unique=False)
    op.create_table(
        "task_follow",
        sa.Column("id", Id, nullable=False),
        sa.Column("run_id", Id, nullable=False),
        sa.Column("campaign_id", Id, nullable=False),
        sa.Column("store_id", Id, nullable=False),
        sa.Column("owner", Id, nullable=False),
        sa.Column("msgid", Id, nullable=False),
        sa.Column("made_at", Instant(), nullable=False),
        sa.Column("confirm_by", Instant(), nullable=False),
        sa.Column("stopping", sa.Boolean(), nullable=False),
        sa.Column("confirmed_at", Instant(), nullable=True),
        sa.Column("looks", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("looked_at", Instant(), nullable=True),
        sa.Column("errcode", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("ended_at", Instant(), nullable=True),
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
    _partial("ix_task_follow_deferred", ["due_at", "id"], "status = 'deferred'")
    _partial(
        "ix_task_follow_lane",
        ["lane", "rank", "id"],
        "lane IS NOT NULL AND status IN ('pending', 'deferred')",
    )
    _partial("ix_task_follow_ready", ["rank", "id", "due_at"], "status = 'pending'")
    _partial("ix_task_follow_running", ["lease_until", "id"], "status = 'looking'")
    op.create_index("task_follow_ended", "task_follow", ["ended_at"], unique=False)
    op.create_index("task_follow_of_campaign", "task_follow", ["campaign_id", "status"], unique=False)
    _partial("uq_task_follow_running_lane", ["lane"], "lane IS NOT NULL AND status = 'looking'", unique=True)
    op.create_table(
        "task_reminder",
        sa.Column("task_id", Id, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("campaign_id", Id, nullable=False),
        sa.Column("by", Id, nullable=False),
        sa.Column("asked_at", Instant(), nullable=False),
        sa.Column("began_at", Instant(), nullable=True),
        sa.Column("outcome", Id, nullable=False),
        sa.Column("errcode", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("finished_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("task_id", "number"),
    )
    op.create_index("task_reminder_by_time", "task_reminder", ["asked_at"], unique=False)
    op.create_index("task_reminder_of_campaign", "task_reminder", ["campaign_id", "asked_at"], unique=False)


def _partial(name: str, columns: list[str], condition: str, *, unique: bool = False) -> None:
    where = sa.text(condition)
    op.create_index(name, "task_follow", columns, unique=unique, sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    op.drop_table("task_reminder")
    op.drop_table("task_follow")
    op.drop_table("group_receipt")
