"""A campaign that is sent while its replicas are killed: the platform's tasks are held against what we say of every group.

The platform of a run loses answers and requests, refuses and is slow. Some owners confirm at once, others never do.

    CampaignStorm(…)   what happens, to replicas wherever they run
    programs(…)        three replicas as programs of their own, that may be killed
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
from reach.campaign.v1 import campaign_pb2, group_pb2, report_pb2, target_pb2, writing_pb2
from reach.campaign.v1.campaign_service_pb2_grpc import CampaignServiceStub

from shared.rpc.fields import to_duration
from shared.secrets import SecretKey
from tests.campaign.office import (
    APPROVER,
    LIVE,
    NOON,
    PEOPLE,
    WRITER,
    approve,
    declare_groups,
    drafted,
    grants,
    mass_sends,
    run,
)
from tests.chaos.checker import Violation
from tests.chaos.load import Doors
from tests.chaos.storm import Member, Servers
from tests.e2e.harness import STORE, Sandbox, environment, eventually, reach_at, sandbox_program
from tests.support.home import free_port
from tests.support.process import Program

CREATE = "/cgi-bin/externalcontact/add_msg_template"
CONFIRM_WITHIN = timedelta(hours=1)
STEP = timedelta(minutes=10)
"""By which the clock goes on while owners confirm."""
PAUSE = timedelta(seconds=10)
"""By which it goes on, each second, while tasks are made."""
NEVER = 5
"""One owner of so many never confirms."""

_CALL_SECONDS = 20.0
_TRIES = 200
_AGAIN = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
)
_SENT = target_pb2.TARGET_STATUS_SENT
_NEVER_ASKED = (target_pb2.TARGET_STATUS_REFUSED, target_pb2.TARGET_STATUS_GROUP_GONE)


@dataclass
class Report:
    """How a run ended."""

    seed: int
    violations: list[Violation]
    sums: dict[str, int]
    seconds: float

    def __str__(self) -> str:
        figures = ", ".join(f"{name} {count}" for name, count in self.sums.items())
        shown = [str(one) for one in self.violations[:10]]
        return "\n".join([f"seed {self.seed}: {figures}; {self.seconds:.0f} s", *shown])


class Anyone:
    """Whoever of the replicas is there. Calls are repeated, so those without a key are made before anybody dies."""

    def __init__(self, stubs: Sequence[Any]) -> None:
        self._stubs = stubs

    def __getattr__(self, name: str) -> Callable[[Any], Awaitable[Any]]:
        async def call(request: Any) -> Any:
            for attempt in range(_TRIES):
                stub = self._stubs[attempt % len(self._stubs)]
                try:
                    return await getattr(stub, name)(request, timeout=_CALL_SECONDS)
                except grpc.aio.AioRpcError as error:
                    if error.code() not in _AGAIN:
                        raise
                    await asyncio.sleep(0.2)
            raise AssertionError(f"nobody answered {name}")

        return call


@dataclass
class CampaignStorm:
    """*writers* and *approvers* are the replicas as either sees them, in front of *world*."""

    world: Sandbox
    writers: Sequence[Any]
    approvers: Sequence[Any]
    seed: int
    owners: int
    each: int
    kills: int = 0
    kill: Callable[[int], Awaitable[None]] | None = field(default=None, kw_only=True)
    """Ends the replica of a number without mercy and starts it again."""

    async def run(self) -> Report:
        """Play it and judge."""
        began, dice = time.monotonic(), random.Random(self.seed)
        writer, approver = Anyone(self.writers), Anyone(self.approvers)
        people = {
            f"owner{at:03d}": "never" if at % NEVER == NEVER - 1 else "at_once" for at in range(self.owners)
        }
        chat_ids = await declare_groups(self.world, self.each, people)
        await self._synced(writer, len(chat_ids))
        campaign = await drafted(writer, confirm_within=to_duration(CONFIRM_WITHIN))
        await approve(writer, approver, campaign.id)
        await self._trouble()
        await run(writer, campaign.id, live=True)
        await self._killed(writer, campaign.id, dice)
        await self._made(writer, campaign.id)
        await self._over(writer, campaign.id, dice)
        violations, sums = await self._judge(writer, campaign.id, chat_ids, people)
        return Report(self.seed, violations, sums, time.monotonic() - began)

    async def _synced(self, writer: Anyone, count: int) -> None:
        """Bring the groups up to date, as often as it takes: a sync under way may have listed them before."""

        while True:
            sync = (await writer.SyncGroups(group_pb2.SyncGroupsRequest(whole=True))).sync

            async def ended(sync_id: str = sync.id) -> Any:
                found = (await writer.GetGroupSync(group_pb2.GetGroupSyncRequest(sync_id=sync_id))).sync
                return found if found.status == group_pb2.SYNC_STATUS_FINISHED else None

            if (await eventually(ended, timeout=90, every=0.2)).listed == count:
                return

    async def _trouble(self) -> None:
        """Lost requests, lost answers and refusals; every call takes its time."""
        for number, what in enumerate(
            ({"drop": "after-accept"}, {"drop": "before-accept"}, {"errcode": -1}, {"http_status": 502})
        ):
            await self.world.fault(path=CREATE, probability=0.05, seed=self.seed + number, **what)
        await self.world.fault(path=CREATE, probability=1.0, seed=self.seed, latency_ms=60)

    async def _killed(self, writer: Anyone, campaign_id: str, dice: random.Random) -> None:
        """Kills, spread over the time in which tasks are made."""
        if self.kill is None:
            return
        for _ in range(self.kills):
            await asyncio.sleep(dice.uniform(0.2, 1.2))
            await self.kill(dice.randrange(len(self.writers)))
            if await self._status(writer, campaign_id) != campaign_pb2.CAMPAIGN_STATUS_RUNNING:
                return

    async def _status(self, writer: Anyone, campaign_id: str) -> int:
        request = writing_pb2.GetCampaignRequest(campaign_id=campaign_id)
        return int((await writer.GetCampaign(request)).campaign.status)

    async def _made(self, writer: Anyone, campaign_id: str) -> None:
        """The clock goes on until every task is made or given up: leases end, and what is unclear is looked for."""

        async def look() -> bool:
            await self.world.advance(PAUSE.total_seconds())
            return await self._status(writer, campaign_id) == campaign_pb2.CAMPAIGN_STATUS_RECONCILING

        await eventually(look, timeout=240, every=1)

    async def _stands(self, writer: Anyone, campaign_id: str, status: int) -> None:
        async def look() -> bool:
            return await self._status(writer, campaign_id) == status

        await eventually(look, timeout=240, every=0.3)

    async def _over(self, writer: Anyone, campaign_id: str, dice: random.Random) -> None:
        """The clock goes on until every group has its outcome; a replica dies now and then."""
        for step in range(int(CONFIRM_WITHIN / STEP) + 4):
            await self.world.advance(STEP.total_seconds())
            if self.kill is not None and step % 3 == 0:
                await self.kill(dice.randrange(len(self.writers)))
            for _ in range(10):
                if await self._status(writer, campaign_id) == campaign_pb2.CAMPAIGN_STATUS_FINISHED:
                    return
                await asyncio.sleep(0.2)
        await self._stands(writer, campaign_id, campaign_pb2.CAMPAIGN_STATUS_FINISHED)

    async def _targets(self, writer: Anyone, campaign_id: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        asked = target_pb2.ListTargetsRequest(campaign_id=campaign_id, page_size=200)
        while True:
            page = await writer.ListTargets(asked)
            found |= {one.chat_id: one for one in page.targets}
            if not page.next_page_token:
                return found
            asked.page_token = page.next_page_token

    async def _judge(
        self, writer: Anyone, campaign_id: str, chat_ids: Sequence[str], people: dict[str, str]
    ) -> tuple[list[Violation], dict[str, int]]:
        sends = await mass_sends(self.world)
        asked = Counter(chat_id for one in sends for chat_id in one["chat_ids"])
        outcomes = {row["chat_id"]: row["outcome"] for one in sends for row in one["outcomes"]}
        targets = await self._targets(writer, campaign_id)
        report = (await writer.GetReport(report_pb2.GetReportRequest(campaign_id=campaign_id))).report
        wrong: list[Violation] = []

        def see(invariant: str, told: str, where: str) -> None:
            wrong.append(Violation(invariant, told, where))

        for chat_id in chat_ids:
            target = targets.get(chat_id)
            if target is None:
                see("I13", "a group of the audience has no outcome", chat_id)
                continue
            wanted = 0 if target.status in _NEVER_ASKED else 1
            if asked[chat_id] != wanted:
                see("I14", f"{wanted} tasks were due", f"{chat_id}: {asked[chat_id]}, {target.reason}")
            if (target.status == _SENT) != (outcomes.get(chat_id) == "sent"):
                see("I13", "its outcome is not the platform's", f"{chat_id}: {outcomes.get(chat_id)}")
        if not report.final:
            see("I13", "the campaign is finished, its report is not", campaign_id)
        sent = sum(outcome == "sent" for outcome in outcomes.values())
        sums = {
            "groups": len(chat_ids),
            "tasks": len(sends),
            "sent": sent,
            "never confirmed": sum(
                one.status == target_pb2.TARGET_STATUS_OWNER_NEVER_CONFIRMED for one in targets.values()
            ),
            "refused": sum(one.status in _NEVER_ASKED for one in targets.values()),
            "owners who never confirm": sum(one == "never" for one in people.values()),
        }
        return wrong, sums


@asynccontextmanager
async def programs(
    home: Path, servers: Servers, seed: int, owners: int, each: int, kills: int
) -> AsyncIterator[CampaignStorm]:
    """A run over three replicas of ``reach serve campaign``, a sandbox of its own in front of them."""
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(sandbox_program())
        await world.post("/sandbox/clock", set=NOON.isoformat())
        await asyncio.to_thread(SecretKey.create, home / "secret.key")
        more = {
            "database_url": servers.database_url,
            "amqp_url": servers.amqp_url,
            "secret_key_file": str(home / "secret.key"),
            "clock": "sandbox",
            "default_store": STORE,
            **servers.names.settings,
            **LIVE,
        }
        tokens = await grants(environment(world.url, home, **more), PEOPLE, NOON)
        members: list[Member] = []
        for number in range(3):
            grpc_at, http_at = (f"127.0.0.1:{free_port()}" for _ in range(2))
            own = environment(world.url, home / str(number), grpc_listen=grpc_at, http_listen=http_at, **more)
            del own["WECOM_SECRET"]  # a process of its own has one secret, whatever name it goes by
            doors = Doors(grpc_at, http_at)
            stack.push_async_callback(doors.close)
            members.append(Member(own, doors, ["-m", "cli.main", "serve", "campaign"]))

        async def kill(number: int) -> None:
            await members[number].end(Program.kill)
            await members[number].start()

        async def end_all() -> None:
            for member in members:
                if member.program is not None:
                    await member.end(Program.kill)

        stack.push_async_callback(end_all)
        for member in members:
            await member.start()
        people: dict[str, list[Any]] = {WRITER: [], APPROVER: []}
        for member in members:
            facts = {"grpc": member.environ["REACH_GRPC_LISTEN"], "http": member.environ["REACH_HTTP_LISTEN"]}
            reach = await stack.enter_async_context(reach_at(facts))
            for who, stubs in people.items():
                stubs.append(CampaignServiceStub(reach.bearing(tokens[who]).channel))  # type: ignore[no-untyped-call]
        yield CampaignStorm(world, people[WRITER], people[APPROVER], seed, owners, each, kills, kill=kill)
