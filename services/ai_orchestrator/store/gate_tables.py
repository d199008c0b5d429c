"""What calls may leave: who failed, what may be spent, what is spoken for.

breaker ── how the account, the key and each application stand: whether they fail, and how far they are slowed
budget_limit ── what a store may spend, where somebody said so
budget ─┬─ what was spent in a day or a month, of a store and of all
        └─ hold ── what a call under way may cost: taken before, settled after
app_cost ── what an application's calls have cost, from which holds are guessed

Rates are windows of ``shared.db.tables``.
"""

from __future__ import annotations

import sqlalchemy as sa

from services.ai_orchestrator.store.tables import metadata
from shared.db.breakers import breaker_columns
from shared.db.types import Id, Instant

breaker = sa.Table(
    "breaker",
    metadata,
    *breaker_columns(),  # account, key, app:<app type>
    sa.Column("recent", sa.Text, nullable=False),  # how the last ten calls ended, see domain.breaking
    sa.Column(
        "strikes", sa.Integer, nullable=False
    ),  # how far the platform has slowed it, see domain.slowing
    sa.Column("struck_at", Instant),
    sa.Column("rests_until", Instant),
)

budget_limit = sa.Table(
    "budget_limit",
    metadata,
    sa.Column("store_id", Id, primary_key=True),  # '' is all stores together
    sa.Column("day_tokens", sa.BigInteger),  # none: the deployment's
    sa.Column("month_tokens", sa.BigInteger),
    sa.Column("updated_at", Instant, nullable=False),
    sa.Column("updated_by", sa.Text, nullable=False),
)

budget = sa.Table(
    "budget",
    metadata,
    sa.Column("store_id", Id, primary_key=True),  # '' is all stores together
    sa.Column("window", Id, primary_key=True),  # 2026-03-02 or 2026-03
    sa.Column("used", sa.BigInteger, nullable=False),
    sa.Column("held", sa.BigInteger, nullable=False),
    sa.Column("calls", sa.Integer, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.CheckConstraint("used >= 0 AND held >= 0", name="budget_not_negative"),
)
sa.Index("budget_by_age", budget.c.updated_at)

hold = sa.Table(
    "hold",
    metadata,
    sa.Column("attempt_id", Id, primary_key=True),
    sa.Column("store_id", Id, nullable=False),
    sa.Column("app_type", Id, nullable=False),
    sa.Column("day", Id, nullable=False),  # of which windows it was taken: a call may end in the next
    sa.Column("month", Id, nullable=False),
    sa.Column("tokens", sa.BigInteger, nullable=False),
    sa.Column("taken_at", Instant, nullable=False),
    sa.Column("until", Instant, nullable=False),  # charged in full from then on
    sa.Column("settled_at", Instant),
    sa.Column("charged", sa.BigInteger),
)
sa.Index(
    "hold_open",
    hold.c.until,
    sqlite_where=sa.text("settled_at IS NULL"),
    postgresql_where=sa.text("settled_at IS NULL"),
)
sa.Index("hold_by_age", hold.c.settled_at)

app_cost = sa.Table(
    "app_cost",
    metadata,
    sa.Column("app_type", Id, primary_key=True),
    sa.Column("extra", sa.BigInteger, nullable=False),
    sa.Column("calls", sa.Integer, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
)
