"""Everything about facts, wired: what the assembly takes from this slice."""

from __future__ import annotations

from services.ai_orchestrator.pipeline.materials import FactMaterials
from services.ai_orchestrator.usecases.loading import Loading
from shared.clock import Clock
from shared.db.engine import Database
from shared.settings import Settings


class FactsSide:
    """The parts: a use case for the servicer, and the materials of prompts.

    Whoever takes events calls ``pipeline.learning.learn`` in its transaction; whoever plans a store's work asks
    ``store.stores`` for its zone, areas and time dimensions, and for the stores there are.
    """

    def __init__(self, database: Database, clock: Clock, settings: Settings) -> None:
        self.loading = Loading(database, clock, settings.default_zone)
        self.materials = FactMaterials(settings.default_zone)
