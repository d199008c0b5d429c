"""The tables every service has, whatever it is for. Migrations in ``migrations/`` bring them about."""

from __future__ import annotations

from sqlalchemy import (
    DDL,
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    event,
    text,
)

from shared.db.types import Id, Instant, Json

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
"""Constraint names, the same on both databases, so that a migration can find them again."""

shared_metadata = MetaData(naming_convention=NAMING)


def _partial(name: str, condition: str, *columns: str) -> Index:
    return Index(name, *columns, sqlite_where=text(condition), postgresql_where=text(condition))


inbox = Table(
    "inbox",
    shared_metadata,
    # The event first: an event is asked for by its id alone as well.
    Column("event_id", Id, primary_key=True),
    Column("store_id", Id, primary_key=True),
    Column("event_type", Id, nullable=False),
    Column("content_hash", Id, nullable=False),
    Column("door", String, nullable=False),
    Column("data", Json, nullable=False),
    Column("decision", Json),
    Column("traceparent", String),
    Column("received_at", Instant, nullable=False),
    Column("occurred_at", Instant, nullable=False),
    Column("derived_id", Boolean(create_constraint=False), nullable=False),
    Column("duplicates", Integer, nullable=False, server_default="0"),
    Index("ix_inbox_received_at", "received_at", "store_id", "event_id"),
)

outbox = Table(
    "outbox",
    shared_metadata,
    Column("id", Id, primary_key=True),
    Column("type", Id, nullable=False),
    Column("store_id", Id, nullable=False),
    Column("headers", Json, nullable=False),
    Column("body", Text, nullable=False),
    Column("body_encoding", String, nullable=False),
    Column("content_type", String, nullable=False),
    Column("state", String, nullable=False, server_default="pending"),
    Column("next_at", Instant, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("last_error", Text),
    Column("claim_owner", String),
    Column("claim_epoch", BigInteger, nullable=False, server_default="0"),
    Column("created_at", Instant, nullable=False),
    Column("published_at", Instant),
    _partial("ix_outbox_pending", "state = 'pending'", "next_at", "id", "created_at"),
    _partial("ix_outbox_published", "state = 'published'", "published_at"),
)

dead_letter = Table(
    "dead_letter",
    shared_metadata,
    Column("id", Id, primary_key=True),
    Column("reason", Id, nullable=False),
    Column("detail", Text, nullable=False),
    Column("event_id", Id),
    Column("event_type", Id),
    Column("store_id", Id),
    Column("body", Text, nullable=False),
    Column("body_encoding", String, nullable=False),
    Column("content_type", String, nullable=False),
    Column("headers", Json, nullable=False),
    Column("door", String, nullable=False),
    Column("routing_key", String, nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("parked_at", Instant, nullable=False),
    Column("state", String, nullable=False, server_default="parked"),
    Column("closed_at", Instant),
    Column("closed_by", String),
    Column("note", Text),
    Index("ix_dead_letter_state_id", "state", "id"),
    Index("ix_dead_letter_closed_at", "closed_at"),
    Index("ix_dead_letter_event_id", "event_id"),
)

idempotency = Table(
    "idempotency",
    shared_metadata,
    Column("store_id", Id, primary_key=True),
    Column("method", Id, primary_key=True),
    Column("key", Id, primary_key=True),
    Column("request_hash", Id, nullable=False),
    Column("response", LargeBinary),
    Column("expires_at", Instant, nullable=False),
    Index("ix_idempotency_expires_at", "expires_at"),
)

lease = Table(
    "lease",
    shared_metadata,
    Column("name", Id, primary_key=True),
    Column("owner", Id, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("until", Instant, nullable=False),
)

rate_window = Table(
    "rate_window",
    shared_metadata,
    Column("key", Id, primary_key=True),
    Column("state", Json, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Index("ix_rate_window_updated_at", "updated_at"),
)

callback_seen = Table(
    "callback_seen",
    shared_metadata,
    Column("key", Id, primary_key=True),  # of a callback that was taken, so that a repeat has no effect
    Column("seen_at", Instant, nullable=False),
    Index("ix_callback_seen_seen_at", "seen_at"),
)

credential = Table(
    "credential",
    shared_metadata,
    Column("kind", Id, primary_key=True),
    Column("name", Id, primary_key=True),
    Column("corp_id", Id, nullable=False),
    Column("agent_id", Integer, nullable=False),
    Column("secret_enc", Text, nullable=False),
    Column("pool", Id, nullable=False),  # of a robot: the group it serves with others
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("updated_by", String, nullable=False),
)

wecom_token = Table(
    "wecom_token",
    shared_metadata,
    Column("key", Id, primary_key=True),
    Column("token", Text),
    Column("generation", Integer, nullable=False),
    Column("refresh_at", Instant),
    Column("expires_at", Instant),
    Column("refresh_owner", Text),
    Column("refresh_until", Instant),
    Column("refused_until", Instant),
    Column("refused_errcode", Integer),
    Column("refused_count", Integer, nullable=False),
)

meta = Table(
    "meta",
    shared_metadata,
    Column("key", Id, primary_key=True),
    Column("value", Text, nullable=False),
)

audit_entry = Table(
    "audit_entry",
    shared_metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Instant, nullable=False),
    Column("subject", Id, nullable=False),
    Column("subject_kind", String, nullable=False),
    Column("token_id", String, nullable=False),
    Column("door", String, nullable=False),
    Column("method", Id, nullable=False),
    Column("store_id", Id, nullable=False),
    Column("object_id", Id, nullable=False),
    Column("content_hash", String, nullable=False),
    Column("content_bytes", Integer, nullable=False),
    Column("detail", Json, nullable=False),
    Column("trace_id", String, nullable=False),
    Column("hash", String, nullable=False),
)

audit_head = Table(
    "audit_head",
    shared_metadata,
    Column("id", Integer, primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("hash", String, nullable=False),
)

APPEND_ONLY = {
    "sqlite": (
        "CREATE TRIGGER audit_entry_no_update BEFORE UPDATE ON audit_entry "
        "BEGIN SELECT RAISE(ABORT, 'audit_entry is append-only'); END",
        "CREATE TRIGGER audit_entry_no_delete BEFORE DELETE ON audit_entry "
        "BEGIN SELECT RAISE(ABORT, 'audit_entry is append-only'); END",
    ),
    "postgresql": (
        "CREATE FUNCTION audit_entry_keep() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN RAISE EXCEPTION ''audit_entry is append-only''; END'",
        "CREATE TRIGGER audit_entry_keep BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_entry "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_entry_keep()",
    ),
}
"""What has the database refuse to change or delete an entry of the audit log; by dialect."""

for _dialect, _statements in APPEND_ONLY.items():
    for _statement in _statements:
        _ddl = DDL(_statement)  # type: ignore[no-untyped-call]  # SQLAlchemy left it without types
        event.listen(audit_entry, "after_create", _ddl.execute_if(dialect=_dialect))
