"""Where kf_session's parts meet: opened once, wired top to bottom."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Final

from reach.kf_session.v1 import kf_session_service_pb2_grpc

from services.kf_session import service as wire_service
from services.kf_session.ai_way import AiWay
from services.kf_session.doctor import Doctor
from services.kf_session.learning import Learning, wishes_of
from services.kf_session.matching_side import MatchingSide
from services.kf_session.pipeline.admitting import admission
from services.kf_session.pipeline.finding import Finder, Stores
from services.kf_session.pipeline.pulling import Puller
from services.kf_session.pipeline.refreshing import States
from services.kf_session.pipeline.retention import OldRows
from services.kf_session.pipeline.taking import Listeners, Taking
from services.kf_session.sending_side import sending_side
from services.kf_session.service import SERVICE, KfSessionServicer
from services.kf_session.store import outgoing, questions
from services.kf_session.store.accounts import Accounts
from services.kf_session.store.ledger import SessionKey
from services.kf_session.store.pictures import Pictures
from services.kf_session.subscriptions import TYPES
from services.kf_session.usecases.ringing import PATH, Ringing
from services.kf_session.usecases.sessions import Sessions
from services.kf_session.usecases.stories import Stories
from services.kf_session.windows import WindowDesk
from shared.audit import AuditLog
from shared.credentials import Credentials
from shared.db.migrate import SHARED, Location
from shared.hosting.callback_door import CallbackDoor, callback_key
from shared.hosting.neighbours import ai_opener
from shared.hosting.resources import Resources
from shared.hosting.service import Service
from shared.hosting.wecom import wecom_client
from shared.ops.part import Part
from shared.ops.retention import Retention
from shared.wecom.kf import REPLY_BYTES

NAME: Final = "kf_session"
LOCATIONS: Final = (SHARED, Location(NAME, Path(__file__).parent / "migrations" / "versions"))
"""Its schema: the shared tables, then its own."""


async def build(resources: Resources) -> Service:
    """Open kf_session's database and wire kf_session."""
    settings, clock, numbers = resources.settings, resources.clock, resources.numbers
    horizon = settings.limits.dedupe_horizon
    database = await resources.database(NAME, LOCATIONS)
    credentials = Credentials(database, resources.key, clock)
    await credentials.seed(settings)
    audit = AuditLog(database.dialect, resources.key)

    wecom = wecom_client(resources, database, reply_bytes=REPLY_BYTES)

    accounts, stores, admit = Accounts(database.dialect), Stores(settings), admission(database)
    # Who hears what comes in, in this order: replies, held pushes, effects. Who admits a greeting: the pushes.
    states = States(database, credentials, wecom, clock)

    async def read_state(key: SessionKey) -> int | None:
        return (await states.refresh(key)).state

    learning = Learning(
        database,
        clock,
        resources.key,
        audit,
        settings.limits,
        wishes=wishes_of(settings.default_zone),
        admit=admit,
    )
    sending = sending_side(
        database,
        credentials,
        wecom,
        audit,
        clock,
        numbers,
        resources.owner,
        settings.default_zone,
        read_state,
        admit,
        learning,
    )

    matching = MatchingSide(
        database,
        admit,
        audit,
        clock,
        numbers,
        default_store=settings.default_store,
        max_bytes=settings.limits.event_bytes,
        model=AiWay(ai_opener(resources)),
        owner=resources.owner,
        render=learning.templating.render,
    )
    hearing = sending.hearing
    listeners = Listeners(
        messages=[matching.replies.hear, hearing.wrote, *learning.listeners],
        failures=[hearing.failed],
        entries=[learning.effects.entered],
        moves=[hearing.changed],
    )
    taking = Taking(database, listeners, admit=admit, welcome=settings.kf.welcome)
    puller = Puller(
        database,
        accounts,
        taking,
        credentials,
        wecom,
        clock,
        numbers,
        resources.owner,
        lease=settings.limits.lease,
        poll=settings.kf.poll,
    )
    finder = Finder(database, accounts, stores, credentials, wecom, clock)
    sessions = Sessions(database, accounts, states, credentials, wecom, audit, clock, hearing.changed)
    ringing = Ringing(database, accounts, stores)
    callback = callback_key(settings.wecom.corp_id, settings.wecom.kf_callback)
    doctor = Doctor(
        database, LOCATIONS, accounts, stores, credentials, wecom, clock, callback=callback is not None
    )
    servicer = KfSessionServicer(
        sessions,
        sending.pushes,
        sending.preferences,
        sending.pictures,
        Stories(database),
        matching.profiles,
        matching.intents,
        learning,
        resources.tokens,
        clock,
        settings.default_store,
    )
    if database.dialect == "sqlite":
        # The home is locked to this process: whoever held a lease before is gone.
        await database.transact(lambda conn: accounts.release(conn, clock.now()))
        await sending.pusher.take_over_orphans()

    async def drain(timeout: float) -> None:
        await asyncio.gather(puller.drain(timeout), sending.pusher.drain(timeout))

    async def flush() -> None:
        await database.transact(lambda conn: accounts.release(conn, clock.now(), resources.owner))

    return Service(
        name=NAME,
        registrars=[partial(kf_session_service_pb2_grpc.add_KfSessionServiceServicer_to_server, servicer)],
        rpc_names=[SERVICE],
        scopes=wire_service.SCOPES,
        part=Part(
            service=NAME,
            database=database,
            checks=doctor.checks,
            replay=matching.intake.replay,
            unknown=sending.desk,
            limits=WindowDesk(database, settings.default_zone),
            credentials=credentials,
            audit=audit,
            queues={
                "accounts": Accounts(database.dialect).queue,
                "pictures": Pictures(database.dialect).queue,
                "pushes": outgoing.queue(database.dialect),
                "questions": questions.queue(database.dialect),
            },
        ),
        types=TYPES,
        handler=matching.intake.take,
        loops={
            "accounts": finder.run,
            "puller": puller.run,
            **sending.loops,
            "matching": matching.matching.run,
            "asking": matching.asking.run,
            **learning.loops,
            "retention": Retention(database, clock, horizon, [OldRows(horizon).purge, learning.purge]).run,
        },
        drain=drain,
        flush=flush,
        routes=[CallbackDoor(NAME, PATH, database, callback, ringing.take, clock, numbers).route]
        if callback is not None
        else [],
    )
