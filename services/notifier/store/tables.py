"""The notifier's own tables; the inbox, outbox, dead letters and limits beside them are ``shared.db.tables``.

rulebook ── one row whose version moves with every change of rules or roles
rule, rule_version, rule_switch, role_binding ── what operators decide
delivery ─┬─ recipient ── who; unique per (event, store, channel, target, part)
          └─ attempt   ── each try, written before its request leaves
"""

from __future__ import annotations

import sqlalchemy as sa

from shared.db.queue import due_columns, due_indexes
from shared.db.types import Id, Instant, Json

SENDING = "sending"
"""The running state of a delivery."""

metadata = sa.MetaData()

rulebook = sa.Table(
    "rulebook",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
)

rule = sa.Table(
    "rule",
    metadata,
    sa.Column("rule_id", Id, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),  # the one that acts; 0 while there are only drafts
    sa.Column("before", sa.Integer, nullable=False),  # the one that acted before it; 0 when none did
    sa.Column("latest", sa.Integer, nullable=False),
    sa.Column("preset", sa.Boolean, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
)

rule_version = sa.Table(
    "rule_version",
    metadata,
    sa.Column("rule_id", Id, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("spec", Json, nullable=False),
    sa.Column("comment", sa.Text, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
)

rule_switch = sa.Table(
    "rule_switch",
    metadata,
    sa.Column("rule_id", Id, primary_key=True),
    sa.Column("store_id", Id, primary_key=True),  # '' is every store
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("disabled_until", Instant),
    sa.Column("comment", sa.Text, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.Column("updated_by", sa.Text, nullable=False),
)

role_binding = sa.Table(
    "role_binding",
    metadata,
    sa.Column("store_id", Id, primary_key=True),  # '' is the default of every store
    sa.Column("role", Id, primary_key=True),
    sa.Column("targets", Json, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.Column("updated_by", sa.Text, nullable=False),
)

delivery = sa.Table(
    "delivery",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("store_id", Id, nullable=False),
    sa.Column("event_id", Id, nullable=False),
    sa.Column("event_type", sa.Text, nullable=False),
    sa.Column("rule_id", Id, nullable=False),
    sa.Column("rule_version", sa.Integer, nullable=False),
    sa.Column("channel", Id, nullable=False),
    sa.Column("part", sa.Integer, nullable=False),
    sa.Column("content", Json, nullable=False),
    *due_columns(),
    sa.Column("retries", sa.Integer, nullable=False),
    sa.Column("refreshes", sa.Integer, nullable=False),
    sa.Column("resend_mark", sa.Boolean, nullable=False),
    sa.Column("unclear_since", Instant),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("traceparent", sa.Text),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    *due_indexes("delivery", running=SENDING),
)
sa.Index("delivery_by_event", delivery.c.event_id, delivery.c.store_id)
# A period is the shared clock's; ids are made by their hosts' clocks, which need not agree with it. They are left out
# here as they are wide: the two indexes together take the room, and the writes, of one that has the id in it.
sa.Index("delivery_by_store", delivery.c.store_id, delivery.c.created_at)
sa.Index("delivery_by_time", delivery.c.created_at)
# Changed rows are written at the end of the heap, so a block range index finds recent changes at next to no cost.
sa.Index("delivery_by_change", delivery.c.updated_at, postgresql_using="brin")
sa.Index(
    "delivery_unknown",
    delivery.c.id,
    postgresql_where=sa.text("status = 'unknown'"),
    sqlite_where=sa.text("status = 'unknown'"),
)

recipient = sa.Table(
    "recipient",
    metadata,
    sa.Column("event_id", Id, primary_key=True),
    sa.Column("store_id", Id, primary_key=True),
    sa.Column("channel", Id, primary_key=True),
    sa.Column("kind", Id, primary_key=True),
    sa.Column("target", Id, primary_key=True),
    sa.Column("part", sa.Integer, primary_key=True),
    sa.Column("delivery_id", Id, nullable=False),
    sa.Column("role", Id, nullable=False),
    # NULL follows the delivery's own outcome; set only where a recipient's differs, so that the common
    # case writes nothing here after the insert.
    sa.Column("status", sa.Text),
    sa.Column("reason", sa.Text),
)
sa.Index("recipient_by_delivery", recipient.c.delivery_id)
sa.Index("recipient_by_target", recipient.c.kind, recipient.c.target, recipient.c.delivery_id)

attempt = sa.Table(
    "attempt",
    metadata,
    sa.Column("delivery_id", Id, primary_key=True),
    sa.Column("attempt_no", sa.Integer, primary_key=True),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("http_status", sa.Integer, nullable=False),
    sa.Column("errcode", sa.Integer),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("vendor_msgid", sa.Text, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("started_at", Instant, nullable=False),
    sa.Column("finished_at", Instant),
)
