"""One replica of the room that has owners asked, as a program: to be killed and frozen.

python -m tests.campaign.sending.replica_program DATABASE_URL SANDBOX_URL NAME QPS
"""

from __future__ import annotations

import asyncio
import sys

import sqlalchemy as sa

from services.campaign.store.campaign_tables import campaign_target
from shared.clock import SandboxClock, sandbox_reader
from shared.db.engine import Database
from shared.supervise import Supervisor
from tests.campaign.sending.sending_support import KnownGroups, Replica


async def main(database_url: str, url: str, name: str, qps: int) -> None:
    """Send until killed."""
    database = Database.open(database_url, schema="public")
    await database.start()
    async with sandbox_reader(url) as read:
        clock = SandboxClock(read)
        await clock.sync()
        async with database.read() as conn:
            found = await conn.execute(sa.select(campaign_target.c.chat_id, campaign_target.c.owner))
            groups = KnownGroups(dict(found.tuples().all()))
        replica = Replica(database, clock, url, groups, name, qps=qps)
        print("ready", flush=True)  # whoever started it waits for this
        keeper = Supervisor()  # as a service has it: a database that is locked for a while ends no loop
        keeper.add("clock", lambda turn: clock.follow(turn, 1.0))
        keeper.add("tasks", replica.sender.run)
        async with keeper:
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
