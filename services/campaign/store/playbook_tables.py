"""Playbooks that were started, and what became of each of their steps.

playbook_run ─┬─ playbook_occurrence ── playbook_draft     one step on one day, once; the campaigns that it made
              └─ playbook_told                             which groups had which step: each once
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from services.campaign.store.tables import metadata
from shared.db.types import Id, Instant, Json

ACTIVE: Final = "active"
"""The state of a run whose steps still come."""
WRITING: Final = "writing"
"""The state of a draft whose words are asked for."""

playbook_run = sa.Table(
    "playbook_run",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("store_id", Id, nullable=False),
    sa.Column("playbook", Id, nullable=False),
    sa.Column("definition", Json, nullable=False),  # as it was when it was started
    sa.Column("parameters", Json, nullable=False),  # as they were said, defaults among them
    sa.Column("zone", Id, nullable=False),
    sa.Column("start_day", Id, nullable=False),  # YYYY-MM-DD
    sa.Column("status", Id, nullable=False),  # active, finished, stopped
    sa.Column("started_by", Id, nullable=False),
    sa.Column("started_at", Instant, nullable=False),
    sa.Column("stopped_by", Id, nullable=False),
    sa.Column("comment", sa.Text, nullable=False),
    sa.Column("ended_at", Instant),
    sa.Column("next_day", Id, nullable=False),  # of the occurrence that is next; '' where there is none
    sa.Column("next_step", sa.Integer, nullable=False),
    sa.Column("next_at", Instant),  # when that is due
)
sa.Index("playbook_run_by_time", playbook_run.c.started_at, playbook_run.c.id)
sa.Index("playbook_run_by_store", playbook_run.c.store_id, playbook_run.c.started_at, playbook_run.c.id)
_active = sa.text("status = 'active'")
sa.Index("playbook_run_due", playbook_run.c.next_at, sqlite_where=_active, postgresql_where=_active)

playbook_occurrence = sa.Table(
    "playbook_occurrence",
    metadata,
    sa.Column("run_id", Id, primary_key=True),
    sa.Column("day", Id, primary_key=True),  # YYYY-MM-DD
    sa.Column("step", sa.Integer, primary_key=True),  # 0 is the first
    sa.Column("status", Id, nullable=False),  # made, empty, missed, failed
    sa.Column("reason", Id, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("due_at", Instant, nullable=False),
    sa.Column("opens_at", Instant, nullable=False),
    sa.Column("closes_at", Instant, nullable=False),
    sa.Column("groups", sa.Integer, nullable=False),
    sa.Column("told_before", sa.Integer, nullable=False),  # chosen, and left out since they had the step
    sa.Column("excluded", Json, nullable=False),  # how many by reason
    sa.Column("at", Instant, nullable=False),  # when that was decided
)

playbook_draft = sa.Table(
    "playbook_draft",
    metadata,
    sa.Column("campaign_id", Id, primary_key=True),
    sa.Column("run_id", Id, nullable=False),
    sa.Column("day", Id, nullable=False),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("part", sa.Integer, nullable=False),  # 1 is the first
    sa.Column("set_id", Id, nullable=False),  # of candidates; '' where the text is fixed
    sa.Column("status", Id, nullable=False),  # writing, submitted, left
    sa.Column("reason", Id, nullable=False),  # why it is left as a draft
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("opens_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
)
sa.Index(
    "playbook_draft_of_occurrence",
    playbook_draft.c.run_id,
    playbook_draft.c.day,
    playbook_draft.c.step,
    playbook_draft.c.part,
    unique=True,
)
_writing = sa.text("status = 'writing'")
sa.Index(
    "playbook_draft_writing",
    playbook_draft.c.campaign_id,
    sqlite_where=_writing,
    postgresql_where=_writing,
)

playbook_told = sa.Table(
    "playbook_told",
    metadata,
    sa.Column("run_id", Id, primary_key=True),
    sa.Column("step", sa.Integer, primary_key=True),
    sa.Column("chat_id", Id, primary_key=True),
    sa.Column("day", Id, nullable=False),
    sa.Column("campaign_id", Id, nullable=False),
)
