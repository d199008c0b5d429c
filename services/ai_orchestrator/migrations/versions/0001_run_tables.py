"""ai_orchestrator's runs: definitions, runs, steps, attempts."""

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
        "attempt",
        sa.Column("id", Id, nullable=False),
        sa.Column("step_id", Id, nullable=False),
        sa.Column("run_id", Id, nullable=False),
        sa.Column("store_id", Id, nullable=False),
        sa.Column("app_type", Id, nullable=False),
        sa.Column("member_id", Id, nullable=False),
        sa.Column("assistant_id", Id, nullable=False),
        sa.Column("time_dimension", Id, nullable=False),
        sa.Column("area", Id, nullable=False),
        sa.Column("attempt_no", sa.Integer(), nullable=False),
        sa.Column("interactive", sa.Boolean(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("http_status", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("prompt", sa.Text(), nullable=False),
        sa.Column("response", sa.Text(), nullable=False),
        sa.Column("prompt_bytes", sa.Integer(), nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("charged_tokens", sa.BigInteger(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("finish_reason", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("trace_id", sa.Text(), nullable=False),
        sa.Column("until", Instant(), nullable=False),
        sa.Column("started_at", Instant(), nullable=False),
        sa.Column("finished_at", Instant(), nullable=True),
        sa.Column("took_ms", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("attempt_by_store", "attempt", ["store_id", "started_at"], unique=False)
    op.create_index("attempt_by_time", "attempt", ["started_at", "id"], unique=False)
    op.create_index("attempt_of_app", "attempt", ["app_type", "started_at"], unique=False)
    op.create_index("attempt_of_run", "attempt", ["run_id", "started_at"], unique=False)
    op.create_index("attempt_of_step", "attempt", ["step_id", "attempt_no"], unique=True)
    op.create_index(
        "attempt_under_way",
        "attempt",
        ["until"],
        unique=False,
        sqlite_where=sa.text("status = 'calling'"),
        postgresql_where=sa.text("status = 'calling'"),
    )
    op.create_table(
        "chain_run",
        sa.Column("id", Id, nullable=False),
        sa.Column("store_id", Id, nullable=False),
        sa.Column("chain", Id, nullable=False),
        sa.Column("chain_version", Id, nullable=False),
        sa.Column("event_type", Id, nullable=False),
        sa.Column("event_id", Id, nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("connector", sa.Text(), nullable=False),
        sa.Column("member_id", Id, nullable=False),
        sa.Column("assistant_id", Id, nullable=False),
        sa.Column("day", Id, nullable=False),
        sa.Column("dedup_key", Id, nullable=True),
        sa.Column("awaiting", Id, nullable=True),
        sa.Column("follows", Id, nullable=True),
        sa.Column("rerun_of", Id, nullable=True),
        sa.Column("prewarm", sa.Boolean(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("traceparent", sa.Text(), nullable=True),
        sa.Column("deadline_at", Instant(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("started_at", Instant(), nullable=True),
        sa.Column("finished_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("chain_run_awaiting", "chain_run", ["store_id", "awaiting"], unique=True)
    op.create_index("chain_run_by_store", "chain_run", ["store_id", "created_at"], unique=False)
    op.create_index("chain_run_by_time", "chain_run", ["created_at", "id"], unique=False)
    op.create_index("chain_run_of_member", "chain_run", ["store_id", "member_id", "created_at"], unique=False)
    op.create_index("chain_run_once", "chain_run", ["store_id", "dedup_key"], unique=True)
    op.create_index(
        "chain_run_open",
        "chain_run",
        ["deadline_at"],
        unique=False,
        sqlite_where=sa.text("status IN ('pending', 'running')"),
        postgresql_where=sa.text("status IN ('pending', 'running')"),
    )
    op.create_table(
        "definition",
        sa.Column("kind", Id, nullable=False),
        sa.Column("name", Id, nullable=False),
        sa.Column("version", Id, nullable=False),
        sa.Column("spec", Json(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "name", "version"),
    )
    op.create_table(
        "run_event",
        sa.Column("run_id", Id, nullable=False),
        sa.Column("content_hash", Id, nullable=False),
        sa.Column("event_id", Id, nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "content_hash"),
    )
    op.create_index("run_event_by_event", "run_event", ["event_id"], unique=False)
    op.create_table(
        "step_run",
        sa.Column("id", Id, nullable=False),
        sa.Column("run_id", Id, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("store_id", Id, nullable=False),
        sa.Column("name", Id, nullable=False),
        sa.Column("app_type", Id, nullable=False),
        sa.Column("app_version", Id, nullable=False),
        sa.Column("member_id", Id, nullable=False),
        sa.Column("assistant_id", Id, nullable=False),
        sa.Column("time_dimension", Id, nullable=False),
        sa.Column("area", Id, nullable=False),
        sa.Column("arguments", Json(), nullable=False),
        sa.Column("after", Json(), nullable=False),
        sa.Column("refresh", sa.Boolean(), nullable=False),
        sa.Column("patient", sa.Boolean(), nullable=False),
        sa.Column("result", Json(), nullable=True),
        sa.Column("missing", Json(), nullable=False),
        sa.Column("refusals", Json(), nullable=False),
        sa.Column("correction", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("asked_at", Instant(), nullable=True),
        sa.Column("started_at", Instant(), nullable=True),
        sa.Column("finished_at", Instant(), nullable=True),
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
        "ix_step_run_deferred",
        "step_run",
        ["due_at", "id"],
        unique=False,
        sqlite_where=sa.text("status = 'deferred'"),
        postgresql_where=sa.text("status = 'deferred'"),
    )
    op.create_index(
        "ix_step_run_lane",
        "step_run",
        ["lane", "rank", "id"],
        unique=False,
        sqlite_where=sa.text("lane IS NOT NULL AND status IN ('pending', 'deferred')"),
        postgresql_where=sa.text("lane IS NOT NULL AND status IN ('pending', 'deferred')"),
    )
    op.create_index(
        "ix_step_run_ready",
        "step_run",
        ["rank", "id", "due_at"],
        unique=False,
        sqlite_where=sa.text("status = 'pending'"),
        postgresql_where=sa.text("status = 'pending'"),
    )
    op.create_index(
        "ix_step_run_running",
        "step_run",
        ["lease_until", "id"],
        unique=False,
        sqlite_where=sa.text("status = 'running'"),
        postgresql_where=sa.text("status = 'running'"),
    )
    op.create_index(
        "step_run_front",
        "step_run",
        ["priority", "rank"],
        unique=False,
        sqlite_where=sa.text("status = 'pending'"),
        postgresql_where=sa.text("status = 'pending'"),
    )
    op.create_index("step_run_of_run", "step_run", ["run_id", "position"], unique=True)
    op.create_index(
        "step_run_of_store",
        "step_run",
        ["store_id", "priority", "rank"],
        unique=False,
        sqlite_where=sa.text("status IN ('pending', 'deferred')"),
        postgresql_where=sa.text("status IN ('pending', 'deferred')"),
    )
    op.create_index(
        "uq_step_run_running_lane",
        "step_run",
        ["lane"],
        unique=True,
        sqlite_where=sa.text("lane IS NOT NULL AND status = 'running'"),
        postgresql_where=sa.text("lane IS NOT NULL AND status = 'running'"),
    )


def downgrade() -> None:
    op.drop_table("attempt")
    op.drop_table("step_run")
    op.drop_table("run_event")
    op.drop_table("chain_run")
    op.drop_table("definition")
