"""The two rooms of campaign, served over gRPC to people with real tokens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from reach.campaign.v1 import (
    approval_pb2,
    campaign_pb2,
    campaign_service_pb2_grpc,
    running_pb2,
)

from services.campaign import approval_service, audit_service
from services.campaign.approval_service import ApprovalMethods
from services.campaign.approval_wire import to_status
from services.campaign.audit_service import AuditMethods
from services.campaign.contract import SERVICE
from services.campaign.pipeline.holding import looked_at
from services.campaign.store import approvals
from shared import identity
from shared.clock import SystemClock
from shared.credentials import Credentials
from shared.db.engine import Database
from shared.db.migrate import migrate
from shared.hosting.resources import Resources
from shared.hosting.service import Service
from shared.identity.tables import token
from shared.ops.part import Part
from shared.rpc.status import from_call
from tests.campaign.approval.house import DAY, LOCATIONS, STORE, House
from tests.e2e.harness import Reach, embedded

NOWHERE = "http://127.0.0.1:9"
WRITES = ("campaign.read", "campaign.write", "campaign.operate", "audit.read", "events.publish")
PEOPLE: Mapping[str, tuple[str, tuple[str, ...], str]] = {
    "ann": ("human", (*WRITES, "campaign.approve"), STORE),
    "ben": ("human", ("campaign.read", "campaign.approve"), STORE),
    "old": ("human", ("campaign.approve",), STORE),
    "far": ("human", ("campaign.read", "campaign.approve", "campaign.operate"), "s2"),
    "robot": ("service", ("campaign.approve", "campaign.operate"), STORE),
    "clerk": ("human", ("campaign.read", "campaign.write"), STORE),
    "chief": ("human", ("audit.read",), "*"),
}


class Servicer(ApprovalMethods, AuditMethods):
    """The two rooms, and campaigns shown with the little that these tests look at."""

    def __init__(self, house: House, resources: Resources) -> None:
        self._approving, self._running = house.side.approving, house.side.running
        self._previewing, self._history = house.side.previewing, house.side.history
        self._chain, self._tokens, self._shown, self._house = (
            house.side.chain,
            resources.tokens,
            self,
            house,
        )

    async def shown(self, campaign_id: str) -> campaign_pb2.Campaign:
        """Its standing."""
        async with self._house.database.read() as conn:
            found = await looked_at(conn, campaign_id)
            frozen = await approvals.snapshot(conn, found.id, found.version)
        return campaign_pb2.Campaign(
            id=found.id,
            status=to_status(found.status.value),
            version=found.version,
            content_hash="" if frozen is None else frozen.content_hash,
        )


class Doors:
    """A campaign service, and what each person sees of it."""

    def __init__(self, reach: Reach, house: House, tokens: Mapping[str, str], home: Path) -> None:
        self.reach, self.house, self.tokens, self.home = reach, house, tokens, home

    def of(self, person: str) -> Any:
        """The service, to *person*; to nobody with a token where it is ''."""
        reach = self.reach.bearing(self.tokens[person]) if person else self.reach
        return campaign_service_pb2_grpc.CampaignServiceStub(reach.channel)  # type: ignore[no-untyped-call]

    async def revoke(self, person: str) -> None:
        """Take somebody's token away."""
        async with tokens_of(self.home) as database:
            await identity.TokenRegistry(database, SystemClock()).revoke(self.tokens[person])

    async def submitted(self) -> tuple[str, str]:
        """A campaign of ann's, and the hash that is shown of it."""
        campaign_id = await self.house.write()
        request = approval_pb2.SubmitCampaignRequest(campaign_id=campaign_id)
        return campaign_id, (await self.of("ann").SubmitCampaign(request)).campaign.content_hash

    async def approve(self, person: str, campaign_id: str, seen: str) -> Any:
        """ApproveCampaign."""
        request = approval_pb2.ApproveCampaignRequest(campaign_id=campaign_id, content_hash=seen)
        return await self.of(person).ApproveCampaign(request)

    async def run(self, person: str, campaign_id: str, **more: Any) -> Any:
        """RunCampaign."""
        return await self.of(person).RunCampaign(
            running_pb2.RunCampaignRequest(campaign_id=campaign_id, confirm_live=True, **more)
        )


@asynccontextmanager
async def tokens_of(home: Path) -> AsyncIterator[Database]:
    """The database of tokens of an embedded home."""
    await asyncio.to_thread(home.mkdir, 0o700, parents=True, exist_ok=True)
    url = f"sqlite:///{home}/{identity.SCHEMA}.db"
    await asyncio.to_thread(migrate, url, identity.SCHEMA, [identity.LOCATION])
    database = Database.open(url, schema=identity.SCHEMA)
    yield database
    await database.close()


async def employ(home: Path) -> dict[str, str]:
    """Tokens for everybody; old's login was yesterday."""
    async with tokens_of(home) as database:
        registry = identity.TokenRegistry(database, SystemClock())
        made = {
            name: await registry.create(name, kind, scopes, [store])  # type: ignore[arg-type]  # one of two words
            for name, (kind, scopes, store) in PEOPLE.items()
        }
        yesterday = datetime.now(UTC) - DAY
        async with database.write() as conn:
            await conn.execute(sa.update(token).where(token.c.subject == "old").values(login_at=yesterday))
    return made


@asynccontextmanager
async def served(home: Path, tokens: Mapping[str, str], **settings: str) -> AsyncIterator[Doors]:
    """The two rooms of campaign in a process of their own kind."""
    houses: list[House] = []

    async def build(resources: Resources) -> Service:
        database = await resources.database("campaign", LOCATIONS)
        customer = resources.settings.wecom.customer
        house = House(
            database,
            resources.clock,
            resources.key,
            resources.authenticator,
            **{name: getattr(customer, name) for name in type(customer).model_fields},
        )
        houses.append(house)
        servicer = Servicer(house, resources)

        async def nothing(*_: Any) -> Any:
            return ()

        part = Part(
            service="campaign",
            database=database,
            checks=(),
            replay=nothing,
            unknown=Any,  # type: ignore[arg-type]  # nobody asks
            limits=Any,  # type: ignore[arg-type]  # nobody asks
            credentials=Credentials(database, resources.key, resources.clock),
            audit=house.audit,
        )
        return Service(
            name="campaign",
            registrars=[partial(campaign_service_pb2_grpc.add_CampaignServiceServicer_to_server, servicer)],
            rpc_names=[SERVICE],
            scopes={**approval_service.SCOPES, **audit_service.SCOPES},
            part=part,
            types=(),
            handler=nothing,
            loops=house.side.loops,
            drain=nothing,
            flush=nothing,
        )

    more = {"WECOM_CUSTOMER_DRY_RUN": "false", **settings}
    async with embedded(NOWHERE, home, builds=[build], default_store=STORE, **more) as reach:
        yield Doors(reach, houses[0], tokens, home)


async def refused(call: Any, reason: str) -> Any:
    """The failure, which has to have *reason*."""
    with pytest.raises(Exception) as caught:  # noqa: PT011  # gRPC's own error, read below
        await call
    found = from_call(caught.value)
    assert found.reason == reason, found
    return found
