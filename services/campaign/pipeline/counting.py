"""The port ``Caps``: which groups have received as many mass messages as they may."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.caps import ReceiveLimits
from services.campaign.store import receipts


class ReceiptCaps:
    """Counts what the ledger holds: messages that somebody else sent are in it only where a group was found full."""

    def __init__(self, limits: ReceiveLimits) -> None:
        self._limits = limits

    async def full(
        self, conn: AsyncConnection, store_id: str, chat_ids: Collection[str], at: datetime
    ) -> Mapping[str, str]:
        """See ``ports.Caps``. The platform counts for the whole corp, so whatever store sent it counts."""
        return await receipts.full(conn, self._limits.at(at), chat_ids, at)
