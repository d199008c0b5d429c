"""The room of those who write, served beside a sandbox: what its tests share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import sqlalchemy as sa
from reach.campaign.v1 import audience_pb2, campaign_pb2, campaign_service_pb2_grpc
from reach.campaign.v1 import writing_pb2 as pb

from services.campaign.candidate_service import CandidateMethods
from services.campaign.contract import SERVICE
from services.campaign.domain.candidates import Answer, Asked
from services.campaign.material_service import MaterialMethods
from services.campaign.pipeline.generating import Writer
from services.campaign.pipeline.moving import Moving
from services.campaign.pipeline.selecting import StoredGroups
from services.campaign.writing_service import WritingMethods
from services.campaign.writing_side import SCOPES, WritingSide, writing_side
from shared.audit import AuditLog
from shared.credentials import FIRST, Credentials
from shared.db.engine import Database
from shared.db.migrate import SHARED, Location
from shared.errors import ReachError
from shared.hosting.resources import Resources
from shared.hosting.service import Service
from shared.http import Caller
from shared.ops.part import Part
from shared.rpc.status import from_call
from shared.wecom.client import WeComClient
from shared.wecom.token_store import SqlTokenStore
from shared.wecom.tokens import TokenAuthority
from tests.e2e.harness import CORP, STORE, Reach, Sandbox, create_tokens, embedded

NAME = "campaign"
SECRET = "customer-secret-0123456789"
MIGRATIONS = Path(__file__).parents[3] / "services" / "campaign" / "migrations" / "versions"
SETTINGS = {
    "WECOM_CUSTOMER_SECRET": SECRET,
    "WECOM_CUSTOMER_BLOCK_WORDS": "返现,保本",
    "WECOM_CUSTOMER_LINK_HOSTS": "shop.example.com",
}


class Script:
    """A writer that gives the answers it was told to, one a call, and remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.asked: list[tuple[str, Asked, str]] = []

    async def write(self, store_id: str, asked: Asked, key: str, deadline: float) -> Answer:
        self.asked.append((store_id, asked, key))
        return self.answers.pop(0) if self.answers else Answer(reason="dependency_down", again=True)


class _Nothing:
    """Where a service without unknown sends and limits keeps them."""

    async def list_unknown(self, stores: Collection[str] | None, after_id: str, limit: int) -> Sequence[Any]:
        return ()

    async def resolve(self, id: str, verdict: Any, **more: Any) -> str | None:  # noqa: A002  # the port's word
        return None

    async def list_limits(self, prefix: str, after: str, now: Any, limit: int) -> Sequence[Any]:
        return ()


class _Servicer(WritingMethods, MaterialMethods, CandidateMethods):
    def __init__(self, side: WritingSide, resources: Resources) -> None:
        self._campaigns, self._materials, self._tones = side.campaigns, side.materials, side.tones
        self._candidates, self._tokens, self._zone = side.candidates, resources.tokens, side.zone


class Room:
    """The room through its door, and from inside."""

    def __init__(self, reach: Reach, world: Sandbox, home: Path) -> None:
        self.reach, self.world, self._home = reach, world, home
        self.stub: Any = campaign_service_pb2_grpc.CampaignServiceStub(reach.channel)  # type: ignore[no-untyped-call]
        self.side: WritingSide
        self.database: Database
        self.resources: Resources

    def bearing(self, token: str) -> Any:
        """The stub of somebody else."""
        return campaign_service_pb2_grpc.CampaignServiceStub(self.reach.bearing(token).channel)  # type: ignore[no-untyped-call]

    async def creates(self, text: str = "周五新品到店", key: str = "", **more: Any) -> campaign_pb2.Campaign:
        """CreateCampaign."""
        asked = pb.CreateCampaignRequest(store_id=STORE, spec=spec(text, **more), idempotency_key=key)
        made: campaign_pb2.Campaign = (await self.stub.CreateCampaign(asked)).campaign
        return made

    async def updates(
        self, campaign_id: str, *paths: str, expected: int = 0, key: str = "", **said: Any
    ) -> Any:
        """UpdateCampaign of the fields at *paths*."""
        asked = pb.UpdateCampaignRequest(
            campaign_id=campaign_id,
            spec=campaign_pb2.CampaignSpec(**said),
            expected_version=expected,
            idempotency_key=key,
        )
        asked.update_mask.paths.extend(paths)
        return (await self.stub.UpdateCampaign(asked)).campaign

    async def rows(self, table: sa.Table) -> list[Any]:
        """All rows of a table, by its primary key."""
        query = sa.select(table).order_by(*table.primary_key.columns)
        async with self.database.read() as conn:
            return list(await conn.execute(query))


def spec(text: str = "周五新品到店", **more: Any) -> campaign_pb2.CampaignSpec:
    """What a campaign says, for every group."""
    said = {
        "name": "新品",
        "content": campaign_pb2.Content(text=text),
        "audience": audience_pb2.Audience(every_group=True),
        "theme": "新品到店",
        **more,
    }
    return campaign_pb2.CampaignSpec(**said)


async def refused(call: Awaitable[Any]) -> ReachError:
    """What a call is refused with."""
    try:
        answered = await call
    except grpc.aio.AioRpcError as error:
        return from_call(error)
    raise AssertionError(f"answered: {answered}")


async def tokens(home: Path, url: str | None) -> Mapping[str, str]:
    """Bearers of every scope: ann and ben of the store, cat of another one."""
    every = ["campaign.read", "campaign.write"]
    grants = {"ann": (every, [STORE]), "ben": (every, [STORE]), "cat": (every, ["s2"]), "all": (every, ["*"])}
    return await create_tokens(home, {**grants, "reader": (["campaign.read"], [STORE])}, url=url)


@asynccontextmanager
async def room(
    world: Sandbox,
    home: Path,
    url: str | None,
    writer: Writer | Callable[[Resources], Writer],
    *,
    builds: Sequence[Any] = (),
    **more: str,
) -> AsyncIterator[Room]:
    """The room on the sandbox's clock; *url* is its PostgreSQL. Other services are served beside it."""
    found: dict[str, Any] = {}

    async def build(resources: Resources) -> Service:
        settings, clock, numbers = resources.settings, resources.clock, resources.numbers
        locations = (SHARED, Location(NAME, MIGRATIONS))
        database = await resources.database(NAME, locations)
        credentials = Credentials(database, resources.key, clock)
        await credentials.seed(settings)
        caller = Caller(settings.wecom_url, allowed_hosts=settings.allowed_hosts)
        resources.stack.push_async_callback(caller.close)
        authority = TokenAuthority(
            caller, SqlTokenStore(database, resources.key), clock, owner=resources.owner
        )
        resources.stack.push_async_callback(authority.close)
        audit = AuditLog(database.dialect, resources.key)
        side = writing_side(
            database,
            StoredGroups(),
            Moving(database),
            audit,
            clock,
            numbers,
            settings,
            resources.owner,
            app=partial(credentials.customer, FIRST),
            wecom=WeComClient(caller, authority, clock),
            writer=writer(resources) if not hasattr(writer, "write") else writer,
        )
        found.update(side=side, database=database, resources=resources)
        servicer = _Servicer(side, resources)
        nothing = _Nothing()

        async def replay(incoming: Any) -> None:
            raise AssertionError("nothing is heard")

        async def done(*_: Any) -> None:
            await asyncio.sleep(0)

        return Service(
            name=NAME,
            registrars=[partial(campaign_service_pb2_grpc.add_CampaignServiceServicer_to_server, servicer)],
            rpc_names=[SERVICE],
            scopes=SCOPES,
            part=Part(NAME, database, (), replay, nothing, nothing, credentials, audit),
            types=(),
            handler=done,
            loops=side.loops,
            drain=done,
            flush=done,
        )

    settings = {"default_store": STORE, "clock": "sandbox", **SETTINGS, **more}
    settings |= {"database_url": url} if url else {}
    await world.declare(corp_id=CORP, apps=[{"kind": "customer", "secret": SECRET}])
    async with embedded(world.url, home, builds=[build, *builds], **settings) as reach:
        made = Room(reach, world, home)
        made.side, made.database, made.resources = found["side"], found["database"], found["resources"]
        yield made
