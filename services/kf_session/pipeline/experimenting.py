"""Looking at experiments: every minute, by whichever replica comes first."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.experiment import look
from services.kf_session.store import experiments, templates
from services.kf_session.store.experiments import Experiment
from shared.clock import Clock
from shared.db.engine import Database
from shared.errors import ReachError
from shared.supervise import Turn

EVERY: Final = 60.0
"""Seconds between looks; the test bears any number of them."""

WON: Final = "a_variant_won"
HARMFUL: Final = "only_the_control_is_left"
NO_DIFFERENCE: Final = "no_difference_found"

_log = structlog.get_logger("reach.kf_session.experiments")


class Experimenting:
    """A loop."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def run(self, turn: Turn) -> None:
        """Look until cancelled."""
        while True:
            await self.look_at_all()
            for _ in range(6):
                turn()
                await asyncio.sleep(EVERY / 6)

    async def look_at_all(self) -> None:
        """Once at each that runs. One that cannot be looked at keeps no other from it."""
        async with self._database.read() as conn:
            idents = await experiments.running(conn)
        for ident in idents:
            try:
                await self._database.transact(partial(self.look, ident=ident))
            except Exception as error:
                if isinstance(error, ReachError) and error.transient:
                    raise  # the database is away, for all of them
                _log.error("an experiment could not be looked at", experiment=ident, exc_info=error)

    async def look(self, conn: AsyncConnection, ident: str) -> None:
        """Once at one: stop what does harm, end what is decided or over."""
        one = await experiments.of_id(conn, ident, lock=True)
        if one is None or not one.running:
            return
        now = self._clock.now()
        verdict = look(one.variants, await experiments.seen(conn, one), one.alpha)
        await experiments.stop_variants(conn, ident, verdict.harmful, now)
        for name, guardrail in verdict.harmful.items():
            _log.warning("variant stopped", experiment=ident, variant=name, guardrail=guardrail)
        left = [each for each in one.variants if not each.stopped and each.name not in verdict.harmful]
        if verdict.winner is not None:
            await self._end(conn, one, WON, verdict.winner)
        elif len(left) == 1:
            await self._end(conn, one, HARMFUL, None)
        elif now >= one.ends_at:
            await self._end(conn, one, NO_DIFFERENCE, None)

    async def _end(self, conn: AsyncConnection, one: Experiment, reason: str, winner: str | None) -> None:
        now = self._clock.now()
        await experiments.stop(conn, one.id, reason, winner, now)
        _log.info("experiment ended", experiment=one.id, reason=reason, winner=winner)
        if winner is None or not one.adopt:
            return
        version = next(each.version for each in one.variants if each.name == winner)
        head = await templates.hold(conn, self._database.dialect, one.store_id, one.template_id, now)
        if head.acting:  # a template that was deleted meanwhile stays so
            await templates.act(conn, one.store_id, one.template_id, version, now)
