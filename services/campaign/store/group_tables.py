"""To whom it can be sent: groups as the platform tells of them, what we add to them, and the ways in.

group_sync ── one walk over the platform's list, which goes on where it stopped
customer_group ─┬─ group_members ── who was in it when it was last read, as hashes
                ├─ group_change ── another owner, name, store, status; gone, back
                ├─ group_day ── joins and departures, by day
                ├─ group_join ── who came by a join way, until when they stayed
                └─ group_label ── what people say of it, opted_out among it
join_way ── a way in, with what the platform last said of it
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from services.campaign.store.tables import metadata
from shared.db.types import Id, Instant, Json

RUNNING: Final = "running"
"""The state of the one sync that is under way."""

customer_group = sa.Table(
    "customer_group",
    metadata,
    sa.Column("chat_id", Id, primary_key=True),
    sa.Column("store_id", Id, nullable=False),  # '' while its owner belongs to none, or is not known
    sa.Column("owner", Id, nullable=False),  # '' while it was never read
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("status", Id, nullable=False),  # domain.groups.GroupStatus
    sa.Column("gone_reason", Id, nullable=False),  # dismissed, not_in_range; '' is here
    sa.Column("gone_at", Instant),
    sa.Column("member_count", sa.Integer, nullable=False),
    sa.Column("customer_count", sa.Integer, nullable=False),
    sa.Column("created_at", Instant),  # by the platform
    sa.Column("last_joined_at", Instant),  # by the platform, of those who are in it
    sa.Column("last_changed_at", Instant),  # when somebody last joined or left, as far as was seen
    sa.Column("first_seen_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.Column("read_at", Instant),  # when its details were last read
    sa.Column("read_due_at", Instant),  # when they are to be; NULL: nothing is owed
    sa.Column("read_rank", sa.Integer, nullable=False),  # 0 a change was told of, 1 a sync asks
    sa.Column("read_attempts", sa.Integer, nullable=False),
    sa.Column("read_error", Id, nullable=False),  # denied, failed; '' when the last reading was well
    sa.Column("read_errcode", sa.Integer),
    sa.Column("hinted_at", Instant),  # when the platform last told of a change
    sa.Column("sync_id", Id, nullable=False),  # which sync waits for its reading; else ''
    sa.Column("seen_in", Id, nullable=False),  # which sync last listed it
    sa.Column("counted_in", Id, nullable=False),  # which sync last reported it as added or changed
)
sa.Index("customer_group_by_store", customer_group.c.store_id, customer_group.c.chat_id)
sa.Index("customer_group_by_owner", customer_group.c.owner, customer_group.c.store_id)
_due = sa.text("read_due_at IS NOT NULL")
sa.Index(
    "customer_group_due",
    customer_group.c.read_rank,
    customer_group.c.read_due_at,
    sqlite_where=_due,
    postgresql_where=_due,
)
_owed = sa.text("sync_id <> ''")
sa.Index("customer_group_owed", customer_group.c.sync_id, sqlite_where=_owed, postgresql_where=_owed)

group_members = sa.Table(
    "group_members",
    metadata,
    sa.Column("chat_id", Id, primary_key=True),
    sa.Column("members", sa.LargeBinary, nullable=False),  # domain.groups.packed
)

group_change = sa.Table(
    "group_change",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("chat_id", Id, nullable=False),
    sa.Column("kind", Id, nullable=False),  # domain.groups.ChangeKind
    sa.Column("before", sa.Text, nullable=False),
    sa.Column("after", sa.Text, nullable=False),
    sa.Column("at", Instant, nullable=False),
)
sa.Index("group_change_of_group", group_change.c.chat_id, group_change.c.at, group_change.c.id)
sa.Index("group_change_by_time", group_change.c.at)

group_day = sa.Table(
    "group_day",
    metadata,
    sa.Column("chat_id", Id, primary_key=True),
    sa.Column("day", Id, primary_key=True),  # YYYY-MM-DD in the default time zone
    sa.Column("joined", sa.Integer, nullable=False),
    sa.Column("left", sa.Integer, nullable=False),
)
sa.Index("group_day_by_day", group_day.c.day)

group_join = sa.Table(
    "group_join",
    metadata,
    sa.Column("chat_id", Id, primary_key=True),
    sa.Column("member", Id, primary_key=True),  # a hash under the deployment's key: nobody's id
    sa.Column("joined_at", Instant, primary_key=True),  # by the platform
    sa.Column("state", Id, nullable=False),
    sa.Column("left_at", Instant),  # when they were first missing
)
sa.Index("group_join_by_state", group_join.c.state, group_join.c.joined_at)

group_label = sa.Table(
    "group_label",
    metadata,
    sa.Column("chat_id", Id, primary_key=True),
    sa.Column("label", Id, primary_key=True),
    sa.Column("by", Id, nullable=False),
    sa.Column("at", Instant, nullable=False),
)
sa.Index("group_label_by_label", group_label.c.label, group_label.c.chat_id)

group_sync = sa.Table(
    "group_sync",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("status", Id, nullable=False),  # domain.groups.SyncStatus
    sa.Column("phase", Id, nullable=False),  # domain.groups.SyncPhase
    sa.Column("whole", sa.Boolean, nullable=False),  # every group is read, whatever is known of it
    sa.Column("started_by", Id, nullable=False),  # '' is the schedule
    sa.Column("cursor", sa.Text, nullable=False),  # where the next page begins
    sa.Column("pages", sa.Integer, nullable=False),
    sa.Column("listed", sa.Integer, nullable=False),
    sa.Column("added", sa.Integer, nullable=False),
    sa.Column("changed", sa.Integer, nullable=False),
    sa.Column("gone", sa.Integer, nullable=False),
    sa.Column("read", sa.Integer, nullable=False),
    sa.Column("denied", sa.Integer, nullable=False),
    sa.Column("failed", sa.Integer, nullable=False),
    sa.Column("faults", sa.Integer, nullable=False),  # calls in a row that came to nothing
    sa.Column("resume_at", Instant),  # not before, after a fault
    sa.Column("errcode", sa.Integer),
    sa.Column("error", sa.Text, nullable=False),  # of the last fault
    sa.Column("started_at", Instant, nullable=False),
    sa.Column("listed_at", Instant),
    sa.Column("finished_at", Instant),
    sa.Column("updated_at", Instant, nullable=False),
)
_running = sa.text("status = 'running'")
sa.Index(
    "group_sync_one", group_sync.c.status, unique=True, sqlite_where=_running, postgresql_where=_running
)  # one at a time, over all replicas
sa.Index("group_sync_by_time", group_sync.c.started_at, group_sync.c.id)

join_way = sa.Table(
    "join_way",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("store_id", Id, nullable=False),
    sa.Column("status", Id, nullable=False),  # domain.join_way.WayStatus
    sa.Column("config_id", Id),  # the platform's; NULL while it has none that we know of
    sa.Column("spec", Json, nullable=False),  # domain.join_way.Way
    sa.Column("state", Id, nullable=False),  # of the spec
    sa.Column("open_state", Id),  # the same as long as nobody else may have it; else NULL
    sa.Column("qr_code", sa.Text, nullable=False),  # URL of its picture
    sa.Column("drift", Json, nullable=False),  # fields that the platform has otherwise
    sa.Column("version", sa.Integer, nullable=False),  # grows with each change of ours
    sa.Column("errcode", sa.Integer),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("created_by", Id, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.Column("asked_at", Instant),  # when a call left whose answer nobody has seen
    sa.Column("checked_at", Instant),
    sa.Column("check_due_at", Instant),  # NULL: never again
)
sa.Index("join_way_config", join_way.c.config_id, unique=True)
sa.Index("join_way_state_once", join_way.c.store_id, join_way.c.open_state, unique=True)
sa.Index("join_way_by_store", join_way.c.store_id, join_way.c.created_at, join_way.c.id)
_checked = sa.text("check_due_at IS NOT NULL")
sa.Index("join_way_due", join_way.c.check_due_at, sqlite_where=_checked, postgresql_where=_checked)
