"""The room of groups beside a sandbox: in parts whose loops turn when told to, or served, with its RPCs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from reach.campaign.v1 import campaign_service_pb2_grpc

from services.campaign import group_service, join_way_service
from services.campaign.contract import SERVICE
from services.campaign.group_service import GroupMethods
from services.campaign.groups_side import GroupsSide
from services.campaign.join_way_service import JoinWayMethods
from services.campaign.store import group_syncs
from services.campaign.store.group_syncs import Sync
from services.campaign.store.group_tables import customer_group
from shared.audit import AuditLog
from shared.clock import Clock, ManualClock
from shared.credentials import Credentials
from shared.db.engine import Database
from shared.db.migrate import SHARED, Location, migrate
from shared.hosting.resources import Resources
from shared.hosting.service import Service
from shared.http import Caller
from shared.ops.part import Part
from shared.ops.unknowns import NothingUnknown
from shared.rpc.principal import LOCAL_OPERATOR, acting_as
from shared.secrets import SecretKey
from shared.settings import Settings, load
from shared.telemetry.metrics import Metrics
from shared.wecom.client import WeComClient
from shared.wecom.customer import REPLY_BYTES
from shared.wecom.token_store import SqlTokenStore
from shared.wecom.tokens import TokenAuthority
from tests.e2e.harness import CORP, STORE, Sandbox, environment

NAME = "campaign"
LOCATIONS = (SHARED, Location(NAME, Path(group_service.__file__).parent / "migrations" / "versions"))
CUSTOMER_SECRET = "customer-secret-0123456789"
TOKEN, AES_KEY = "QDG6eK", "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C"
SETTINGS = {
    "default_store": STORE,
    "WECOM_CUSTOMER_SECRET": CUSTOMER_SECRET,
    "WECOM_CUSTOMER_READ_QPS": "100",
    "WECOM_CUSTOMER_STORES": "ben=s2",
    "WECOM_CUSTOMER_CALLBACK_TOKEN": TOKEN,
    "WECOM_CUSTOMER_CALLBACK_AES_KEY": AES_KEY,
}
DECLARED: dict[str, Any] = {
    "corp_id": CORP,
    "users": [{"userid": name} for name in ("ann", "ben", "cy")],
}


async def populate(world: Sandbox) -> None:
    """A corp whose members may have groups."""
    await world.declare(**DECLARED)


class House:
    """The room with its own database, on a clock that moves when told to."""

    def __init__(self, world: Sandbox, database: Database, clock: ManualClock, settings: Settings) -> None:
        self.world, self.database, self.clock, self.settings = world, database, clock, settings
        self.numbers = Metrics()
        self.key = SecretKey(b"k" * 32)
        self._callers: list[Caller] = []

    def side(self, owner: str = "one", **more: Any) -> GroupsSide:
        """The room as one process has it."""
        caller = Caller(
            self.settings.wecom_url,
            allowed_hosts=self.settings.allowed_hosts,
            max_reply_bytes=REPLY_BYTES,
            connect_timeout=3,
        )
        self._callers.append(caller)
        tokens = TokenAuthority(caller, SqlTokenStore(self.database, self.key), self.clock, owner=owner)
        return _side(
            self.database,
            Credentials(self.database, self.key, self.clock),
            WeComClient(caller, tokens, self.clock),
            self.clock,
            self.numbers,
            more.pop("settings", self.settings),
            self.key,
            owner,
            **more,
        )

    async def close(self) -> None:
        """Close what calls."""
        for caller in self._callers:
            await caller.close()

    async def later(self, seconds: float) -> None:
        """Let time pass, here and at the platform."""
        self.clock.advance(timedelta(seconds=seconds))
        await self.world.advance(seconds)

    async def until_idle(self, side: GroupsSide, most: int = 5000) -> Sync:
        """Let the loop go round, time passing as it asks for, until no sync is under way and nothing is due."""
        for _ in range(most):
            wait = await side.syncing.step()
            async with self.database.read() as conn:
                sync = await group_syncs.running(conn)
                due = await conn.scalar(
                    sa.select(sa.func.count()).where(customer_group.c.read_due_at.is_not(None))
                )
            if sync is None and not due:
                return await self.last()
            if wait:
                await self.later(min(wait, timedelta(seconds=10)).total_seconds())
        raise AssertionError("the groups never came to rest")

    async def last(self) -> Sync:
        """The sync that was begun last."""
        async with self.database.read() as conn:
            found = await group_syncs.last(conn)
        assert found is not None
        return found

    async def groups(self, **columns: Any) -> dict[str, Any]:
        """The stored groups by chat id, those with these columns."""
        query = sa.select(customer_group).filter_by(**columns).order_by(customer_group.c.chat_id)
        return {row.chat_id: row for row in await self.rows(query)}

    async def rows(self, query: Any) -> list[Any]:
        """What a query or a table holds."""
        if isinstance(query, sa.Table):
            query = sa.select(query).order_by(*query.primary_key.columns)
        async with self.database.read() as conn:
            return list(await conn.execute(query))

    async def declare(self, chat_id: str, owner: str = "ann", name: str = "", **more: Any) -> None:
        """A group at the platform, from before we looked."""
        await self.world.post(
            "/sandbox/groups", chat_id=chat_id, owner=owner, name=name or f"群 {chat_id}", **more
        )

    async def change(self, chat_id: str, **more: Any) -> None:
        """Something that people do with it."""
        await self.world.post(f"/sandbox/groups/{chat_id}", **more)


def _side(
    database: Database,
    credentials: Credentials,
    wecom: WeComClient,
    clock: Clock,
    numbers: Metrics,
    settings: Settings,
    key: SecretKey,
    owner: str,
    **more: Any,
) -> GroupsSide:
    audit = AuditLog(database.dialect, key)
    return GroupsSide(NAME, database, credentials, wecom, audit, clock, numbers, settings, key, owner, **more)


@asynccontextmanager
async def house(world: Sandbox, home: Path, url: str | None = None, **more: str) -> AsyncIterator[House]:
    """A house on SQLite, or on PostgreSQL at *url*; *more* are settings."""
    await populate(world)
    await world.freeze()
    # A minute behind a time of the schedule, whatever the hour is: the next one is nine minutes away.
    started = await world.now()
    await world.advance((660 - started.timestamp() % 600) % 600)
    clock = ManualClock(await world.now())
    settings = load(environment(world.url, home, **(SETTINGS | more)))
    await asyncio.to_thread(home.mkdir, parents=True, exist_ok=True)
    place = url or f"sqlite:///{home}/{NAME}.db"
    await asyncio.to_thread(migrate, place, NAME, LOCATIONS)
    database = Database.open(place, schema=NAME)
    made = House(world, database, clock, settings)
    try:
        await Credentials(database, made.key, clock).seed(settings)
        with acting_as(LOCAL_OPERATOR):
            yield made
    finally:
        await made.close()
        await database.close()


class _Servicer(GroupMethods, JoinWayMethods):
    def __init__(self, side: GroupsSide, resources: Resources) -> None:
        self._groups, self._join_ways = side.groups, side.join_ways
        self._tokens, self._clock = resources.tokens, resources.clock
        self._default_store = resources.settings.default_store


async def build(resources: Resources) -> Service:
    """A campaign service of this room alone."""
    settings, clock = resources.settings, resources.clock
    database = await resources.database(NAME, LOCATIONS)
    credentials = Credentials(database, resources.key, clock)
    await credentials.seed(settings)
    caller = Caller(settings.wecom_url, allowed_hosts=settings.allowed_hosts, max_reply_bytes=REPLY_BYTES)
    resources.stack.push_async_callback(caller.close)
    tokens = TokenAuthority(caller, SqlTokenStore(database, resources.key), clock, owner=resources.owner)
    resources.stack.push_async_callback(tokens.close)
    wecom = WeComClient(caller, tokens, clock)
    side = _side(
        database, credentials, wecom, clock, resources.numbers, settings, resources.key, resources.owner
    )
    register = campaign_service_pb2_grpc.add_CampaignServiceServicer_to_server
    return Service(
        name=NAME,
        registrars=[partial(register, _Servicer(side, resources))],
        rpc_names=[SERVICE],
        scopes={**group_service.SCOPES, **join_way_service.SCOPES},
        part=Part(
            service=NAME,
            database=database,
            checks=side.checks,
            replay=_nothing,
            unknown=NothingUnknown(),
            limits=_NoLimits(),
            credentials=credentials,
            audit=AuditLog(database.dialect, resources.key),
        ),
        types=(),
        handler=_nothing,
        loops=side.loops,
        drain=_nothing,
        flush=_nothing,
        routes=side.routes,
    )


class _NoLimits:
    async def list_limits(self, *asked: Any) -> list[Any]:
        return []


async def _nothing(*asked: Any) -> None:
    return None
