"""Where the notifier's parts meet: opened once, wired top to bottom."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Final

from reach.notifier.v1 import notifier_service_pb2_grpc

from services.notifier import service as wire_service
from services.notifier.channels import WeComChannels
from services.notifier.doctor import Doctor
from services.notifier.domain.rules import Preset, parse_presets
from services.notifier.events_door import EventsDoor
from services.notifier.pipeline.admission import Admission
from services.notifier.pipeline.books import Books
from services.notifier.pipeline.dispatch import Dispatcher
from services.notifier.pipeline.gathering import Gathering
from services.notifier.pipeline.job import Finished
from services.notifier.pipeline.limits import Rates
from services.notifier.pipeline.planning import Planner
from services.notifier.pipeline.recording import Recorder
from services.notifier.pipeline.rests import Rests
from services.notifier.pipeline.retention import Retention
from services.notifier.pipeline.sending import STOPPED, Senders
from services.notifier.pipeline.waiting import Settling
from services.notifier.rule_service import SERVICE
from services.notifier.service import NotifierServicer
from services.notifier.store.work import Work
from services.notifier.subscriptions import TYPES, Intake
from services.notifier.unknowns import DeliveryDesk
from services.notifier.usecases.deliveries import Deliveries
from services.notifier.usecases.messages import Messages
from services.notifier.usecases.pushes import Pushes
from services.notifier.usecases.rules import Rules
from services.notifier.usecases.stories import Stories
from services.notifier.usecases.watching import Watching
from shared.credentials import Credentials
from shared.db.migrate import SHARED, Location
from shared.events.catalogue import EVENT_TYPES
from shared.hosting.resources import Resources
from shared.hosting.service import Service
from shared.http import Caller
from shared.ops.part import Part
from shared.wecom.client import WeComClient
from shared.wecom.token_store import SqlTokenStore
from shared.wecom.tokens import TokenAuthority

NAME: Final = "notifier"
LOCATIONS: Final = (SHARED, Location(NAME, Path(__file__).parent / "migrations" / "versions"))
"""Its schema: the shared tables, then its own."""


def presets() -> tuple[Preset, ...]:
    """The rules that ship with Reach."""
    document = files("services.notifier").joinpath("presets.toml").read_text(encoding="utf-8")
    return parse_presets(document, EVENT_TYPES)


async def _bind(resources: Resources, types: Sequence[str]) -> None:
    """Hear *types* from now on."""
    assert resources.bus is not None  # nobody can ask before it is there
    await resources.bus.bind(NAME, types)


async def build(resources: Resources) -> Service:
    """Open the notifier's database and wire the notifier."""
    settings, clock, numbers = resources.settings, resources.clock, resources.numbers
    database = await resources.database(NAME, LOCATIONS)
    credentials = Credentials(database, resources.key, clock)
    await credentials.seed(settings)
    shipped = presets()

    caller = Caller(
        settings.wecom_url,
        allowed_hosts=settings.allowed_hosts,
        max_reply_bytes=settings.limits.http_reply_bytes,
        connect_timeout=settings.limits.http_connect.total_seconds(),
    )
    resources.stack.push_async_callback(caller.close)
    tokens = TokenAuthority(caller, SqlTokenStore(database, resources.key), clock, owner=resources.owner)
    resources.stack.push_async_callback(tokens.close)
    wecom = WeComClient(caller, tokens, clock)

    outcomes: asyncio.Queue[Finished] = asyncio.Queue()
    work, rests, rates = Work(database.dialect), Rests(database.dialect), Rates.of(settings.limits)
    settling = Settling(database)
    books = Books(database, settings.default_zone)
    lease = settings.limits.lease
    senders = Senders(WeComChannels(credentials, wecom), outcomes, clock, deadline=settings.limits.http_total)
    recorder = Recorder(
        database,
        work,
        outcomes,
        rates,
        rests,
        clock,
        numbers,
        announce_accepted=settings.announce_accepted,
        on_settled=settling.announce,
    )
    dispatcher = Dispatcher(
        database, work, senders, recorder, rates, rests, clock, numbers, resources.owner, lease
    )
    planner = Planner(work, rates, rests, numbers, resources.owner, lease)
    admission = Admission(database, work, books, planner, senders, clock, numbers)
    gathering = Gathering(admission.admit)
    intake = Intake(
        admission, senders, clock, default_store=settings.default_store, max_bytes=settings.limits.event_bytes
    )

    rules = Rules(database, books, clock, shipped, partial(_bind, resources))
    await rules.add_presets()
    pushes = Pushes(
        database,
        gathering,
        settling,
        books,
        rates,
        clock,
        examples={preset.rule.event_type: preset.example for preset in shipped},
    )
    servicer = NotifierServicer(
        database,
        pushes,
        Messages(pushes, books, clock),
        rules,
        Stories(database),
        Watching(database, settling, clock),
        Deliveries(database, settling, clock),
        resources.tokens,
        clock,
        settings.default_store,
    )
    door = EventsDoor(
        gathering,
        resources.authenticator,
        clock,
        default_store=settings.default_store,
        max_bytes=settings.limits.event_bytes,
    )
    if database.dialect == "sqlite":
        # The home is locked to this process: whoever held a lease before is gone.
        await dispatcher.take_over_orphans()

    async def drain(timeout: float) -> None:
        await dispatcher.close()
        senders.withdraw(senders.take_back(), STOPPED)
        await senders.drain(timeout)

    async def flush() -> None:
        senders.withdraw(senders.take_back(), STOPPED)  # what a call that ran on until then has brought
        await recorder.flush()

    return Service(
        name=NAME,
        registrars=[partial(notifier_service_pb2_grpc.add_NotifierServiceServicer_to_server, servicer)],
        rpc_names=[SERVICE],
        scopes=wire_service.SCOPES,
        part=Part(
            service=NAME,
            database=database,
            checks=Doctor(resources, database, credentials, wecom, books).checks,
            replay=intake.replay,
            unknown=DeliveryDesk(database, settling, clock),
            limits_of=rates.limits_of,
            credentials=credentials,
        ),
        types=[*TYPES, *await rules.custom_types()],
        handler=intake.take,
        loops={
            "senders": senders.run,
            "recorder": recorder.run,
            "dispatcher": dispatcher.run,
            "gathering": gathering.run,
            "retention": Retention(database, clock, settings.limits).run,
        },
        drain=drain,
        flush=flush,
        routes=[door.route],
    )
