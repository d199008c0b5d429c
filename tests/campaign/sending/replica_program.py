"""Replicas of the room that has owners asked, as processes: to be killed, frozen and steered.

python -m tests.campaign.sending.replica_program DATABASE_URL SANDBOX_URL QPS

Everything is imported once; each line ``run NAME`` or ``step NAME`` on the standard input forks a replica and answers
``forked NAME PID``. One that runs is as a service has it, on the sandbox's clock. One that is stepped does nothing but
what its socket tells it: an instant comes in, it claims, calls and settles once at that instant, and says how many.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa

from services.campaign.store.campaign_tables import campaign_target
from shared.clock import Clock, ManualClock, SandboxClock, sandbox_reader
from shared.db.engine import Database
from shared.supervise import Supervisor
from tests.campaign.sending.sending_support import NOON, KnownGroups, Replica


async def opened(database: Database, clock: Clock, url: str, name: str, qps: int) -> Replica:
    """A replica that knows the groups of whatever was planned."""
    await database.start()
    async with database.read() as conn:
        found = await conn.execute(sa.select(campaign_target.c.chat_id, campaign_target.c.owner))
        groups = KnownGroups(dict(found.tuples().all()))
    return Replica(database, clock, url, groups, name, qps=qps)


async def run(database_url: str, url: str, qps: int, name: str) -> None:
    """Send until killed."""
    database = Database.open(database_url, schema="public")
    async with sandbox_reader(url) as read:
        clock = SandboxClock(read)
        await clock.sync()
        replica = await opened(database, clock, url, name, qps)
        keeper = Supervisor()  # as a service has it: a database that is locked for a while ends no loop
        keeper.add("clock", lambda turn: clock.follow(turn, 1.0))
        keeper.add("tasks", replica.sender.run)
        async with keeper:
            await asyncio.Event().wait()


async def step(database_url: str, url: str, qps: int, name: str) -> None:
    """Send when told to, until the socket is closed; *name* is its path."""
    database, clock = Database.open(database_url, schema="public"), ManualClock(NOON)
    replica = await opened(database, clock, url, Path(name).name, qps)
    done = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            clock.advance(datetime.fromisoformat(line.decode().strip()) - clock.now())
            await replica.sender.recall()
            free, _ = await replica.sender._room()  # as the loop asks before it claims
            claimed = await replica.turn(free) if free else 0
            writer.write(b"%d\n" % claimed)
            await writer.drain()
        done.set()

    async with await asyncio.start_unix_server(serve, name):
        await done.wait()
    await replica.close()
    await database.close()


def main() -> None:
    """Fork replicas until the standard input ends; what is still there then is killed."""
    database_url, url, qps = sys.argv[1], sys.argv[2], int(sys.argv[3])
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the killed ones
    born: list[int] = []
    print("ready", flush=True)
    for line in sys.stdin:
        kind, name = line.split()
        child = os.fork()
        if not child:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.dup2(os.open(os.devnull, os.O_RDWR), 0)
            os.dup2(2, 1)  # whoever reads the answers sees them end with this process
            asyncio.run((run if kind == "run" else step)(database_url, url, qps, name))
            os._exit(0)
        born.append(child)
        print(f"forked {name} {child}", flush=True)
    for child in born:
        try:
            os.kill(child, signal.SIGKILL)
        except ProcessLookupError:
            continue


if __name__ == "__main__":
    main()
