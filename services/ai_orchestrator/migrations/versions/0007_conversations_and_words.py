"""Whose conversation a step goes on with; requests whose words are still kept."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from shared.db.types import Id

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_WORDY = sa.text("prompt <> '' OR response <> ''")


def upgrade() -> None:
    op.add_column("step_run", sa.Column("user_id", Id, server_default="", nullable=False))
    op.create_index(
        "attempt_wordy", "attempt", ["started_at"], sqlite_where=_WORDY, postgresql_where=_WORDY, unique=False
    )


def downgrade() -> None:
    op.drop_index("attempt_wordy", table_name="attempt", sqlite_where=_WORDY, postgresql_where=_WORDY)
    op.drop_column("step_run", "user_id")
