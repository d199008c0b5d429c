"""Whose mobile numbers are known: kept under a keyed hash, so that the table tells nobody a number."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.store.tables import known_mobile
from shared.db.rows import insert_into
from shared.db.types import DialectName

FOUND_KEPT = timedelta(days=7)
"""How long a member is taken to keep a number."""

MISSING_KEPT = timedelta(days=1)
"""How long a number is taken to be nobody's. The platform stops answering for a day where too many are wrong."""


class Mobiles:
    """Reads and writes whose numbers are known to one app."""

    def __init__(self, dialect: DialectName, key: bytes, account: str) -> None:
        self._dialect = dialect
        self._key = key
        self._account = account

    async def read(self, conn: AsyncConnection, mobiles: Sequence[str], now: datetime) -> dict[str, str]:
        """The userid of each number that is known well enough; empty for one that is nobody's."""
        hashes = {self._hash(mobile): mobile for mobile in mobiles}
        query = sa.select(known_mobile).where(
            known_mobile.c.account == self._account, known_mobile.c.mobile_hash.in_(list(hashes))
        )
        return {
            hashes[row.mobile_hash]: row.userid
            for row in await conn.execute(query)
            if row.looked_up_at > now - (FOUND_KEPT if row.userid else MISSING_KEPT)
        }

    async def write(self, conn: AsyncConnection, found: Mapping[str, str], now: datetime) -> None:
        """Keep the userid of each number; empty for one that is nobody's."""
        for mobile in sorted(found, key=self._hash):  # in one order everywhere, for the locks
            values = {"userid": found[mobile], "looked_up_at": now}
            insert = insert_into(self._dialect, known_mobile).values(
                account=self._account, mobile_hash=self._hash(mobile), **values
            )
            await conn.execute(
                insert.on_conflict_do_update(index_elements=["account", "mobile_hash"], set_=values)
            )

    def _hash(self, mobile: str) -> str:
        return hmac.digest(self._key, mobile.encode(), "sha256").hex()


async def purge(conn: AsyncConnection, now: datetime) -> None:
    """Forget what is no longer believed."""
    await conn.execute(sa.delete(known_mobile).where(known_mobile.c.looked_up_at <= now - FOUND_KEPT))
