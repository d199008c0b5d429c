"""Fixtures every suite may use: real servers, fresh databases, a clock one can push."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import hypothesis
import psycopg
import pytest
import structlog

from shared.clock import ManualClock
from tests.support.home import Home
from tests.support.node import Broker, Node
from tests.support.servers import Kind, Server, ServerMissing, close_compose, private, private_broker, provide
from tools import genprotos

# What a developer's shell may set and a test must not notice.
FOREIGN = ("REACH_", "WECOM_", "WECHAT_", "WEWORK_", "DASHSCOPE_", "OTEL_")
SERVERS = frozenset(
    {"amqp_url", "amqp_vhost", "rabbit_node", "postgres_url", "postgres_database", "postgres_node"}
)
HOME = pytest.StashKey[Home]()

# The same examples in every run: a failure seen once is seen again.
hypothesis.settings.register_profile("seeded", derandomize=True, deadline=None)
hypothesis.settings.load_profile("seeded")


# A service in a test's own process logs by structlog's defaults, which draw a failure with all its variables: seconds
# in which its loop does nothing else.
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)


def pytest_configure(config: pytest.Config) -> None:
    """Check the stubs, clean the environment and open the home that the run's servers live in."""
    if not genprotos.is_current():
        raise pytest.UsageError("gen/ does not match protos/: run `make protos`")
    for name in list(os.environ):
        if name.startswith(FOREIGN) and not name.startswith("REACH_TEST_"):
            del os.environ[name]
    # A proxy for the outside must not stand between a test and its own server; grpc asks for one too.
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = "127.0.0.1,localhost,::1"
    shared: str | None = getattr(config, "workerinput", {}).get("home")
    config.stash[HOME] = Home(Path(shared)) if shared else Home.create()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: object) -> None:
    """Tell a worker of pytest-xdist where the run's home is."""
    node.workerinput["home"] = str(node.config.stash[HOME].path)  # type: ignore[attr-defined]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a server, by the fixtures it asks for, so that `make unit` can leave it out."""
    for item in items:
        if not isinstance(item, pytest.Function):
            continue
        database = item.callspec.params.get("database_url") if hasattr(item, "callspec") else None
        if database == "postgresql" or not SERVERS.isdisjoint(item.fixturenames):
            item.add_marker("server")


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the servers, once, in the process that opened their home."""
    home = config.stash.get(HOME, None)
    if home is not None and not hasattr(config, "workerinput"):
        close_compose(home)
        home.release()


def _provide(kind: Kind, config: pytest.Config) -> Server:
    try:
        return provide(kind, config.stash[HOME])
    except ServerMissing as missing:
        pytest.fail(str(missing), pytrace=False)


def _start(node: Node) -> Iterator[Node]:
    with node:
        yield node


# --- RabbitMQ -------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def amqp_url(pytestconfig: pytest.Config) -> str:
    """A RabbitMQ shared by the run: give exchanges and queues names of your own (``unique``)."""
    return _provide(Kind.RABBITMQ, pytestconfig).url


@pytest.fixture
def amqp_vhost(pytestconfig: pytest.Config, unique: str) -> str:
    """The URL of an empty virtual host, for a test that needs the fixed names of the topology."""
    server = _provide(Kind.RABBITMQ, pytestconfig)
    if not isinstance(server.node, Broker):
        pytest.fail(f"the broker ({server.found}) is not ours to administer: unset {Kind.RABBITMQ.variable}")
    return server.node.add_vhost(unique)


@pytest.fixture
def rabbit_node() -> Iterator[Broker]:
    """A RabbitMQ of the test's own, started, to be stopped, killed or alarmed."""
    with private_broker() as node:
        yield node


# --- PostgreSQL and SQLite ------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def postgres_url(pytestconfig: pytest.Config) -> str:
    """A PostgreSQL shared by the run, as one who may create databases."""
    return _provide(Kind.POSTGRESQL, pytestconfig).url.replace("postgresql+psycopg:", "postgresql:")


@pytest.fixture
def postgres_database(postgres_url: str, unique: str) -> Iterator[str]:
    """The URL of an empty PostgreSQL database."""
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{unique}"'.encode())
        try:
            yield postgres_url.rpartition("/")[0] + "/" + unique
        finally:
            admin.execute(f'DROP DATABASE "{unique}" WITH (FORCE)'.encode())


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, once on each of the two that Reach runs on."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/test.db"
    url: str = request.getfixturevalue("postgres_database")
    return url


@pytest.fixture
def postgres_node() -> Iterator[Node]:
    """A durable PostgreSQL of the test's own, started, to be stopped or killed."""
    yield from _start(private(Kind.POSTGRESQL))


# --- Everything else ------------------------------------------------------------------------------------


@pytest.fixture
def unique() -> str:
    """A name nobody else has: for virtual hosts, exchanges, queues, databases and schemas."""
    return f"t{secrets.token_hex(6)}"


@pytest.fixture
def manual_clock() -> ManualClock:
    """A clock that moves only when told to; it starts on a Monday at noon in Shanghai."""
    return ManualClock(datetime(2026, 3, 2, 4, tzinfo=UTC))
