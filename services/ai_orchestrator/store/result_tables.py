"""What came of the runs: insights, clues, alerts, and the conversations they go on in.

insight      the newest result for a target
member_news  when something newer was learnt of a member than insights of before can know: what makes them stale
clue_set ── clue   what one source says of a member, replaced as a whole; manual ones belong to no set
alert_head ── alert   alerts, numbered behind their commit, so that a cursor passes none by
conversation a session id of the platform, for one user and application
"""

from __future__ import annotations

import sqlalchemy as sa

from services.ai_orchestrator.store.tables import metadata
from shared.db.types import Id, Instant, Json

insight = sa.Table(
    "insight",
    metadata,
    sa.Column("store_id", Id, primary_key=True),
    sa.Column("cache_type", Id, primary_key=True),
    sa.Column("target", Id, primary_key=True),
    sa.Column("app_type", Id, nullable=False),
    sa.Column("app_version", sa.Text, nullable=False),
    # Parts of the subject that the target names; '' where it names none.
    sa.Column("member_id", Id, nullable=False),
    sa.Column("assistant_id", Id, nullable=False),
    sa.Column("time_dimension", Id, nullable=False),
    sa.Column("area", Id, nullable=False),
    sa.Column("result", Json, nullable=False),
    sa.Column("score", sa.Integer),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("made_from", Json, nullable=False),
    sa.Column("missing", Json, nullable=False),
    sa.Column("triggered_by", sa.Text, nullable=False),
    sa.Column("run_id", Id, nullable=False),
    sa.Column("made_at", Instant, nullable=False),
    sa.Column("known_at", Instant, nullable=False),  # when its facts were read
    sa.Column("revision", sa.BigInteger, nullable=False),
)
sa.Index("insight_by_time", insight.c.made_at, insight.c.store_id, insight.c.cache_type, insight.c.target)
sa.Index("insight_by_member", insight.c.store_id, insight.c.member_id, insight.c.app_type)

member_news = sa.Table(
    "member_news",
    metadata,
    sa.Column("store_id", Id, primary_key=True),
    sa.Column("member_id", Id, primary_key=True),
    sa.Column("at", Instant, nullable=False),  # of the newest
    sa.Column("reason", sa.Text, nullable=False),
)

clue_set = sa.Table(
    "clue_set",
    metadata,
    sa.Column("store_id", Id, primary_key=True),
    sa.Column("member_id", Id, primary_key=True),
    sa.Column("source", Id, primary_key=True),
    sa.Column("run_id", Id, nullable=False),
    sa.Column("replaced_at", Instant, nullable=False),
)

clue = sa.Table(
    "clue",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("store_id", Id, nullable=False),
    sa.Column("member_id", Id, nullable=False),
    sa.Column("source", Id, nullable=False),
    sa.Column("category", sa.Text, nullable=False),
    sa.Column("emoji", sa.Text, nullable=False),
    sa.Column("summary", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("providers", sa.Text, nullable=False),
    sa.Column("run_id", Id, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
)
sa.Index("clue_by_member", clue.c.store_id, clue.c.member_id, clue.c.id)

alert = sa.Table(
    "alert",
    metadata,
    sa.Column("id", Id, primary_key=True),
    # Its place in the stream; given by whoever looks first, never by whoever records it: that one may commit late.
    sa.Column("seq", sa.BigInteger, unique=True),
    sa.Column("once", Id, nullable=False, unique=True),  # run, step and kind
    sa.Column("store_id", Id, nullable=False),
    sa.Column("app_type", Id, nullable=False),
    sa.Column("kind", Id, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("run_id", Id, nullable=False),
    sa.Column("step", Id, nullable=False),
    sa.Column("announced", sa.Boolean, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
)
sa.Index(
    "alert_unnumbered",
    alert.c.id,
    sqlite_where=sa.text("seq IS NULL"),
    postgresql_where=sa.text("seq IS NULL"),
)
sa.Index("alert_by_kind", alert.c.store_id, alert.c.app_type, alert.c.kind, alert.c.created_at)
sa.Index("alert_by_age", alert.c.created_at)

alert_head = sa.Table(
    "alert_head",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False),  # the last number given
    sa.Column("purged", sa.BigInteger, nullable=False),  # the last that is not kept any more
)

conversation = sa.Table(
    "conversation",
    metadata,
    sa.Column("store_id", Id, primary_key=True),
    sa.Column("user_id", Id, primary_key=True),
    sa.Column("app_type", Id, primary_key=True),
    sa.Column("session_id", sa.Text, nullable=False),
    sa.Column("used_at", Instant, nullable=False),
)
sa.Index("conversation_by_age", conversation.c.used_at)
