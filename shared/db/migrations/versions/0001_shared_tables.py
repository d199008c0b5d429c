"""The first shared tables: inbox, outbox, dead letters, idempotency, leases, rates, credentials, tokens, audit, meta."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from shared.db.tables import APPEND_ONLY
from shared.db.types import Id, Instant, Json

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit_entry",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", Instant, nullable=False),
        sa.Column("subject", Id, nullable=False),
        sa.Column("subject_kind", sa.String(), nullable=False),
        sa.Column("token_id", sa.String(), nullable=False),
        sa.Column("door", sa.String(), nullable=False),
        sa.Column("method", Id, nullable=False),
        sa.Column("store_id", Id, nullable=False),
        sa.Column("object_id", Id, nullable=False),
        sa.Column("content_hash", sa.String(), nullable=False),
        sa.Column("content_bytes", sa.Integer(), nullable=False),
        sa.Column("detail", Json, nullable=False),
        sa.Column("trace_id", sa.String(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_audit_entry"),
    )
    for statement in APPEND_ONLY[op.get_bind().dialect.name]:
        op.execute(statement)
    op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_head"),
    )
    op.create_table(
        "callback_seen",
        sa.Column("key", Id, nullable=False),
        sa.Column("seen_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_callback_seen"),
    )
    op.create_index("ix_callback_seen_seen_at", "callback_seen", ["seen_at"])
    op.create_table(
        "credential",
        sa.Column("kind", Id, nullable=False),
        sa.Column("name", Id, nullable=False),
        sa.Column("corp_id", Id, nullable=False),
        sa.Column("agent_id", sa.Integer(), nullable=False),
        sa.Column("secret_enc", sa.Text(), nullable=False),
        sa.Column("pool", Id, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("updated_at", Instant, nullable=False),
        sa.Column("updated_by", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "name", name="pk_credential"),
    )
    op.create_table(
        "dead_letter",
        sa.Column("id", Id, nullable=False),
        sa.Column("reason", Id, nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("event_id", Id),
        sa.Column("event_type", Id),
        sa.Column("store_id", Id),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("body_encoding", sa.String(), nullable=False),
        sa.Column("content_type", sa.String(), nullable=False),
        sa.Column("headers", Json, nullable=False),
        sa.Column("door", sa.String(), nullable=False),
        sa.Column("routing_key", sa.String(), nullable=False),
        sa.Column("received_at", Instant, nullable=False),
        sa.Column("parked_at", Instant, nullable=False),
        sa.Column("state", sa.String(), nullable=False, server_default="parked"),
        sa.Column("closed_at", Instant),
        sa.Column("closed_by", sa.String()),
        sa.Column("note", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_dead_letter"),
    )
    op.create_index("ix_dead_letter_closed_at", "dead_letter", ["closed_at"])
    op.create_index("ix_dead_letter_event_id", "dead_letter", ["event_id"])
    op.create_index("ix_dead_letter_state_id", "dead_letter", ["state", "id"])
    op.create_table(
        "idempotency",
        sa.Column("store_id", Id, nullable=False),
        sa.Column("method", Id, nullable=False),
        sa.Column("key", Id, nullable=False),
        sa.Column("request_hash", Id, nullable=False),
        sa.Column("response", sa.LargeBinary()),
        sa.Column("expires_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("store_id", "method", "key", name="pk_idempotency"),
    )
    op.create_index("ix_idempotency_expires_at", "idempotency", ["expires_at"])
    op.create_table(
        "inbox",
        sa.Column("event_id", Id, nullable=False),
        sa.Column("store_id", Id, nullable=False),
        sa.Column("event_type", Id, nullable=False),
        sa.Column("content_hash", Id, nullable=False),
        sa.Column("door", sa.String(), nullable=False),
        sa.Column("data", Json, nullable=False),
        sa.Column("decision", Json),
        sa.Column("traceparent", sa.String()),
        sa.Column("received_at", Instant, nullable=False),
        sa.Column("occurred_at", Instant, nullable=False),
        sa.Column("derived_id", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("duplicates", sa.Integer(), nullable=False, server_default="0"),
        sa.PrimaryKeyConstraint("event_id", "store_id", name="pk_inbox"),
    )
    op.create_index("ix_inbox_received_at", "inbox", ["received_at", "store_id", "event_id"])
    op.create_table(
        "lease",
        sa.Column("name", Id, nullable=False),
        sa.Column("owner", Id, nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("until", Instant, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_lease"),
    )
    op.create_table(
        "meta",
        sa.Column("key", Id, nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_meta"),
    )
    op.create_table(
        "outbox",
        sa.Column("id", Id, nullable=False),
        sa.Column("type", Id, nullable=False),
        sa.Column("store_id", Id, nullable=False),
        sa.Column("headers", Json, nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("body_encoding", sa.String(), nullable=False),
        sa.Column("content_type", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False, server_default="pending"),
        sa.Column("next_at", Instant, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("last_error", sa.Text()),
        sa.Column("claim_owner", sa.String()),
        sa.Column("claim_epoch", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("published_at", Instant),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
    )
    where = sa.text("state = 'pending'")
    op.create_index(
        "ix_outbox_pending",
        "outbox",
        ["next_at", "id", "created_at"],
        sqlite_where=where,
        postgresql_where=where,
    )
    where = sa.text("state = 'published'")
    op.create_index(
        "ix_outbox_published", "outbox", ["published_at"], sqlite_where=where, postgresql_where=where
    )
    op.create_table(
        "rate_window",
        sa.Column("key", Id, nullable=False),
        sa.Column("state", Json, nullable=False),
        sa.Column("updated_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_rate_window"),
    )
    op.create_index("ix_rate_window_updated_at", "rate_window", ["updated_at"])
    op.create_table(
        "wecom_token",
        sa.Column("key", Id, nullable=False),
        sa.Column("token", sa.Text()),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("refresh_at", Instant),
        sa.Column("expires_at", Instant),
        sa.Column("refresh_owner", sa.Text()),
        sa.Column("refresh_until", Instant),
        sa.Column("refused_until", Instant),
        sa.Column("refused_errcode", sa.Integer()),
        sa.Column("refused_count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_wecom_token"),
    )
