"""ai_orchestrator as it is deployed: programs of ``reach serve ai_orchestrator`` over one PostgreSQL and one broker, with a
sandbox whose clock they follow.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, cast

import grpc
import psycopg
from psycopg.rows import dict_row
from reach.ai_orchestrator.v1 import gate_pb2
from reach.ai_orchestrator.v1 import run_pb2 as pb
from reach.ai_orchestrator.v1.ai_orchestrator_service_pb2_grpc import AiOrchestratorServiceStub

from shared.secrets import SecretKey
from tests.ai_orchestrator.club import IDS
from tests.ai_orchestrator.whole.wire import Wire, wired
from tests.e2e.harness import STORE, Sandbox, environment, eventually, sandbox_program
from tests.support.process import Program

SCHEMA = "ai_orchestrator"
MORNING = "2026-03-03T01:00:00Z"
"""Nine in Shanghai: an hour before the day's figures are prepared, which would be among what is counted."""


class Replica:
    """One program, and its door."""

    def __init__(self, program: Program, channel: grpc.aio.Channel) -> None:
        self.program = program
        self.stub: Any = AiOrchestratorServiceStub(channel)

    async def kill(self) -> None:
        """SIGKILL."""
        await asyncio.to_thread(self.program.kill)


class Replicas:
    """The programs that run, their rows, and what DashScope saw of them."""

    def __init__(self, world: Sandbox, wire: Wire, database: str, environ: dict[str, str]) -> None:
        self.world, self.wire, self.database = world, wire, database
        self.all: list[Replica] = []
        self._environ = environ
        self._stack = AsyncExitStack()
        self._started = 0

    async def start(self, count: int = 1) -> None:
        """Start *count* more, at once."""
        self.all += await asyncio.gather(*(self._start() for _ in range(count)))

    async def _start(self) -> Replica:
        self._started += 1
        name = f"ai_orchestrator {self._started}"
        arguments = ["-m", "cli.main", "serve", SCHEMA]
        program = self._stack.enter_context(Program(name, arguments, self._environ))
        await asyncio.to_thread(program.ready, 90)
        channel = await self._stack.enter_async_context(grpc.aio.insecure_channel(program.facts["grpc"]))
        return Replica(program, channel)

    async def close(self) -> None:
        """End them all."""
        await self._stack.aclose()

    async def kill(self, replica: Replica) -> None:
        """SIGKILL, and what it had on the wire is lost."""
        await replica.kill()
        self.wire.drop()
        self.all.remove(replica)

    async def holder(self) -> Replica:
        """Who has the one step that is under way in its hands."""
        (row,) = await self.rows("SELECT lease_owner FROM step_run WHERE status = 'running'")
        pid = int(row["lease_owner"].split(":")[1])
        (found,) = [one for one in self.all if one.program.process.pid == pid]
        return found

    async def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        """What *query* finds in the service's schema."""
        async with await self.connect() as connection:
            found = await connection.cursor(row_factory=dict_row).execute(query.encode(), values)
            return await found.fetchall()

    async def connect(self) -> psycopg.AsyncConnection[Any]:
        """A connection beside the programs'."""
        return await psycopg.AsyncConnection.connect(self.database, options=f"-c search_path={SCHEMA}")

    async def ended(self, run_id: str, timeout: float = 30) -> pb.Run:
        """A run, once it has ended."""

        async def look() -> pb.Run | None:
            run: pb.Run = (await self.all[0].stub.GetRun(pb.GetRunRequest(run_id=run_id))).run
            return run if run.HasField("finish_time") else None

        return cast(pb.Run, await eventually(look, timeout))

    async def requests(self) -> list[dict[str, Any]]:
        """What DashScope saw."""
        found: list[dict[str, Any]] = (await self.world.get("/sandbox/ai/requests"))["requests"]
        return found

    async def billed(self) -> int:
        """The tokens that DashScope says it was used for."""
        ledger = await self.world.get("/sandbox/ai/ledger")
        return int(ledger["total"]["total_tokens"])

    async def budget(self, store_id: str = STORE) -> gate_pb2.BudgetWindow:
        """What a store has spent today, by our own books."""
        answer = await self.all[0].stub.GetBudget(gate_pb2.GetBudgetRequest(store_id=store_id))
        return cast(gate_pb2.BudgetWindow, answer.budget.day)


class Barred:
    """Tables that are nobody else's for a while: who comes to them stops there."""

    def __init__(
        self, connection: psycopg.AsyncConnection[Any], watcher: psycopg.AsyncConnection[Any]
    ) -> None:
        self._connection, self._watcher = connection, watcher

    async def met(self) -> None:
        """Wait until somebody has come to them."""

        async def look() -> bool:
            pid = self._connection.info.backend_pid
            query = "SELECT count(*) FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid))"
            (count,) = cast(
                tuple[int], await (await self._watcher.execute(query.encode(), (pid,))).fetchone()
            )
            return count > 0

        await eventually(look, timeout=30)


@asynccontextmanager
async def barred(replicas: Replicas, *tables: str, reading: bool = False) -> AsyncIterator[Barred]:
    """Bar *tables* to writers, or to readers too, as long as the block lasts.

    No longer than the programs wait for a lock: three seconds.
    """
    mode = "ACCESS EXCLUSIVE" if reading else "EXCLUSIVE"
    async with await replicas.connect() as connection, await replicas.connect() as watcher:
        await watcher.set_autocommit(True)
        await connection.execute(f"LOCK TABLE {', '.join(tables)} IN {mode} MODE".encode())
        yield Barred(connection, watcher)
        await connection.rollback()


@asynccontextmanager
async def replicas(
    count: int, amqp_url: str, database: str, home: Path, **settings: str
) -> AsyncIterator[Replicas]:
    """*count* programs, started at once on an empty database; *settings* are further ``REACH_`` ones."""
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(sandbox_program())
        await world.post("/sandbox/clock", set=MORNING)
        wire = await stack.enter_async_context(wired(world.url))
        SecretKey.create(home / "secret.key")
        environ = environment(
            world.url,
            home,
            amqp_url=amqp_url,
            database_url=database,
            clock="sandbox",
            secret_key_file=str(home / "secret.key"),
            dashscope_base_url=f"{wire.url}/api/v1",
            DASHSCOPE_API_KEY="sk-test",
            **IDS,
            **settings,
        )
        made = Replicas(world, wire, database, environ)
        stack.push_async_callback(made.close)
        await made.start(count)
        yield made


def by_app(requests: Sequence[dict[str, Any]]) -> dict[str, int]:
    """How often each application was asked."""
    found: dict[str, int] = {}
    for one in requests:
        found[one["app_id"]] = found.get(one["app_id"], 0) + 1
    return found
