"""One replica that asks owners and follows what became of it, as a program: to be killed and frozen.

python -m tests.campaign.reconciling.follower_program DATABASE_URL SANDBOX_URL NAME
"""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta

import sqlalchemy as sa

from services.campaign.store.campaign_tables import campaign_target
from shared.clock import SandboxClock, sandbox_reader
from shared.db.engine import Database
from tests.campaign.reconciling.room import Site
from tests.campaign.sending.sending_support import KnownGroups


async def main(database_url: str, url: str, name: str) -> None:
    """Run until killed."""
    database = Database.open(database_url, schema="public")
    await database.start()
    async with sandbox_reader(url) as read:
        clock = SandboxClock(read)
        await clock.sync()
        async with database.read() as conn:
            found = await conn.execute(sa.select(campaign_target.c.chat_id, campaign_target.c.owner))
            groups = KnownGroups(dict(found.tuples().all()))
        site = Site(
            database, clock, url, groups, name, remind_every=timedelta(hours=1), remind_most=50, qps=50
        )
        print("ready", flush=True)  # whoever started it waits for this
        await asyncio.gather(
            clock.follow(lambda: None, 0.1), site.sender.run(lambda: None), site.follower.run(lambda: None)
        )


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3]))
