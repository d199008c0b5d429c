"""The tables of matching.

profile ── profile_term ── all it can be found by      intent ── intent_anchor ── what a profile must have one of
      └────────────────────────── match ──────────────────────────┘
match_work ── what changed and has not been compared yet: the row is the queue
question ── what a model is to be asked about a match: the row is the queue
"""

from __future__ import annotations

import sqlalchemy as sa

from services.kf_session.store.tables import metadata
from shared.db.queue import due_columns, due_indexes
from shared.db.types import Id, Instant, Json

ASKING = "asking"
"""The state of a question that a replica holds."""

profile = sa.Table(
    "profile",
    metadata,
    sa.Column("store_id", Id, primary_key=True),
    sa.Column("profile_id", Id, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("fields", Json, nullable=False),
    sa.Column("fingerprint", Id, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
)

profile_term = sa.Table(
    "profile_term",
    metadata,
    sa.Column("store_id", Id, primary_key=True),
    sa.Column("term", Id, primary_key=True),
    sa.Column("profile_id", Id, primary_key=True),
)
sa.Index("profile_term_of_profile", profile_term.c.store_id, profile_term.c.profile_id)

intent = sa.Table(
    "intent",
    metadata,
    sa.Column("store_id", Id, primary_key=True),
    sa.Column("intent_id", Id, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("spec", Json, nullable=False),  # conditions, min_score, and what a model is asked
    sa.Column("open_kfid", Id, nullable=False),  # '' is the account the customer wrote to last
    sa.Column("external_userid", Id, nullable=False),  # who looks for it, and is told
    sa.Column("auto_push", sa.Boolean(create_constraint=False), nullable=False),
    sa.Column("expires_at", Instant),
    sa.Column("deleted_at", Instant),  # it matches nothing any more; its matches tell of it
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
)
sa.Index("intent_of_customer", intent.c.store_id, intent.c.external_userid)
_EMPTIABLE = sa.text("deleted_at IS NOT NULL AND external_userid <> ''")
sa.Index("intent_by_deletion", intent.c.deleted_at, sqlite_where=_EMPTIABLE, postgresql_where=_EMPTIABLE)

intent_anchor = sa.Table(
    "intent_anchor",
    metadata,
    sa.Column("store_id", Id, primary_key=True),
    sa.Column("term", Id, primary_key=True),
    sa.Column("intent_id", Id, primary_key=True),
)
sa.Index("intent_anchor_of_intent", intent_anchor.c.store_id, intent_anchor.c.intent_id)

match = sa.Table(
    "match",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("store_id", Id, nullable=False),
    sa.Column("intent_id", Id, nullable=False),
    sa.Column("profile_id", Id, nullable=False),
    sa.Column("source", sa.Text, nullable=False),  # own, event
    sa.Column("external_id", Id),  # the match_id of an event; NULL for our own
    sa.Column("intent_name", sa.Text, nullable=False),
    sa.Column("profile_name", sa.Text, nullable=False),
    sa.Column("score", sa.Float, nullable=False),
    sa.Column("ai_score", sa.Float),  # a model's opinion, beside the score
    sa.Column("ai_reason", sa.Text, nullable=False, server_default=""),  # what it bases that on
    sa.Column("conditions", Json, nullable=False),  # those that are met, in words
    sa.Column("explanation", sa.Text, nullable=False),
    sa.Column("profile_fingerprint", Id, nullable=False),
    sa.Column("intent_version", sa.Integer, nullable=False),
    sa.Column("open_kfid", Id, nullable=False),
    sa.Column("external_userid", Id, nullable=False),
    sa.Column("expires_at", Instant),  # the intent's
    sa.Column("pushed_fingerprint", Id),  # of the profile when the customer was told of it
    sa.Column("push_id", Id),
    sa.Column("unpushed_reason", sa.Text),
    sa.Column("withdrawn_at", Instant),  # when it ceased to be one
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
)
sa.Index("match_once", match.c.store_id, match.c.intent_id, match.c.profile_id, unique=True)
sa.Index("match_by_external_id", match.c.store_id, match.c.external_id, unique=True)
sa.Index("match_of_profile", match.c.store_id, match.c.profile_id)
sa.Index("match_of_customer", match.c.store_id, match.c.external_userid, match.c.score)
_WITHDRAWN = sa.text("withdrawn_at IS NOT NULL")
sa.Index("match_by_withdrawal", match.c.withdrawn_at, sqlite_where=_WITHDRAWN, postgresql_where=_WITHDRAWN)

match_work = sa.Table(
    "match_work",
    metadata,
    sa.Column("store_id", Id, primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),  # intent, profile
    sa.Column("object_id", Id, primary_key=True),
    sa.Column("cursor", Id, nullable=False),  # the last candidate that was compared; '' is the beginning
    sa.Column("due_at", Instant, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),
)
sa.Index("match_work_due", match_work.c.due_at)

question = sa.Table(
    "question",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("match_id", Id, nullable=False),
    sa.Column("kind", Id, nullable=False),  # domain.asking.Kind
    sa.Column("fingerprint", Id, nullable=False),  # of what is asked about; another one is asked anew
    sa.Column("push_id", Id),  # whose words are asked for
    sa.Column(
        "outcome", sa.Text, nullable=False
    ),  # '' until it ended; then answered, or why there is no answer
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    *due_columns(),  # status ends as done
    *due_indexes("question", running=ASKING),
)
sa.Index("question_once", question.c.match_id, question.c.kind, unique=True)
sa.Index("question_of_push", question.c.push_id)
