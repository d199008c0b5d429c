"""Single arrivals, gathered into batches while the transaction before is under way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from services.notifier.pipeline.admission import Admitted, Arrival
from shared.errors import ReachError
from shared.supervise import Turn

BATCH = 100
_IDLE = 5.0


class Gathering:
    """Group commit for callers who bring one event each and wait for its answer. No timer: idle means at once."""

    def __init__(self, admit: Callable[[Sequence[Arrival]], Awaitable[list[Admitted]]]) -> None:
        self._admit = admit
        self._waiting: asyncio.Queue[tuple[Arrival, asyncio.Future[Admitted]]] = asyncio.Queue()
        self._alone: set[asyncio.Task[list[Admitted]]] = set()

    async def admit(self, arrival: Arrival) -> Admitted:
        """Have *arrival* recorded; raises what its batch was refused with."""
        if arrival.beside is not None:
            return await self._admit_alone(arrival)
        answer: asyncio.Future[Admitted] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((arrival, answer))
        return await answer

    async def _admit_alone(self, arrival: Arrival) -> Admitted:
        """It may be refused for reasons of its own, and it locks what events do not: no batch shares its fate."""
        task = asyncio.create_task(self._admit_one(arrival))
        self._alone.add(task)
        task.add_done_callback(self._alone.discard)
        # A caller who hangs up must not come between what was committed and who sends it.
        (admitted,) = await asyncio.shield(task)
        return admitted

    async def _admit_one(self, arrival: Arrival) -> list[Admitted]:
        return await self._admit([arrival])

    async def run(self, turn: Turn) -> None:
        """Admit until cancelled."""
        while True:
            gathered = await self._gather()
            if gathered:
                await self._commit(gathered)
            turn()

    async def _gather(self) -> list[tuple[Arrival, asyncio.Future[Admitted]]]:
        try:
            async with asyncio.timeout(_IDLE):
                gathered = [await self._waiting.get()]
        except TimeoutError:
            return []
        while len(gathered) < BATCH and not self._waiting.empty():
            gathered.append(self._waiting.get_nowait())
        # A caller who hung up before we began has not been promised anything.
        return [one for one in gathered if not one[1].done()]

    async def _commit(self, gathered: Sequence[tuple[Arrival, asyncio.Future[Admitted]]]) -> None:
        try:
            admitted = await self._admit([arrival for arrival, _ in gathered])
        except asyncio.CancelledError:
            for _, answer in gathered:
                answer.cancel()
            raise
        except Exception as error:
            if len(gathered) == 1 or (isinstance(error, ReachError) and error.transient):
                # What we depend on is down for all of them: each learns it now, not after its own time-out in turn.
                for _, answer in gathered:
                    _refuse(answer, error)
                return
            # One of them may be the culprit: each on its own, so that it fails alone.
            for one in gathered:
                await self._commit([one])
            return
        for (_, answer), result in zip(gathered, admitted, strict=True):
            if not answer.done():
                answer.set_result(result)


def _refuse(answer: asyncio.Future[Admitted], error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)
