"""The suite as its users meet it: a sandbox, a notifier, gRPC stubs, an AMQP publisher; in this process or as programs.

sandbox(…)      a sandbox in this process                        → Sandbox
embedded(…)     one process with SQLite and the memory bus, here → Reach     (fast: a fraction of a second)
environment(…)  the REACH_* and WECOM_* of a program
served(…)       ``reach serve notifier``, or ``reach up`` without a broker → Program with ready facts
reach_at(…)     stubs to whatever serves                         → Reach
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

import aio_pika
import aiohttp
import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct
from reach.events.v1.event_service_pb2_grpc import EventServiceStub
from reach.notifier.v1 import notifier_service_pb2 as pb
from reach.notifier.v1 import target_pb2
from reach.notifier.v1.notifier_service_pb2_grpc import NotifierServiceStub
from reach.ops.v1.ops_service_pb2_grpc import OpsServiceStub

from sandbox.profile import Profile
from sandbox.server import start as start_sandbox
from services.notifier.assembly import build, presets
from shared import identity
from shared.clock import SystemClock
from shared.db.engine import Database
from shared.db.migrate import migrate
from shared.errors import ReachError
from shared.events.catalogue import INBOUND
from shared.hosting.host import Host
from shared.hosting.service import Build
from shared.process import Stop
from shared.rpc.status import from_call
from shared.settings import load
from tests.support.process import Program

T = TypeVar("T")

CORP, AGENT, SECRET = "ww0a1b2c3d4e5f6a7b", 1000002, "app-secret-9f8e7d6c5b4a3210"
STORE = "s1"
ROLES = (
    "kitchen_staff",
    "manager",
    "front_desk",
    "service_staff",
    "member_manager",
    "cashier",
    "inventory_manager",
    "tech_support",
)
EXAMPLES: Mapping[str, Mapping[str, Any]] = {
    preset.rule.event_type: dict(preset.example) for preset in presets() if preset.rule.event_type in INBOUND
}
"""By business event type: the data of such an event, as the presets show it."""

TELLS: Mapping[str, tuple[str, ...]] = {
    "order.created": ("kitchen_staff",),
    "order.completed": ("manager",),
    "order.cancelled": ("manager",),
    "reservation.confirmed": ("front_desk",),
    "reservation.cancelled": ("front_desk",),
    "guest.arrived": ("front_desk", "service_staff"),
    "member.points_changed": ("member_manager",),
    "member.upgraded": ("member_manager",),
    "payment.completed": ("cashier",),
    "payment.failed": ("cashier",),
    "inventory.low_stock": ("inventory_manager",),
    "inventory.out_of_stock": ("inventory_manager",),
    "system.error": ("tech_support", "manager"),
    "service.quality_issue": ("manager",),
}
"""By event type: the roles that hear of it. Written here once more, since it is the promise being tested."""


# --- Waiting --------------------------------------------------------------------------------------------


async def eventually(look: Callable[[], Awaitable[T]], timeout: float = 15, every: float = 0.02) -> T:
    """Await *look* until it gives something true and return that; AssertionError after *timeout* seconds."""
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout
    while True:
        found = await look()
        if found:
            return found
        if loop.time() > end:
            raise AssertionError(f"nothing true within {timeout} s; last: {found!r}")
        await asyncio.sleep(every)


def stream_lines(text: str) -> list[dict[str, Any]]:
    """The JSON log lines of a program's output."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


# --- The sandbox ----------------------------------------------------------------------------------------


class Sandbox:
    """Looks into, and steers, one sandbox, wherever it runs."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self._session = session

    async def get(self, path: str, /, **query: Any) -> Any:
        """GET, as JSON."""
        async with self._session.get(self.url + path, params=query) as answer:
            return await answer.json()

    async def post(self, path: str, /, **body: Any) -> Any:
        """POST *body* and give the answer, which must not be a refusal."""
        async with self._session.post(self.url + path, json=body) as answer:
            found = await answer.json()
            assert answer.status == 200, found
            return found

    async def messages(self, to: str | None = None, **query: Any) -> list[dict[str, Any]]:
        """What arrived, oldest first; *to* is a userid or a robot key."""
        query |= {"to": to} if to is not None else {}
        found: list[dict[str, Any]] = (await self.get("/sandbox/messages", limit=10_000, **query))["messages"]
        return found

    async def arrived(self, count: int, to: str | None = None, timeout: float = 15) -> list[dict[str, Any]]:
        """Wait for at least *count* messages and give them all."""

        async def look() -> list[dict[str, Any]] | None:
            found = await self.messages(to)
            return found if len(found) >= count else None

        return await eventually(look, timeout) or []

    async def requests(self, path: str | None = None) -> list[dict[str, Any]]:
        """Every call that came in, answered or not, oldest first."""
        query = {"path": path} if path is not None else {}
        found: list[dict[str, Any]] = (await self.get("/sandbox/requests", limit=10_000, **query))["requests"]
        return found

    async def sends(self) -> list[dict[str, Any]]:
        """Every call that asked for a message to be sent."""
        return [
            call
            for call in await self.requests()
            if call["path"] in ("/cgi-bin/message/send", "/cgi-bin/webhook/send")
        ]

    async def fault(self, **rule: Any) -> str:
        """Put a fault in force (sandbox/faults.py); its id."""
        return str((await self.post("/sandbox/faults", **rule))["id"])

    async def clear_faults(self) -> None:
        """Lift all faults."""
        async with self._session.delete(self.url + "/sandbox/faults") as answer:
            assert answer.status == 200

    async def advance(self, seconds: float) -> None:
        """Move the clock ahead."""
        await self.post("/sandbox/clock", advance_seconds=seconds)

    async def freeze(self) -> None:
        """Stop the clock."""
        await self.post("/sandbox/clock", freeze=True)

    async def now(self) -> datetime:
        """The clock's time."""
        return datetime.fromisoformat((await self.get("/sandbox/clock"))["now"])

    async def declare(self, **document: Any) -> None:
        """Add people, departments, tags, apps, robots (sandbox/declarations.py)."""
        await self.post("/sandbox/directory", **document)

    async def profile(self, **values: Any) -> None:
        """Change how the platform behaves (sandbox/profile.py)."""
        await self.post("/sandbox/profile", **values)


@asynccontextmanager
async def sandbox(**profile: Any) -> AsyncIterator[Sandbox]:
    """A sandbox in this process, on a real socket."""
    running = await start_sandbox("127.0.0.1:0", Profile.from_mapping(profile))
    try:
        async with aiohttp.ClientSession() as session:
            yield Sandbox(running.url, session)
    finally:
        await running.stop()


@asynccontextmanager
async def sandbox_program() -> AsyncIterator[Sandbox]:
    """A sandbox as a program of its own, for runs in which this process must not be in the way."""
    with Program("sandbox", ["-m", "sandbox", "--listen", "127.0.0.1:0"], {}) as program:
        await asyncio.to_thread(program.ready)
        url = next(line for line in program.lines if line.startswith("ready")).split()[-1]
        async with aiohttp.ClientSession() as session:
            yield Sandbox(url, session)


# --- Calling --------------------------------------------------------------------------------------------


class _Bearer:
    """Shows a token with every call."""

    def __init__(self, token: str) -> None:
        self._header = ("authorization", f"Bearer {token}")

    def _signed(self, details: Any) -> Any:
        metadata = grpc.aio.Metadata(*(details.metadata or ()), self._header)
        return details._replace(metadata=metadata)


class _BearerUnary(_Bearer, grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[misc]
    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return await continuation(self._signed(details), request)


class _BearerStream(_Bearer, grpc.aio.UnaryStreamClientInterceptor):  # type: ignore[misc]
    async def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        return await continuation(self._signed(details), request)


@dataclass
class Reach:
    """A running notifier, through its doors."""

    grpc: str
    http: str
    channel: grpc.aio.Channel
    session: aiohttp.ClientSession
    home: Path | None = None
    program: Program | None = None
    _more: list[grpc.aio.Channel] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Make the stubs."""
        self.notifier: Any = NotifierServiceStub(self.channel)  # type: ignore[no-untyped-call]
        self.ops: Any = OpsServiceStub(self.channel)  # type: ignore[no-untyped-call]
        self.events: Any = EventServiceStub(self.channel)  # type: ignore[no-untyped-call]

    def bearing(self, token: str) -> Reach:
        """The same doors, seen by the bearer of *token*; closed with this one."""
        channel = grpc.aio.insecure_channel(
            self.grpc, interceptors=[_BearerUnary(token), _BearerStream(token)]
        )
        self._more.append(channel)
        return Reach(self.grpc, self.http, channel, self.session)

    async def close(self) -> None:
        """Close the channels that ``bearing`` opened."""
        for channel in self._more:
            await channel.close()

    async def staff(self, store: str = "", robots: Mapping[str, str] | None = None) -> None:
        """Let each role be held by the user of its own name (or the robot *robots* gives it)."""
        for role in ROLES:
            target = user(role) if role not in (robots or {}) else robot((robots or {})[role])
            request = pb.SetRoleTargetsRequest(role=role, store_id=store, targets=[target])
            await self.notifier.SetRoleTargets(request)

    async def push(
        self,
        event_type: str = "order.created",
        data: Mapping[str, Any] | None = None,
        *,
        wait: float = 5,
        store: str = STORE,
        **fields: Any,
    ) -> pb.TriggerPushResponse:
        """TriggerPush with the type's example, waiting for the outcome."""
        request = pb.TriggerPushRequest(
            event_type=event_type,
            event_data=struct(EXAMPLES[event_type] if data is None else data),
            store_id=store,
            wait=seconds(wait),
            **fields,
        )
        answer: pb.TriggerPushResponse = await self.notifier.TriggerPush(request)
        return answer

    async def explain(self, event_id: str, store: str = "") -> Any:
        """The one explanation of *event_id*."""
        answer = await self.notifier.Explain(pb.ExplainRequest(id=event_id, store_id=store))
        assert len(answer.explanations) == 1, answer
        return answer.explanations[0]

    async def post_event(
        self, body: bytes | Mapping[str, Any], headers: Mapping[str, str] | None = None, **query: str
    ) -> tuple[int, dict[str, Any]]:
        """POST /events: status and answer."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with self.session.post(
            f"http://{self.http}/events", data=raw, headers=dict(headers or {}), params=query
        ) as answer:
            return answer.status, await answer.json()


def codes(explanation: Any) -> list[str]:
    """The codes of an explanation's or a preview's steps, in order."""
    return [step.code for step in explanation.steps]


def seconds(value: float) -> Duration:
    """As a Duration."""
    duration = Duration()
    duration.FromMicroseconds(round(value * 1e6))
    return duration


def struct(data: Mapping[str, Any]) -> Struct:
    """As a Struct."""
    made = Struct()
    made.update(dict(data))
    return made


def user(userid: str) -> target_pb2.Target:
    """A member."""
    return target_pb2.Target(kind=target_pb2.TARGET_KIND_USER, id=userid)


def robot(name: str) -> target_pb2.Target:
    """A robot, by the name of its credential."""
    return target_pb2.Target(kind=target_pb2.TARGET_KIND_ROBOT, id=name)


async def refused(call: Awaitable[Any]) -> tuple[grpc.StatusCode, ReachError]:
    """Await a call that must fail; its status code and what it says."""
    try:
        answer = await call
    except grpc.RpcError as error:
        return error.code(), from_call(error)  # type: ignore[attr-defined]
    raise AssertionError(f"not refused: {answer}")


@asynccontextmanager
async def reach_at(
    facts: Mapping[str, str], home: Path | None = None, program: Program | None = None
) -> AsyncIterator[Reach]:
    """Stubs to whoever printed these ready *facts*."""
    async with (
        grpc.aio.insecure_channel(facts["grpc"]) as channel,
        aiohttp.ClientSession() as session,
    ):
        made = Reach(facts["grpc"], facts["http"], channel, session, home, program)
        try:
            yield made
        finally:
            await made.close()


async def heard(reach: Reach, world: Sandbox) -> None:
    """Wait until a notifier that follows the sandbox's clock, which stands still, has heard of its last jump."""

    async def look() -> bool:
        event_id = f"look-{secrets.token_hex(6)}"
        request = pb.TriggerPushRequest(event_type="clock.looked", store_id="elsewhere", event_id=event_id)
        await reach.notifier.TriggerPush(request)
        told = await reach.explain(event_id)
        at = told.receive_time.ToDatetime(tzinfo=UTC)
        return bool(abs((at - await world.now()).total_seconds()) < 0.1)

    await eventually(look)


# --- Serving --------------------------------------------------------------------------------------------


def environment(wecom: str, home: Path, **more: str) -> dict[str, str]:
    """What a notifier is configured with: free ports, the sandbox at *wecom*, and *more* REACH_ settings.

    Keys of *more* that are all upper case are taken as they are, others as ``REACH_`` + their upper case
    (``amqp_url=…``, ``database_url=…``, ``default_store=…``).
    """
    base = {
        "REACH_HOME": str(home),
        "REACH_GRPC_LISTEN": "127.0.0.1:0",
        "REACH_HTTP_LISTEN": "127.0.0.1:0",
        "REACH_WECOM_BASE_URL": wecom,
        "REACH_LOG_FORMAT": "json",
        "REACH_LIMIT_OPERATOR_PER_MINUTE": "1000",  # one caller plays all of them
        "WECOM_CORP_ID": CORP,
        "WECOM_AGENT_ID": str(AGENT),
        "WECOM_SECRET": SECRET,
    }
    extra = {key if key.isupper() else f"REACH_{key.upper()}": value for key, value in more.items()}
    return base | extra


class _ToldHost(Host):
    """A host that tells its addresses instead of printing them."""

    async def _open(self, stack: contextlib.AsyncExitStack) -> dict[str, str]:
        self.facts = await super()._open(stack)
        self.opened.set()
        return self.facts

    opened: asyncio.Event
    facts: dict[str, str]


@asynccontextmanager
async def embedded(
    wecom: str, home: Path, *, builds: Sequence[Build] = (build,), **more: str
) -> AsyncIterator[Reach]:
    """One process's worth of Reach in this event loop, stopped in order afterwards; see ``environment``."""
    host = _ToldHost(load(environment(wecom, home, **more)), builds, name="up")
    host.opened = asyncio.Event()
    stop = Stop()
    running = asyncio.create_task(host.run(stop, announce=False), name="host")
    opened = asyncio.create_task(host.opened.wait())
    await asyncio.wait({running, opened}, return_when=asyncio.FIRST_COMPLETED)
    if not opened.done():
        opened.cancel()
        await running
    try:
        async with reach_at(host.facts, home) as reach:
            yield reach
    finally:
        stop.request()
        await running


@asynccontextmanager
async def served(environ: Mapping[str, str], name: str = "notifier") -> AsyncIterator[Reach]:
    """A program of its own: ``reach serve notifier`` with a broker, ``reach up`` without one."""
    command = ["serve", "notifier"] if "REACH_AMQP_URL" in environ else ["up"]
    with Program(name, ["-m", "cli.main", *command], environ) as program:
        await asyncio.to_thread(program.ready, 90)
        async with reach_at(program.facts, Path(environ["REACH_HOME"]), program) as reach:
            yield reach


def _identity_url(home: Path) -> str:
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    return f"sqlite:///{home.absolute()}/{identity.SCHEMA}.db"


Grant = tuple[Iterable[str], Iterable[str]]
"""Scopes and stores of a token."""


async def create_tokens(
    home: Path,
    grants: Mapping[str, Grant],
    kind: Literal["human", "service"] = "service",
    url: str | None = None,
) -> dict[str, str]:
    """What ``reach token create`` does for an embedded home, or for the database at *url*; subject → token."""
    url = url or _identity_url(home)
    await asyncio.to_thread(migrate, url, identity.SCHEMA, [identity.LOCATION])
    database = Database.open(url, schema=identity.SCHEMA)
    try:
        registry = identity.TokenRegistry(database, SystemClock())
        return {
            subject: await registry.create(subject, kind, list(scopes), list(stores))
            for subject, (scopes, stores) in grants.items()
        }
    finally:
        await database.close()


# --- The broker -----------------------------------------------------------------------------------------


@dataclass
class Publisher:
    """A plain AMQP client of one suite's exchange: confirms on, nothing of ours in between."""

    channel: aio_pika.abc.AbstractChannel
    exchange: aio_pika.abc.AbstractExchange

    async def publish(
        self,
        routing_key: str,
        body: bytes | Mapping[str, Any],
        *,
        headers: Mapping[str, Any] | None = None,
        **properties: Any,
    ) -> None:
        """Publish and wait for the broker's confirm; *properties* are AMQP's (message_id, content_type, …)."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        properties.setdefault("content_type", "application/json")
        properties.setdefault("delivery_mode", aio_pika.DeliveryMode.PERSISTENT)
        message = aio_pika.Message(raw, headers=dict(headers or {}), **properties)
        await self.exchange.publish(message, routing_key, mandatory=False)

    async def event(
        self, event_type: str, data: Mapping[str, Any], event_id: str, store: str = STORE
    ) -> None:
        """Publish one event in CloudEvents' structured mode."""
        body = {
            "specversion": "1.0",
            "id": event_id,
            "type": event_type,
            "source": "till",
            "storeid": store,
            "time": datetime.now(UTC).isoformat(),
            "data": dict(data),
        }
        await self.publish(event_type, body, content_type="application/cloudevents+json")


@dataclass(frozen=True)
class Names:
    """A suite's own names on a shared broker."""

    prefix: str

    @property
    def exchange(self) -> str:
        """Its topic exchange."""
        return f"{self.prefix}.events"

    @property
    def settings(self) -> dict[str, str]:
        """For ``environment``."""
        return {"amqp_prefix": self.prefix, "amqp_exchange": self.exchange}

    @property
    def queues(self) -> tuple[str, ...]:
        """Its queues, to be deleted."""
        return tuple(f"{self.prefix}.{end}" for end in ("notifier.in", "notifier.parked", "unrouted.q"))


@asynccontextmanager
async def names_on(amqp_url: str) -> AsyncIterator[Names]:
    """Names nobody else uses on a shared broker; what was declared under them is deleted afterwards."""
    names = Names(f"e2e{secrets.token_hex(5)}")
    yield names
    connection = await aio_pika.connect(amqp_url)
    async with connection:
        channel = await connection.channel()
        for queue in names.queues:
            await channel.queue_delete(queue)
        for exchange in (names.exchange, f"{names.prefix}.unrouted", f"{names.prefix}.parked"):
            await channel.exchange_delete(exchange)


@asynccontextmanager
async def publisher(amqp_url: str, exchange: str) -> AsyncIterator[Publisher]:
    """A publisher to an exchange that a notifier has declared."""
    connection = await aio_pika.connect(amqp_url)
    async with connection:
        channel = await connection.channel(publisher_confirms=True)
        yield Publisher(channel, await channel.get_exchange(exchange, ensure=False))


def clean_environment() -> dict[str, str]:
    """This process's environment without what would configure Reach."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("REACH_", "WECOM_", "OTEL_"))}
