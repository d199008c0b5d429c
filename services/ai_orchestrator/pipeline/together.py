"""What several tasks want of the database at the same moment, done in one transaction: group commit without a timer.

Whoever comes first takes along everybody who waits. Those who come while a batch is under way are the next one, so a lone
task waits for nobody, and the more there is to do the less each costs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

from shared.errors import Overtaken, Throttled, Unavailable

T = TypeVar("T")
R = TypeVar("R")

MOST: Final = 50
"""In one batch: it holds its locks no longer than some tens of milliseconds."""


class Apart(Exception):  # nothing went wrong: it unwinds a batch
    """These cannot be done together; each is done alone."""


class _Entry(Generic[T, R]):
    __slots__ = ("error", "item", "left", "result")

    def __init__(self, item: T) -> None:
        self.item = item
        self.result: tuple[R] | None = None
        self.error: Exception | None = None
        self.left = False
        """Nobody waits for it any more."""

    @property
    def over(self) -> bool:
        return self.result is not None or self.error is not None


class Together(Generic[T, R]):
    """Gathers items for *many*, which does them all or raises with nothing done, and returns a result for each."""

    def __init__(self, many: Callable[[Sequence[T]], Awaitable[Sequence[R]]]) -> None:
        self._many = many
        self._waiting: list[_Entry[T, R]] = []
        self._turn = asyncio.Lock()

    async def do(self, item: T, linger: float = 0.0) -> R:
        """What came of *item*. What goes wrong in a batch is met again by whom it is about, alone.

        *linger*: seconds that it may wait for company, where it is known to be near.
        """
        mine: _Entry[T, R] = _Entry(item)
        self._waiting.append(mine)
        try:
            async with self._turn:  # in the order they came: a batch's own find it done
                if not mine.over:
                    await asyncio.sleep(linger)  # who becomes ready in the same moment comes along
                    await self._lead(mine)
        finally:
            mine.left = True
        if mine.error is not None:
            raise mine.error
        assert mine.result is not None
        return mine.result[0]

    async def _lead(self, mine: _Entry[T, R]) -> None:
        waiting = [one for one in self._waiting if not one.left and one is not mine]
        others, self._waiting = waiting[: MOST - 1], waiting[MOST - 1 :]
        try:
            await self._do([mine, *others])
        finally:
            # Who leads may be cancelled; the others do not share that.
            self._waiting[:0] = [one for one in others if not one.over]

    async def _do(self, batch: Sequence[_Entry[T, R]]) -> None:
        try:
            results = await self._many([one.item for one in batch])
        except (Overtaken, Throttled, Unavailable) as error:
            for one in batch:  # the database's: it would meet each of them
                one.error = error
        except Exception as error:
            if len(batch) == 1:
                batch[0].error = error
                return
            for one in batch:
                await self._do([one])
        else:
            for one, result in zip(batch, results, strict=True):
                one.result = (result,)
