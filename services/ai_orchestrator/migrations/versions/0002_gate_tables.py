"""Breakers, budgets, holds and what applications cost."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from shared.db.types import Instant

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "app_cost",
        sa.Column("app_type", sa.String().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("extra", sa.BigInteger(), nullable=False),
        sa.Column("calls", sa.Integer(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("app_type"),
    )
    op.create_table(
        "breaker",
        sa.Column("key", sa.String().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("since", Instant(), nullable=True),
        sa.Column("failed_at", Instant(), nullable=True),
        sa.Column("opening", sa.Integer(), nullable=False),
        sa.Column("failed_probes", sa.Integer(), nullable=False),
        sa.Column("opened_at", Instant(), nullable=True),
        sa.Column("retry_at", Instant(), nullable=True),
        sa.Column("probe", sa.String().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("probe_until", Instant(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("errcode", sa.Integer(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("store_id", sa.String().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.Column("updated_by", sa.Text(), nullable=False),
        sa.Column("recent", sa.Text(), nullable=False),
        sa.Column("strikes", sa.Integer(), nullable=False),
        sa.Column("struck_at", Instant(), nullable=True),
        sa.Column("rests_until", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "budget",
        sa.Column("store_id", sa.String().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("window", sa.String().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("used", sa.BigInteger(), nullable=False),
        sa.Column("held", sa.BigInteger(), nullable=False),
        sa.Column("calls", sa.Integer(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.CheckConstraint("used >= 0 AND held >= 0", name="budget_not_negative"),
        sa.PrimaryKeyConstraint("store_id", "window"),
    )
    op.create_index("budget_by_age", "budget", ["updated_at"], unique=False)
    op.create_table(
        "budget_limit",
        sa.Column("store_id", sa.String().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("day_tokens", sa.BigInteger(), nullable=True),
        sa.Column("month_tokens", sa.BigInteger(), nullable=True),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.Column("updated_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("store_id"),
    )
    op.create_table(
        "hold",
        sa.Column(
            "attempt_id", sa.String().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False
        ),
        sa.Column("store_id", sa.String().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("app_type", sa.String().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("day", sa.String().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("month", sa.String().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("taken_at", Instant(), nullable=False),
        sa.Column("until", Instant(), nullable=False),
        sa.Column("settled_at", Instant(), nullable=True),
        sa.Column("charged", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("attempt_id"),
    )
    op.create_index("hold_by_age", "hold", ["settled_at"], unique=False)
    op.create_index(
        "hold_open",
        "hold",
        ["until"],
        unique=False,
        sqlite_where=sa.text("settled_at IS NULL"),
        postgresql_where=sa.text("settled_at IS NULL"),
    )


def downgrade() -> None:
    op.drop_table("hold")
    op.drop_table("budget_limit")
    op.drop_table("budget")
    op.drop_table("breaker")
    op.drop_table("app_cost")
