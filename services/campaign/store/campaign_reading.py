"""What is told of many campaigns at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.store.campaign_tables import audience_snapshot, campaign_version
from services.campaign.store.campaigns import Edit
from shared.values import value_class


@value_class
class Frozen:
    """What an approval of a version would bind."""

    content_hash: str
    included: int


async def edits_of(conn: AsyncConnection, campaign_ids: Collection[str]) -> Mapping[str, Sequence[Edit]]:
    """The versions of campaigns, the first first, by campaign."""
    t = campaign_version
    query = sa.select(t.c.campaign_id, t.c.version, t.c.editor, t.c.how, t.c.created_at)
    query = query.where(t.c.campaign_id.in_(sorted(campaign_ids))).order_by(t.c.campaign_id, t.c.version)
    found: dict[str, list[Edit]] = defaultdict(list)
    for row in await conn.execute(query):
        found[row.campaign_id].append(Edit(row.version, row.editor, row.how, row.created_at))
    return found


async def frozen_of(conn: AsyncConnection, versions: Collection[tuple[str, int]]) -> Mapping[str, Frozen]:
    """What is frozen of one version of each campaign, by campaign."""
    t = audience_snapshot
    query = sa.select(t.c.campaign_id, t.c.content_hash, t.c.included)
    query = query.where(sa.tuple_(t.c.campaign_id, t.c.version).in_(sorted(versions)))
    return {row.campaign_id: Frozen(row.content_hash, row.included) for row in await conn.execute(query)}
