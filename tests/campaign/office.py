"""A campaign service as its people meet it: a writer, an approver, a sandbox whose owners press send.

opened(…)     the service, here, beside a sandbox whose clock is set → Office
grants(…)     tokens of people, as ``reach token create`` makes them
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reach.campaign.v1 import (
    approval_pb2,
    audience_pb2,
    campaign_pb2,
    group_pb2,
    preview_pb2,
    running_pb2,
    writing_pb2,
)
from reach.campaign.v1.campaign_service_pb2_grpc import CampaignServiceStub

from cli.identity import registry
from services.ai_orchestrator.assembly import build as build_ai
from services.campaign.assembly import build
from shared.clock import ManualClock
from shared.rpc.principal import EVERY_STORE, SCOPES
from shared.settings import load
from tests.e2e.harness import STORE, Sandbox, embedded, environment, eventually, sandbox

NOON = datetime(2026, 3, 2, 4, tzinfo=UTC)
"""A Monday, 12:00 in Shanghai: within everybody's hours."""
WRITER, APPROVER, OTHER = "writer", "approver", "other"
OWNERS = {"lisi": "at_once", "wangwu": "at_once", "zhaoliu": "never"}
TEXT = "周五中午上新清蒸鲈鱼"
LIVE = {
    "WECOM_CUSTOMER_SECRET": "customer-s1",
    "WECOM_CUSTOMER_DRY_RUN": "false",
    "WECOM_CUSTOMER_BLOCK_WORDS": "返现,保本",
}
AI = {"DASHSCOPE_API_KEY": "sk-test", "DASHSCOPE_APP_ID_CUSTOMER_CAMPAIGN": "customer_campaign"}

PLAYBOOK: Mapping[str, Any] = {
    "playbook": "silent_recall",
    "parameters": {"brand": "小满食堂", "news": "上新了清蒸鲈鱼", "offer": "送时蔬一份"},
}
"""One that can be started as it is."""

Grants = Mapping[str, tuple[Sequence[str], Sequence[str]]]
"""By subject: scopes and stores."""

PEOPLE: Grants = {
    WRITER: (sorted(SCOPES), [EVERY_STORE]),
    APPROVER: (["campaign.read", "campaign.approve"], [STORE]),
    OTHER: (sorted(SCOPES), ["s2"]),
}


async def grants(environ: Mapping[str, str], people: Grants, at: datetime) -> dict[str, str]:
    """Tokens of people who logged in at *at*, in the identity that *environ* leads to; by subject."""
    async with registry(load(dict(environ)), ManualClock(at)) as identities:
        return {
            subject: await identities.create(subject, "human", list(scopes), list(stores))
            for subject, (scopes, stores) in people.items()
        }


class Office:
    """The doors of it, by person."""

    def __init__(self, reach: Any, world: Sandbox, tokens: Mapping[str, str]) -> None:
        self.reach, self.world, self._tokens = reach, world, tokens
        self._stubs: dict[str, Any] = {}

    def __getitem__(self, subject: str) -> Any:
        """The service as *subject* may call it."""
        if subject not in self._stubs:
            channel = self.reach.bearing(self._tokens[subject]).channel
            self._stubs[subject] = CampaignServiceStub(channel)  # type: ignore[no-untyped-call]
        return self._stubs[subject]

    async def have_groups(self, each: int = 2, owners: Mapping[str, str] = OWNERS) -> list[str]:
        """*each* groups of every owner, at the platform and known here; their ids."""
        chat_ids = await declare_groups(self.world, each, owners)

        async def look() -> bool:
            # Asked for again: one that was under way may have listed the groups before.
            await self[WRITER].SyncGroups(group_pb2.SyncGroupsRequest(whole=True))
            found = (await self[WRITER].ListGroups(group_pb2.ListGroupsRequest(page_size=200))).groups
            return len([one for one in found if one.eligible]) == len(chat_ids)

        await eventually(look, timeout=30, every=0.2)
        return chat_ids

    async def drafted(self, text: str = TEXT, **more: Any) -> campaign_pb2.Campaign:
        """A campaign for every group."""
        return await drafted(self[WRITER], text, **more)

    async def approved(self, text: str = TEXT, **more: Any) -> campaign_pb2.Campaign:
        """One that may be run."""
        campaign = await self.drafted(text, **more)
        return await approve(self[WRITER], self[APPROVER], campaign.id)

    async def stands(self, campaign_id: str, status: int, timeout: float = 30) -> campaign_pb2.Campaign:
        """The campaign, once it stands there."""

        async def look() -> campaign_pb2.Campaign | None:
            request = writing_pb2.GetCampaignRequest(campaign_id=campaign_id)
            found: campaign_pb2.Campaign = (await self[WRITER].GetCampaign(request)).campaign
            return found if found.status == status else None

        found = await eventually(look, timeout)
        assert found is not None
        return found

    async def sends(self) -> list[dict[str, Any]]:
        """The tasks at the platform."""
        return await mass_sends(self.world)


async def declare_groups(
    world: Sandbox, each: int, owners: Mapping[str, str], customers: int = 3
) -> list[str]:
    """*each* groups of every owner at the platform, and how owners behave; the groups' ids."""
    for owner, behaviour in owners.items():
        await world.post(f"/sandbox/owners/{owner}/behaviour", behaviour=behaviour)
    chat_ids: list[str] = []
    for owner in owners:
        made = await world.post(
            "/sandbox/groups", count=each, prefix=f"wr-{owner}-", owners=[owner], customers=customers
        )
        assert made["made"] == each
        chat_ids += [f"wr-{owner}-{at:06d}" for at in range(1, each + 1)]
    return chat_ids


async def mass_sends(world: Sandbox) -> list[dict[str, Any]]:
    """Every task at the platform, with what became of each of its groups."""
    found: list[dict[str, Any]] = []
    after = 0
    while True:
        page = await world.get("/sandbox/mass-sends", after=after, limit=10_000)
        found += page["mass_sends"]
        if not page["more"]:
            return found
        after = page["next"]


async def drafted(stub: Any, text: str = TEXT, **more: Any) -> campaign_pb2.Campaign:
    """A new campaign for every group of the store; *more* are fields of its spec."""
    spec = campaign_pb2.CampaignSpec(
        name="周五上新",
        content=campaign_pb2.Content(text=text),
        audience=audience_pb2.Audience(every_group=True),
    )
    spec.MergeFrom(campaign_pb2.CampaignSpec(**more))
    request = writing_pb2.CreateCampaignRequest(store_id=STORE, spec=spec)
    made: campaign_pb2.Campaign = (await stub.CreateCampaign(request)).campaign
    return made


async def approve(writer: Any, approver: Any, campaign_id: str) -> campaign_pb2.Campaign:
    """Submit it as *writer*, and approve as *approver* what is shown to them."""
    await writer.SubmitCampaign(approval_pb2.SubmitCampaignRequest(campaign_id=campaign_id))
    asked = preview_pb2.PreviewCampaignRequest(campaign_id=campaign_id)
    seen = (await approver.PreviewCampaign(asked)).content_hash
    request = approval_pb2.ApproveCampaignRequest(campaign_id=campaign_id, content_hash=seen)
    done: campaign_pb2.Campaign = (await approver.ApproveCampaign(request)).campaign
    return done


async def run(stub: Any, campaign_id: str, *, live: bool) -> str:
    """Run it; the run's id."""
    request = running_pb2.RunCampaignRequest(campaign_id=campaign_id, confirm_live=live)
    run_id: str = (await stub.RunCampaign(request)).run_id
    return run_id


@asynccontextmanager
async def opened(
    home: Path, *, at: datetime = NOON, people: Grants = PEOPLE, writes: bool = False, **more: str
) -> AsyncIterator[Office]:
    """A service that really sends, beside a sandbox whose clock it follows from *at* on; *more* are settings.

    With *writes* ai_orchestrator is there as well.
    """
    async with sandbox() as world:
        await world.post("/sandbox/clock", set=at.isoformat())
        given = {"clock": "sandbox", "default_store": STORE, **LIVE, **more}
        builds = [build]
        if writes:
            builds.append(build_ai)
            token = home / "service.token"
            given |= {"dashscope_base_url": f"{world.url}/api/v1", "service_token_file": str(token), **AI}
            await asyncio.to_thread(_prepare, token)
        environ = environment(world.url, home, **given)
        tokens = await grants(environ, {**people, "suite": root()}, at)
        if writes:
            await asyncio.to_thread(token.write_text, tokens["suite"])
        async with embedded(world.url, home, builds=builds, **given) as reach:
            yield Office(reach, world, tokens)


def _prepare(token: Path) -> None:
    token.parent.mkdir(parents=True, mode=0o700)
    token.touch(mode=0o600)


def root() -> tuple[Sequence[str], Sequence[str]]:
    """A grant for everything."""
    return sorted(SCOPES), [EVERY_STORE]
