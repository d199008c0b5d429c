"""One run: replicas under load, killed at moments a seed decides, started again, and the books read at rest."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shared.secrets import SecretKey
from tests.chaos.checker import Violation, check, sums
from tests.chaos.history import (
    History,
    Rows,
    open_work,
    read_database,
    read_platform,
    rows_of_home,
    rows_of_server,
)
from tests.chaos.load import AmqpDoor, Door, Doors, Load, Made, events, stores
from tests.e2e.harness import Names, Sandbox, environment, sandbox_program
from tests.support.home import free_port
from tests.support.process import Program

REST_SECONDS = 100.0
"""From the last confirmed event until everything is at rest: two leases of 30 s and what else may come between."""

_PAGE = 10_000


@dataclass(frozen=True)
class Servers:
    """Where replicas keep their rows and hear events; without them a run is embedded."""

    database_url: str
    amqp_url: str
    names: Names


@dataclass
class Member:
    """One replica: its addresses and, while it lives, its program."""

    environ: dict[str, str]
    doors: Doors
    command: list[str]
    program: Program | None = None
    starts: int = 0
    pid: int = 0

    async def start(self) -> None:
        """Start it and wait until it is ready."""
        self.starts += 1
        program = Program(f"notifier start {self.starts}", self.command, self.environ)
        self.program, self.pid = program, program.process.pid
        await asyncio.to_thread(program.ready, 120)

    async def end(self, how: Callable[[Program], object]) -> object:
        """Have *how* end it, in a thread; what that gives."""
        program, self.program = self.program, None
        assert program is not None
        ended = await asyncio.to_thread(how, program)
        program.__exit__()
        return ended


@dataclass
class Report:
    """How a run ended."""

    seed: int
    violations: list[Violation]
    sums: dict[str, int]
    kills: int
    refused: int
    seconds: float
    history: History = field(repr=False)

    def __str__(self) -> str:
        figures = ", ".join(f"{name} {count}" for name, count in self.sums.items())
        head = f"seed {self.seed}: {figures}; {self.kills} kills, {self.refused} refused tries, {self.seconds:.0f} s"
        shown = [str(one) for one in self.violations[:10]]
        more = len(self.violations) - len(shown)
        return "\n".join([head, *shown, *([f"and {more} more violations"] if more else [])])


class Storm:
    """A suite of replicas with a sandbox that outlives them all. Use it as an async context manager."""

    def __init__(
        self,
        home: Path,
        *,
        replicas: int = 1,
        servers: Servers | None = None,
        latency_ms: int = 60,
        **settings: str,
    ) -> None:
        """*latency_ms* is what the platform takes for an answer; *settings* are further REACH_ ones."""
        self._latency_ms = latency_ms
        self._settings = settings
        self._home = home
        self._count = replicas
        self._servers = servers
        self._stack = AsyncExitStack()
        self._began = time.monotonic()
        self.history = History()
        self.members: list[Member] = []
        self.sandbox: Sandbox

    @property
    def pids(self) -> list[int]:
        """Process numbers of the replicas' latest programs, running or ended."""
        return [member.pid for member in self.members]

    @property
    def ask(self) -> Rows:
        """The notifier's rows."""
        servers = self._servers
        return rows_of_server(servers.database_url) if servers else rows_of_home(self._home)

    def note(self, what: str) -> None:
        """Write *what* down for whoever reads a violation."""
        self.history.log.append(f"{time.monotonic() - self._began:7.2f} s  {what}")

    async def __aenter__(self) -> Storm:
        try:
            self.sandbox = await self._stack.enter_async_context(sandbox_program())
            # So that there are requests in flight when the kill comes.
            await self.sandbox.fault(path="/cgi-bin/*/send", latency_ms=self._latency_ms)
            await asyncio.to_thread(SecretKey.create, self._home / "secret.key")
            self.members = [self._member() for _ in range(self._count)]
            for member in self.members:
                self._stack.push_async_callback(member.doors.close)
                self._stack.push_async_callback(self._close, member)
            await asyncio.gather(*(member.start() for member in self.members))
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _close(self, member: Member) -> None:
        if member.program is not None:
            await member.end(Program.kill)

    def _member(self) -> Member:
        grpc, http = (f"127.0.0.1:{free_port()}" for _ in range(2))
        more = {"grpc_listen": grpc, "http_listen": http, "WECOM_ROBOT_KEY": "first-robot-key-0001"}
        more |= self._settings
        command = ["-m", "cli.main", "up"]
        if self._servers is not None:
            command = ["-m", "cli.main", "serve", "notifier"]
            more |= {
                "database_url": self._servers.database_url,
                "amqp_url": self._servers.amqp_url,
                "secret_key_file": str(self._home / "secret.key"),
                **self._servers.names.settings,
            }
        return Member(environment(self.sandbox.url, self._home, **more), Doors(grpc, http), command)

    def doors(self) -> list[list[Door]]:
        """By kind of door, one of each replica; AMQP once, where there is a broker."""
        doors: list[list[Door]] = [
            [member.doors.publish for member in self.members],
            [member.doors.push for member in self.members],
            [member.doors.post for member in self.members],
        ]
        if self._servers is not None:
            broker = AmqpDoor(self._servers.amqp_url, self._servers.names.exchange)
            self._stack.push_async_callback(broker.close)
            doors += [[broker.publish], [broker.publish]]  # the main door: twice as often
        return doors

    async def cast(self, count: int) -> None:
        """Give the roles their holders, for *count* events."""
        await self.members[0].doors.cast(stores(count))

    async def kill(self, index: int) -> None:
        """kill -9, and start again."""
        member = self.members[index]
        self.note(f"kill -9 replica {index}")
        await member.end(Program.kill)
        await member.start()
        self.note(f"replica {index} is ready again")

    async def rest(self) -> None:
        """Wait until nothing is under way; what remains after the bound is for the checker to name."""
        until = time.monotonic() + REST_SECONDS
        while time.monotonic() < until:
            if not await asyncio.to_thread(self._busy):
                return
            await asyncio.sleep(0.3)
        self.note(f"not at rest: {await asyncio.to_thread(self._busy)}")

    def _busy(self) -> dict[str, int]:
        ask = self.ask
        missing = len(self.history.accepted) - int(ask("SELECT count(*) FROM inbox")[0][0])
        return open_work(ask) | ({"unheard": missing} if missing > 0 else {})

    async def judge(self) -> list[Violation]:
        """Read everything and check it."""
        await asyncio.to_thread(read_database, self.history, self.ask)
        calls = await _all(self.sandbox.get, "/sandbox/requests", "requests", "after")
        messages = await _all(self.sandbox.get, "/sandbox/messages", "messages", "since")
        read_platform(self.history, calls, messages)
        return check(self.history)


async def _all(get: Callable[..., Awaitable[Any]], path: str, name: str, after: str) -> list[Any]:
    found: list[Any] = []
    start = 0
    while True:
        page = await get(path, **{after: start, "limit": _PAGE})
        found += page[name]
        if not page["more"]:
            return found
        start = page["next"]


async def run(storm: Storm, seed: int, count: int, kills: int, *, rate: float) -> Report:
    """Bring *count* events in, at most *rate* a second, and kill replicas *kills* times on the way."""
    choice, began = random.Random(seed), time.monotonic()
    await storm.cast(count)
    load = Load(seed, storm.doors(), rate)
    made: Sequence[Made] = list(events(seed, count))
    moments = sorted(choice.sample(range(count // 20, count - count // 20), kills))
    storm.note(f"load begins; kills after {moments} events")
    async with (
        asyncio.TaskGroup() as group
    ):  # a replica that does not start again ends the run, with its output
        group.create_task(load.run(made))
        group.create_task(_kill(storm, load, moments, choice))
    storm.note("every event is confirmed")
    storm.history.accepted |= load.accepted
    await storm.rest()
    violations = await storm.judge()
    return Report(
        seed, violations, sums(storm.history), kills, load.refused, time.monotonic() - began, storm.history
    )


async def _kill(storm: Storm, load: Load, moments: Sequence[int], choice: random.Random) -> None:
    for moment in moments:
        await load.reached(moment)
        await asyncio.sleep(choice.uniform(0, 0.1))
        await storm.kill(choice.randrange(len(storm.members)))
