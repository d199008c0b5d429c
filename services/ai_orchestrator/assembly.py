"""Where ai_orchestrator's parts meet: opened once, wired top to bottom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from reach.ai_orchestrator.v1 import ai_orchestrator_service_pb2_grpc

from services.ai_orchestrator import service as wire_service
from services.ai_orchestrator.gates_side import GatesSide, NobodyWaits
from services.ai_orchestrator.facts_side import FactsSide
from services.ai_orchestrator.domain.definitions import Subject
from services.ai_orchestrator.results_side import ResultsSide
from services.ai_orchestrator.service import SERVICE, AiOrchestratorServicer
from services.ai_orchestrator.unknowns import NothingUnknown
from services.ai_orchestrator.usecases.copywriting import Copywriting, Ran
from shared.audit import AuditLog
from shared.bus import Incoming
from shared.credentials import Credentials
from shared.db.migrate import SHARED, Location
from shared.db.once import Once
from shared.hosting.resources import Resources
from shared.hosting.service import Service
from shared.ops.part import Part

NAME: Final = "ai_orchestrator"
LOCATIONS: Final = (SHARED, Location(NAME, Path(__file__).parent / "migrations" / "versions"))
"""Its schema: the shared tables, then its own."""


async def build(resources: Resources) -> Service:
    """Open ai_orchestrator's database and wire ai_orchestrator."""
    settings, clock = resources.settings, resources.clock
    database = await resources.database(NAME, LOCATIONS)
    credentials = Credentials(database, resources.key, clock)
    await credentials.seed(settings)
    audit = AuditLog(database.dialect, resources.key)

    # -- gates --
    gates = GatesSide(
        database,
        audit,
        clock,
        resources.numbers,
        settings.limits,
        settings.default_zone,
        NobodyWaits(),
    )

    # -- facts --
    facts = FactsSide(database, clock, settings)

    # -- results --
    results = ResultsSide(database, audit, clock)

    # -- runs --

    servicer = AiOrchestratorServicer(gates, resources.tokens)
    servicer = AiOrchestratorServicer(facts.loading, settings.default_store)
    servicer = AiOrchestratorServicer(
        results, Copywriting(_no_app), resources.tokens, clock, settings.default_store
    )

    return Service(
        name=NAME,
        registrars=[
            partial(ai_orchestrator_service_pb2_grpc.add_AiOrchestratorServiceServicer_to_server, servicer)
        ],
        rpc_names=[SERVICE],
        scopes=wire_service.SCOPES,
        part=Part(
            service=NAME,
            database=database,
            checks=[gates.desk.check],
            replay=_nothing,
            unknown=NothingUnknown(),
            limits_of=gates.limits_of,
            credentials=credentials,
            audit=audit,
            breakers=gates.desk,
        ),
        types=(),
        handler=_nothing_of,
        loops={**gates.loops},
        drain=_drained,
        flush=_flushed,
    )


async def _no_app(
    app_type: str, subject: Subject, *, arguments: Mapping[str, Any], trigger: str, once: Once
) -> Ran:
    """Until the runs' region brings the engine."""
    raise NotImplementedError


async def _nothing(message: Incoming) -> None:
    """Until the runs' region wires the intake."""


async def _nothing_of(messages: Sequence[Incoming]) -> None:
    """Likewise."""


async def _drained(timeout: float) -> None:
    """Until the runs' region has something in flight."""


async def _flushed() -> None:
    """Until the runs' region has something to write."""
