"""Playbooks as operators meet them: by gRPC and the command line, on groups that were synchronised with the sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from reach.campaign.v1 import campaign_pb2, campaign_service_pb2_grpc, group_pb2, writing_pb2
from reach.campaign.v1 import playbook_pb2 as pb

from services.campaign import group_service, playbook_service, writing_service
from services.campaign.approval_side import approval_side, permitting
from services.campaign.candidate_service import CandidateMethods
from services.campaign.contract import SERVICE
from services.campaign.group_service import GroupMethods
from services.campaign.groups_side import GroupsSide
from services.campaign.pipeline.moving import Moving
from services.campaign.playbook_service import PlaybookMethods
from services.campaign.playbooks_side import PlaybooksSide, playbooks_side
from services.campaign.writing_service import WritingMethods
from services.campaign.writing_side import WritingSide, writing_side
from shared import identity
from shared.audit import AuditLog
from shared.clock import SystemClock
from shared.credentials import FIRST, Credentials
from shared.db.engine import Database
from shared.db.migrate import migrate
from shared.hosting.resources import Resources
from shared.hosting.service import Service
from shared.http import Caller
from shared.ops.part import Part
from shared.rpc.fields import to_timestamp
from shared.wecom.client import WeComClient
from shared.wecom.customer import REPLY_BYTES
from shared.wecom.token_store import SqlTokenStore
from shared.wecom.tokens import TokenAuthority
from tests.campaign.approval.house import LOCATIONS, Caps, Follow, Start
from tests.campaign.playbooks.house import WARM_UP, WELCOME
from tests.campaign.writing.room import Script, _Nothing, refused
from tests.campaign.writing.test_candidates import answer
from tests.cli.support import Reach as Command
from tests.e2e.harness import CORP, STORE, Reach, Sandbox, create_tokens, embedded, eventually, sandbox

HOURS = 3600.0
SETTINGS = {
    "clock": "sandbox",
    "default_store": STORE,
    "WECOM_CUSTOMER_SECRET": "customer-secret-0123456789",
    "WECOM_CUSTOMER_READ_QPS": "100",
    "WECOM_CUSTOMER_BLOCK_WORDS": "返现,保本",
    "WECOM_CUSTOMER_LINK_HOSTS": "shop.example.com",
}


class _Servicer(GroupMethods, WritingMethods, CandidateMethods, PlaybookMethods):
    def __init__(
        self, groups: GroupsSide, writing: WritingSide, playbooks: PlaybooksSide, resources: Resources
    ) -> None:
        self._groups, self._campaigns = groups.groups, writing.campaigns
        self._candidates, self._playbooks = writing.candidates, playbooks.playbooks
        self._tokens, self._clock, self._zone = resources.tokens, resources.clock, writing.zone
        self._default_store = resources.settings.default_store


async def build(resources: Resources, *, script: Script) -> Service:
    """A campaign service of groups, writing and playbooks."""
    settings, clock, numbers = resources.settings, resources.clock, resources.numbers
    database = await resources.database("campaign", LOCATIONS)
    credentials = Credentials(database, resources.key, clock)
    await credentials.seed(settings)
    caller = Caller(settings.wecom_url, allowed_hosts=settings.allowed_hosts, max_reply_bytes=REPLY_BYTES)
    resources.stack.push_async_callback(caller.close)
    tokens = TokenAuthority(caller, SqlTokenStore(database, resources.key), clock, owner=resources.owner)
    resources.stack.push_async_callback(tokens.close)
    wecom, audit, moving = (
        WeComClient(caller, tokens, clock),
        AuditLog(database.dialect, resources.key),
        Moving(database),
    )
    groups = GroupsSide(
        "campaign",
        database,
        credentials,
        wecom,
        audit,
        clock,
        numbers,
        settings,
        resources.key,
        resources.owner,
    )
    writing = writing_side(
        database,
        groups.selecting,
        moving,
        audit,
        clock,
        numbers,
        settings,
        resources.owner,
        app=partial(credentials.customer, FIRST),
        wecom=wecom,
        writer=script,
    )
    customer = settings.wecom.customer
    approval = approval_side(
        "campaign",
        database,
        moving,
        permitting(writing.linter, resources.authenticator, clock, customer),
        groups.selecting,
        Caps(),
        Start(),
        Follow(),
        audit,
        clock,
        customer,
    )
    playbooks = playbooks_side(database, groups.selecting, writing, approval, moving, audit, clock, settings)
    servicer, nothing = _Servicer(groups, writing, playbooks, resources), _Nothing()

    async def done(*_: Any) -> None:
        await asyncio.sleep(0)

    return Service(
        name="campaign",
        registrars=[partial(campaign_service_pb2_grpc.add_CampaignServiceServicer_to_server, servicer)],
        rpc_names=[SERVICE],
        scopes={**group_service.SCOPES, **writing_service.SCOPES, **playbook_service.SCOPES},
        part=Part("campaign", database, (), done, nothing, nothing, credentials, audit),
        types=(),
        handler=done,
        loops={**groups.loops, **writing.loops, **playbooks.loops},
        drain=done,
        flush=done,
    )


class Room:
    """The room through its door."""

    def __init__(self, reach: Reach, world: Sandbox, script: Script) -> None:
        self.reach, self.world, self.script = reach, world, script
        self.stub: Any = campaign_service_pb2_grpc.CampaignServiceStub(reach.channel)  # type: ignore[no-untyped-call]

    def bearing(self, token: str) -> Any:
        """The stub of somebody."""
        return campaign_service_pb2_grpc.CampaignServiceStub(self.reach.bearing(token).channel)  # type: ignore[no-untyped-call]

    async def synchronised(self, *chat_ids: str, stub: Any = None) -> None:
        """Wait until these groups are known."""
        stub = stub or self.stub

        async def known() -> bool:
            # One that is under way may have listed them before they were there.
            await stub.SyncGroups(group_pb2.SyncGroupsRequest(whole=True))
            found = (await stub.ListGroups(group_pb2.ListGroupsRequest(store_id=STORE))).groups
            return {one.chat_id for one in found if one.eligible} >= set(chat_ids)

        assert await eventually(known)

    async def pending(self, count: int, stub: Any = None) -> list[campaign_pb2.Campaign]:
        """Wait for so many campaigns that wait for an approval."""

        async def look() -> list[campaign_pb2.Campaign] | None:
            request = writing_pb2.ListCampaignsRequest(
                statuses=[campaign_pb2.CAMPAIGN_STATUS_PENDING_APPROVAL]
            )
            found = list((await (stub or self.stub).ListCampaigns(request)).campaigns)
            return found if len(found) >= count else None

        found = await eventually(look)
        assert found is not None
        assert len(found) == count
        return found


@asynccontextmanager
async def served(world: Sandbox, home: Path, url: str | None) -> AsyncIterator[Room]:
    """The room on the sandbox's clock, which is set to a Monday noon in Shanghai."""
    secret = {"kind": "customer", "secret": SETTINGS["WECOM_CUSTOMER_SECRET"]}
    await world.declare(corp_id=CORP, apps=[secret], users=[{"userid": "ann"}])
    script = Script()
    settings = {**SETTINGS, **({"database_url": url} if url else {})}
    async with embedded(world.url, home, builds=[partial(build, script=script)], **settings) as reach:
        yield Room(reach, world, script)


@pytest.fixture
async def world() -> AsyncIterator[Sandbox]:
    """A sandbox whose clock stands at noon in Shanghai."""
    async with sandbox() as made:
        await made.freeze()
        now = await made.now()
        to_noon = (4 * HOURS - now.timestamp()) % (24 * HOURS)
        await made.advance(to_noon)
        yield made


@pytest.fixture
def postgres(database_url: str) -> str | None:
    """The URL of an empty PostgreSQL; None for the run on SQLite."""
    return None if database_url.startswith("sqlite") else database_url


def start(playbook: str, said: Mapping[str, str], **more: Any) -> pb.StartPlaybookRequest:
    return pb.StartPlaybookRequest(store_id=STORE, playbook=playbook, parameters=said, **more)


async def tokens(home: Path, url: str | None, grants: Mapping[str, Any]) -> Mapping[str, str]:
    """Bearers, wherever identity is kept."""
    if url is None:
        return await create_tokens(home, grants)
    await asyncio.to_thread(migrate, url, identity.SCHEMA, [identity.LOCATION])
    database = Database.open(url, schema=identity.SCHEMA)
    try:
        registry = identity.TokenRegistry(database, SystemClock())
        return {
            subject: await registry.create(subject, "service", list(scopes), list(stores))
            for subject, (scopes, stores) in grants.items()
        }
    finally:
        await database.close()


async def test_an_operator_starts_a_playbook_and_its_drafts_wait_for_somebody_else(
    world: Sandbox, tmp_path: Path, postgres: str | None
) -> None:
    scopes = ["campaign.read", "campaign.write", "campaign.operate"]
    bearers = await tokens(
        tmp_path / "home",
        postgres,
        {"ann": (scopes, [STORE]), "cat": (scopes, ["s2"]), "eve": (["campaign.read"], [STORE])},
    )
    yesterday = (await world.now() - timedelta(days=1)).isoformat()
    async with served(world, tmp_path / "home", postgres) as room:
        ann, cat, eve = (room.bearing(bearers[name]) for name in ("ann", "cat", "eve"))
        for chat_id in ("wrA", "wrB"):
            await world.post(
                "/sandbox/groups", chat_id=chat_id, owner="ann", name=chat_id, created_at=yesterday
            )
        await room.synchronised("wrA", "wrB", stub=ann)
        request = start("welcome", WELCOME, idempotency_key="k1")
        assert (await refused(cat.StartPlaybook(request))).reason == "STORE_FORBIDDEN"
        assert (await refused(eve.StartPlaybook(request))).reason == "SCOPE_MISSING"
        run = (await ann.StartPlaybook(request)).run
        assert (await ann.StartPlaybook(request)).run.id == run.id
        assert (run.status, run.started_by, run.playbook) == (pb.PLAYBOOK_RUN_STATUS_ACTIVE, "ann", "welcome")
        assert run.parameters["owner_title"] == "店长"
        [kept] = await room.pending(1, ann)
        assert (kept.created_by, list(kept.editors), kept.playbook) == ("ann", ["ann"], "welcome")
        assert (kept.group_count, list(kept.spec.audience.chat_ids)) == (2, ["wrA", "wrB"])
        got = await ann.GetCampaign(writing_pb2.GetCampaignRequest(campaign_id=kept.id))
        assert [one.kind for one in got.edits] == [writing_pb2.CAMPAIGN_EDIT_KIND_PLAYBOOK]
        assert await world.sends() == []  # nothing leaves by itself
        assert (await refused(cat.StopPlaybook(pb.StopPlaybookRequest(run_id=run.id)))).reason == "NOT_FOUND"
        assert list((await cat.ListPlaybookRuns(pb.ListPlaybookRunsRequest())).runs) == []
        asked = pb.ListPlaybookOccurrencesRequest(run_id=run.id)

        async def all_three() -> list[pb.PlaybookOccurrence] | None:
            found = list((await ann.ListPlaybookOccurrences(asked)).occurrences)
            return found if len(found) == 3 else None

        seen = await eventually(all_three) or []
        assert [(one.step, one.outcome) for one in seen] == [
            ("gift", pb.PLAYBOOK_OUTCOME_EMPTY),
            ("guide", pb.PLAYBOOK_OUTCOME_EMPTY),
            ("hello", pb.PLAYBOOK_OUTCOME_MADE),
        ]
        [draft] = seen[-1].drafts
        assert (draft.campaign_id, draft.status) == (kept.id, pb.PLAYBOOK_DRAFT_STATUS_SUBMITTED)
        stopped = (await ann.StopPlaybook(pb.StopPlaybookRequest(run_id=run.id, comment="够了"))).run
        assert (stopped.status, stopped.stopped_by) == (pb.PLAYBOOK_RUN_STATUS_STOPPED, "ann")
        over = pb.ListPlaybookRunsRequest(status=pb.PLAYBOOK_RUN_STATUS_STOPPED)
        assert [one.id for one in (await ann.ListPlaybookRuns(over)).runs] == [run.id]


async def test_words_are_written_and_days_pass_by_the_sandboxs_clock(
    world: Sandbox, tmp_path: Path, postgres: str | None
) -> None:
    async with served(world, tmp_path / "home", postgres) as room:
        await world.post("/sandbox/groups", chat_id="wrA", owner="ann", name="A 群")
        await room.synchronised("wrA")
        event = (await world.now() + timedelta(days=7)).date()
        said = {**WARM_UP, "event_date": str(event), "link": "https://shop.example.com/party"}
        room.script.answers = [answer("周年庆来啦，想你")]
        asked = pb.PreviewPlaybookRequest(store_id=STORE, playbook="warm_up", parameters=said)
        foreseen = await room.stub.PreviewPlaybook(asked)
        steps = [(one.date, one.step) for one in foreseen.days]
        assert [step for _, step in steps] == ["notice", "highlight", "reminder", "today"]
        [group] = foreseen.groups
        assert [(one.date, one.step, one.excluded_reason) for one in group.touches] == [
            (day, step, "") for day, step in steps
        ]
        assert (group.name, group.owner, foreseen.days[0].group_count) == ("A 群", "ann", 1)
        run = (await room.stub.StartPlaybook(start("warm_up", said))).run
        [kept] = await room.pending(1)
        assert kept.spec.content.text == "周年庆来啦，想你"
        card = kept.spec.content.attachments[0].link
        assert (card.title, card.url) == ("周年庆", "https://shop.example.com/party")
        assert (run.next_step, run.next_date) == ("notice", str(event - timedelta(days=7)))
        # Three days before it, drafted the day before at 14:00.
        room.script.answers = [answer("乐队彩排好了")]
        await world.advance(3 * 24 * HOURS + 2 * HOURS)
        texts = [one.spec.content.text for one in await room.pending(2)]
        assert texts == ["乐队彩排好了", "周年庆来啦，想你"]
        due = to_timestamp(await world.now()).seconds
        [runs] = (await room.stub.ListPlaybookRuns(pb.ListPlaybookRunsRequest(store_id=STORE))).runs
        assert (runs.next_step, runs.submitted_count, runs.next_time.seconds > due) == ("reminder", 2, True)


async def test_lists_are_paged_and_name_what_they_do_not_know(
    world: Sandbox, tmp_path: Path, postgres: str | None
) -> None:
    async with served(world, tmp_path / "home", postgres) as room:
        first = await room.stub.ListPlaybooks(pb.ListPlaybooksRequest(page_size=2))
        rest = await room.stub.ListPlaybooks(
            pb.ListPlaybooksRequest(page_size=2, page_token=first.next_page_token)
        )
        names = [one.name for one in [*first.playbooks, *rest.playbooks]]
        assert (names, rest.next_page_token) == (["silent_recall", "warm_up", "welcome"], "")
        shown = first.playbooks[1]
        day = next(one for one in shown.parameters if one.name == "event_date")
        assert (day.kind, day.required, day.minimum, day.maximum) == (
            pb.PLAYBOOK_PARAMETER_KIND_DATE,
            True,
            1,
            180,
        )
        assert shown.steps[0].anchor == pb.PLAYBOOK_ANCHOR_EVENT
        assert (shown.steps[0].offset, shown.steps[0].start_hour) == ("-7", "{send_from}")
        for number in range(5):
            await world.post("/sandbox/groups", chat_id=f"wr{number}", owner="ann", name=f"群{number}")
        await room.synchronised(*(f"wr{number}" for number in range(5)))
        event = str((await world.now() + timedelta(days=7)).date())
        asked = pb.PreviewPlaybookRequest(
            store_id=STORE, playbook="warm_up", parameters={**WARM_UP, "event_date": event}, page_size=2
        )
        pages = []
        while True:
            page = await room.stub.PreviewPlaybook(asked)
            pages.append([one.chat_id for one in page.groups])
            assert {one.group_count for one in page.days} == ({5} if not asked.page_token else {0})
            if not page.next_page_token:
                break
            asked.page_token = page.next_page_token
        assert pages == [["wr0", "wr1"], ["wr2", "wr3"], ["wr4"]]
        ids = [(await room.stub.StartPlaybook(start("welcome", WELCOME))).run.id for _ in range(3)]
        listing = pb.ListPlaybookRunsRequest(page_size=2)
        one = await room.stub.ListPlaybookRuns(listing)
        two = await room.stub.ListPlaybookRuns(
            pb.ListPlaybookRunsRequest(page_size=2, page_token=one.next_page_token)
        )
        assert sorted(each.id for each in [*one.runs, *two.runs]) == sorted(ids)
        wrong = await refused(room.stub.StartPlaybook(start("warm_up", {**WARM_UP, "event_date": "soon"})))
        assert [each.field for each in wrong.violations] == ["parameters.event_date"]
        assert (await refused(room.stub.StartPlaybook(start("nothing", {})))).reason == "NOT_FOUND"
        unknown = pb.ListPlaybookOccurrencesRequest(run_id="nowhere")
        assert (await refused(room.stub.ListPlaybookOccurrences(unknown))).reason == "NOT_FOUND"
        many = pb.PreviewPlaybookRequest(store_id=STORE, playbook="welcome", parameters=WELCOME, days=93)
        assert (await refused(room.stub.PreviewPlaybook(many))).violations[0].field == "days"


async def test_a_playbook_is_started_from_the_command_line(world: Sandbox, tmp_path: Path) -> None:
    async with served(world, tmp_path / "home", None) as room:
        await world.post("/sandbox/groups", chat_id="wrA", owner="ann", name="A 群")
        await room.synchronised("wrA")
        event = str((await world.now() + timedelta(days=9)).date())
        program = Command(tmp_path, REACH_CAMPAIGN_TARGET=room.reach.grpc)

        async def command(*words: str) -> tuple[int, str]:
            done = await asyncio.to_thread(program.process, "playbook", *words)
            return done.code, done.out + done.err

        code, shown = await command("list")
        assert code == 0
        assert "silent_recall" in shown
        assert "活动预热" in (await command("list", "warm_up"))[1]
        assert (await command("list", "nothing"))[0] == 2
        sets = [f"--set={name}={value}" for name, value in {**WARM_UP, "event_date": event}.items()]
        code, shown = await command("preview", "warm_up", "--store", STORE, *sets)
        assert code == 0, shown
        assert "wrA" in shown
        assert "前七天：预告" in shown
        code, shown = await command("start", "warm_up", "--store", STORE, *sets)
        assert code == 0, shown
        run_id = shown.split()[0]
        assert run_id in (await command("runs"))[1]
        assert "no step has come yet" in (await command("runs", run_id))[1]
        code, shown = await command("stop", run_id, "--comment", "改期")
        assert (code, "stopped" in shown) == (0, True)
        assert (await command("stop", run_id))[0] == 1
        code, shown = await command("start", "warm_up", "--store", STORE, "--set", "event")
        assert (code, "NAME=VALUE" in shown) == (2, True)
        code, shown = await command("start", "warm_up", "--store", STORE, "--set", "event=好")
        assert (code, "parameters.event_date" in shown) == (2, True)
