"""What is said to customers and what came of it: templates, experiments, effects, hours, the daily summary.

template ─┬─ template_version ── its words, none ever changed
          └─ experiment ─┬─ versions against each other
                         └─ experiment_variant ── each one's share, and why one was stopped
effect ── what a customer did after a push, once of each kind
reply_hour ── when customers write, by the hours of their clocks
picture ── what cards show, and what the platform calls it at present
summary_schedule ── when a session's next daily summary is due
summary_day ── what became of one day's summary: the key that lets no replica make a second
"""

from __future__ import annotations

import sqlalchemy as sa

from services.kf_session.store.tables import metadata, push
from shared.db.queue import due_columns, due_indexes
from shared.db.types import Id, Instant, Json

UPLOADING = "uploading"
"""The running state of a picture."""

RUNNING = "running"
"""The state of an experiment that assigns customers."""

template = sa.Table(
    "template",
    metadata,
    sa.Column("store_id", Id, primary_key=True),  # '' is every store that has none of that id
    sa.Column("template_id", Id, primary_key=True),
    sa.Column("acting", sa.Integer, nullable=False),  # 0 after a deletion
    sa.Column("latest", sa.Integer, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
)

template_version = sa.Table(
    "template_version",
    metadata,
    sa.Column("store_id", Id, primary_key=True),
    sa.Column("template_id", Id, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("spec", Json, nullable=False),
    sa.Column("comment", sa.Text, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
)

experiment = sa.Table(
    "experiment",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("store_id", Id, nullable=False),
    sa.Column("template_id", Id, nullable=False),
    sa.Column("status", sa.Text, nullable=False),  # running, stopped
    sa.Column("reason", sa.Text, nullable=False),  # why it stopped
    sa.Column("winner", Id),  # the variant that is better than each other one
    sa.Column("adopt", sa.Boolean, nullable=False),  # whether the winner's version acts from then on
    sa.Column("alpha", sa.Float, nullable=False),
    sa.Column("started_at", Instant, nullable=False),
    sa.Column("ends_at", Instant, nullable=False),
    sa.Column("stopped_at", Instant),
    sa.Column("created_by", sa.Text, nullable=False),
)
sa.Index(
    "experiment_running",
    experiment.c.store_id,
    experiment.c.template_id,
    unique=True,
    sqlite_where=sa.text(f"status = '{RUNNING}'"),
    postgresql_where=sa.text(f"status = '{RUNNING}'"),
)
sa.Index("experiment_of_template", experiment.c.store_id, experiment.c.template_id, experiment.c.started_at)

experiment_variant = sa.Table(
    "experiment_variant",
    metadata,
    sa.Column("experiment_id", Id, primary_key=True),
    sa.Column("name", Id, primary_key=True),
    sa.Column("position", sa.Integer, nullable=False),  # the first is the control
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("share", sa.Integer, nullable=False),  # of the sum of all
    sa.Column("stopped_at", Instant),
    sa.Column("reason", sa.Text, nullable=False),
)

effect = sa.Table(
    "effect",
    metadata,
    sa.Column("push_id", Id, primary_key=True),
    sa.Column("kind", Id, primary_key=True),  # reply, menu_click, link_click, miniprogram_enter, unsubscribed
    sa.Column("at", Instant, nullable=False),  # of the first
    sa.Column("recorded_at", Instant, nullable=False),
)
sa.Index("effect_by_age", effect.c.recorded_at)

reply_hour = sa.Table(
    "reply_hour",
    metadata,
    sa.Column("store_id", Id, primary_key=True),
    sa.Column("external_userid", Id, primary_key=True),
    sa.Column("hour", sa.Integer, primary_key=True),  # 0 to 23 on the customer's clocks
    sa.Column("weight", sa.Float, nullable=False),  # as of a fixed instant, so that sums need no clock
)

picture = sa.Table(
    "picture",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("store_id", Id, nullable=False),  # '' is every store that has none of that name
    sa.Column("name", Id, nullable=False),
    sa.Column("content", sa.LargeBinary, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("media_id", sa.Text, nullable=False),  # '' until it was uploaded
    sa.Column("expires_at", Instant),  # when the platform forgets it
    sa.Column("failure", sa.Text, nullable=False),  # why the last upload failed; '' where it did not
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    *due_columns(),
    *due_indexes("picture", running=UPLOADING),
)
sa.Index("picture_by_name", picture.c.store_id, picture.c.name, unique=True)

summary_schedule = sa.Table(
    "summary_schedule",
    metadata,
    sa.Column("open_kfid", Id, primary_key=True),
    sa.Column("external_userid", Id, primary_key=True),
    sa.Column("next_at", Instant, nullable=False),
)
sa.Index("summary_schedule_due", summary_schedule.c.next_at)

summary_day = sa.Table(
    "summary_day",
    metadata,
    sa.Column("open_kfid", Id, primary_key=True),
    sa.Column("external_userid", Id, primary_key=True),
    sa.Column("day", Id, primary_key=True),  # 2026-03-02, of the customer's calendar
    sa.Column("outcome", sa.Text, nullable=False),  # domain.daily.Outcome
    sa.Column("push_id", Id),
    sa.Column("due_at", Instant, nullable=False),
    sa.Column("decided_at", Instant, nullable=False),
)
sa.Index("summary_day_by_age", summary_day.c.decided_at)

sa.Index(
    "push_of_variant",
    push.c.variant,
    push.c.external_userid,
    sqlite_where=sa.text("variant IS NOT NULL"),
    postgresql_where=sa.text("variant IS NOT NULL"),
)
