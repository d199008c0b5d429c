"""Profiles, intents, their index and their matches."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from shared.db.types import Id, Instant, Json

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "intent",
        sa.Column("store_id", Id, nullable=False),
        sa.Column("intent_id", Id, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("spec", Json(), nullable=False),
        sa.Column("open_kfid", Id, nullable=False),
        sa.Column("external_userid", Id, nullable=False),
        sa.Column("auto_push", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("expires_at", Instant(), nullable=True),
        sa.Column("deleted_at", Instant(), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("store_id", "intent_id"),
    )
    op.create_index("intent_of_customer", "intent", ["store_id", "external_userid"], unique=False)
    op.create_table(
        "intent_anchor",
        sa.Column("store_id", Id, nullable=False),
        sa.Column("term", Id, nullable=False),
        sa.Column("intent_id", Id, nullable=False),
        sa.PrimaryKeyConstraint("store_id", "term", "intent_id"),
    )
    op.create_index("intent_anchor_of_intent", "intent_anchor", ["store_id", "intent_id"], unique=False)
    op.create_table(
        "match",
        sa.Column("id", Id, nullable=False),
        sa.Column("store_id", Id, nullable=False),
        sa.Column("intent_id", Id, nullable=False),
        sa.Column("profile_id", Id, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("external_id", Id, nullable=True),
        sa.Column("intent_name", sa.Text(), nullable=False),
        sa.Column("profile_name", sa.Text(), nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("ai_score", sa.Float(), nullable=True),
        sa.Column("conditions", Json(), nullable=False),
        sa.Column("explanation", sa.Text(), nullable=False),
        sa.Column("profile_fingerprint", Id, nullable=False),
        sa.Column("intent_version", sa.Integer(), nullable=False),
        sa.Column("open_kfid", Id, nullable=False),
        sa.Column("external_userid", Id, nullable=False),
        sa.Column("expires_at", Instant(), nullable=True),
        sa.Column("pushed_fingerprint", Id, nullable=True),
        sa.Column("push_id", Id, nullable=True),
        sa.Column("unpushed_reason", sa.Text(), nullable=True),
        sa.Column("withdrawn_at", Instant(), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("match_by_external_id", "match", ["store_id", "external_id"], unique=True)
    op.create_index("match_of_customer", "match", ["store_id", "external_userid", "score"], unique=False)
    op.create_index("match_of_profile", "match", ["store_id", "profile_id"], unique=False)
    op.create_index("match_once", "match", ["store_id", "intent_id", "profile_id"], unique=True)
    op.create_table(
        "match_work",
        sa.Column("store_id", Id, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("object_id", Id, nullable=False),
        sa.Column("cursor", Id, nullable=False),
        sa.Column("due_at", Instant(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("store_id", "kind", "object_id"),
    )
    op.create_index("match_work_due", "match_work", ["due_at"], unique=False)
    op.create_table(
        "profile",
        sa.Column("store_id", Id, nullable=False),
        sa.Column("profile_id", Id, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("fields", Json(), nullable=False),
        sa.Column("fingerprint", Id, nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("store_id", "profile_id"),
    )
    op.create_table(
        "profile_term",
        sa.Column("store_id", Id, nullable=False),
        sa.Column("term", Id, nullable=False),
        sa.Column("profile_id", Id, nullable=False),
        sa.PrimaryKeyConstraint("store_id", "term", "profile_id"),
    )
    op.create_index("profile_term_of_profile", "profile_term", ["store_id", "profile_id"], unique=False)


def downgrade() -> None:
    op.drop_table("profile_term")
    op.drop_table("profile")
    op.drop_table("match_work")
    op.drop_table("match")
    op.drop_table("intent_anchor")
    op.drop_table("intent")
