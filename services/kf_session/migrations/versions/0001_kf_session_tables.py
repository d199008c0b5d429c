"""kf_session's tables: accounts, sessions, the allowance, pushes, preferences."""

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
        "account",
        sa.Column("id", Id, nullable=False),
        sa.Column("store_id", Id, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("cursor", sa.Text(), nullable=False),
        sa.Column("synced_at", Instant(), nullable=True),
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
    op.create_index(
        "ix_account_deferred",
        "account",
        ["due_at", "id"],
        unique=False,
        sqlite_where=sa.text("status = 'deferred'"),
        postgresql_where=sa.text("status = 'deferred'"),
    )
    op.create_index(
        "ix_account_lane",
        "account",
        ["lane", "rank", "id"],
        unique=False,
        sqlite_where=sa.text("lane IS NOT NULL AND status IN ('pending', 'deferred')"),
        postgresql_where=sa.text("lane IS NOT NULL AND status IN ('pending', 'deferred')"),
    )
    op.create_index(
        "ix_account_ready",
        "account",
        ["rank", "id", "due_at"],
        unique=False,
        sqlite_where=sa.text("status = 'pending'"),
        postgresql_where=sa.text("status = 'pending'"),
    )
    op.create_index(
        "ix_account_running",
        "account",
        ["lease_until", "id"],
        unique=False,
        sqlite_where=sa.text("status = 'pulling'"),
        postgresql_where=sa.text("status = 'pulling'"),
    )
    op.create_index(
        "uq_account_running_lane",
        "account",
        ["lane"],
        unique=True,
        sqlite_where=sa.text("lane IS NOT NULL AND status = 'pulling'"),
        postgresql_where=sa.text("lane IS NOT NULL AND status = 'pulling'"),
    )
    op.create_table(
        "credit",
        sa.Column("open_kfid", Id, nullable=False),
        sa.Column("external_userid", Id, nullable=False),
        sa.Column("window_no", sa.BigInteger(), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("push_id", Id, nullable=False),
        sa.Column("reserved_at", Instant(), nullable=False),
        sa.Column("settled_at", Instant(), nullable=True),
        sa.Column("platform_at", Instant(), nullable=True),
        sa.Column("carried_at", Instant(), nullable=True),
        sa.CheckConstraint("slot BETWEEN 1 AND 5", name="credit_slot_of_five"),
        sa.PrimaryKeyConstraint("open_kfid", "external_userid", "window_no", "slot"),
    )
    op.create_index("credit_by_push", "credit", ["push_id"], unique=True)
    op.create_table(
        "doorbell",
        sa.Column("id", Id, nullable=False),
        sa.Column("open_kfid", Id, nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("rung_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("doorbell_by_account", "doorbell", ["open_kfid", "rung_at"], unique=False)
    op.create_table(
        "event_code",
        sa.Column("id", Id, nullable=False),
        sa.Column("open_kfid", Id, nullable=False),
        sa.Column("external_userid", Id, nullable=False),
        sa.Column("occasion", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("issued_at", Instant(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("event_code_by_age", "event_code", ["expires_at"], unique=False)
    op.create_index(
        "event_code_of_session", "event_code", ["open_kfid", "external_userid", "expires_at"], unique=False
    )
    op.create_table(
        "message",
        sa.Column("open_kfid", Id, nullable=False),
        sa.Column("msgid", Id, nullable=False),
        sa.Column("external_userid", Id, nullable=False),
        sa.Column("store_id", Id, nullable=False),
        sa.Column("origin", sa.Integer(), nullable=False),
        sa.Column("msgtype", sa.Text(), nullable=False),
        sa.Column("content", Json(), nullable=False),
        sa.Column("servicer_userid", sa.Text(), nullable=False),
        sa.Column("sent_at", Instant(), nullable=False),
        sa.Column("received_at", Instant(), nullable=False),
        sa.Column("recalled_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("open_kfid", "msgid"),
    )
    op.create_index("message_by_age", "message", ["received_at"], unique=False)
    op.create_index(
        "message_of_session", "message", ["open_kfid", "external_userid", "sent_at"], unique=False
    )
    op.create_table(
        "preference",
        sa.Column("store_id", Id, nullable=False),
        sa.Column("external_userid", Id, nullable=False),
        sa.Column("spec", Json(), nullable=False),
        sa.Column("unsubscribed_at", Instant(), nullable=True),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.Column("updated_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("store_id", "external_userid"),
    )
    op.create_table(
        "push",
        sa.Column("id", Id, nullable=False),
        sa.Column("store_id", Id, nullable=False),
        sa.Column("open_kfid", Id, nullable=False),
        sa.Column("external_userid", Id, nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("dedupe_key", Id, nullable=False),
        sa.Column("msgid", Id, nullable=False),
        sa.Column("content", Json(), nullable=False),
        sa.Column("score", sa.Float(), nullable=True),
        sa.Column("template_id", Id, nullable=True),
        sa.Column("template_version", sa.Integer(), nullable=True),
        sa.Column("variant", Id, nullable=True),
        sa.Column("code_id", Id, nullable=True),
        sa.Column("answer_to", Id, nullable=True),
        sa.Column("expires_at", Instant(), nullable=False),
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
        sa.Column("retries", sa.Integer(), nullable=False),
        sa.Column("refreshes", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("fail_type", sa.Integer(), nullable=True),
        sa.Column("merged_into", Id, nullable=True),
        sa.Column("accepted_at", Instant(), nullable=True),
        sa.Column("traceparent", sa.Text(), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "ix_push_deferred",
        "push",
        ["due_at", "id"],
        unique=False,
        sqlite_where=sa.text("status = 'deferred'"),
        postgresql_where=sa.text("status = 'deferred'"),
    )
    op.create_index(
        "ix_push_lane",
        "push",
        ["lane", "rank", "id"],
        unique=False,
        sqlite_where=sa.text("lane IS NOT NULL AND status IN ('pending', 'deferred')"),
        postgresql_where=sa.text("lane IS NOT NULL AND status IN ('pending', 'deferred')"),
    )
    op.create_index(
        "ix_push_ready",
        "push",
        ["rank", "id", "due_at"],
        unique=False,
        sqlite_where=sa.text("status = 'pending'"),
        postgresql_where=sa.text("status = 'pending'"),
    )
    op.create_index(
        "ix_push_running",
        "push",
        ["lease_until", "id"],
        unique=False,
        sqlite_where=sa.text("status = 'sending'"),
        postgresql_where=sa.text("status = 'sending'"),
    )
    op.create_index("push_by_code", "push", ["code_id"], unique=True)
    op.create_index("push_by_msgid", "push", ["open_kfid", "msgid"], unique=True)
    op.create_index("push_by_store", "push", ["store_id", "created_at"], unique=False)
    op.create_index("push_by_time", "push", ["created_at"], unique=False)
    op.create_index("push_of_session", "push", ["open_kfid", "external_userid", "created_at"], unique=False)
    op.create_index("push_once", "push", ["store_id", "dedupe_key"], unique=True)
    op.create_index(
        "uq_push_running_lane",
        "push",
        ["lane"],
        unique=True,
        sqlite_where=sa.text("lane IS NOT NULL AND status = 'sending'"),
        postgresql_where=sa.text("lane IS NOT NULL AND status = 'sending'"),
    )
    op.create_table(
        "push_attempt",
        sa.Column("push_id", Id, nullable=False),
        sa.Column("attempt_no", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("http_status", sa.Integer(), nullable=False),
        sa.Column("errcode", sa.Integer(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("started_at", Instant(), nullable=False),
        sa.Column("finished_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("push_id", "attempt_no"),
    )
    op.create_table(
        "push_item",
        sa.Column("push_id", Id, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("item_id", Id, nullable=False),
        sa.Column("line", sa.Text(), nullable=False),
        sa.Column("details", sa.Text(), nullable=False),
        sa.Column("score", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("push_id", "position"),
    )
    op.create_index("push_item_by_item", "push_item", ["item_id"], unique=False)
    op.create_table(
        "push_note",
        sa.Column("push_id", Id, nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("gate", sa.Text(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("facts", Json(), nullable=False),
        sa.Column("until", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("push_id", "seq"),
    )
    op.create_table(
        "session",
        sa.Column("open_kfid", Id, nullable=False),
        sa.Column("external_userid", Id, nullable=False),
        sa.Column("store_id", Id, nullable=False),
        sa.Column("state", sa.Integer(), nullable=False),
        sa.Column("servicer_userid", sa.Text(), nullable=False),
        sa.Column("state_at", Instant(), nullable=False),
        sa.Column("checked_at", Instant(), nullable=True),
        sa.Column("customer_at", Instant(), nullable=True),
        sa.Column("customer_msgid", Id, nullable=True),
        sa.Column("window_no", sa.BigInteger(), nullable=False),
        sa.Column("blocked_at", Instant(), nullable=True),
        sa.Column("scene", sa.Text(), nullable=False),
        sa.Column("scene_param", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("open_kfid", "external_userid"),
    )
    op.create_index("session_by_change", "session", ["updated_at"], unique=False)
    op.create_index("session_by_customer", "session", ["external_userid"], unique=False)
    op.create_index("session_by_store", "session", ["store_id", "updated_at"], unique=False)
    if op.get_bind().dialect.name == "postgresql":
        # As the notifier's deliveries: rows that change within seconds and then never again.
        for table in ("push", "push_attempt", "credit"):
            op.execute(
                f"ALTER TABLE {table} SET"
                " (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02)"
            )


def downgrade() -> None:
    op.drop_table("session")
    op.drop_table("push_note")
    op.drop_table("push_item")
    op.drop_table("push_attempt")
    op.drop_table("push")
    op.drop_table("preference")
    op.drop_table("message")
    op.drop_table("event_code")
    op.drop_table("doorbell")
    op.drop_table("credit")
    op.drop_table("account")
