"""What templates may say of matches, read from the rows of the matches themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.types import Id, Json

_match = sa.table(
    "match",
    sa.column("id", Id),
    sa.column("external_userid", Id),
    sa.column("profile_name", sa.Text()),
    sa.column("intent_name", sa.Text()),
    sa.column("explanation", sa.Text()),
    sa.column("conditions", Json()),
    sa.column("score", sa.Float()),
)


@dataclass(slots=True)
class Facts:
    """One match."""

    customer: str
    """Who is told of it."""
    values: dict[str, object]
    """By the names of ``domain.templates.FIELDS``."""


async def of_items(conn: AsyncConnection, item_ids: Sequence[str]) -> dict[str, Facts]:
    """Those of the matches that are there, by id."""
    found = await conn.execute(sa.select(_match).where(_match.c.id.in_(item_ids)))
    return {row.id: Facts(row.external_userid, _values(row)) for row in found.all()}


def _values(row: sa.Row[Any]) -> dict[str, object]:
    return {
        "profile_name": row.profile_name,
        "intent_name": row.intent_name,
        "explanation": row.explanation,
        "matched_conditions": [str(one) for one in row.conditions or ()],
        "score": round(row.score * 100),
    }
