"""Callers who bring one event each: what a failure of their common transaction means to each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from services.notifier.pipeline.gathering import Gathering
from shared.errors import Throttled, Unavailable


class Named(str):
    """An arrival that is told by its name."""

    beside: object = None


class ByHand(Named):
    """One with conditions of its own."""

    beside = object()


async def outcomes(fail: Exception, culprit: str | None) -> tuple[list[Any], list[int]]:
    """What three callers, "a" to "c", get when a batch holding *culprit* (or any) fails; the sizes of the batches."""
    sizes: list[int] = []

    async def admit(arrivals: Sequence[Any]) -> list[Any]:
        sizes.append(len(arrivals))
        if culprit is None or culprit in arrivals:
            raise fail
        return list(arrivals)

    gathering: Any = Gathering(admit)
    callers = [asyncio.create_task(gathering.admit(Named(name))) for name in "abc"]
    await asyncio.sleep(0)
    running = asyncio.create_task(gathering.run(lambda: None))
    found = await asyncio.gather(*callers, return_exceptions=True)
    running.cancel()
    return found, sizes


async def test_one_bad_arrival_fails_alone() -> None:
    found, _ = await outcomes(ValueError("bad"), "b")
    assert [str(one) for one in found] == ["a", "bad", "c"]


async def test_a_database_that_is_down_is_asked_once_and_not_once_for_each() -> None:
    found, sizes = await outcomes(Unavailable("DEPENDENCY_DOWN", "no database"), None)
    assert [getattr(one, "reason", one) for one in found] == ["DEPENDENCY_DOWN"] * 3
    assert sizes == [3]


@pytest.mark.parametrize("culprit", ["a", "c"])
async def test_the_others_are_admitted_whichever_it_is(culprit: str) -> None:
    found, _ = await outcomes(ValueError("bad"), culprit)
    assert [one for one in found if isinstance(one, str)] == [name for name in "abc" if name != culprit]


async def test_one_that_may_be_refused_by_itself_goes_alone_and_a_caller_who_hangs_up_stops_nothing() -> None:
    batches: list[list[str]] = []
    begun, go_on, finished = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def admit(arrivals: Sequence[Any]) -> list[Any]:
        batches.append(list(arrivals))
        if "refused" in arrivals:
            raise Throttled("RATE_LIMITED", "enough")
        if "slow" in arrivals:
            begun.set()
            await go_on.wait()
            batches.append(["slow is done"])
            finished.set()
        return list(arrivals)

    gathering: Any = Gathering(admit)
    event = asyncio.create_task(gathering.admit(Named("event")))
    with pytest.raises(Throttled):
        await gathering.admit(ByHand("refused"))
    slow = asyncio.create_task(gathering.admit(ByHand("slow")))
    await begun.wait()
    slow.cancel()
    running = asyncio.create_task(gathering.run(lambda: None))
    assert await event == "event"
    go_on.set()
    await asyncio.wait_for(finished.wait(), 5)
    running.cancel()
    assert batches == [["refused"], ["slow"], ["event"], ["slow is done"]]
