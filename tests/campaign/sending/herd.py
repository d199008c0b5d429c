"""A campaign in PostgreSQL, a sandbox, and replicas that are processes: forked, killed, frozen, steered."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.campaign import Canary
from services.campaign.domain.lifecycle import Status
from services.campaign.domain.window import SendWindow
from services.campaign.pipeline.moving import Moving
from services.campaign.store import campaigns
from services.campaign.store.campaign_tables import campaign, campaign_target, owner_task
from shared.clock import ManualClock
from shared.db.engine import Database
from tests.campaign.sending.sending_support import (
    ADD,
    CORP,
    NOON,
    SECRET,
    KnownGroups,
    Replica,
    prepare,
    start,
)
from tests.e2e.harness import Sandbox, eventually, sandbox
from tests.support.process import ROOT

LEASE = timedelta(seconds=61)


class Forker:
    """One process that has everything imported and forks replicas; see ``replica_program``."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._count = 0

    @classmethod
    async def begin(cls, database_url: str, url: str, qps: int, log: Path) -> Self:
        """Import everything."""
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'gen'}"}
        with log.open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.campaign.sending.replica_program"),
                *(database_url, url, str(qps)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                cwd=ROOT,
                env=environment,
            )
        made = cls(process)
        assert await made._line() == "ready", await asyncio.to_thread(log.read_text)
        return made

    async def fork(self, kind: str, name: str = "") -> int:
        """A replica that runs, or is stepped at the socket *name*; its process id."""
        self._count += 1
        assert self._process.stdin is not None
        self._process.stdin.write(f"{kind} {name or f'r{self._count}'}\n".encode())
        return int((await self._line()).split()[2])

    async def end(self) -> None:
        """Kill them all."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        await asyncio.wait_for(self._process.communicate(), 20)

    async def _line(self) -> str:
        assert self._process.stdout is not None
        return (await asyncio.wait_for(self._process.stdout.readline(), 60)).decode().strip()


class Steered:
    """A replica that acts when it is told what time it is, and not otherwise."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def begin(cls, forker: Forker, at: Path) -> Self:
        """Fork one whose socket is *at*."""
        await forker.fork("step", str(at))

        async def there() -> Self | None:
            with suppress(FileNotFoundError, ConnectionRefusedError):
                return cls(*await asyncio.open_unix_connection(str(at)))
            return None

        found = await eventually(there, 20)
        assert found is not None
        return found

    async def act(self, now: datetime) -> int:
        """Claim, call and settle at *now*; how many tasks were claimed."""
        self._writer.write(f"{now.isoformat()}\n".encode())
        return int(await asyncio.wait_for(self._reader.readline(), 60))

    async def close(self) -> None:
        """Let it end."""
        self._writer.close()
        await self._writer.wait_closed()


class Herd:
    """What a test sees of it all."""

    def __init__(self, url: str, database: Database, world: Sandbox, path: Path) -> None:
        self.url, self.database, self.world, self.path = url, database, world, path
        self._forkers: list[Forker] = []

    async def forker(self, qps: int) -> Forker:
        """A new one."""
        made = await Forker.begin(self.url, self.world.url, qps, self.path / f"log{len(self._forkers)}")
        self._forkers.append(made)
        return made

    async def campaign(
        self,
        owners: int,
        groups_each: int = 1,
        *,
        canary: Canary | None = None,
        window: SendWindow | None = None,
    ) -> None:
        """Write one, running, to so many owners."""
        names = [f"u{at:04d}" for at in range(owners)]
        await self.world.declare(corp_id=CORP, users=[{"userid": one, "name": one} for one in names])
        known = KnownGroups({f"wr-{name}-{at}": name for name in names for at in range(groups_each)})
        several = asyncio.Semaphore(20)

        async def declare(chat_id: str, owner: str) -> None:
            async with several:
                await self.world.post("/sandbox/groups", chat_id=chat_id, owner=owner, name=owner)

        await asyncio.gather(*(declare(*one) for one in known.owners.items()))
        now = await self.world.now()
        replica = Replica(self.database, ManualClock(now), self.world.url, known)
        await start(replica, now, canary=canary, window=window)
        await replica.close()

    async def set(self, now: datetime, *, frozen: bool = True) -> None:
        """What time it is for everybody."""
        await self.world.post("/sandbox/clock", set=now.isoformat(), freeze=frozen)

    async def made(self) -> list[dict[str, Any]]:
        """What there is at the platform."""
        return list((await self.world.get("/sandbox/mass-sends", limit=10_000))["mass_sends"])

    async def asked_at(self) -> list[datetime]:
        """When each request to make a task arrived, by the sandbox's clock."""
        return [datetime.fromisoformat(one["at"]) for one in await self.world.requests(ADD)]

    async def rows(self, table: sa.Table) -> list[Any]:
        """All rows of a table."""
        async with self.database.read() as conn:
            return list((await conn.execute(sa.select(table))).all())

    async def done(self) -> bool:
        """Whether every task is made, as far as we know; where not, time goes on a little."""
        if all(row.status == "created" for row in await self.rows(owner_task)):
            return True
        await self.world.advance(5)  # what is looked for waits for a while
        return False

    async def check(self, groups: int) -> None:
        """Every group is in one task at the platform, every task there is one of ours, and all are waited for."""
        made = await self.made()
        asked = Counter(chat_id for one in made for chat_id in one["chat_ids"])
        assert set(asked.values()) == {1}
        assert len(asked) == groups
        assert {row.msgid for row in await self.rows(owner_task)} == {one["msgid"] for one in made}
        assert {row.status for row in await self.rows(campaign_target)} == {"awaiting_owner"}
        assert [row.status for row in await self.rows(campaign)] == ["reconciling"]

    async def move(self, after: Status, reason: str = "by_hand") -> datetime:
        """Somebody moves the campaign; when that stood."""
        now, moving = await self.world.now(), Moving(self.database)

        async def write(conn: AsyncConnection) -> None:
            [row] = (await conn.execute(sa.select(campaign.c.id))).all()
            held = await campaigns.hold(conn, row.id)
            assert held is not None
            await moving.move(conn, held, after, now, by="op", reason=reason)

        await self.database.transact(write)
        return await self.world.now()

    async def end(self) -> None:
        """Kill all that is there."""
        for one in self._forkers:
            await one.end()


@asynccontextmanager
async def herd(url: str, path: Path, *, at: datetime = NOON, frozen: bool = False) -> AsyncIterator[Herd]:
    """A sandbox whose clock shows *at*, and an empty database."""
    database = Database.open(url, schema="public")
    await prepare(database)
    async with sandbox() as world:
        await world.declare(
            corp_id=CORP, apps=[{"agentid": 0, "name": "c", "secret": SECRET, "kind": "customer"}]
        )
        made = Herd(url, database, world, path)
        await made.set(at, frozen=frozen)
        try:
            yield made
        finally:
            await made.end()
            await database.close()


def kill(process: int) -> None:
    """SIGKILL."""
    os.kill(process, signal.SIGKILL)
