"""What an attempt asked, as a digest, and who answered."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from shared.db.types import Json

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("attempt", sa.Column("prompt_hash", sa.Text(), server_default="", nullable=False))
    op.add_column("attempt", sa.Column("models", Json(), server_default="[]", nullable=False))


def downgrade() -> None:
    op.drop_column("attempt", "models")
    op.drop_column("attempt", "prompt_hash")
