"""What campaigns are written with: materials, tones, candidates."""

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
        "candidate",
        sa.Column("set_id", Id, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("angle", sa.Text(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("hits", Json(), nullable=False),
        sa.Column("used_version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("set_id", "number"),
    )
    op.create_table(
        "candidate_set",
        sa.Column("id", Id, nullable=False),
        sa.Column("store_id", Id, nullable=False),
        sa.Column("campaign_id", Id, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("asked", Json(), nullable=False),
        sa.Column("asked_by", Id, nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("reason", Id, nullable=False),
        sa.Column("run_id", Id, nullable=False),
        sa.Column("app_version", Id, nullable=False),
        sa.Column("prompt_hash", Id, nullable=False),
        sa.Column("models", Json(), nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("total_tokens", sa.BigInteger(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("finished_at", Instant(), nullable=True),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("rank", Instant(), nullable=False),
        sa.Column("due_at", Instant(), nullable=False),
        sa.Column("hold_reason", sa.String(), nullable=True),
        sa.Column("attempt_no", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lease_owner", sa.String(), nullable=True),
        sa.Column("lease_epoch", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("lease_until", Instant(), nullable=True),
        sa.Column("lane", Id, nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "candidate_set_of_campaign", "candidate_set", ["campaign_id", "created_at", "id"], unique=False
    )
    op.create_index(
        "ix_candidate_set_deferred",
        "candidate_set",
        ["due_at", "id"],
        unique=False,
        sqlite_where=sa.text("status = 'deferred'"),
        postgresql_where=sa.text("status = 'deferred'"),
    )
    op.create_index(
        "ix_candidate_set_lane",
        "candidate_set",
        ["lane", "rank", "id"],
        unique=False,
        sqlite_where=sa.text("lane IS NOT NULL AND status IN ('pending', 'deferred')"),
        postgresql_where=sa.text("lane IS NOT NULL AND status IN ('pending', 'deferred')"),
    )
    op.create_index(
        "ix_candidate_set_ready",
        "candidate_set",
        ["rank", "id", "due_at"],
        unique=False,
        sqlite_where=sa.text("status = 'pending'"),
        postgresql_where=sa.text("status = 'pending'"),
    )
    op.create_index(
        "ix_candidate_set_running",
        "candidate_set",
        ["lease_until", "id"],
        unique=False,
        sqlite_where=sa.text("status = 'asking'"),
        postgresql_where=sa.text("status = 'asking'"),
    )
    op.create_index(
        "uq_candidate_set_running_lane",
        "candidate_set",
        ["lane"],
        unique=True,
        sqlite_where=sa.text("lane IS NOT NULL AND status = 'asking'"),
        postgresql_where=sa.text("lane IS NOT NULL AND status = 'asking'"),
    )
    op.create_table(
        "material",
        sa.Column("id", Id, nullable=False),
        sa.Column("store_id", Id, nullable=False),
        sa.Column("name", Id, nullable=False),
        sa.Column("kind", Id, nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("received", sa.Integer(), nullable=False),
        sa.Column("digest", Id, nullable=False),
        sa.Column("created_by", Id, nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.Column("media_id", Id, nullable=False),
        sa.Column("expires_at", Instant(), nullable=True),
        sa.Column("failure", Id, nullable=False),
        sa.Column("upload_epoch", sa.BigInteger(), nullable=False),
        sa.Column("upload_until", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("material_of_store", "material", ["store_id", "name"], unique=True)
    op.create_index(
        "material_unfinished",
        "material",
        ["updated_at", "id"],
        unique=False,
        sqlite_where=sa.text("digest = ''"),
        postgresql_where=sa.text("digest = ''"),
    )
    op.create_table(
        "material_part",
        sa.Column("material_id", Id, nullable=False),
        sa.Column("start", sa.Integer(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("material_id", "start"),
    )
    op.create_table(
        "tone",
        sa.Column("store_id", Id, nullable=False),
        sa.Column("name", Id, nullable=False),
        sa.Column("said", Json(), nullable=False),
        sa.Column("updated_by", Id, nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("store_id", "name"),
    )


def downgrade() -> None:
    op.drop_table("candidate")
    op.drop_table("candidate_set")
    op.drop_table("material")
    op.drop_table("material_part")
    op.drop_table("tone")
