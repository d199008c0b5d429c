"""Finds or brings the RabbitMQ and the PostgreSQL that tests, benches and fault runs use.

In this order: what ``REACH_TEST_AMQP_URL`` or ``REACH_TEST_DATABASE_URL`` names; a private node from an
installed package (a test may stop it, and it shares nothing with anybody); a server on the default port;
Docker Compose, if an engine answers; the Debian package, installed when root. Else one line says what to do.

Run as a module before the tests: what is missing is said, or installed, first.
"""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass
from enum import Enum
from typing import assert_never

import aio_pika
import psycopg

from tests.support import debian, postgres, rabbit
from tests.support.compose import ComposePostgres, ComposeRabbit, engine_answers
from tests.support.home import Home
from tests.support.node import Broker, Node
from tests.support.postgres import PostgresNode
from tests.support.rabbit import RabbitNode


class ServerMissing(RuntimeError):
    """A server is needed and cannot be had; the text says what to install."""


class Kind(Enum):
    """A server the tests need: the variable that may name one, the default address, the Debian package."""

    RABBITMQ = ("REACH_TEST_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/", "rabbitmq-server")
    POSTGRESQL = ("REACH_TEST_DATABASE_URL", "postgresql://postgres@127.0.0.1:5432/postgres", "postgresql")

    def __init__(self, variable: str, default_url: str, package: str) -> None:
        """Keep the three."""
        self.variable = variable
        self.default_url = default_url
        self.package = package


@dataclass(frozen=True, slots=True)
class Server:
    """Something that answers: where, how it was found, and the node when it is ours to break."""

    url: str
    found: str
    node: Node | None = None


def _installed(kind: Kind) -> bool:
    place = rabbit.scripts() if kind is Kind.RABBITMQ else postgres.programs()
    return place is not None


def _answers(kind: Kind) -> bool:
    """Whether a server on the default port lets us in with the usual account."""
    try:
        match kind:
            case Kind.RABBITMQ:
                asyncio.run(_knock(kind.default_url))
            case Kind.POSTGRESQL:
                psycopg.connect(kind.default_url, connect_timeout=2).close()
            case _:
                assert_never(kind)
    except (OSError, TimeoutError, psycopg.Error, aio_pika.exceptions.AMQPError):
        return False
    return True


async def _knock(url: str) -> None:
    async with asyncio.timeout(5):
        await (await aio_pika.connect(url)).close()


def _missing(kind: Kind) -> ServerMissing:
    return ServerMissing(
        f"{kind.name} is missing: install the Debian package {kind.package}, start Docker, "
        f"or set {kind.variable} to a server that tests may use"
    )


def private(kind: Kind, *, durable: bool = True) -> Node:
    """A node of our own, not started; raises ``ServerMissing`` when neither package nor engine is there.

    *durable* keeps PostgreSQL's ``fsync`` and ``synchronous_commit`` on. Use it as a context manager.
    """
    return _node(kind, None, durable=durable)


def private_broker() -> Broker:
    """A RabbitMQ of our own, not started."""
    node = private(Kind.RABBITMQ)
    assert isinstance(node, Broker)
    return node


def _node(kind: Kind, home: Home | None, *, durable: bool) -> Node:
    if not _installed(kind):
        if engine_answers():
            memory = home.path if home else None
            compose = ComposeRabbit if kind is Kind.RABBITMQ else ComposePostgres
            return compose(memory, durable=durable)
        if not debian.may_install():
            raise _missing(kind)
        debian.install(kind.package)
    return RabbitNode(home) if kind is Kind.RABBITMQ else PostgresNode(home, durable=durable)


def provide(kind: Kind, home: Home) -> Server:
    """A server for ordinary tests, the same one for every process that brings the same *home*."""
    if named := os.environ.get(kind.variable):
        return Server(named, f"{kind.variable} is set")
    if not _installed(kind) and _answers(kind):
        return Server(kind.default_url, "answers on the default port")
    with home.alone():
        node = _node(kind, home, durable=False)
        mark = home.path / f"{kind.name}.started"
        if not mark.exists():
            node.start()
            mark.touch()
    return Server(node.url, "private node", node)


def close_compose(home: Home) -> None:
    """Remove the containers of *home*, which no process list knows."""
    for compose in (ComposeRabbit, ComposePostgres):
        if (home.path / f"{compose.service}.json").exists():
            compose(home.path).close()


def prepare() -> int:
    """Say, per server, how the tests will get it; install what can be installed; 1 when one is missing."""
    code = 0
    for kind in Kind:
        try:
            print(f"{kind.name}: {_plan(kind)}")
        except RuntimeError as problem:
            print(problem, file=sys.stderr)
            code = 1
    return code


def _plan(kind: Kind) -> str:
    own = "a private node from the installed package"
    if _installed(kind):
        return f"{kind.variable}, and private nodes for faults" if os.environ.get(kind.variable) else own
    if engine_answers():
        return "Docker Compose"
    if debian.may_install():
        debian.install(kind.package)
        return own + " (installed just now)"
    if os.environ.get(kind.variable) or _answers(kind):
        return f"a server that is there already; tests marked fault need the package {kind.package} and will fail"
    raise _missing(kind)


if __name__ == "__main__":
    sys.exit(prepare())
