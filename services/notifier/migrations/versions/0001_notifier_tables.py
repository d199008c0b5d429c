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
        sa.Column("member", sa.Text(), nullable=True),
        sa.Column("started_at", Instant(), nullable=False),
        sa.Column("finished_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("delivery_id", "attempt_no"),
    )
    op.create_table(
        "breaker",
        sa.Column("key", Id, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("since", Instant(), nullable=True),
        sa.Column("failed_at", Instant(), nullable=True),
        sa.Column("opening", sa.Integer(), nullable=False),
        sa.Column("failed_probes", sa.Integer(), nullable=False),
        sa.Column("opened_at", Instant(), nullable=True),
        sa.Column("retry_at", Instant(), nullable=True),
        sa.Column("probe", Id, nullable=False),
        sa.Column("probe_until", Instant(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("errcode", sa.Integer(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("store_id", Id, nullable=False),
        sa.Column("alert", sa.Text(), nullable=False),
        sa.Column("alerted_at", Instant(), nullable=True),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.Column("updated_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
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
        sa.Column("go_at", Instant(), nullable=False),
        sa.Column("clicked_at", Instant(), nullable=True),
        sa.Column("acknowledged_at", Instant(), nullable=True),
        sa.Column("acknowledged_by", sa.Text(), nullable=True),
        sa.Column("fallback_of", Id, nullable=True),
        sa.Column("fallback_step", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("delivery_by_change", "delivery", ["updated_at"], postgresql_using="brin")
    op.create_index("delivery_by_event", "delivery", ["event_id", "store_id"])
    op.create_index("delivery_by_store", "delivery", ["store_id", "created_at"])
    op.create_index("delivery_by_time", "delivery", ["created_at"])
    op.create_index(
        "delivery_not_well",
        "delivery",
        ["status", "created_at"],
        sqlite_where=sa.text("status IN ('cancelled', 'expired', 'failed', 'suppressed', 'unknown')"),
        postgresql_where=sa.text("status IN ('cancelled', 'expired', 'failed', 'suppressed', 'unknown')"),
    )
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
        "policy",
        sa.Column("store_id", Id, nullable=False),
        sa.Column("subject", Id, nullable=False),
        sa.Column("spec", Json(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.Column("updated_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("store_id", "subject"),
    )
    op.create_table(
        "bin",
        sa.Column("key", Id, nullable=False),
        sa.Column("delivery_id", Id, nullable=True),
        sa.Column("free_at", Instant(), nullable=True),
        sa.Column("cool_seconds", sa.Float(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_index(
        "bin_by_delivery",
        "bin",
        ["delivery_id"],
        sqlite_where=sa.text("delivery_id IS NOT NULL"),
        postgresql_where=sa.text("delivery_id IS NOT NULL"),
    )
    op.create_index("bin_by_age", "bin", ["updated_at"])
    op.create_table(
        "bin_item",
        sa.Column("delivery_id", Id, nullable=False),
        sa.Column("store_id", Id, nullable=False),
        sa.Column("event_id", Id, nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("line", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("delivery_id", "store_id", "event_id"),
    )
    op.create_index("bin_item_in_order", "bin_item", ["delivery_id", "at", "event_id"])
    op.create_index("bin_item_by_event", "bin_item", ["event_id", "store_id"])
    op.create_table(
        "card",
        sa.Column("id", Id, nullable=False),
        sa.Column("store_id", Id, nullable=False),
        sa.Column("event_id", Id, nullable=False),
        sa.Column("rule_id", Id, nullable=False),
        sa.Column("channel", Id, nullable=False),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("code_at", Instant(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("updated_at", Instant(), nullable=False),
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
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("card_by_event", "card", ["event_id", "store_id", "rule_id"])
    for name, columns, condition in (
        ("ix_card_deferred", ["due_at", "id"], "status = 'deferred'"),
        ("ix_card_lane", ["lane", "rank", "id"], "lane IS NOT NULL AND status IN ('pending', 'deferred')"),
        ("ix_card_ready", ["rank", "id", "due_at"], "status = 'pending'"),
        ("ix_card_running", ["lease_until", "id"], "status = 'updating'"),
        ("uq_card_running_lane", ["lane"], "lane IS NOT NULL AND status = 'updating'"),
    ):
        where = sa.text(condition)
        unique = name.startswith("uq")
        op.create_index(name, "card", columns, unique=unique, sqlite_where=where, postgresql_where=where)
    op.create_table(
        "escalation",
        sa.Column("id", Id, nullable=False),
        sa.Column("store_id", Id, nullable=False),
        sa.Column("event_id", Id, nullable=False),
        sa.Column("rule_id", Id, nullable=False),
        sa.Column("rule_version", sa.Integer(), nullable=False),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.Column("roles", Json(), nullable=False),
        sa.Column("after_seconds", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("level", sa.Integer(), nullable=False),
        sa.Column("due_at", Instant(), nullable=False),
        sa.Column("opened_at", Instant(), nullable=False),
        sa.Column("climbed_at", Instant(), nullable=False),
        sa.Column("answered_at", Instant(), nullable=True),
        sa.Column("answered_by", sa.Text(), nullable=True),
        sa.Column("answered_via", sa.Text(), nullable=True),
        sa.Column("action", sa.Text(), nullable=True),
        sa.Column("traceparent", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("escalation_by_event", "escalation", ["event_id", "store_id", "rule_id"], unique=True)
    op.create_index("escalation_by_time", "escalation", ["opened_at"])
    op.create_index(
        "escalation_due",
        "escalation",
        ["due_at"],
        sqlite_where=sa.text("state = 'open'"),
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_table(
        "escalation_note",
        sa.Column("escalation_id", Id, nullable=False),
        sa.Column("kind", Id, nullable=False),
        sa.Column("level", sa.Integer(), nullable=False),
        sa.Column("who", Id, nullable=False),
        sa.Column("action", Id, nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("via", sa.Text(), nullable=False),
        sa.Column("counted", sa.Boolean(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("delivery_id", Id, nullable=False),
        sa.Column("told", Json(), nullable=False),
        sa.PrimaryKeyConstraint("escalation_id", "kind", "level", "who", "action"),
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
        "known_mobile",
        sa.Column("account", Id, nullable=False),
        sa.Column("mobile_hash", Id, nullable=False),
        sa.Column("userid", sa.Text(), nullable=False),
        sa.Column("looked_up_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("account", "mobile_hash"),
    )
    op.create_table(
        "role_binding",
        sa.Column("store_id", Id, nullable=False),
        sa.Column("role", Id, nullable=False),
        sa.Column("targets", Json(), nullable=False),
        sa.Column("deputies", Json(), nullable=False, server_default="[]"),
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
    if op.get_bind().dialect.name == "postgresql":
        # Every row is changed some times within seconds and then never again. A fifth of a long past would be a lot
        # of dead ones among those of this hour; the server sweeps after a fiftieth.
        for table in ("delivery", "attempt"):
            op.execute(
                f"ALTER TABLE {table} SET"
                " (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02)"
            )


def downgrade() -> None:
    op.drop_table("bin_item")
    op.drop_table("bin")
    op.drop_table("policy")
    op.drop_table("rulebook")
    op.drop_table("rule_switch")
    op.drop_table("rule_version")
    op.drop_table("rule")
    op.drop_table("role_binding")
    op.drop_table("known_mobile")
    op.drop_table("recipient")
    op.drop_table("escalation_note")
    op.drop_table("escalation")
    op.drop_table("card")
    op.drop_table("delivery")
    op.drop_table("breaker")
    op.drop_table("attempt")
