"""Following many tasks: in order of what is due, and never in the way of those that are to be made."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

from services.campaign.pipeline.pacing import Slot
from tests.campaign.reconciling.room import TASK, Room

MINUTE = timedelta(minutes=1)


async def test_where_the_rate_does_not_do_for_all_nobody_is_left_behind(room: Room) -> None:
    """One look a minute for five tasks: each is looked at as often as the others."""
    for at in range(5):
        await room.owns(f"u{at}", 1)
        await room.behave(f"u{at}", "never")
    await room.asked()
    for _ in range(25):
        await room.advance(timedelta(minutes=20))
        await room.site.follower.once(1)
        await room.site.follower.settled()
    looked = Counter(call["body"]["msgid"] for call in await room.world.requests(TASK))
    assert sum(looked.values()) == 25
    assert set(looked.values()) == {5}


async def test_half_the_rate_is_left_to_tasks_that_are_to_be_made(room: Room) -> None:
    slow = room.beside("slow", qps=6)
    pace = slow.reconciling.pace

    async def slots() -> int:
        taken = 0
        while isinstance(await room.database.transact(pace.take), Slot):
            taken += 1
        await room.advance(timedelta(seconds=2))
        return taken

    assert await slots() == 6, "nothing is to be made: all of it"
    await room.owns("li", 1)
    await room.start()
    assert await slots() == 3
    for _ in range(4):  # whoever makes tasks takes what is left, and there is never more than the whole
        assert isinstance(await room.database.transact(slow.sender._pacer.take), Slot)
    assert await slots() == 2
    await room.until_idle()
    assert await slots() == 6
