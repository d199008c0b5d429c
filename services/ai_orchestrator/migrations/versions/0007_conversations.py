"""Whose conversation a step goes on with."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from shared.db.types import Id

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("step_run", sa.Column("user_id", Id, server_default="", nullable=False))


def downgrade() -> None:
    op.drop_column("step_run", "user_id")
