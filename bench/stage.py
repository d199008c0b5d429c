"""What a race is run on: private durable servers, the sink, a trace collector; nothing of it outlives the run."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import orjson
import psutil  # type: ignore[import-untyped]  # ships no stubs
import psycopg

from bench.collector import Collector
from tests.support.node import Broker
from tests.support.process import Program
from tests.support.servers import Kind, private, private_broker

_SERVERS = {"beam.smp": "broker", "postgres": "database"}


@dataclass(frozen=True, slots=True)
class Count:
    """What came to the sink so far; ``first_at`` is the monotonic instant of the first POST."""

    posts: int
    distinct: int
    unreadable: int
    first_at: float | None


class Sink:
    """The sink's process, asked over one kept connection."""

    def __init__(self, program: Program) -> None:
        port = int(program.facts["port"])
        self.url = f"http://127.0.0.1:{port}"
        self.pid = program.process.pid
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)

    def count(self) -> Count:
        """How much came; costs the sink some microseconds."""
        return Count(**self._ask("GET", "/count"))

    def arrivals(self) -> dict[str, float]:
        """The monotonic instant at which each order first came."""
        answer: dict[str, float] = self._ask("GET", "/arrivals")
        return answer

    def reset(self) -> None:
        """Forget what came."""
        self._ask("POST", "/reset")

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def _ask(self, method: str, path: str) -> Any:
        self._connection.request(method, path)
        return orjson.loads(self._connection.getresponse().read())


class Stage:
    """Open while it is a context."""

    broker: Broker
    sink: Sink
    collector: Collector
    home: Path

    def __enter__(self) -> Self:
        """Start everything; a few seconds."""
        with ExitStack() as stack:
            self.home = Path(stack.enter_context(TemporaryDirectory(prefix="reach-bench-")))
            self.broker = stack.enter_context(private_broker())
            postgres = stack.enter_context(private(Kind.POSTGRESQL, durable=True))
            self._postgres_url = postgres.url.replace("postgresql+psycopg:", "postgresql:")
            self._admin = stack.enter_context(psycopg.connect(self._postgres_url, autocommit=True))
            program = stack.enter_context(Program("sink", ["-m", "bench.sink", "0"], {})).ready()
            self.sink = Sink(program)
            stack.callback(self.sink.close)
            self.collector = stack.enter_context(Collector())
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """End everything."""
        self._stack.close()

    def vhost(self, name: str) -> str:
        """The URL of a new virtual host."""
        return self.broker.add_vhost(name)

    def database(self, name: str, template: str = "template1") -> str:
        """The URL of a fresh database, a copy of *template*; what was there under that name is gone."""
        self._admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())
        self._admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'.encode())
        return self._postgres_url.rpartition("/")[0] + "/" + name

    def calm(self) -> None:
        """Write out what earlier runs left behind, so that nobody pays for somebody else's rows."""
        self._admin.execute("CHECKPOINT")

    def versions(self) -> dict[str, str]:
        """The servers' versions."""
        found = self._admin.execute("SHOW server_version").fetchone()
        assert found is not None
        return {"PostgreSQL": str(found[0]).split()[0], "RabbitMQ": self.broker.ctl("version").strip()}

    def groups(self) -> dict[str, int]:
        """Root processes to account CPU time to, by name; servers in containers are not among them."""
        groups = {"sink": self.sink.pid}
        for child in psutil.Process().children():
            names = {member.name() for member in (child, *child.children(recursive=True))}
            groups |= {group: child.pid for name, group in _SERVERS.items() if name in names}
        return groups


@contextmanager
def on_stage(program: Program) -> Iterator[Program]:
    """Run *program*; stop it in good order, and end its whole tree when it will not go."""
    with program:
        try:
            yield program
        finally:
            children = _children(program.process.pid)
            try:
                if program.process.poll() is None:
                    program.stop(30)
            finally:
                for child in children:
                    if child.is_running():
                        child.kill()


def _children(pid: int) -> list[psutil.Process]:
    try:
        children: list[psutil.Process] = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return children
