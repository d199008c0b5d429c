"""Playbooks that were started, their occurrences, drafts, and whom they told what."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from shared.db.types import Id, Instant, Json

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "playbook_draft",
        sa.Column("campaign_id", Id, nullable=False),
        sa.Column("run_id", Id, nullable=False),
        sa.Column("day", Id, nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("set_id", Id, nullable=False),
        sa.Column("status", Id, nullable=False),
        sa.Column("reason", Id, nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("opens_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("campaign_id"),
    )
    op.create_index(
        "playbook_draft_of_occurrence", "playbook_draft", ["run_id", "day", "step", "part"], unique=True
    )
    op.create_index(
        "playbook_draft_writing",
        "playbook_draft",
        ["campaign_id"],
        unique=False,
        sqlite_where=sa.text("status = 'writing'"),
        postgresql_where=sa.text("status = 'writing'"),
    )
    op.create_table(
        "playbook_occurrence",
        sa.Column("run_id", Id, nullable=False),
        sa.Column("day", Id, nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("status", Id, nullable=False),
        sa.Column("reason", Id, nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("due_at", Instant(), nullable=False),
        sa.Column("opens_at", Instant(), nullable=False),
        sa.Column("closes_at", Instant(), nullable=False),
        sa.Column("groups", sa.Integer(), nullable=False),
        sa.Column("told_before", sa.Integer(), nullable=False),
        sa.Column("excluded", Json(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "day", "step"),
    )
    op.create_table(
        "playbook_run",
        sa.Column("id", Id, nullable=False),
        sa.Column("store_id", Id, nullable=False),
        sa.Column("playbook", Id, nullable=False),
        sa.Column("definition", Json(), nullable=False),
        sa.Column("parameters", Json(), nullable=False),
        sa.Column("zone", Id, nullable=False),
        sa.Column("start_day", Id, nullable=False),
        sa.Column("status", Id, nullable=False),
        sa.Column("started_by", Id, nullable=False),
        sa.Column("started_at", Instant(), nullable=False),
        sa.Column("stopped_by", Id, nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("ended_at", Instant(), nullable=True),
        sa.Column("next_day", Id, nullable=False),
        sa.Column("next_step", sa.Integer(), nullable=False),
        sa.Column("next_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("playbook_run_by_store", "playbook_run", ["store_id", "started_at", "id"], unique=False)
    op.create_index("playbook_run_by_time", "playbook_run", ["started_at", "id"], unique=False)
    op.create_index(
        "playbook_run_due",
        "playbook_run",
        ["next_at"],
        unique=False,
        sqlite_where=sa.text("status = 'active'"),
        postgresql_where=sa.text("status = 'active'"),
    )
    op.create_table(
        "playbook_told",
        sa.Column("run_id", Id, nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("chat_id", Id, nullable=False),
        sa.Column("day", Id, nullable=False),
        sa.Column("campaign_id", Id, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "step", "chat_id"),
    )


def downgrade() -> None:
    op.drop_table("playbook_told")
    op.drop_table("playbook_run")
    op.drop_table("playbook_occurrence")
    op.drop_table("playbook_draft")
