"""The notifier's tables."""

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
        sa.Column("delivery_id", Id, nullable=False),
        sa.Column("attempt_no", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("http_status", sa.Integer(), nullable=False),
        sa.Column("errcode", sa.Integer(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("vendor_msgid", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("started_at", Instant(), nullable=False),
        sa.Column("finished_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("delivery_id", "attempt_no"),
    )
    op.create_table(
        "delivery",
        sa.Column("id", Id, nullable=False),
        sa.Column("store_id", Id, nullable=False),
        sa.Column("event_id", Id, nullable=False),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("rule_id", Id, nullable=False),
        sa.Column("rule_version", sa.Integer(), nullable=False),
        sa.Column("channel", Id, nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("content", Json(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("rank", Instant(), nullable=False),
        sa.Column("due_at", Instant(), nullable=False),
        sa.Column("hold_reason", sa.String(), nullable=True),
        sa.Column("attempt_no", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("lease_owner", sa.String(), nullable=True),
        sa.Column("lease_epoch", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("lease_until", Instant(), nullable=True),
        sa.Column("lane", Id, nullable=True),
        sa.Column("retries", sa.Integer(), nullable=False),
        sa.Column("refreshes", sa.Integer(), nullable=False),
        sa.Column("resend_mark", sa.Boolean(), nullable=False),
        sa.Column("unclear_since", Instant(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("traceparent", sa.Text(), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("delivery_by_change", "delivery", ["updated_at"], postgresql_using="brin")
    op.create_index("delivery_by_event", "delivery", ["event_id", "store_id"])
    op.create_index("delivery_by_store", "delivery", ["store_id", "created_at"])
    op.create_index("delivery_by_time", "delivery", ["created_at"])
    op.create_index(
        "delivery_unknown",
        "delivery",
        ["id"],
        sqlite_where=sa.text("status = 'unknown'"),
        postgresql_where=sa.text("status = 'unknown'"),
    )
    op.create_index(
        "ix_delivery_deferred",
        "delivery",
        ["due_at", "id"],
        sqlite_where=sa.text("status = 'deferred'"),
        postgresql_where=sa.text("status = 'deferred'"),
    )
    op.create_index(
        "ix_delivery_lane",
        "delivery",
        ["lane", "rank", "id"],
        sqlite_where=sa.text("lane IS NOT NULL AND status IN ('pending', 'deferred')"),
        postgresql_where=sa.text("lane IS NOT NULL AND status IN ('pending', 'deferred')"),
    )
    op.create_index(
        "ix_delivery_ready",
        "delivery",
        ["rank", "id", "due_at"],
        sqlite_where=sa.text("status = 'pending'"),
        postgresql_where=sa.text("status = 'pending'"),
    )
    op.create_index(
        "ix_delivery_running",
        "delivery",
        ["lease_until", "id"],
        sqlite_where=sa.text("status = 'sending'"),
        postgresql_where=sa.text("status = 'sending'"),
    )
    op.create_index(
        "uq_delivery_running_lane",
        "delivery",
        ["lane"],
        unique=True,
        sqlite_where=sa.text("lane IS NOT NULL AND status = 'sending'"),
        postgresql_where=sa.text("lane IS NOT NULL AND status = 'sending'"),
    )
    op.create_table(
        "recipient",
        sa.Column("event_id", Id, nullable=False),
        sa.Column("store_id", Id, nullable=False),
        sa.Column("channel", Id, nullable=False),
        sa.Column("kind", Id, nullable=False),
        sa.Column("target", Id, nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("delivery_id", Id, nullable=False),
        sa.Column("role", Id, nullable=False),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("event_id", "store_id", "channel", "kind", "target", "part"),
    )
    op.create_index("recipient_by_delivery", "recipient", ["delivery_id"])
    op.create_index("recipient_by_target", "recipient", ["kind", "target", "delivery_id"])
    op.create_table(
        "role_binding",
        sa.Column("store_id", Id, nullable=False),
        sa.Column("role", Id, nullable=False),
        sa.Column("targets", Json(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.Column("updated_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("store_id", "role"),
    )
    op.create_table(
        "rule",
        sa.Column("rule_id", Id, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("before", sa.Integer(), nullable=False),
        sa.Column("latest", sa.Integer(), nullable=False),
        sa.Column("preset", sa.Boolean(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("rule_id"),
    )
    op.create_table(
        "rule_version",
        sa.Column("rule_id", Id, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("spec", Json(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("rule_id", "version"),
    )
    op.create_table(
        "rule_switch",
        sa.Column("rule_id", Id, nullable=False),
        sa.Column("store_id", Id, nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("disabled_until", Instant(), nullable=True),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.Column("updated_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("rule_id", "store_id"),
    )
    op.create_table(
        "rulebook",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.bulk_insert(
        sa.table("rulebook", sa.column("id", sa.Integer), sa.column("version", sa.Integer)),
        [{"id": 1, "version": 1}],
    )


def downgrade() -> None:
    op.drop_table("rulebook")
    op.drop_table("rule_switch")
    op.drop_table("rule_version")
    op.drop_table("rule")
    op.drop_table("role_binding")
    op.drop_table("recipient")
    op.drop_table("delivery")
    op.drop_table("attempt")
