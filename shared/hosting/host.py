"""Opens a process, serves its services, and stops it in the order of reliability 17."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial

import structlog
from reach.events.v1 import event_service_pb2_grpc
from reach.ops.v1 import ops_service_pb2_grpc

from shared import identity
from shared.bus import Bus, Incoming, Park
from shared.bus.memory import MemoryBus
from shared.bus.rabbit import RabbitBus
from shared.bus.relay import OutboxRelay
from shared.bus.topology import Topology
from shared.clock import Clock, DatabaseClock, SandboxClock, SystemClock, sandbox_reader
from shared.db.engine import Database
from shared.errors import Unavailable
from shared.events.catalogue import ANNOUNCED
from shared.hosting.callers import check_bindings, check_calls, jwt_verifier, tls_files
from shared.hosting.http import HttpDoor
from shared.hosting.http_tls import server_context
from shared.hosting.marker import RunningMarker
from shared.hosting.resources import Resources, open_database, owner_name, secret_key
from shared.hosting.service import Build
from shared.identity.authenticator import Authenticator
from shared.ops.events import SCOPES as EVENT_SCOPES
from shared.ops.events import EventServicer
from shared.ops.figures import Figures
from shared.ops.letters import park
from shared.ops.servicer import SCOPES as OPS_SCOPES
from shared.ops.servicer import OpsServicer
from shared.process import HomeLock, Stop
from shared.rpc.calls import CallClass
from shared.rpc.guard import GuardRules
from shared.rpc.health import HealthBoard
from shared.rpc.peers import PeerRules
from shared.rpc.server import RpcServer
from shared.settings import Settings
from shared.supervise import Supervisor, Turn
from shared.telemetry import metrics, traces
from shared.telemetry.metrics import Metrics, MetricsServer

BATCH = 200
"""Messages taken in one transaction at the most; a batch is what has gathered, never waited for."""

ABREAST = 2
"""Batches in their transactions at once: while the database writes one, the next is read and decided."""

PAUSE = 2.0
"""Seconds between saying NOT_SERVING and closing the doors, so that balancers notice; none on loopback."""

_log = structlog.get_logger("reach.host")


class Host:
    """One process with its services."""

    def __init__(self, settings: Settings, builds: Sequence[Build], *, name: str) -> None:
        self._settings = settings
        self._builds = builds
        self._name = name
        self._numbers = Metrics()
        self._supervisor = Supervisor(
            on_failure=lambda loop: self._numbers.add(metrics.LOOP_FAILURES, loop=loop)
        )

    async def run(
        self,
        stop: Stop,
        *,
        announce: bool = True,
        also: Mapping[str, str] | None = None,
        on_ready: Callable[[Mapping[str, str]], object] | None = None,
    ) -> None:
        """Serve until *stop*; *also* are further facts for the ready line. *on_ready* gets the addresses."""
        async with AsyncExitStack() as stack:
            facts = await self._open(stack)
            if on_ready is not None:
                on_ready(facts)
            if announce:
                told = " ".join(f"{key}={value}" for key, value in {**facts, **(also or {})}.items())
                print(f"ready {self._name} {told}", flush=True)
            _log.info("ready", **facts)
            await stop.wait()
            _log.info("stopping")
            await self._stop(stop)
        _log.info("stopped")

    async def _open(self, stack: AsyncExitStack) -> dict[str, str]:
        settings = self._settings
        if settings.database_url is None:
            stack.enter_context(HomeLock(settings.home))
        stop_traces = traces.start(self._name, os.environ)
        stack.push_async_callback(asyncio.to_thread, stop_traces)
        tokens = await open_database(settings, stack, identity.SCHEMA, [identity.LOCATION])
        clock = await self._clock(stack, tokens)
        alone = settings.grpc_listen.loopback and settings.http_listen.loopback
        jwt = jwt_verifier(settings.auth, stack)
        authenticator = Authenticator(tokens, clock, local_operator=alone, jwt=jwt)
        resources = Resources(
            settings, clock, self._numbers, secret_key(settings), owner_name(), stack, authenticator
        )
        check_bindings(settings, has_credentials=await authenticator.takes_credentials())
        check_calls(settings)
        self._services = [await build(resources) for build in self._builds]
        resources.bus = bus = await self._bus(resources)
        health = self._health(tokens, bus)
        server = self._server(resources, authenticator, health)
        # Listening comes first: where a port is taken, nothing has been consumed or sent yet.
        facts = await self._listen(stack, server)
        resources.grpc = facts["grpc"]
        await self._start(stack, resources, bus)
        await health.refresh()
        return facts

    async def _clock(self, stack: AsyncExitStack, tokens: Database) -> Clock:
        settings = self._settings
        if settings.clock == "sandbox":
            base = settings.wecom_base_url or f"http://{settings.sandbox_listen}"
            read = await stack.enter_async_context(sandbox_reader(base))
            followed = SandboxClock(read)
            await followed.sync()
            self._supervisor.add("clock", followed.follow)
            self._supervisor.add("clock jumps", partial(self._wake_all, followed))
            return followed
        if tokens.dialect == "sqlite":
            return SystemClock()
        clock = DatabaseClock(tokens.server_time)
        await clock.sync()
        self._supervisor.add("clock", clock.follow)
        return clock

    async def _wake_all(self, clock: SandboxClock, turn: Turn) -> None:
        """Due rows are due by the clock: when it jumps, everybody looks again."""
        while True:
            try:
                async with asyncio.timeout(5):
                    await clock.changed.wait()
            except TimeoutError:
                turn()
                continue
            for service in self._services:
                service.part.database.wakeups.deliver_all()
            turn()

    async def _bus(self, resources: Resources) -> Bus:
        settings, first = self._settings, self._services[0]
        keep = partial(park, first.part.database, first.name, resources.clock, self._numbers)
        if settings.amqp_url is None:
            bus: Bus = MemoryBus(resources.clock, keep, unrouted=partial(self._unrouted, keep))
        else:
            marker = RunningMarker(first.part.database, first.name)
            unclean = await marker.enter()
            resources.stack.push_async_callback(marker.leave)
            bus = RabbitBus(
                settings.amqp_url.get_secret_value(),
                resources.clock,
                keep,
                topology=Topology(settings.amqp_prefix, settings.amqp_exchange),
                unrouted=partial(self._unrouted, keep),
                probation=unclean,
                publish_timeout=settings.limits.publish_confirm.total_seconds(),
            )
        for service in self._services:
            if service.types:
                bus.subscribe(service.name, service.types, service.handler, batch=BATCH, abreast=ABREAST)
        return bus

    async def _unrouted(self, keep: Park, message: Incoming, reason: str, detail: str) -> None:
        """Keep what nobody listens to, but for our own announcements: those are for whoever cares."""
        self._numbers.add(metrics.EVENTS_UNROUTED, service=self._name)
        if message.routing_key not in ANNOUNCED:
            await keep(message, "unknown_type", detail)

    def _health(self, tokens: Database, bus: Bus) -> HealthBoard:
        names = [name for service in self._services for name in service.rpc_names]
        board = HealthBoard(names)

        async def amqp() -> None:
            status = bus.status()
            if not (status.connected and status.consuming):
                raise Unavailable("DEPENDENCY_DOWN", status.last_error or "the broker is not connected")

        async def loops() -> None:
            if stalled := self._supervisor.stalled():
                raise Unavailable("DEPENDENCY_DOWN", f"standing still: {', '.join(stalled)}")

        board.add("db", tokens.ping, carries=names)
        for service in self._services:
            board.add("db", service.part.database.ping, carries=service.rpc_names)
        board.add("amqp", amqp)
        board.add("loops", loops, carries=names)
        self._board = board
        return board

    def _server(self, resources: Resources, authenticator: Authenticator, health: HealthBoard) -> RpcServer:
        settings = self._settings
        parts = [service.part for service in self._services]
        events = EventServicer(parts[0].database, resources.clock, settings.default_store)
        ops = OpsServicer(parts, resources.tokens, resources.clock)
        scopes: dict[str, str] = {**EVENT_SCOPES, **OPS_SCOPES}
        special: dict[str, CallClass] = {}
        for service in self._services:
            scopes.update(service.scopes)
            special.update(service.special)
        rules = GuardRules(
            scopes,
            special,
            peers=PeerRules.of(settings.auth.mtls_allow),
            max_request_bytes=settings.limits.grpc_message_bytes,
        )
        return RpcServer(
            str(settings.grpc_listen),
            [
                *(one for service in self._services for one in service.registrars),
                partial(event_service_pb2_grpc.add_EventServiceServicer_to_server, events),
                partial(ops_service_pb2_grpc.add_OpsServiceServicer_to_server, ops),
            ],
            rules=rules,
            authenticator=authenticator,
            health=health,
            reflection=settings.reflection,
            tls=tls_files(settings.auth),
            metrics=self._numbers,
        )

    async def _start(self, stack: AsyncExitStack, resources: Resources, bus: Bus) -> None:
        self._relays = [
            OutboxRelay(service.part.database, bus, resources.clock, self._numbers, service=service.name)
            for service in self._services
        ]
        for service in self._services:
            for name, loop in service.loops.items():
                self._supervisor.add(f"{service.name} {name}", loop)
        parts = [service.part for service in self._services]
        figures = Figures(parts, bus, self._supervisor, resources.clock, self._numbers)
        self._supervisor.add("figures", figures.run)
        self._supervisor.start()
        stack.push_async_callback(self._supervisor.stop)
        self._doors = bus
        await bus.start()
        stack.push_async_callback(bus.close)
        if not bus.status().connected:
            _log.error(
                "broker not reachable; going on trying. Start RabbitMQ or correct REACH_AMQP_URL",
                detail=bus.status().last_error,
            )
        for relay in self._relays:
            if (
                self._settings.database_url is None
            ):  # the home is locked to this process: no other relay is alive
                await relay.take_over_orphans()
            relay.start()
            stack.push_async_callback(relay.close)

    async def _listen(self, stack: AsyncExitStack, server: RpcServer) -> dict[str, str]:
        facts = {"grpc": await server.start()}
        stack.push_async_callback(server.stop, 0.0)
        self._rpc = server
        auth, tls = self._settings.auth, None
        if auth.http_tls_cert_file is not None and auth.http_tls_key_file is not None:
            tls = server_context(auth.http_tls_cert_file, auth.http_tls_key_file)
        self._http = HttpDoor([route for service in self._services for route in service.routes], tls)
        facts["http"] = str(await self._http.start(self._settings.http_listen))
        stack.push_async_callback(self._http.close)
        if self._settings.metrics_listen is not None:
            scraped = MetricsServer(self._numbers)
            facts["metrics"] = str(await scraped.start(self._settings.metrics_listen))
            stack.push_async_callback(scraped.close)
        return facts

    async def _stop(self, stop: Stop) -> None:
        """Doors first, then what is in flight, then what is written, then what it stands on (by the stack).

        Every step has its share of the time that is left, and one that fails is no reason to leave out the others:
        what could not be finished is taken up again at the next start.
        """

        def share(of: float, most: float) -> float:
            return min(most, of * stop.remaining().total_seconds())

        await self._board.shut()
        if not self._settings.grpc_listen.loopback:
            await asyncio.sleep(PAUSE)
        await self._step("stop consuming", self._doors.stop_consuming())
        await self._step("close HTTP", self._http.close())
        await self._step("stop gRPC", self._rpc.stop(share(0.4, 15.0)))
        for service in self._services:
            await self._step(f"drain {service.name}", service.drain(share(0.7, 12.0)))
        await self._step("stop loops", self._supervisor.stop(timedelta(seconds=share(0.5, 5.0))))
        for service in self._services:
            await self._step(f"flush {service.name}", service.flush())

    @staticmethod
    async def _step(name: str, work: Awaitable[None]) -> None:
        try:
            await work
        except Exception as error:
            _log.error("not stopped in order", step=name, exc_info=error)
