"""Events with known fates, brought through every door, again and again until each is confirmed."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aio_pika
import aiohttp
import grpc
from aio_pika.exceptions import AMQPError
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct
from reach.events.v1 import event_service_pb2 as ev
from reach.events.v1.event_service_pb2_grpc import EventServiceStub
from reach.notifier.v1 import notifier_service_pb2 as pb
from reach.notifier.v1 import target_pb2
from reach.notifier.v1.notifier_service_pb2_grpc import NotifierServiceStub
from reach.ops.v1 import ops_service_pb2 as ops
from reach.ops.v1.ops_service_pb2_grpc import OpsServiceStub

from tests.chaos.history import TOKEN, Recipient
from tests.e2e.harness import EXAMPLES, robot, user

APP = "app:default"
ROBOTS = ("default", "second")
ROBOT_EVENTS = 12
"""Posts per robot: fewer than a minute holds, or a run would wait for the robots."""

_USER_EVENTS = 20
"""Messages per person and run, for the same reason."""

_CHANNEL = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.use_local_subchannel_pool", 1),
)
_CALL_SECONDS = 5.0


@dataclass(frozen=True)
class Made:
    """One event to bring in, and whom it must reach."""

    id: str
    type: str
    store: str
    data: Mapping[str, Any]
    reaches: frozenset[Recipient]


def stores(count: int) -> list[str]:
    """As many stores as *count* events need so that nobody's rate is exceeded."""
    return [f"s{number}" for number in range(max(4, count // (2 * _USER_EVENTS)))]


def events(seed: int, count: int) -> Iterator[Made]:
    """*count* events: to a department, to one person, to two, and a few to two robots."""
    choice, names = random.Random(seed), stores(count)
    for number in range(count):
        token, store = f"{TOKEN}{seed:x}n{number:05d}", names[number % len(names)]
        if number % 25 == 3 and number // 25 < 2 * ROBOT_EVENTS:
            yield _to_robot(token, store, urgent=number // 25 % 2 == 0)
        else:
            yield _to_people(token, store, choice.random())


def _to_robot(token: str, store: str, *, urgent: bool) -> Made:
    kind, word = ("inventory.out_of_stock", "item_name") if urgent else ("order.completed", "order_number")
    name = ROBOTS[0] if urgent else ROBOTS[1]
    reaches = frozenset({(f"robot:{name}", "robot", name)})
    return Made(token, kind, store, {**EXAMPLES[kind], word: token}, reaches)


def _to_people(token: str, store: str, draw: float) -> Made:
    if draw < 0.25:
        kind, word, roles = "guest.arrived", "table_number", ("front_desk", "service_staff")
    elif draw < 0.4:
        kind, word, roles = "payment.completed", "order_number", ("cashier",)
    else:
        data = {**EXAMPLES["order.created"], "order_number": token}
        return Made(token, "order.created", store, data, frozenset({(APP, "party", "2")}))
    reaches = frozenset((APP, "user", f"{role}-{store}") for role in roles)
    return Made(token, kind, store, {**EXAMPLES[kind], word: token}, reaches)


class Doors:
    """The doors of one replica, which may die and come back at the same address."""

    def __init__(self, grpc_address: str, http_address: str) -> None:
        self._http = http_address
        self.channel = grpc.aio.insecure_channel(grpc_address, options=_CHANNEL)
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_CALL_SECONDS))
        self._events: Any = EventServiceStub(self.channel)  # type: ignore[no-untyped-call]
        self.notifier: Any = NotifierServiceStub(self.channel)  # type: ignore[no-untyped-call]
        self.ops: Any = OpsServiceStub(self.channel)  # type: ignore[no-untyped-call]

    async def publish(self, made: Made) -> None:
        """PublishEvent: through the outbox."""
        request = ev.PublishEventRequest(
            type=made.type, id=made.id, store_id=made.store, json=ParseDict(made.data, Struct())
        )
        await self._events.PublishEvent(request, timeout=_CALL_SECONDS)

    async def push(self, made: Made) -> None:
        """TriggerPush: admitted at once."""
        request = pb.TriggerPushRequest(
            event_type=made.type,
            event_id=made.id,
            store_id=made.store,
            event_data=ParseDict(made.data, Struct()),
        )
        await self.notifier.TriggerPush(request, timeout=_CALL_SECONDS)

    async def post(self, made: Made) -> None:
        """POST /events."""
        body = {
            "specversion": "1.0",
            "id": made.id,
            "type": made.type,
            "source": "chaos",
            "storeid": made.store,
            "data": dict(made.data),
        }
        headers = {"content-type": "application/cloudevents+json"}
        async with self._session.post(f"http://{self._http}/events", json=body, headers=headers) as answer:
            if answer.status != 202:
                raise NotConfirmed(f"{answer.status} {await answer.text()}")

    async def cast(self, names: Sequence[str]) -> None:
        """Give the roles their holders: a department for all stores, people for each, two robots."""
        key = ops.SetCredentialRequest(
            kind=ops.CREDENTIAL_KIND_ROBOT, name=ROBOTS[1], secret="second-robot-key-0001"
        )
        await self.ops.SetCredential(key)
        department = pb.SetRoleTargetsRequest(role="kitchen_staff")
        department.targets.add(kind=target_pb2.TARGET_KIND_PARTY, id="2")
        await self.notifier.SetRoleTargets(department)
        for role, name in (("inventory_manager", ROBOTS[0]), ("manager", ROBOTS[1])):
            await self.notifier.SetRoleTargets(pb.SetRoleTargetsRequest(role=role, targets=[robot(name)]))
        for store in names:
            for role in ("front_desk", "service_staff", "cashier"):
                request = pb.SetRoleTargetsRequest(
                    role=role, store_id=store, targets=[user(f"{role}-{store}")]
                )
                await self.notifier.SetRoleTargets(request)

    async def close(self) -> None:
        """Close what is open."""
        await self.channel.close()
        await self._session.close()


class NotConfirmed(Exception):
    """The door answered, and did not take the event."""


class AmqpDoor:
    """A plain publisher with confirms, which connects again whenever it has to."""

    def __init__(self, url: str, exchange: str) -> None:
        self._url, self._exchange_name = url, exchange
        self._connection: aio_pika.abc.AbstractConnection | None = None
        self._exchange: aio_pika.abc.AbstractExchange | None = None
        self._connecting = asyncio.Lock()

    async def publish(self, made: Made) -> None:
        """Publish in CloudEvents' binary mode and wait for the confirm."""
        headers = {
            "cloudEvents:specversion": "1.0",
            "cloudEvents:id": made.id,
            "cloudEvents:type": made.type,
            "cloudEvents:source": "chaos",
            "cloudEvents:storeid": made.store,
        }
        message = aio_pika.Message(
            json.dumps(dict(made.data), ensure_ascii=False).encode(),
            headers=headers,  # type: ignore[arg-type]
            content_type="application/json",
            message_id=made.id,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )
        try:
            exchange = await self._open()
            async with asyncio.timeout(_CALL_SECONDS):
                await exchange.publish(message, made.type, mandatory=True)
        except BaseException:
            self._exchange = None
            raise

    async def _open(self) -> aio_pika.abc.AbstractExchange:
        async with self._connecting:
            if self._exchange is None:
                await self.close()
                async with asyncio.timeout(_CALL_SECONDS):
                    self._connection = await aio_pika.connect(self._url)
                    channel = await self._connection.channel(publisher_confirms=True)
                    self._exchange = await channel.get_exchange(self._exchange_name, ensure=False)
            return self._exchange

    async def close(self) -> None:
        """Close the connection, if there is one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await asyncio.wait({asyncio.ensure_future(_quietly(connection.close()))}, timeout=5)


async def _quietly(closing: Awaitable[object]) -> None:
    try:
        await closing
    except (AMQPError, OSError, RuntimeError):
        return  # it was broken already


Door = Callable[[Made], Awaitable[None]]
_REFUSALS = (
    grpc.aio.AioRpcError,
    aiohttp.ClientError,
    NotConfirmed,
    AMQPError,
    OSError,
    TimeoutError,
    RuntimeError,
)


@dataclass
class Load:
    """Brings events through doors; an event keeps its kind of door, and tries the next replica's after a failure."""

    seed: int
    doors: Sequence[Sequence[Door]]
    """By kind of door: one door per replica."""

    rate: float
    """Events begun per second, at most."""

    accepted: dict[str, frozenset[Recipient]] = field(default_factory=dict)
    refused: int = 0
    """Tries that were not confirmed."""

    _more: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def reached(self, count: int) -> None:
        """Wait until *count* events are confirmed."""
        async with self._more:
            await self._more.wait_for(lambda: len(self.accepted) >= count)

    async def run(self, made: Sequence[Made], *, workers: int = 24, patience: float = 90.0) -> None:
        """Bring all of *made* in; AssertionError when one is not confirmed within *patience* seconds."""
        waiting: asyncio.Queue[Made] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            hands = [group.create_task(self._hand(waiting, patience)) for _ in range(workers)]
            began = loop.time()
            for number, one in enumerate(made):
                await asyncio.sleep(max(0.0, began + number / self.rate - loop.time()))
                waiting.put_nowait(one)
            await waiting.join()
            for hand in hands:
                hand.cancel()

    async def _hand(self, waiting: asyncio.Queue[Made], patience: float) -> None:
        while True:
            made = await waiting.get()
            await self._bring(made, patience)
            async with self._more:
                self.accepted[made.id] = made.reaches
                self._more.notify_all()
            waiting.task_done()

    async def _bring(self, made: Made, patience: float) -> None:
        choice = random.Random(f"{self.seed} {made.id}")
        kind = choice.choice(self.doors)
        turn, until = choice.randrange(len(kind)), asyncio.get_running_loop().time() + patience
        while True:
            try:
                await kind[turn % len(kind)](made)
            except _REFUSALS as error:
                self.refused += 1
                if asyncio.get_running_loop().time() > until:
                    raise AssertionError(f"{made.id} is not accepted: {error!r}") from error
                turn += 1
                await asyncio.sleep(0.3)
            else:
                return
