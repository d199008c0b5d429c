"""Facts by their age, for those that leave."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("visit_by_age", "visit", ["settled_at"], unique=False)
    op.create_index("note_by_age", "note", ["noted_at"], unique=False)
    op.create_index("task_by_age", "task", ["assigned_at"], unique=False)


def downgrade() -> None:
    op.drop_index("task_by_age", table_name="task")
    op.drop_index("note_by_age", table_name="note")
    op.drop_index("visit_by_age", table_name="visit")
