"""Several notifiers as programs of their own, on one broker, one PostgreSQL and one sandbox whose clock they follow."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from reach.notifier.v1 import delivery_pb2 as dv
from reach.notifier.v1 import notifier_service_pb2 as pb
from reach.ops.v1 import ops_service_pb2 as ops

from shared.secrets import SecretKey
from tests.e2e.harness import (
    STORE,
    Names,
    Reach,
    Sandbox,
    environment,
    names_on,
    reach_at,
    sandbox_program,
    seconds,
)
from tests.support.process import Program


@dataclass
class Replicas:
    """The running programs; ``all[0]`` and so on are interchangeable but for their memory."""

    sandbox: Sandbox
    names: Names
    environ: dict[str, str]
    all: list[Reach]
    _stacks: list[AsyncExitStack]

    async def restart(self, index: int) -> None:
        """Stop one in order and start another in its place."""
        await self._stacks[index].aclose()
        await self.start(index)

    async def start(self, index: int) -> None:
        """Start the one at *index*."""
        self._stacks[index] = stack = AsyncExitStack()
        self.all[index] = await stack.enter_async_context(started(self.environ, f"replica {index}"))


@asynccontextmanager
async def started(environ: Mapping[str, str], name: str = "notifier") -> AsyncIterator[Reach]:
    """``reach serve notifier``, or ``reach up`` without a broker; patient, since several start at once on few cores."""
    command = ["serve", "notifier"] if "REACH_AMQP_URL" in environ else ["up"]
    with Program(name, ["-m", "cli.main", *command], environ) as program:
        await asyncio.to_thread(program.ready, 90)
        async with reach_at(program.facts, Path(environ["REACH_HOME"]), program) as reach:
            yield reach


@asynccontextmanager
async def replicas(
    count: int, amqp_url: str, postgres_url: str, home: Path, **settings: str
) -> AsyncIterator[Replicas]:
    """*count* programs, all started at once on an empty database."""
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(sandbox_program())
        names = await stack.enter_async_context(names_on(amqp_url))
        database = stack.enter_context(empty_database(postgres_url))
        SecretKey.create(home / "secret.key")
        environ = environment(
            sandbox.url,
            home,
            amqp_url=amqp_url,
            database_url=database,
            clock="sandbox",
            secret_key_file=str(home / "secret.key"),
            **names.settings,
            **settings,
        )
        made = Replicas(sandbox, names, environ, [None] * count, [AsyncExitStack() for _ in range(count)])  # type: ignore[list-item]
        try:
            await asyncio.gather(*(made.start(index) for index in range(count)))
            yield made
        finally:
            await asyncio.gather(*(one.aclose() for one in made._stacks))


@contextmanager
def empty_database(postgres_url: str) -> Iterator[str]:
    """The URL of a database of its own, for as long as the block lasts."""
    name = f"e2e{secrets.token_hex(6)}"
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}"'.encode())
    try:
        yield postgres_url.rpartition("/")[0] + "/" + name
    finally:
        with psycopg.connect(postgres_url, autocommit=True) as admin:
            admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


# --- What every platform test asks ----------------------------------------------------------------------


async def message(reach: Reach, text: str, *targets: Any, wait: float = 0, **fields: Any) -> Any:
    """SendMessage of *text*; the answer."""
    request = pb.SendMessageRequest(store_id=STORE, targets=targets, text=text, wait=seconds(wait), **fields)
    return await reach.notifier.SendMessage(request)


async def delivery(reach: Reach, delivery_id: str) -> dv.Delivery:
    """One delivery with its attempts."""
    answer = await reach.notifier.GetDelivery(pb.GetDeliveryRequest(delivery_id=delivery_id))
    found: dv.Delivery = answer.delivery
    return found


async def standing(
    reach: Reach, delivery_id: str, *statuses: int, attempts: int = 0, timeout: float = 20
) -> dv.Delivery:
    """Wait until a delivery has one of *statuses* after at least *attempts* attempts."""
    end = time.monotonic() + timeout
    while True:
        found = await delivery(reach, delivery_id)
        if found.status in statuses and len(found.attempts) >= attempts:
            return found
        assert time.monotonic() < end, f"not within {timeout} s: {found}"
        await asyncio.sleep(0.02)


async def deliveries(reach: Reach, *event_ids: str) -> list[dv.Delivery]:
    """Those of some events or messages, without their attempts, the oldest first."""
    found: list[dv.Delivery] = []
    for event_id in event_ids:
        answer = await reach.notifier.ListDeliveries(pb.ListDeliveriesRequest(event_id=event_id))
        found += reversed(answer.deliveries)
    return found


async def add_robot(reach: Reach, name: str, key: str) -> None:
    """Register a robot."""
    request = ops.SetCredentialRequest(kind=ops.CREDENTIAL_KIND_ROBOT, name=name, secret=key)
    await reach.ops.SetCredential(request)


async def add_app(reach: Reach, name: str, agent_id: int, secret: str, corp_id: str) -> None:
    """Register an app."""
    request = ops.SetCredentialRequest(
        kind=ops.CREDENTIAL_KIND_APP, name=name, agent_id=agent_id, secret=secret, corp_id=corp_id
    )
    await reach.ops.SetCredential(request)


def instant(timestamp: Any) -> datetime:
    """A Timestamp as an aware instant."""
    found: datetime = timestamp.ToDatetime(tzinfo=UTC)
    return found


def reasons(sent: dv.Delivery) -> dict[str, tuple[str, str]]:
    """By recipient: status in words, and reason."""
    return {
        one.target.id: (
            dv.RecipientStatus.Name(one.status).removeprefix("RECIPIENT_STATUS_").lower(),
            one.reason,
        )
        for one in sent.recipients
    }


def states(sent: dv.Delivery) -> list[str]:
    """The states of its attempts in words, in order."""
    return [dv.AttemptState.Name(one.state).removeprefix("ATTEMPT_STATE_").lower() for one in sent.attempts]


def most_within(calls: list[dict[str, Any]], window: timedelta) -> int:
    """The most of *calls* that fell into any stretch of *window*, by the sandbox's clock."""
    at = sorted(datetime.fromisoformat(call["at"]) for call in calls)
    most = first = 0
    for last, now in enumerate(at):
        while now - at[first] >= window:
            first += 1
        most = max(most, last - first + 1)
    return most
