"""kf_session's own tables; the inbox, outbox, dead letters and limits beside them are ``shared.db.tables``.

account ─┬─ doorbell ── callbacks nobody has answered with a pull yet
         └─ session ─┬─ message ── what came in, once by its id
                     ├─ credit ── the messages that may go out in the present window: five rows, no sixth by its key
                     ├─ event_code ── one-shot allowances beside them
                     └─ push ─┬─ push_attempt ── each try, written before its request leaves
                              ├─ push_item ── what it lists, by the number that a customer answers with
                              └─ push_note ── what each gate said, for Explain
preference ── what a customer wants, and does not
"""

from __future__ import annotations

import sqlalchemy as sa

from shared.db.queue import due_columns, due_indexes
from shared.db.types import Id, Instant, Json

PULLING = "pulling"
"""The running state of an account."""

SENDING = "sending"
"""The running state of a push."""

metadata = sa.MetaData()

account = sa.Table(
    "account",
    metadata,
    sa.Column("id", Id, primary_key=True),  # open_kfid
    sa.Column("store_id", Id, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column(
        "cursor", sa.Text, nullable=False
    ),  # where the next pull begins; '' is the beginning of what is kept
    sa.Column("synced_at", Instant),  # when a pull last came to the end
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    *due_columns(),
    *due_indexes("account", running=PULLING),
)

doorbell = sa.Table(
    "doorbell",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("open_kfid", Id, nullable=False),
    sa.Column(
        "token", sa.Text, nullable=False
    ),  # lets the pull pass the platform's strict limit; lives ten minutes
    sa.Column("rung_at", Instant, nullable=False),
)
sa.Index("doorbell_by_account", doorbell.c.open_kfid, doorbell.c.rung_at)

session = sa.Table(
    "session",
    metadata,
    sa.Column("open_kfid", Id, primary_key=True),
    sa.Column("external_userid", Id, primary_key=True),
    sa.Column("store_id", Id, nullable=False),
    sa.Column("state", sa.Integer, nullable=False),  # the platform's 0 to 4
    sa.Column("servicer_userid", sa.Text, nullable=False),
    sa.Column("state_at", Instant, nullable=False),
    sa.Column("checked_at", Instant),  # when the platform was last asked for the state
    sa.Column("customer_at", Instant),  # when the customer last wrote, by the platform's clock; NULL is never
    sa.Column("customer_msgid", Id),
    sa.Column("window_no", sa.BigInteger, nullable=False),  # grows with each message of the customer
    sa.Column(
        "blocked_at", Instant
    ),  # when the customer refused us (msg_send_fail 10); their next message lifts it
    sa.Column("scene", sa.Text, nullable=False),
    sa.Column("scene_param", sa.Text, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
)
sa.Index("session_by_store", session.c.store_id, session.c.updated_at)
sa.Index("session_by_customer", session.c.external_userid)
sa.Index("session_by_change", session.c.updated_at)

message = sa.Table(
    "message",
    metadata,
    sa.Column("open_kfid", Id, primary_key=True),
    sa.Column("msgid", Id, primary_key=True),
    sa.Column("external_userid", Id, nullable=False),
    sa.Column("store_id", Id, nullable=False),
    sa.Column("origin", sa.Integer, nullable=False),  # 3 customer, 4 system event, 5 servicer
    sa.Column("msgtype", sa.Text, nullable=False),
    sa.Column("content", Json, nullable=False),
    sa.Column("servicer_userid", sa.Text, nullable=False),
    sa.Column("sent_at", Instant, nullable=False),  # by the platform's clock
    sa.Column("received_at", Instant, nullable=False),
    sa.Column("recalled_at", Instant),
)
sa.Index("message_of_session", message.c.open_kfid, message.c.external_userid, message.c.sent_at)
sa.Index("message_by_age", message.c.received_at)

credit = sa.Table(
    "credit",
    metadata,
    sa.Column("open_kfid", Id, primary_key=True),
    sa.Column("external_userid", Id, primary_key=True),
    sa.Column("window_no", sa.BigInteger, primary_key=True),
    sa.Column("slot", sa.Integer, primary_key=True),
    sa.Column("push_id", Id, nullable=False),
    sa.Column("reserved_at", Instant, nullable=False),
    sa.Column("settled_at", Instant),  # NULL while the call is under way
    sa.Column("platform_at", Instant),  # when it was taken, by the platform's clock; NULL where nobody knows
    sa.Column("carried_at", Instant),  # when it was first taken along into a later window
    sa.CheckConstraint("slot BETWEEN 1 AND 5", name="credit_slot_of_five"),
)
sa.Index("credit_by_push", credit.c.push_id, unique=True)

event_code = sa.Table(
    "event_code",
    metadata,
    sa.Column("id", Id, primary_key=True),  # a hash of the code, so that it is taken once
    sa.Column("open_kfid", Id, nullable=False),
    sa.Column("external_userid", Id, nullable=False),
    sa.Column("occasion", sa.Text, nullable=False),  # entered, pooled, accepted, ended
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("issued_at", Instant, nullable=False),
    sa.Column("expires_at", Instant, nullable=False),
)
sa.Index("event_code_by_age", event_code.c.expires_at)
sa.Index(
    "event_code_of_session", event_code.c.open_kfid, event_code.c.external_userid, event_code.c.expires_at
)

push = sa.Table(
    "push",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("store_id", Id, nullable=False),
    sa.Column("open_kfid", Id, nullable=False),
    sa.Column("external_userid", Id, nullable=False),
    sa.Column("purpose", sa.Text, nullable=False),  # match, summary, message, reply, welcome, notice
    sa.Column("dedupe_key", Id, nullable=False),
    sa.Column("msgid", Id, nullable=False),  # the platform's key: a repeat with it is not a second message
    sa.Column("content", Json, nullable=False),
    sa.Column("score", sa.Float),
    sa.Column("template_id", Id),
    sa.Column("template_version", sa.Integer),
    sa.Column("variant", Id),
    sa.Column("code_id", Id),  # goes by this one-shot code instead of a credit
    sa.Column("answer_to", Id),  # the customer's message that it answers
    sa.Column("expires_at", Instant, nullable=False),
    *due_columns(),
    sa.Column("retries", sa.Integer, nullable=False),
    sa.Column("refreshes", sa.Integer, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("fail_type", sa.Integer),  # of a msg_send_fail, which may come long after it was accepted
    sa.Column("merged_into", Id),  # the push that carries its items
    sa.Column("accepted_at", Instant),
    sa.Column("traceparent", sa.Text),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    *due_indexes("push", running=SENDING),
)
sa.Index("push_once", push.c.store_id, push.c.dedupe_key, unique=True)
sa.Index("push_by_msgid", push.c.open_kfid, push.c.msgid, unique=True)
sa.Index("push_by_code", push.c.code_id, unique=True)
sa.Index("push_of_session", push.c.open_kfid, push.c.external_userid, push.c.created_at)
sa.Index("push_by_store", push.c.store_id, push.c.created_at)
sa.Index("push_by_time", push.c.created_at)

push_attempt = sa.Table(
    "push_attempt",
    metadata,
    sa.Column("push_id", Id, primary_key=True),
    sa.Column("attempt_no", sa.Integer, primary_key=True),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("http_status", sa.Integer, nullable=False),
    sa.Column("errcode", sa.Integer),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("started_at", Instant, nullable=False),
    sa.Column("finished_at", Instant),
)

push_item = sa.Table(
    "push_item",
    metadata,
    sa.Column("push_id", Id, primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),  # from 1, as the customer sees it
    sa.Column("item_id", Id, nullable=False),  # the match
    sa.Column("line", sa.Text, nullable=False),
    sa.Column("details", sa.Text, nullable=False),  # what 查看 answers with
    sa.Column("score", sa.Float),
)
sa.Index("push_item_by_item", push_item.c.item_id)

push_note = sa.Table(
    "push_note",
    metadata,
    sa.Column("push_id", Id, primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True),
    sa.Column("at", Instant, nullable=False),
    sa.Column("gate", sa.Text, nullable=False),
    sa.Column("verdict", sa.Text, nullable=False),  # pass, hold, drop, merge
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("facts", Json, nullable=False),  # the gate's numbers
    sa.Column("until", Instant),
)

preference = sa.Table(
    "preference",
    metadata,
    sa.Column("store_id", Id, primary_key=True),
    sa.Column("external_userid", Id, primary_key=True),  # '' is the default of the store
    sa.Column("spec", Json, nullable=False),
    sa.Column("unsubscribed_at", Instant),
    sa.Column("updated_at", Instant, nullable=False),
    sa.Column("updated_by", sa.Text, nullable=False),
)
