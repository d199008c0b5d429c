"""What several tasks want of the database at the same moment, done in one transaction: group commit.

Whoever comes first leads, and takes along everybody who waits. Those who come while a batch is under way are the next one, so
a lone task waits for nobody, and the more there is to do the less each costs.
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
    __slots__ = ("error", "item", "result", "woken")

    def __init__(self, item: T) -> None:
        self.item = item
        self.result: tuple[R] | None = None
        self.error: Exception | None = None
        self.woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when it is over, or is to lead; cancelled when nobody waits for it any more."""

    @property
    def over(self) -> bool:
        return self.result is not None or self.error is not None

    def wake(self) -> None:
        if not self.woken.done():
            self.woken.set_result(None)


class Together(Generic[T, R]):
    """Gathers items for *many*, which does them all or raises with nothing done, and returns a result for each."""

    def __init__(self, many: Callable[[Sequence[T]], Awaitable[Sequence[R]]]) -> None:
        self._many = many
        self._waiting: list[_Entry[T, R]] = []
        self._led = False

    async def do(self, item: T, linger: float = 0.0) -> R:
        """What came of *item*. What goes wrong in a batch is met again by whom it is about, alone.

        *linger*: seconds that it may wait for company, where it is known to be near.
        """
        mine: _Entry[T, R] = _Entry(item)
        self._waiting.append(mine)
        if self._led:
            try:
                await mine.woken
            except asyncio.CancelledError:
                if not mine.woken.cancelled() and not mine.over:
                    self._pass_on()  # it was to lead
                raise
        if not mine.over:
            self._led = True
            try:
                await asyncio.sleep(linger)  # who becomes ready in the same moment comes along
                await self._lead(mine)
            finally:
                mine.wake()
                self._pass_on()
        if mine.error is not None:
            raise mine.error
        assert mine.result is not None
        return mine.result[0]

    def _pass_on(self) -> None:
        """Let the next one lead."""
        self._waiting = [one for one in self._waiting if not one.woken.done()]
        self._led = bool(self._waiting)
        if self._waiting:
            self._waiting[0].wake()

    async def _lead(self, mine: _Entry[T, R]) -> None:
        waiting = [one for one in self._waiting if one is not mine and not one.woken.done()]
        others, self._waiting = waiting[: MOST - 1], waiting[MOST - 1 :]
        try:
            await self._do([mine, *others])
        finally:
            # Who leads may be cancelled; the others do not share that.
            self._waiting[:0] = [one for one in others if not one.over]
            for one in others:
                if one.over:
                    one.wake()

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
