"""Where ai_orchestrator's parts meet: opened once, wired top to bottom."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

from reach.ai_orchestrator.v1 import ai_orchestrator_service_pb2_grpc

from services.ai_orchestrator import service as wire_service
from services.ai_orchestrator.definition_files import load_apps, load_chains
from services.ai_orchestrator.doctor import Doctor
from services.ai_orchestrator.domain.masking import kept
from services.ai_orchestrator.facts_side import FactsSide
from services.ai_orchestrator.gates_side import GatesSide
from services.ai_orchestrator.pipeline.book import Book
from services.ai_orchestrator.pipeline.waiting import WaitingSteps
from services.ai_orchestrator.provider_side import provider_side
from services.ai_orchestrator.results_side import ResultsSide
from services.ai_orchestrator.runs_side import Neighbours, RunsSide
from services.ai_orchestrator.service import SERVICE, AiOrchestratorServicer
from services.ai_orchestrator.store import runs as runs_store
from shared.audit import AuditLog
from shared.credentials import Credentials
from shared.db.migrate import SHARED, Location
from shared.hosting.resources import Resources
from shared.hosting.service import Service
from shared.ops.limits import RateDesk
from shared.ops.part import Part
from shared.ops.unknowns import NothingUnknown

NAME: Final = "ai_orchestrator"
LOCATIONS: Final = (SHARED, Location(NAME, Path(__file__).parent / "migrations" / "versions"))
"""Its schema: the shared tables, then its own."""


async def build(resources: Resources) -> Service:
    """Open ai_orchestrator's database and wire ai_orchestrator."""
    settings, clock, numbers = resources.settings, resources.clock, resources.numbers
    database = await resources.database(NAME, LOCATIONS)
    credentials = Credentials(database, resources.key, clock)
    await credentials.seed(settings)
    audit = AuditLog(database.dialect, resources.key)

    zone, apps = settings.default_zone, load_apps()
    doctor = Doctor(database, LOCATIONS, [app.app_type for app in apps], settings.dashscope, clock)
    gates = GatesSide(database, audit, clock, numbers, settings.limits, zone, WaitingSteps(database))
    facts = FactsSide(database, clock, settings)
    results = ResultsSide(database, audit, clock)
    runs = RunsSide(
        database,
        Book(apps, load_chains()),
        settings,
        audit,
        clock,
        numbers,
        resources.owner,
        Neighbours(
            provider=await provider_side(resources),
            gates=gates.gates,
            materials=facts.materials,
            results=results.keeping,
            alerts=results.alerting,
            announce=results.announce_run,
            learn=facts.learn,
            types=facts.types,
            sites=facts.site_of,
            stores=facts.active_stores,
            mask=kept,
            purges=[gates.purge, results.purge, facts.purge],
        ),
    )
    await runs.open()
    servicer = AiOrchestratorServicer(
        runs, gates, facts, results, resources.tokens, clock, settings.default_store
    )

    async def flush() -> None:
        """Everything is written when it is known."""

    return Service(
        name=NAME,
        registrars=[
            partial(ai_orchestrator_service_pb2_grpc.add_AiOrchestratorServiceServicer_to_server, servicer)
        ],
        rpc_names=[SERVICE],
        scopes=wire_service.SCOPES,
        special=wire_service.SPECIAL,
        part=Part(
            service=NAME,
            database=database,
            checks=[*doctor.checks, gates.desk.check],
            replay=runs.intake.replay,
            unknown=NothingUnknown(),
            limits=RateDesk(database, gates.limits_of),
            credentials=credentials,
            audit=audit,
            breakers=gates.desk,
            schedules=runs.schedules,
            queues={"steps": runs_store.queue(database.dialect)},
        ),
        types=runs.intake.types,
        handler=runs.intake.take,
        loops={**gates.loops, **runs.loops},
        drain=runs.engine.drain,
        flush=flush,
    )
