"""Group commit: who meets shares a batch, and nobody shares another's trouble."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from services.ai_orchestrator.pipeline.together import MOST, Apart, Together
from shared.errors import Unavailable


class Desk:
    """Does batches of numbers; each is over when the test says so."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.together: Together[int, int] = Together(self._many)
        self.free = asyncio.Event()
        self.began = asyncio.Event()
        self.free.set()
        self.bad: set[int] = set()
        self.down = False

    async def _many(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        self.began.set()
        await self.free.wait()
        if self.down:
            raise Unavailable("DEPENDENCY_DOWN", "gone", dependency="database")
        if self.bad & set(items):
            raise ValueError(sorted(self.bad & set(items))) if len(items) == 1 else Apart
        return [10 * item for item in items]

    def task(self, item: int) -> asyncio.Task[int]:
        return asyncio.create_task(self.together.do(item))

    async def busy(self, item: int) -> asyncio.Task[int]:
        """A batch that does not end yet."""
        self.free.clear()
        self.began.clear()
        task = self.task(item)
        await self.began.wait()
        return task


async def test_who_is_ready_in_the_same_moment_shares_a_batch_and_gets_his_own_result() -> None:
    desk = Desk()
    assert await asyncio.gather(*(desk.task(one) for one in range(5))) == [0, 10, 20, 30, 40]
    assert desk.batches == [[0, 1, 2, 3, 4]]


async def test_who_comes_while_a_batch_is_under_way_is_the_next_one() -> None:
    desk = Desk()
    first = await desk.busy(1)
    others = [desk.task(one) for one in (2, 3)]
    await asyncio.sleep(0)
    desk.free.set()
    assert await asyncio.gather(first, *others) == [10, 20, 30]
    assert desk.batches == [[1], [2, 3]]


async def test_a_batch_has_its_bound() -> None:
    desk = Desk()
    count = 2 * MOST + 1
    assert await asyncio.gather(*(desk.task(one) for one in range(count))) == [
        10 * one for one in range(count)
    ]
    assert [len(batch) for batch in desk.batches] == [MOST, MOST, 1]


async def test_what_goes_wrong_is_met_by_whom_it_is_about_alone() -> None:
    desk = Desk()
    desk.bad = {2}
    results = await asyncio.gather(*(desk.task(one) for one in (1, 2, 3)), return_exceptions=True)
    assert [results[0], results[2]] == [10, 30]
    assert isinstance(results[1], ValueError)
    assert desk.batches == [[1, 2, 3], [1], [2], [3]]


async def test_a_database_that_is_down_is_asked_once() -> None:
    desk = Desk()
    desk.down = True
    results = await asyncio.gather(*(desk.task(one) for one in (1, 2, 3)), return_exceptions=True)
    assert [type(one) for one in results] == [Unavailable] * 3
    assert desk.batches == [[1, 2, 3]]


@pytest.mark.parametrize("who", ["the one who leads", "one who waits", "the next one to lead", "all of them"])
async def test_who_is_cancelled_takes_nobody_along(who: str) -> None:
    desk = Desk()
    first = await desk.busy(1)
    others = [desk.task(one) for one in (2, 3, 4)]
    await asyncio.sleep(0)
    gone = {
        "the one who leads": [first],
        "one who waits": [others[1]],
        "the next one to lead": [others[0]],
        "all of them": [first, *others],
    }[who]
    for task in gone:
        task.cancel()
    await asyncio.gather(*gone, return_exceptions=True)
    desk.free.set()
    async with asyncio.timeout(10):
        left = [task for task in (first, *others) if task not in gone]
        assert await asyncio.gather(*left) == [10 * one for one in _numbers(left, first, others)]
        assert await desk.together.do(9) == 90  # and it goes on
    done = [one for batch in desk.batches[1:] for one in batch]
    assert done == [*_numbers([one for one in others if one in left], first, others), 9]


async def test_who_leads_is_cancelled_in_a_batch_and_the_others_are_done_by_the_next() -> None:
    desk = Desk()
    first = await desk.busy(1)
    others = [desk.task(one) for one in (2, 3, 4)]
    await asyncio.sleep(0)
    desk.began.clear()
    desk.free.set()
    await first
    desk.free.clear()
    await desk.began.wait()
    assert desk.batches[-1] == [2, 3, 4]
    others[0].cancel()
    await asyncio.gather(others[0], return_exceptions=True)
    desk.free.set()
    async with asyncio.timeout(10):
        assert await asyncio.gather(*others[1:]) == [30, 40]
    assert desk.batches == [[1], [2, 3, 4], [3, 4]]


def _numbers(
    tasks: Sequence[asyncio.Task[int]], first: asyncio.Task[int], others: Sequence[asyncio.Task[int]]
) -> list[int]:
    return [[first, *others].index(task) + 1 for task in tasks]
