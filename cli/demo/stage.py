"""The suite and the sandbox, in this process, on free ports, in a directory that goes away."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import aiohttp
from reach.ai_orchestrator.v1 import ai_orchestrator_service_pb2, ai_orchestrator_service_pb2_grpc
from reach.campaign.v1 import campaign_service_pb2, campaign_service_pb2_grpc
from reach.events.v1 import event_service_pb2, event_service_pb2_grpc
from reach.kf_session.v1 import kf_session_service_pb2, kf_session_service_pb2_grpc
from reach.notifier.v1 import notifier_service_pb2, notifier_service_pb2_grpc

from cli import demo_credentials
from cli.common import SERVICES
from cli.connect import calling_at
from cli.demo.cast import BLOCK_WORDS, CUSTOMER, GROUP, KF_ACCOUNT, OFFICE, PEOPLE, STORE, STORE_NAME
from cli.identity import registry
from cli.serving import build_of
from sandbox.profile import Profile
from sandbox.server import start
from shared.hosting.host import Host
from shared.process import Stop
from shared.rpc.principal import EVERY_STORE, SCOPES
from shared.settings import Settings, load
from shared.telemetry import logs
from shared.values import value_class

LOG: Final = "suite.log"
TOKEN: Final = "service.token"

_AI = ai_orchestrator_service_pb2.DESCRIPTOR.services_by_name["AiOrchestratorService"]
_CAMPAIGN = campaign_service_pb2.DESCRIPTOR.services_by_name["CampaignService"]
_EVENTS = event_service_pb2.DESCRIPTOR.services_by_name["EventService"]
_KF = kf_session_service_pb2.DESCRIPTOR.services_by_name["KfSessionService"]
_NOTIFIER = notifier_service_pb2.DESCRIPTOR.services_by_name["NotifierService"]


class Sandbox:
    """What a tester may ask the sandbox, over HTTP like anybody."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self.url = url

    async def get(self, path: str, **query: str) -> Any:
        """The answer to ``GET /sandbox/…``; raises ``aiohttp.ClientError`` when it is refused."""
        async with self._session.get(f"{self.url}/sandbox/{path}", params=query) as reply:
            reply.raise_for_status()
            return await reply.json()

    async def post(self, path: str, document: Mapping[str, object]) -> Any:
        """The answer to ``POST /sandbox/…``."""
        async with self._session.post(f"{self.url}/sandbox/{path}", json=document) as reply:
            reply.raise_for_status()
            return await reply.json()


@value_class
class Stage:
    """Everything is up."""

    notifier: Any
    events: Any
    kf: Any
    ai: Any
    campaign: Mapping[str, Any]
    """By person: campaigns are approved by people, with tokens of their own."""
    sandbox: Sandbox
    grpc: str


@asynccontextmanager
async def open_stage() -> AsyncIterator[Stage]:
    """Start both, and stop both with nothing left behind.

    The suite's log goes to a file that goes too; when the block fails it is shown first.
    """
    with TemporaryDirectory(prefix="reach-demo-") as home, (Path(home) / LOG).open("w+") as log:
        logs.configure(service="demo", level="warning", format="json", stream=log)
        try:
            async with AsyncExitStack() as stack:
                yield await _set_up(stack, home)
        except Exception:
            log.seek(0)
            sys.stderr.write(log.read())
            raise
        finally:
            logs.configure(service="demo", level="warning", format="auto")


async def _set_up(stack: AsyncExitStack, home: str) -> Stage:
    running = await start("127.0.0.1:0", Profile(directory="strict"))
    stack.push_async_callback(running.stop)
    session = await stack.enter_async_context(aiohttp.ClientSession())
    sandbox = Sandbox(session, running.url)
    await sandbox.post("directory", _directory())
    chosen = _settings(home, running.url)
    tokens = await _tokens(chosen)
    facts = await stack.enter_async_context(_suite(chosen))
    grpc = facts["grpc"]
    await demo_credentials.introduce(chosen, running.url, facts["http"])
    channel = await stack.enter_async_context(
        calling_at(grpc, "notifier", _AI, _EVENTS, _KF, _NOTIFIER, token=tokens[""])
    )
    people = {
        who: await stack.enter_async_context(calling_at(grpc, "campaign", _CAMPAIGN, token=tokens[who]))
        for who in OFFICE
    }
    return Stage(
        notifier_service_pb2_grpc.NotifierServiceStub(channel),
        event_service_pb2_grpc.EventServiceStub(channel),
        kf_session_service_pb2_grpc.KfSessionServiceStub(channel),
        ai_orchestrator_service_pb2_grpc.AiOrchestratorServiceStub(channel),
        {who: campaign_service_pb2_grpc.CampaignServiceStub(one) for who, one in people.items()},
        sandbox,
        grpc,
    )


async def _tokens(chosen: Settings) -> Mapping[str, str]:
    """Of the people in the office by their ids, and of the services among each other under ''."""
    async with registry(chosen) as identities:
        made = {who: await identities.create(who, "human", scopes, [STORE]) for who, scopes in OFFICE.items()}
        made[""] = await identities.create("suite", "service", sorted(SCOPES), [EVERY_STORE])
    (chosen.home / TOKEN).write_text(made[""])
    return made


def _settings(home: str, sandbox: str) -> Settings:
    """The same for everybody: what the environment sets is not asked."""
    (Path(home) / TOKEN).touch(mode=0o600)
    chosen = load(
        {
            "REACH_HOME": home,
            "REACH_SERVICE_TOKEN_FILE": str(Path(home) / TOKEN),
            "REACH_DEFAULT_STORE": STORE,
            "REACH_GRPC_LISTEN": "127.0.0.1:0",
            "REACH_HTTP_LISTEN": "127.0.0.1:0",
            "REACH_CLOCK": "sandbox",  # so that what takes a minute need not be waited for
            "REACH_AI_PREWARM_CRON": "0 0 29 2 *",  # the club's figures are prepared when it says that they are ready
            "REACH_WECOM_BASE_URL": sandbox,
            "WECOM_CUSTOMER_BLOCK_WORDS": BLOCK_WORDS,
            "WECOM_CUSTOMER_DRY_RUN": "false",  # the platform is the sandbox
        },
        service="up",
    )
    return demo_credentials.with_sandbox(chosen, sandbox)


def _directory() -> dict[str, object]:
    """Who exists; in strict mode nobody else does, so that a message to anybody else shows."""
    return {
        "corp_id": demo_credentials.CORP_ID,
        "users": [{"userid": one.userid, "name": one.name} for one in PEOPLE.values()],
        "apps": [
            {"agentid": demo_credentials.AGENT_ID, "name": "触达", "secret": demo_credentials.SECRET},
            {"kind": "customer", "name": "客户联系", "secret": demo_credentials.CUSTOMER_SECRET},
        ],
        "kf": {
            "secret": demo_credentials.KF_SECRET,
            "accounts": [{"open_kfid": KF_ACCOUNT, "name": f"{STORE_NAME}客服"}],
            "customers": [{"external_userid": CUSTOMER.external_userid, "nickname": CUSTOMER.name}],
        },
        "robots": [{"key": demo_credentials.ROBOT_KEY, "group": GROUP}],
    }


@asynccontextmanager
async def _suite(chosen: Settings) -> AsyncIterator[Mapping[str, str]]:
    """The whole suite as ``reach up`` runs it; its addresses."""
    stop = Stop()
    ready: asyncio.Future[Mapping[str, str]] = asyncio.get_running_loop().create_future()
    host = Host(chosen, [build_of(service) for service in SERVICES], name="up")
    task = asyncio.create_task(host.run(stop, announce=False, on_ready=ready.set_result), name="suite")
    task.add_done_callback(lambda _: ready.cancel())  # which changes nothing once it is ready
    try:
        await asyncio.wait(
            {ready}
        )  # who is interrupted here still sees the suite end, as a finished one would
        if ready.cancelled():
            await task  # raises why it did not start
        yield ready.result()
    finally:
        stop.request()
        await task
