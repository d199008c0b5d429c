"""What is sent, who said so, and what came of it.

campaign ─┬─ campaign_version ── each edit, and whose it was
          ├─ campaign_log ── each move from state to state
          ├─ audience_snapshot ── audience_target      the groups of a version, frozen for whoever approves
          ├─ approval ── what was said of a version, bound to its hash
          ├─ campaign_run ─┬─ owner_task ─┬─ task_attempt      one request each, written before it leaves
          │                │              └─ campaign_target   one group each, with its own outcome
          │                └─ run_left_out                     what a dry run left out: its groups are frozen nowhere
          └─ top_up_group ── which of its groups were handed on, and to which campaign
"""

from __future__ import annotations

import sqlalchemy as sa

from services.campaign.store.tables import metadata
from shared.db.queue import due_columns, due_indexes
from shared.db.types import Id, Instant, Json

CREATING = "creating"
"""The running state of a task."""

campaign = sa.Table(
    "campaign",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("store_id", Id, nullable=False),
    sa.Column("status", Id, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),  # of what it says now; 1 is the first
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("reason", Id, nullable=False),  # why it stands there, where that needs a reason; or ''
    sa.Column("created_by", Id, nullable=False),
    sa.Column("schedule_at", Instant),  # of the present version
    sa.Column("top_up_of", Id),
    sa.Column("playbook", Id, nullable=False),  # that it was made by; else ''
    sa.Column("traceparent", sa.Text),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.Column("started_at", Instant),
    sa.Column("finished_at", Instant),
)
sa.Index("campaign_by_store", campaign.c.store_id, campaign.c.created_at, campaign.c.id)
sa.Index("campaign_by_time", campaign.c.created_at, campaign.c.id)
_handed_on = sa.text("top_up_of IS NOT NULL")
sa.Index(
    "campaign_of_parent",
    campaign.c.top_up_of,
    campaign.c.created_at,
    sqlite_where=_handed_on,
    postgresql_where=_handed_on,
)
_scheduled = sa.text("status = 'scheduled'")
sa.Index("campaign_scheduled", campaign.c.schedule_at, sqlite_where=_scheduled, postgresql_where=_scheduled)
_under_way = sa.text("status IN ('running', 'paused', 'reconciling')")
sa.Index("campaign_under_way", campaign.c.id, sqlite_where=_under_way, postgresql_where=_under_way)

campaign_version = sa.Table(
    "campaign_version",
    metadata,
    sa.Column("campaign_id", Id, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("spec", Json, nullable=False),  # domain.campaign.Spec
    sa.Column("editor", Id, nullable=False),  # subject; of words of an application, whoever asked for them
    sa.Column("how", Id, nullable=False),  # created, edited, ai_text, top_up, playbook
    sa.Column("created_at", Instant, nullable=False),
)

campaign_log = sa.Table(
    "campaign_log",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("campaign_id", Id, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("before", Id, nullable=False),
    sa.Column("after", Id, nullable=False),
    sa.Column("by", Id, nullable=False),  # subject; '' is the service itself
    sa.Column("reason", Id, nullable=False),
    sa.Column("comment", sa.Text, nullable=False),
    sa.Column("at", Instant, nullable=False),
)
sa.Index("campaign_log_of_campaign", campaign_log.c.campaign_id, campaign_log.c.at, campaign_log.c.id)

audience_snapshot = sa.Table(
    "audience_snapshot",
    metadata,
    sa.Column("campaign_id", Id, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("set_hash", Id, nullable=False),
    sa.Column("content_hash", Id, nullable=False),
    sa.Column("included", sa.Integer, nullable=False),
    sa.Column("excluded", sa.Integer, nullable=False),
    sa.Column("taken_at", Instant, nullable=False),
)

audience_target = sa.Table(
    "audience_target",
    metadata,
    sa.Column("campaign_id", Id, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("chat_id", Id, primary_key=True),
    sa.Column("owner", Id, nullable=False),  # who will be asked
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("members", sa.Integer, nullable=False),
    sa.Column("reason", Id, nullable=False),  # why it is left out; '' is in
    sa.Column("detail", sa.Text, nullable=False),  # the fact that decided
)

sa.Index("audience_target_of_group", audience_target.c.chat_id, audience_target.c.campaign_id)

approval = sa.Table(
    "approval",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("campaign_id", Id, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("store_id", Id, nullable=False),
    sa.Column("content_hash", Id, nullable=False),
    sa.Column("approver", Id, nullable=False),
    sa.Column("token_id", Id, nullable=False),  # with which they were known
    sa.Column("decision", Id, nullable=False),  # approved, rejected
    sa.Column("comment", sa.Text, nullable=False),
    sa.Column("login_at", Instant, nullable=False),
    sa.Column("decided_at", Instant, nullable=False),
    sa.Column("expires_at", Instant, nullable=False),
)
sa.Index("approval_of_version", approval.c.campaign_id, approval.c.version, approval.c.decided_at)

campaign_run = sa.Table(
    "campaign_run",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("campaign_id", Id, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("store_id", Id, nullable=False),
    sa.Column("dry", sa.Boolean, nullable=False),
    sa.Column("content_hash", Id, nullable=False),
    sa.Column("started_by", Id, nullable=False),  # '' is the schedule
    sa.Column("started_at", Instant, nullable=False),
    sa.Column("finished_at", Instant),
)
_live = sa.text("NOT dry")
sa.Index(
    "campaign_run_once",
    campaign_run.c.campaign_id,
    campaign_run.c.version,
    unique=True,
    sqlite_where=_live,
    postgresql_where=_live,
)  # one live run of a version, for ever
sa.Index("campaign_run_of_campaign", campaign_run.c.campaign_id, campaign_run.c.started_at)

owner_task = sa.Table(
    "owner_task",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("run_id", Id, nullable=False),
    sa.Column("campaign_id", Id, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("store_id", Id, nullable=False),
    sa.Column("dry", sa.Boolean, nullable=False),
    sa.Column("owner", Id, nullable=False),  # who has to confirm
    sa.Column("chunk", sa.Integer, nullable=False),  # 0 is the first; 2,000 groups at most in each
    sa.Column("group_count", sa.Integer, nullable=False),
    sa.Column("canary", sa.Boolean, nullable=False),
    sa.Column("msgid", Id, nullable=False),  # the platform's; '' while it has none
    sa.Column("reason", Id, nullable=False),
    sa.Column("errcode", sa.Integer),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.Column("made_at", Instant),  # when the platform had it
    sa.Column("retries", sa.Integer, nullable=False),  # those that count
    sa.Column("renewals", sa.Integer, nullable=False),  # domain.making.Renewed: bits
    sa.Column("looks", sa.Integer, nullable=False),  # for it at the platform, since its last request
    sa.Column("unclear_at", Instant),  # since when a request may have made it; none may where it is empty
    sa.Column(
        "take_first", sa.Boolean, nullable=False
    ),  # somebody said that it exists: the first that fits is it
    *due_columns(),  # lane: sender and words, of live ones
    *due_indexes("owner_task", running=CREATING),
)
sa.Index("owner_task_once", owner_task.c.run_id, owner_task.c.owner, owner_task.c.chunk, unique=True)
sa.Index("owner_task_of_campaign", owner_task.c.campaign_id, owner_task.c.status)
sa.Index("owner_task_of_run", owner_task.c.run_id, owner_task.c.status, owner_task.c.updated_at)
_named = sa.text("msgid <> ''")
sa.Index(
    "owner_task_msgid",
    owner_task.c.msgid,
    unique=True,
    sqlite_where=_named,
    postgresql_where=_named,
)  # one task of ours for one of the platform's
_unknown = sa.text("status = 'unknown'")
sa.Index("owner_task_unknown", owner_task.c.lane, sqlite_where=_unknown, postgresql_where=_unknown)

task_attempt = sa.Table(
    "task_attempt",
    metadata,
    sa.Column("task_id", Id, primary_key=True),
    sa.Column("attempt_no", sa.Integer, primary_key=True),
    sa.Column("outcome", Id, nullable=False),  # '' while it is under way
    sa.Column("errcode", sa.Integer),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),  # the process
    sa.Column("trace_id", sa.Text, nullable=False),
    sa.Column("started_at", Instant, nullable=False),
    sa.Column("finished_at", Instant),
)

campaign_target = sa.Table(
    "campaign_target",
    metadata,
    sa.Column("run_id", Id, primary_key=True),
    sa.Column("chat_id", Id, primary_key=True),
    sa.Column("campaign_id", Id, nullable=False),
    sa.Column("task_id", Id, nullable=False),
    sa.Column("owner", Id, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("status", Id, nullable=False),
    sa.Column("raw_status", sa.Integer),  # the platform's 0 to 3
    sa.Column("reason", Id, nullable=False),
    sa.Column("errcode", sa.Integer),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("sent_at", Instant),  # by the platform's clock
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
)
sa.Index("campaign_target_of_task", campaign_target.c.task_id, campaign_target.c.chat_id)
sa.Index(
    "campaign_target_by_outcome",
    campaign_target.c.run_id,
    campaign_target.c.status,
    campaign_target.c.chat_id,
)
sa.Index(
    "campaign_target_of_owner", campaign_target.c.run_id, campaign_target.c.owner, campaign_target.c.chat_id
)
sa.Index("campaign_target_of_group", campaign_target.c.chat_id, campaign_target.c.created_at)

run_left_out = sa.Table(
    "run_left_out",
    metadata,
    sa.Column("run_id", Id, primary_key=True),
    sa.Column("chat_id", Id, primary_key=True),
    sa.Column("owner", Id, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("reason", Id, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),  # the fact that decided
)

sa.Index("run_left_out_of_group", run_left_out.c.chat_id)

top_up_group = sa.Table(
    "top_up_group",
    metadata,
    sa.Column("parent_id", Id, primary_key=True),
    sa.Column("chat_id", Id, primary_key=True),  # in one top-up of a campaign at most
    sa.Column("campaign_id", Id, nullable=False),
)
sa.Index("top_up_group_of_campaign", top_up_group.c.campaign_id)
