"""Which chain ran, step by step, and every request it cost.

definition ── the apps and chains of every version that a run began with
chain_run ─┬─ run_event ── what came in that it answers, by content
           └─ step_run ── attempt ── one request each, written before it leaves
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from services.ai_orchestrator.store.tables import metadata
from shared.db.queue import due_columns, due_indexes
from shared.db.types import Id, Instant, Json

RUNNING = "running"
"""The running state of a step."""

definition = sa.Table(
    "definition",
    metadata,
    sa.Column("kind", Id, primary_key=True),  # app, chain
    sa.Column("name", Id, primary_key=True),
    sa.Column("version", Id, primary_key=True),
    sa.Column("spec", Json, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
)


def _partial(name: str, condition: str, *columns: sa.Column[Any]) -> None:
    where = sa.text(condition)
    sa.Index(name, *columns, sqlite_where=where, postgresql_where=where)


chain_run = sa.Table(
    "chain_run",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("store_id", Id, nullable=False),
    sa.Column("chain", Id, nullable=False),  # app:… for one app on demand
    sa.Column("chain_version", Id, nullable=False),
    sa.Column("event_type", Id, nullable=False),
    sa.Column("event_id", Id, nullable=False),
    sa.Column("trigger", sa.Text, nullable=False),  # event, rpc, schedule, rerun, follow_up, on_demand
    sa.Column("connector", sa.Text, nullable=False),
    sa.Column("member_id", Id, nullable=False),
    sa.Column("assistant_id", Id, nullable=False),
    sa.Column("day", Id, nullable=False),
    sa.Column("dedup_key", Id),  # of the one run that answers for its day
    sa.Column("awaiting", Id),  # of a follow-up while later facts still gather for it
    sa.Column("follows", Id),
    sa.Column("rerun_of", Id),
    sa.Column("prewarm", sa.Boolean, nullable=False),
    sa.Column("priority", sa.Integer, nullable=False),  # of its steps
    sa.Column("width", sa.Integer, nullable=False),  # steps side by side; 0 is any number
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("traceparent", sa.Text),
    sa.Column("deadline_at", Instant, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("started_at", Instant),
    sa.Column("finished_at", Instant),
)
sa.Index("chain_run_once", chain_run.c.store_id, chain_run.c.dedup_key, unique=True)
sa.Index("chain_run_awaiting", chain_run.c.store_id, chain_run.c.awaiting, unique=True)
_partial("chain_run_open", "status IN ('pending', 'running')", chain_run.c.deadline_at)
sa.Index("chain_run_by_time", chain_run.c.created_at, chain_run.c.id)
sa.Index("chain_run_by_store", chain_run.c.store_id, chain_run.c.created_at)
sa.Index("chain_run_of_member", chain_run.c.store_id, chain_run.c.member_id, chain_run.c.created_at)

run_event = sa.Table(
    "run_event",
    metadata,
    sa.Column("run_id", Id, primary_key=True),
    sa.Column("content_hash", Id, primary_key=True),
    sa.Column("event_id", Id, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
)
sa.Index("run_event_by_event", run_event.c.event_id)

step_run = sa.Table(
    "step_run",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("run_id", Id, nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("store_id", Id, nullable=False),
    sa.Column("name", Id, nullable=False),
    sa.Column("app_type", Id, nullable=False),
    sa.Column("app_version", Id, nullable=False),
    sa.Column("member_id", Id, nullable=False),
    sa.Column("assistant_id", Id, nullable=False),
    sa.Column("time_dimension", Id, nullable=False),
    sa.Column("area", Id, nullable=False),
    sa.Column("arguments", Json, nullable=False),  # what a caller gave beside the facts
    sa.Column("user_id", Id, nullable=False, server_default=""),  # whose conversation it goes on with
    sa.Column("after", Json, nullable=False),  # names of steps
    sa.Column("refresh", sa.Boolean, nullable=False),  # asks even where the kept result is fresh
    sa.Column("patient", sa.Boolean, nullable=False),  # waits for a gate that is shut
    sa.Column("result", Json),
    sa.Column("missing", Json, nullable=False),
    sa.Column("refusals", Json, nullable=False),
    sa.Column("correction", sa.Text, nullable=False),  # what was wrong with the reply before
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("tokens", sa.BigInteger, nullable=False),
    sa.Column("asked_at", Instant),  # of its first request: its time runs from then
    sa.Column("started_at", Instant),
    sa.Column("finished_at", Instant),
    *due_columns(),
    *due_indexes("step_run", running=RUNNING),
)
sa.Index("step_run_of_run", step_run.c.run_id, step_run.c.position, unique=True)
_partial("step_run_front", "status = 'pending'", step_run.c.priority, step_run.c.rank)
_partial(
    "step_run_of_store",
    "status IN ('pending', 'deferred')",
    step_run.c.store_id,
    step_run.c.priority,
    step_run.c.rank,
)

attempt = sa.Table(
    "attempt",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("step_id", Id, nullable=False),
    sa.Column("run_id", Id, nullable=False),
    sa.Column("store_id", Id, nullable=False),
    sa.Column("app_type", Id, nullable=False),
    sa.Column("member_id", Id, nullable=False),
    sa.Column("assistant_id", Id, nullable=False),
    sa.Column("time_dimension", Id, nullable=False),
    sa.Column("area", Id, nullable=False),
    sa.Column("attempt_no", sa.Integer, nullable=False),
    sa.Column("interactive", sa.Boolean, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("http_status", sa.Integer),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("prompt", sa.Text, nullable=False),  # masked; '' once its time of keeping is over
    sa.Column("response", sa.Text, nullable=False),  # likewise
    sa.Column("prompt_bytes", sa.Integer, nullable=False),
    sa.Column("prompt_hash", sa.Text, nullable=False, server_default=""),  # as it left; '' of before 0005
    sa.Column("models", Json, nullable=False, server_default="[]"),  # that answered
    sa.Column("input_tokens", sa.BigInteger, nullable=False),
    sa.Column("output_tokens", sa.BigInteger, nullable=False),
    sa.Column("charged_tokens", sa.BigInteger, nullable=False),
    sa.Column("request_id", sa.Text, nullable=False),
    sa.Column("finish_reason", sa.Text, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("trace_id", sa.Text, nullable=False),
    sa.Column("until", Instant, nullable=False),  # when it is over at the latest
    sa.Column("started_at", Instant, nullable=False),
    sa.Column("finished_at", Instant),
    sa.Column("took_ms", sa.Integer, nullable=False),
)
sa.Index("attempt_of_step", attempt.c.step_id, attempt.c.attempt_no, unique=True)
sa.Index("attempt_of_run", attempt.c.run_id, attempt.c.started_at)
sa.Index("attempt_by_store", attempt.c.store_id, attempt.c.started_at)
sa.Index("attempt_by_time", attempt.c.started_at, attempt.c.id)
sa.Index("attempt_of_app", attempt.c.app_type, attempt.c.started_at)
_partial("attempt_under_way", "status = 'calling'", attempt.c.until)
WORDY = "prompt <> '' OR response <> ''"
"""Of an attempt whose words are still kept."""
_partial("attempt_wordy", WORDY, attempt.c.started_at)
