"""The notifier's own tables; the inbox, outbox, dead letters and limits beside them are ``shared.db.tables``.

rulebook ── one row whose version moves with every change of rules or roles
rule, rule_version, rule_switch, role_binding, policy ── what operators decide
delivery ─┬─ recipient ── who; unique per (event, store, channel, target, part)
          └─ attempt   ── each try, written before its request leaves
bin ── what gathers to be one message; bin_item ── the events in it, which stay when it was emptied
breaker ── how each credential stands that ever failed
escalation ─┬─ escalation_note ── what happened to it, for Explain
            └─ card ── a delivery's card with buttons, and the update it waits for
"""

from __future__ import annotations

import sqlalchemy as sa

from shared.db.breakers import breaker_columns
from shared.db.queue import due_columns, due_indexes
from shared.db.types import Id, Instant, Json

SENDING = "sending"
"""The running state of a delivery."""

OPEN = frozenset({"pending", "deferred", SENDING})
"""States of deliveries that are not over, each with an index of its own."""

NOT_WELL = frozenset({"failed", "unknown", "suppressed", "expired", "cancelled"})
"""States of those that ended otherwise than accepted: few among many."""

NOT_WELL_WHERE = "status IN ('cancelled', 'expired', 'failed', 'suppressed', 'unknown')"
"""The same, as the index on them has it: SQLite takes it only where a question has the same words."""
UPDATING = "updating"
"""The running state of a card's update."""

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
    sa.Column("deputies", Json, nullable=False, server_default="[]"),
    sa.Column("updated_at", Instant, nullable=False),
    sa.Column("updated_by", sa.Text, nullable=False),
)

policy = sa.Table(
    "policy",
    metadata,
    sa.Column("store_id", Id, primary_key=True),  # '' is every store
    sa.Column("subject", Id, primary_key=True),  # '' is everybody
    sa.Column("spec", Json, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.Column("updated_by", sa.Text, nullable=False),
)

bin_ = sa.Table(
    "bin",
    metadata,
    sa.Column("key", Id, primary_key=True),
    sa.Column("delivery_id", Id),  # what gathers; NULL while nothing does
    sa.Column("free_at", Instant),  # until when it cools down
    sa.Column("cool_seconds", sa.Float, nullable=False),  # how long it cools once it was emptied
    sa.Column("updated_at", Instant, nullable=False),
)
sa.Index(
    "bin_by_delivery",
    bin_.c.delivery_id,
    postgresql_where=sa.text("delivery_id IS NOT NULL"),
    sqlite_where=sa.text("delivery_id IS NOT NULL"),
)
sa.Index("bin_by_age", bin_.c.updated_at)

bin_item = sa.Table(
    "bin_item",
    metadata,
    sa.Column("delivery_id", Id, primary_key=True),
    sa.Column("store_id", Id, primary_key=True),
    sa.Column("event_id", Id, primary_key=True),
    sa.Column("at", Instant, nullable=False),
    sa.Column("line", sa.Text, nullable=False),
)
sa.Index("bin_item_in_order", bin_item.c.delivery_id, bin_item.c.at, bin_item.c.event_id)
sa.Index("bin_item_by_event", bin_item.c.event_id, bin_item.c.store_id)

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
    sa.Column("go_at", Instant, nullable=False),  # from when on nothing of ours held it back on purpose
    sa.Column("clicked_at", Instant),  # when a button of its card was first pressed
    sa.Column("acknowledged_at", Instant),
    sa.Column("acknowledged_by", sa.Text),
    sa.Column("fallback_of", Id),  # the delivery that failed and that this one stands in for
    sa.Column("fallback_step", sa.Integer),  # how many steps of the rule's chain are used up
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

# They are what one looks for; one that goes well is never in it, so that it costs the common case nothing. By status
# first: one of them may be as rare as one likes, and nobody reads all the others to learn that there is none.
sa.Index(
    "delivery_not_well",
    delivery.c.status,
    delivery.c.created_at,
    postgresql_where=sa.text(NOT_WELL_WHERE),
    sqlite_where=sa.text(NOT_WELL_WHERE),
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

known_mobile = sa.Table(
    "known_mobile",
    metadata,
    sa.Column("account", Id, primary_key=True),
    sa.Column("mobile_hash", Id, primary_key=True),  # keyed, so that it cannot be guessed back
    sa.Column("userid", sa.Text, nullable=False),  # '' is nobody's
    sa.Column("looked_up_at", Instant, nullable=False),
)

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
    sa.Column("member", sa.Text),  # the robot of a pool that made it
    sa.Column("started_at", Instant, nullable=False),
    sa.Column("finished_at", Instant),
)

breaker = sa.Table(
    "breaker",
    metadata,
    *breaker_columns(),  # of credentials: app:<name> or robot:<name>
    sa.Column("alert", sa.Text, nullable=False),  # '' none, due, sent, undeliverable
    sa.Column("alerted_at", Instant),
)
escalation = sa.Table(
    "escalation",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("store_id", Id, nullable=False),
    sa.Column("event_id", Id, nullable=False),
    sa.Column("rule_id", Id, nullable=False),
    sa.Column("rule_version", sa.Integer, nullable=False),
    sa.Column("event_type", sa.Text, nullable=False),
    # What the next level is told, as it was decided: a rule that changes meanwhile changes nothing here.
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("words", sa.Text, nullable=False),
    sa.Column("roles", Json, nullable=False),
    sa.Column("after_seconds", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("level", sa.Integer, nullable=False),
    sa.Column("due_at", Instant, nullable=False),
    sa.Column("opened_at", Instant, nullable=False),
    sa.Column("climbed_at", Instant, nullable=False),  # when its present level was told
    sa.Column("answered_at", Instant),
    sa.Column("answered_by", sa.Text),
    sa.Column("answered_via", sa.Text),
    sa.Column("action", sa.Text),
    sa.Column("traceparent", sa.Text),
)
sa.Index(
    "escalation_by_event",
    escalation.c.event_id,
    escalation.c.store_id,
    escalation.c.rule_id,
    unique=True,
)
sa.Index(
    "escalation_due",
    escalation.c.due_at,
    postgresql_where=sa.text("state = 'open'"),
    sqlite_where=sa.text("state = 'open'"),
)
sa.Index("escalation_by_time", escalation.c.opened_at)

escalation_note = sa.Table(
    "escalation_note",
    metadata,
    sa.Column("escalation_id", Id, primary_key=True),
    sa.Column("kind", Id, primary_key=True),
    sa.Column("level", sa.Integer, primary_key=True),
    sa.Column("who", Id, primary_key=True),
    sa.Column("action", Id, primary_key=True),
    sa.Column("at", Instant, nullable=False),
    sa.Column("via", sa.Text, nullable=False),
    sa.Column("counted", sa.Boolean, nullable=False),
    sa.Column("comment", sa.Text, nullable=False),
    sa.Column("delivery_id", Id, nullable=False),
    sa.Column("told", Json, nullable=False),
)

card = sa.Table(
    "card",
    metadata,
    sa.Column("id", Id, primary_key=True),  # its delivery's
    sa.Column("store_id", Id, nullable=False),
    sa.Column("event_id", Id, nullable=False),
    sa.Column("rule_id", Id, nullable=False),
    sa.Column("channel", Id, nullable=False),
    sa.Column("code", sa.Text),  # updates the card, once, within 72 hours
    sa.Column("code_at", Instant),
    sa.Column("reason", sa.Text),
    sa.Column("updated_at", Instant, nullable=False),
    *due_columns(),
    *due_indexes("card", running=UPDATING),
)
sa.Index("card_by_event", card.c.event_id, card.c.store_id, card.c.rule_id)
