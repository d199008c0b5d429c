"""Where campaign's parts meet: opened once, wired top to bottom."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from reach.campaign.v1 import campaign_service_pb2_grpc

from services.campaign import service as wire_service
from services.campaign.approval_side import approval_side, permitting
from services.campaign.copy_way import CopyWay
from services.campaign.doctor import Doctor
from services.campaign.groups_side import GroupsSide
from services.campaign.limit_files import load_limits
from services.campaign.pipeline import group_sync, pacing, reading_pace
from services.campaign.pipeline.counting import ReceiptCaps
from services.campaign.pipeline.moving import Moving
from services.campaign.playbooks_side import playbooks_side
from services.campaign.reconciling_side import reconciling_side
from services.campaign.reporting_side import reporting_side
from services.campaign.sending_side import sending_side
from services.campaign.service import SERVICE, CampaignServicer
from services.campaign.store import candidates, follows, tasks
from services.campaign.writing_side import writing_side
from shared.audit import AuditLog
from shared.bus import Incoming
from shared.credentials import FIRST, Credentials
from shared.db.migrate import SHARED, Location
from shared.errors import Conflict
from shared.hosting.neighbours import ai_opener
from shared.hosting.resources import Resources
from shared.hosting.service import Service
from shared.hosting.wecom import wecom_client
from shared.limits import Limit
from shared.ops.limits import RateDesk
from shared.ops.part import Part
from shared.ops.retention import Retention
from shared.wecom.credentials import App
from shared.wecom.customer import REPLY_BYTES
from shared.wecom.mass_send import MassSend

NAME: Final = "campaign"
LOCATIONS: Final = (SHARED, Location(NAME, Path(__file__).parent / "migrations" / "versions"))
"""Its schema: the shared tables, then its own."""


async def build(resources: Resources) -> Service:
    """Open campaign's database and wire campaign."""
    settings, clock, numbers = resources.settings, resources.clock, resources.numbers
    customer = settings.wecom.customer
    database = await resources.database(NAME, LOCATIONS)
    credentials = Credentials(database, resources.key, clock)
    await credentials.seed(settings)
    audit = AuditLog(database.dialect, resources.key)

    wecom = wecom_client(resources, database, reply_bytes=REPLY_BYTES)

    async def app() -> App | None:
        return await credentials.customer(FIRST)

    moving = Moving(database)
    caps = ReceiptCaps(load_limits(customer.receive_limits))
    groups = GroupsSide(
        NAME,
        database,
        credentials,
        wecom,
        audit,
        clock,
        numbers,
        settings,
        resources.key,
        resources.owner,
        caps,
    )
    reconciling = reconciling_side(
        database,
        app,
        MassSend(wecom),
        audit,
        clock,
        numbers,
        resources.owner,
        customer,
        moving,
        groups=groups.selecting,
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
        app=app,
        wecom=wecom,
        writer=CopyWay(ai_opener(resources)),
    )
    permit = permitting(writing.linter, resources.authenticator, clock, customer)
    sending = sending_side(
        database,
        app,
        wecom,
        audit,
        clock,
        numbers,
        resources.owner,
        customer,
        moving,
        groups=groups.selecting,
        permit=permit,
        follow=reconciling.follow,
        materials=writing.media,
    )
    approval = approval_side(
        NAME,
        database,
        moving,
        permit,
        groups.selecting,
        caps,
        sending.start,
        reconciling.follow,
        audit,
        clock,
        customer,
    )
    known_limits: Mapping[str, Sequence[Limit]] = {
        pacing.KEY: reconciling.pace.all,
        reading_pace.READS: reconciling.pace.limits,
        group_sync.RATE_KEY: groups.syncing.limits,
    }
    doctor = Doctor(database, LOCATIONS, clock, (*groups.checks, *reconciling.doctor.checks))
    reporting = reporting_side(database, writing.campaigns, permit, audit, clock, customer)
    playbooks = playbooks_side(database, groups.selecting, writing, approval, moving, audit, clock, settings)
    servicer = CampaignServicer(
        groups,
        writing,
        approval,
        sending,
        reconciling,
        reporting,
        playbooks,
        resources.tokens,
        clock,
        settings.default_store,
    )
    if database.dialect == "sqlite":
        # The home is locked to this process: whoever held a lease before is gone.
        await sending.sender.take_over_orphans()
        await reconciling.follower.take_over_orphans()

    def limits_of(key: str) -> Sequence[Limit]:
        return known_limits.get(key, ())

    async def drain(timeout: float) -> None:
        """Both loops at once: a moment that one needs is not taken from the other."""
        await asyncio.gather(sending.sender.drain(timeout), reconciling.follower.drain(timeout))

    async def hear(_: Sequence[Incoming]) -> None:
        """It hears no type, so there is nothing to take."""

    async def replay(_: Incoming) -> None:
        """It hears no type, so no letter is its own."""
        raise Conflict("STATE_INVALID", "campaign takes no events", state="not_heard")

    async def flush() -> None:
        """Everything is written when it is known."""

    return Service(
        name=NAME,
        registrars=[partial(campaign_service_pb2_grpc.add_CampaignServiceServicer_to_server, servicer)],
        rpc_names=[SERVICE],
        scopes=wire_service.SCOPES,
        part=Part(
            service=NAME,
            database=database,
            checks=doctor.checks,
            replay=replay,
            unknown=sending.desk,
            limits=RateDesk(database, limits_of),
            credentials=credentials,
            audit=audit,
            queues={
                "candidates": candidates.queue(database.dialect),
                "follow": follows.queue(database.dialect),
                "tasks": tasks.queue(database.dialect),
            },
        ),
        types=(),
        handler=hear,
        loops={
            **groups.loops,
            **writing.loops,
            **approval.loops,
            **sending.loops,
            **reconciling.loops,
            **playbooks.loops,
            "retention": Retention(
                database,
                clock,
                settings.limits.dedupe_horizon,
                [groups.purge, *writing.purges, *reconciling.purges, *playbooks.purges],
            ).run,
        },
        drain=drain,
        flush=flush,
        routes=groups.routes,
    )
