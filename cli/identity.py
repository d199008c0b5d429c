"""The identity database, as the commands open it: whether services run or not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.clock import Clock
    from shared.identity.registry import TokenRegistry
    from shared.settings import Settings


@asynccontextmanager
async def registry(chosen: Settings, clock: Clock | None = None) -> AsyncIterator[TokenRegistry]:
    """Issues, lists, renews and revokes tokens; migrated first, so that the first token can be made before the first start.

    *clock* None: that of the database, which on SQLite is the host's.
    """
    import asyncio

    from shared import identity
    from shared.clock import DatabaseClock, SystemClock
    from shared.db.engine import Database
    from shared.db.migrate import migrate
    from shared.hosting.resources import database_url

    if chosen.database_url is None:
        chosen.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    url = database_url(chosen, identity.SCHEMA)
    await asyncio.to_thread(migrate, url, identity.SCHEMA, [identity.LOCATION])
    database = Database.open(url, schema=identity.SCHEMA)
    try:
        if clock is None:
            clock = SystemClock()
            if database.dialect == "postgresql":
                clock = shared_clock = DatabaseClock(database.server_time)
                await shared_clock.sync()
        yield identity.TokenRegistry(database, clock)
    finally:
        await database.close()
