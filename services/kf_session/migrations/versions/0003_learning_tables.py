"""Templates, experiments, effects, hours and the daily summary."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from shared.db.types import Id, Instant, Json

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "template",
        sa.Column("store_id", Id, nullable=False),
        sa.Column("template_id", Id, nullable=False),
        sa.Column("acting", sa.Integer(), nullable=False),
        sa.Column("latest", sa.Integer(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("store_id", "template_id"),
    )
    op.create_table(
        "template_version",
        sa.Column("store_id", Id, nullable=False),
        sa.Column("template_id", Id, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("spec", Json(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("store_id", "template_id", "version"),
    )
    op.create_table(
        "experiment",
        sa.Column("id", Id, nullable=False),
        sa.Column("store_id", Id, nullable=False),
        sa.Column("template_id", Id, nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("winner", Id, nullable=True),
        sa.Column("adopt", sa.Boolean(), nullable=False),
        sa.Column("alpha", sa.Float(), nullable=False),
        sa.Column("started_at", Instant(), nullable=False),
        sa.Column("ends_at", Instant(), nullable=False),
        sa.Column("stopped_at", Instant(), nullable=True),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "experiment_of_template", "experiment", ["store_id", "template_id", "started_at"], unique=False
    )
    op.create_index(
        "experiment_running",
        "experiment",
        ["store_id", "template_id"],
        unique=True,
        sqlite_where=sa.text("status = 'running'"),
        postgresql_where=sa.text("status = 'running'"),
    )
    op.create_table(
        "experiment_variant",
        sa.Column("experiment_id", Id, nullable=False),
        sa.Column("name", Id, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("share", sa.Integer(), nullable=False),
        sa.Column("stopped_at", Instant(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("experiment_id", "name"),
    )
    op.create_table(
        "effect",
        sa.Column("push_id", Id, nullable=False),
        sa.Column("kind", Id, nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("recorded_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("push_id", "kind"),
    )
    op.create_index("effect_by_age", "effect", ["recorded_at"], unique=False)
    op.create_table(
        "reply_hour",
        sa.Column("store_id", Id, nullable=False),
        sa.Column("external_userid", Id, nullable=False),
        sa.Column("hour", sa.Integer(), nullable=False),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("store_id", "external_userid", "hour"),
    )
    op.create_table(
        "summary_schedule",
        sa.Column("open_kfid", Id, nullable=False),
        sa.Column("external_userid", Id, nullable=False),
        sa.Column("next_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("open_kfid", "external_userid"),
    )
    op.create_index("summary_schedule_due", "summary_schedule", ["next_at"], unique=False)
    op.create_table(
        "summary_day",
        sa.Column("open_kfid", Id, nullable=False),
        sa.Column("external_userid", Id, nullable=False),
        sa.Column("day", Id, nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("push_id", Id, nullable=True),
        sa.Column("due_at", Instant(), nullable=False),
        sa.Column("decided_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("open_kfid", "external_userid", "day"),
    )
    op.create_index("summary_day_by_age", "summary_day", ["decided_at"], unique=False)
    op.create_index(
        "push_of_variant",
        "push",
        ["variant", "external_userid"],
        unique=False,
        sqlite_where=sa.text("variant IS NOT NULL"),
        postgresql_where=sa.text("variant IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("push_of_variant", "push")
    op.drop_table("summary_day")
    op.drop_table("summary_schedule")
    op.drop_table("reply_hour")
    op.drop_table("effect")
    op.drop_table("experiment_variant")
    op.drop_table("experiment")
    op.drop_table("template_version")
    op.drop_table("template")
