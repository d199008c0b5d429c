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
from services.notifier.breaker_desk import NotifierBreakers
from services.notifier.channels import WeComChannels
from services.notifier.doctor import Doctor
from services.notifier.domain.rules import Preset, parse_presets
from services.notifier.events_door import EventsDoor
from services.notifier.members import Members
from services.notifier.pipeline.admission import Admission
from services.notifier.pipeline.alarming import Alarm
from services.notifier.pipeline.books import Books
from services.notifier.pipeline.breakers import Breakers, figures_of
from services.notifier.pipeline.cards import CardUpdates
from services.notifier.pipeline.climbing import Climber
from services.notifier.pipeline.dispatch import Dispatcher
from services.notifier.pipeline.falling_back import Fallbacks
from services.notifier.pipeline.gathering import Gathering
from services.notifier.pipeline.job import Finished
from services.notifier.pipeline.limits import Rates
from services.notifier.pipeline.members import Pools
from services.notifier.pipeline.planning import Planner
from services.notifier.pipeline.recording import Recorder
from services.notifier.pipeline.rests import Rests
from services.notifier.pipeline.retention import OldRows
from services.notifier.pipeline.sending import STOPPED, Senders
from services.notifier.pipeline.waiting import Settling
from services.notifier.rule_service import SERVICE
from services.notifier.service import NotifierServicer
from services.notifier.store.cards import Cards
from services.notifier.store.mobiles import Mobiles
from services.notifier.store.work import Work
from services.notifier.subscriptions import TYPES, Intake
from services.notifier.unknowns import DeliveryDesk
from services.notifier.usecases.acknowledging import Acknowledging
from services.notifier.usecases.deliveries import Deliveries
from services.notifier.usecases.mentioning import Mentioning
from services.notifier.usecases.messages import Messages
from services.notifier.usecases.policies import Policies
from services.notifier.usecases.pushes import Pushes
from services.notifier.usecases.rules import Rules
from services.notifier.usecases.statistics import Statistics
from services.notifier.usecases.stories import Stories
from services.notifier.usecases.watching import Watching
from shared.audit import AuditLog
from shared.credentials import Credentials
from shared.db.migrate import SHARED, Location
from shared.events.catalogue import EVENT_TYPES
from shared.hosting.callback_door import CallbackDoor, callback_key
from shared.hosting.resources import Resources
from shared.hosting.service import Service
from shared.hosting.wecom import wecom_client
from shared.ops.limits import RateDesk
from shared.ops.part import Part
from shared.ops.retention import Retention

NAME: Final = "notifier"
LOCATIONS: Final = (SHARED, Location(NAME, Path(__file__).parent / "migrations" / "versions"))
"""Its schema: the shared tables, then its own."""
CALLBACK: Final = "/callback/app"
"""Where the platform tells what members do with the app; here, that they press a card's buttons."""


def presets() -> tuple[Preset, ...]:
    """The rules that ship with Reach."""
    document = files("services.notifier").joinpath("presets.toml").read_text(encoding="utf-8")
    return parse_presets(document, EVENT_TYPES)


async def _bind(resources: Resources, types: Sequence[str]) -> None:
    """Hear *types* from now on."""
    assert resources.bus is not None  # nobody can ask before it is there
    await resources.bus.bind(NAME, types)


async def _pools(credentials: Credentials) -> Pools:
    """The groups that several robots serve, as channels."""
    found = await credentials.pools()
    return {f"robot:{pool}": tuple(f"robot:{name}" for name in names) for pool, names in found.items()}


async def build(resources: Resources) -> Service:
    """Open the notifier's database and wire the notifier."""
    settings, clock, numbers = resources.settings, resources.clock, resources.numbers
    horizon = settings.limits.dedupe_horizon
    database = await resources.database(NAME, LOCATIONS)
    credentials = Credentials(database, resources.key, clock)
    await credentials.seed(settings)
    audit = AuditLog(database.dialect, resources.key)
    shipped = presets()

    wecom = wecom_client(resources, database)

    outcomes: asyncio.Queue[Finished] = asyncio.Queue()
    work, rests, rates = Work(database.dialect), Rests(database.dialect), Rates.of(settings.limits)
    breakers = Breakers(figures_of(settings.limits), numbers)
    settling = Settling(database)
    callback = callback_key(settings.wecom.corp_id, settings.wecom.app_callback)
    books = Books(database, settings.default_zone, cards=callback is not None)
    cards = Cards(database.dialect)
    card_updates = CardUpdates(database, cards, credentials, wecom, clock, resources.owner)
    answers = Acknowledging(database, cards, credentials, audit, clock)
    lease = settings.limits.lease
    senders = Senders(
        WeComChannels(credentials, wecom),
        outcomes,
        clock,
        deadline=settings.limits.http_total,
        refuses=breakers.refuses,
    )
    planner = Planner(work, rates, rests, breakers, numbers, resources.owner, lease)
    recorder = Recorder(
        database,
        work,
        outcomes,
        rates,
        rests,
        breakers,
        Fallbacks(books, planner, work),
        clock,
        numbers,
        announce_accepted=settings.announce_accepted,
        keep_cards=card_updates.keep,
        on_settled=settling.announce,
    )
    dispatcher = Dispatcher(
        database,
        work,
        senders,
        recorder,
        rates,
        rests,
        books,
        breakers,
        clock,
        numbers,
        resources.owner,
        lease,
        pools=partial(_pools, credentials),
    )
    admission = Admission(database, work, books, planner, senders, clock, numbers)
    gathering = Gathering(admission.admit)
    intake = Intake(
        admission, senders, clock, default_store=settings.default_store, max_bytes=settings.limits.event_bytes
    )

    rules = Rules(database, books, audit, clock, shipped, partial(_bind, resources))
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
    members = Members(credentials, wecom)
    mobiles = Mobiles(database.dialect, resources.key.derive("mobiles"), members.account)
    mentioning = Mentioning(database, members, mobiles, clock)
    servicer = NotifierServicer(
        database,
        pushes,
        Messages(pushes, books, mentioning, rates, audit, clock),
        rules,
        Policies(database, books, audit, clock),
        Stories(database, settings.default_zone),
        Statistics(database, clock, settings.default_zone),
        Watching(database, settling, clock),
        Deliveries(database, settling, audit, clock),
        answers,
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

    desk = NotifierBreakers(database, breakers, audit, clock)
    return Service(
        name=NAME,
        registrars=[partial(notifier_service_pb2_grpc.add_NotifierServiceServicer_to_server, servicer)],
        rpc_names=[SERVICE],
        scopes=wire_service.SCOPES,
        part=Part(
            service=NAME,
            database=database,
            checks=[*Doctor(resources, database, LOCATIONS, credentials, wecom, books).checks, desk.check],
            replay=intake.replay,
            unknown=DeliveryDesk(database, settling, audit, clock),
            limits=RateDesk(database, rates.limits_of),
            credentials=credentials,
            audit=audit,
            breakers=desk,
            queues={"deliveries": work.queue, "cards": cards.queue},
        ),
        types=[*TYPES, *await rules.custom_types()],
        handler=intake.take,
        loops={
            "senders": senders.run,
            "recorder": recorder.run,
            "dispatcher": dispatcher.run,
            "gathering": gathering.run,
            "alarm": Alarm(database, breakers, gathering.admit, clock, numbers).run,
            "climber": Climber(database, work, planner, senders, books, clock).run,
            "cards": card_updates.run,
            "retention": Retention(database, clock, horizon, [OldRows(horizon).purge]).run,
        },
        drain=drain,
        flush=flush,
        routes=[
            door.route,
            *(
                [CallbackDoor(NAME, CALLBACK, database, callback, answers.press, clock, numbers).route]
                if callback is not None
                else []
            ),
        ],
    )
