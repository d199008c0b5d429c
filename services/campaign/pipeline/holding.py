"""A campaign for somebody who wants to do something to it, or to look at it."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.store import campaigns
from services.campaign.store.campaigns import Kept
from shared.errors import NotFound, Overtaken
from shared.rpc.principal import current


async def held(conn: AsyncConnection, campaign_id: str, expected_version: int = 0) -> Kept:
    """Locked until the end of the transaction.

    Raises NotFound where there is none or it is in a store that is not the caller's, Overtaken (VERSION_CONFLICT) where
    it has another version than the one expected; 0 expects none.
    """
    found = _seen(await campaigns.hold(conn, campaign_id))
    if expected_version and expected_version != found.version:
        raise Overtaken(
            "VERSION_CONFLICT", f"the campaign has version {found.version} by now", version=found.version
        )
    return found


async def looked_at(conn: AsyncConnection, campaign_id: str) -> Kept:
    """As it is. Raises NotFound as ``held`` does."""
    return _seen(await campaigns.get(conn, campaign_id))


def _seen(found: Kept | None) -> Kept:
    if found is None or not current().may_touch(found.store_id):
        raise NotFound("NOT_FOUND", "there is no such campaign", resource="campaign")
    return found
