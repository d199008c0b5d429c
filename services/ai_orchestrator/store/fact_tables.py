"""What is known, from events and loads; every row is known by its store and its id, and a repeat is the same row.

store_profile ── how a store is looked at; whoever has one is prewarmed
member, assistant ── who they are, each part with the instant it is known of
visit ── visit_item ── what was paid, for what
note, task ── what staff wrote, and to whom a member was given
"""

from __future__ import annotations

import sqlalchemy as sa

from services.ai_orchestrator.store.tables import metadata
from shared.db.types import Id, Instant, Json

store_profile = sa.Table(
    "store_profile",
    metadata,
    sa.Column("store_id", Id, primary_key=True),
    sa.Column("name", sa.Text),
    sa.Column("zone", sa.Text),  # IANA; NULL: the deployment's, as the others
    sa.Column("areas", Json),
    sa.Column("time_dimensions", Json),
    sa.Column("active", sa.Boolean),
    sa.Column("created_at", Instant, nullable=False),
)

member = sa.Table(
    "member",
    metadata,
    sa.Column("store_id", Id, primary_key=True),
    sa.Column("member_id", Id, primary_key=True),
    sa.Column("name", sa.Text),
    sa.Column("level", sa.Text),
    sa.Column("points", sa.Float),
    sa.Column("joined_on", sa.Text),  # 2026-03-02
    sa.Column("name_at", Instant),
    sa.Column("level_at", Instant),
    sa.Column("points_at", Instant),
    sa.Column("joined_on_at", Instant),
)

assistant = sa.Table(
    "assistant",
    metadata,
    sa.Column("store_id", Id, primary_key=True),
    sa.Column("assistant_id", Id, primary_key=True),
    sa.Column("name", sa.Text),
    sa.Column("level", sa.Text),
    sa.Column("skills", sa.Text),
    sa.Column("joined_on", sa.Text),
    sa.Column("name_at", Instant),
    sa.Column("level_at", Instant),
    sa.Column("skills_at", Instant),
    sa.Column("joined_on_at", Instant),
)

visit = sa.Table(
    "visit",
    metadata,
    sa.Column("store_id", Id, primary_key=True),
    sa.Column("visit_id", Id, primary_key=True),  # the event's id, where an event told of it
    sa.Column("member_id", Id),
    sa.Column("assistant_id", Id),
    sa.Column("cents", sa.BigInteger, nullable=False),  # negative: a refund
    sa.Column("area", sa.Text),  # as the till says
    sa.Column("area_folded", Id, nullable=False),  # domain.facts.stores.fold; '' is none
    sa.Column("seconds", sa.BigInteger),
    sa.Column("settled_at", Instant, nullable=False),
)
sa.Index("visit_by_time", visit.c.store_id, visit.c.settled_at)
sa.Index("visit_by_age", visit.c.settled_at)
sa.Index("visit_of_member", visit.c.store_id, visit.c.member_id, visit.c.settled_at)
sa.Index("visit_of_assistant", visit.c.store_id, visit.c.assistant_id, visit.c.settled_at)

visit_item = sa.Table(
    "visit_item",
    metadata,
    sa.Column("store_id", Id, primary_key=True),
    sa.Column("visit_id", Id, primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("name", Id, nullable=False),  # compared byte by byte, so that both databases order alike
    sa.Column("thousandths", sa.BigInteger, nullable=False),
    sa.Column("cents", sa.BigInteger),
)

note = sa.Table(
    "note",
    metadata,
    sa.Column("store_id", Id, primary_key=True),
    sa.Column("note_id", Id, primary_key=True),
    sa.Column("member_id", Id, nullable=False),
    sa.Column("content", sa.Text, nullable=False),
    sa.Column("noted_by", sa.Text, nullable=False),
    sa.Column("noted_at", Instant, nullable=False),
)
sa.Index("note_by_age", note.c.noted_at)
sa.Index("note_of_member", note.c.store_id, note.c.member_id, note.c.noted_at)

task = sa.Table(
    "task",
    metadata,
    sa.Column("store_id", Id, primary_key=True),
    sa.Column("task_id", Id, primary_key=True),
    sa.Column("member_id", Id, nullable=False),
    sa.Column("assistant_id", Id, nullable=False),
    sa.Column("assigned_at", Instant, nullable=False),
)
sa.Index("task_by_age", task.c.assigned_at)
sa.Index("task_of_member", task.c.store_id, task.c.member_id, task.c.assigned_at)
