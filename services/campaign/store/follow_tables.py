"""What happens to tasks that exist: they are looked at until every group of theirs has its outcome.

owner_task ── task_follow ── task_reminder      one row a task that is looked at; one a reminder, written before it leaves
campaign_target ── group_receipt                what a group has received, or could not: the ledger of its allowance
"""

from __future__ import annotations

import sqlalchemy as sa

from services.campaign.store.tables import metadata
from shared.db.queue import due_columns, due_indexes
from shared.db.types import Id, Instant

LOOKING = "looking"
"""The running state of a task that is followed."""

task_follow = sa.Table(
    "task_follow",
    metadata,
    sa.Column("id", Id, primary_key=True),  # the task's
    sa.Column("run_id", Id, nullable=False),
    sa.Column("campaign_id", Id, nullable=False),
    sa.Column("store_id", Id, nullable=False),
    sa.Column("owner", Id, nullable=False),
    sa.Column("msgid", Id, nullable=False),
    sa.Column("made_at", Instant, nullable=False),
    sa.Column("confirm_by", Instant, nullable=False),
    sa.Column("stopping", sa.Boolean, nullable=False),  # it is to be cancelled at the platform
    sa.Column("confirmed_at", Instant),  # when its owner pressed send first, by the platform's clock
    sa.Column("looks", sa.Integer, nullable=False),  # that brought nothing new, since one did
    sa.Column("failures", sa.Integer, nullable=False),  # looks that came to nothing, since one did not
    sa.Column("looked_at", Instant),  # when a look last brought an answer
    sa.Column("errcode", sa.Integer),  # of the last failure
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("ended_at", Instant),
    sa.Column("updated_at", Instant, nullable=False),
    *due_columns(),
    *due_indexes("task_follow", running=LOOKING),
)
sa.Index("task_follow_of_campaign", task_follow.c.campaign_id, task_follow.c.status)
sa.Index("task_follow_ended", task_follow.c.ended_at)

task_reminder = sa.Table(
    "task_reminder",
    metadata,
    sa.Column("task_id", Id, primary_key=True),
    sa.Column(
        "number", sa.Integer, primary_key=True
    ),  # 1 is the first: two that are written at once are not both
    sa.Column("campaign_id", Id, nullable=False),
    sa.Column("by", Id, nullable=False),  # subject; '' is the service itself
    sa.Column("asked_at", Instant, nullable=False),  # counts, from here on, among the three of a day
    sa.Column("began_at", Instant),  # its request was about to leave
    sa.Column("outcome", Id, nullable=False),  # '' while it is not known
    sa.Column("errcode", sa.Integer),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("finished_at", Instant),
)
sa.Index("task_reminder_by_time", task_reminder.c.asked_at)
sa.Index("task_reminder_of_campaign", task_reminder.c.campaign_id, task_reminder.c.asked_at)

group_receipt = sa.Table(
    "group_receipt",
    metadata,
    sa.Column("task_id", Id, primary_key=True),
    sa.Column("chat_id", Id, primary_key=True),  # once, whoever sees it
    sa.Column("store_id", Id, nullable=False),
    sa.Column("received", sa.Boolean, nullable=False),  # or else it was full
    sa.Column("at", Instant, nullable=False),  # by the platform's clock
)
sa.Index("group_receipt_of_group", group_receipt.c.chat_id, group_receipt.c.at)
sa.Index("group_receipt_by_time", group_receipt.c.at)
