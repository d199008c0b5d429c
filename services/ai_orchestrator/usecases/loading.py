"""History, loaded in batches: good rows are kept, and of each bad one it is said what is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from zoneinfo import ZoneInfo

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.facts.kinds import Fact, Kind, key_of
from services.ai_orchestrator.domain.facts.reading import read
from services.ai_orchestrator.domain.facts.stores import Store
from services.ai_orchestrator.pipeline import learning
from services.ai_orchestrator.store.stores import store_of
from shared.clock import Clock
from shared.db.engine import Database
from shared.db.once import Once
from shared.errors import Invalid, Violation
from shared.values import value_class


@value_class
class BadRow:
    """A row that was not kept."""

    number: int
    """From 1."""
    violations: tuple[Violation, ...]


@value_class
class Loaded:
    """What became of a batch."""

    loaded: int
    new: int
    """Of those, facts that were not known before; the others were replaced."""
    bad: tuple[BadRow, ...]


class Loading:
    """What callers may load."""

    def __init__(self, database: Database, clock: Clock, zone: ZoneInfo) -> None:
        """*zone* is that of stores that name none."""
        self._database = database
        self._clock = clock
        self._zone = zone

    async def load(
        self, store_id: str, kind: Kind, rows: Sequence[Mapping[str, object]], *, once: Once
    ) -> Loaded:
        """Keep what can be read of *rows*; an id that comes twice is kept the first time."""
        now = self._clock.now()

        async def write(conn: AsyncConnection) -> Loaded:
            answered = await once.begin(conn, now)
            if answered is not None:
                return _from_bytes(answered)
            good, bad = self._read(kind, rows, await store_of(conn, store_id, self._zone))
            new = await learning.load(conn, store_id, kind, good, now)
            loaded = Loaded(len(good), new, bad)
            await once.finish(conn, _to_bytes(loaded))
            return loaded

        return await self._database.transact(write)

    def _read(
        self, kind: Kind, rows: Sequence[Mapping[str, object]], store: Store
    ) -> tuple[list[Fact], tuple[BadRow, ...]]:
        good: dict[str, tuple[int, Fact]] = {}
        bad: list[BadRow] = []
        now = self._clock.now()
        for number, row in enumerate(rows, 1):
            try:
                fact = read(kind, row, store.zone, now)
            except Invalid as refusal:
                bad.append(BadRow(number, refusal.violations))
                continue
            earlier = good.setdefault(key_of(fact), (number, fact))[0]
            if earlier != number:
                said = Violation(f"{kind}_id", f"row {earlier} of this batch has the same; the first is kept")
                bad.append(BadRow(number, (said,)))
        return [fact for _, fact in good.values()], tuple(bad)


def _to_bytes(loaded: Loaded) -> bytes:
    bad = [[one.number, [[wrong.field, wrong.description] for wrong in one.violations]] for one in loaded.bad]
    return orjson.dumps([loaded.loaded, loaded.new, bad])


def _from_bytes(answer: bytes) -> Loaded:
    loaded, new, bad = orjson.loads(answer)
    rows = (BadRow(number, tuple(Violation(*wrong) for wrong in violations)) for number, violations in bad)
    return Loaded(loaded, new, tuple(rows))
