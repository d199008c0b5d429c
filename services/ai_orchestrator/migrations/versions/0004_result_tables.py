"""Insights, clues, alerts, conversations."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from shared.db.types import Id, Instant, Json

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "alert",
        sa.Column("id", Id, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=True),
        sa.Column("once", Id, nullable=False),
        sa.Column("store_id", Id, nullable=False),
        sa.Column("app_type", Id, nullable=False),
        sa.Column("kind", Id, nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("run_id", Id, nullable=False),
        sa.Column("step", Id, nullable=False),
        sa.Column("announced", sa.Boolean(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("once"),
        sa.UniqueConstraint("seq"),
    )
    op.create_index("alert_by_age", "alert", ["created_at"], unique=False)
    op.create_index("alert_by_kind", "alert", ["store_id", "app_type", "kind", "created_at"], unique=False)
    op.create_index(
        "alert_unnumbered",
        "alert",
        ["id"],
        unique=False,
        sqlite_where=sa.text("seq IS NULL"),
        postgresql_where=sa.text("seq IS NULL"),
    )
    op.create_table(
        "alert_head",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("purged", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "clue",
        sa.Column("id", Id, nullable=False),
        sa.Column("store_id", Id, nullable=False),
        sa.Column("member_id", Id, nullable=False),
        sa.Column("source", Id, nullable=False),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("emoji", sa.Text(), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("providers", sa.Text(), nullable=False),
        sa.Column("run_id", Id, nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("clue_by_member", "clue", ["store_id", "member_id", "id"], unique=False)
    op.create_table(
        "clue_set",
        sa.Column("store_id", Id, nullable=False),
        sa.Column("member_id", Id, nullable=False),
        sa.Column("source", Id, nullable=False),
        sa.Column("run_id", Id, nullable=False),
        sa.Column("replaced_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("store_id", "member_id", "source"),
    )
    op.create_table(
        "conversation",
        sa.Column("store_id", Id, nullable=False),
        sa.Column("user_id", Id, nullable=False),
        sa.Column("app_type", Id, nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("used_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("store_id", "user_id", "app_type"),
    )
    op.create_index("conversation_by_age", "conversation", ["used_at"], unique=False)
    op.create_table(
        "insight",
        sa.Column("store_id", Id, nullable=False),
        sa.Column("cache_type", Id, nullable=False),
        sa.Column("target", Id, nullable=False),
        sa.Column("app_type", Id, nullable=False),
        sa.Column("app_version", sa.Text(), nullable=False),
        sa.Column("member_id", Id, nullable=False),
        sa.Column("assistant_id", Id, nullable=False),
        sa.Column("time_dimension", Id, nullable=False),
        sa.Column("area", Id, nullable=False),
        sa.Column("result", Json(), nullable=False),
        sa.Column("score", sa.Integer(), nullable=True),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("made_from", Json(), nullable=False),
        sa.Column("missing", Json(), nullable=False),
        sa.Column("triggered_by", sa.Text(), nullable=False),
        sa.Column("run_id", Id, nullable=False),
        sa.Column("made_at", Instant(), nullable=False),
        sa.Column("known_at", Instant(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("store_id", "cache_type", "target"),
    )
    op.create_index("insight_by_member", "insight", ["store_id", "member_id", "app_type"], unique=False)
    op.create_index(
        "insight_by_time", "insight", ["made_at", "store_id", "cache_type", "target"], unique=False
    )
    op.create_table(
        "member_news",
        sa.Column("store_id", Id, nullable=False),
        sa.Column("member_id", Id, nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("store_id", "member_id"),
    )


def downgrade() -> None:
    op.drop_table("member_news")
    op.drop_table("insight")
    op.drop_table("conversation")
    op.drop_table("clue_set")
    op.drop_table("clue")
    op.drop_table("alert_head")
    op.drop_table("alert")
