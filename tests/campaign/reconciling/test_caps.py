"""What groups have received is counted by the platform's days, and what it says of full ones is believed."""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.campaign.limit_files import load_limits
from services.campaign.store import receipts
from services.campaign.store.follow_tables import group_receipt
from services.campaign.store.receipts import Receipt
from tests.campaign.reconciling.room import HOUR, Room
from tests.campaign.sending.sending_support import NOON, STORE

MINUTE = timedelta(minutes=1)
DAILY = load_limits(["1/day"])


async def test_a_group_that_received_one_has_no_room_until_the_day_is_over(room: Room) -> None:
    got, other = await room.owns("li", 2)
    await room.behave("li", "by_hand")
    await room.asked()
    [task] = await room.made()
    await room.confirm("li", msgid=task["msgid"], chat_ids=[got])
    await room.pass_time(2 * MINUTE, MINUTE)
    assert await room.full(got, other, limits=DAILY) == {got: "1 a day"}
    assert await room.full(got, other) == {}, "by the month of today there is room for thirty more"
    await room.advance(12 * HOUR - 3 * MINUTE - timedelta(seconds=30))
    assert await room.full(got, other, limits=DAILY) == {got: "1 a day"}
    await room.advance(3 * MINUTE)
    assert await room.full(got, other, limits=DAILY) == {}


async def test_a_group_that_the_platform_found_full_is_reported_as_a_limit_and_counts_as_full(
    room: Room,
) -> None:
    """Somebody else has sent to it, by hand in the client: our ledger knows nothing of it until the platform tells."""
    await room.world.profile(group_sends_per_day=1)
    full, free = await room.owns("li", 2)
    await room.behave("li", "by_hand")
    by_hand = await room.world.post(
        "/sandbox/mass-sends", creator="li", sender="li", chat_ids=[full], text="hello", personal=True
    )
    await room.confirm("li", msgid=by_hand["msgid"])
    assert await room.full(full, free, limits=DAILY) == {}
    await room.asked()
    await room.confirm("li")
    await room.advance(MINUTE)
    await room.look()
    assert await room.targets() == {full: ("limit_reached", "platform_limit"), free: ("sent", "")}
    assert await room.full(full, free, limits=DAILY) == {free: "1 a day", full: "full, says the platform"}
    assert await room.full(full) == {full: "full, says the platform"}
    assert await room.status() == ("finished", "")
    await room.advance(24 * HOUR)
    assert await room.full(full, free, limits=DAILY) == {}


async def test_a_full_group_counts_for_the_day_its_owner_pressed_on(room: Room) -> None:
    await room.world.profile(group_sends_per_day=1)
    [chat_id] = await room.owns("li", 1)
    await room.behave("li", "by_hand")
    by_hand = await room.world.post(
        "/sandbox/mass-sends", creator="li", sender="li", chat_ids=[chat_id], text="hello", personal=True
    )
    await room.confirm("li", msgid=by_hand["msgid"])
    await room.asked()
    await room.pass_time(12 * HOUR - 20 * MINUTE)
    await room.confirm("li")  # before midnight
    await room.advance(HOUR)  # and it is seen behind it
    await room.look()
    assert await room.targets() == {chat_id: ("limit_reached", "platform_limit")}
    assert await room.full(chat_id) == {}
    [row] = await room.rows(group_receipt)
    assert row.at < NOON + 12 * HOUR <= room.clock.now()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 2), st.timedeltas(timedelta(0), timedelta(days=40))),
        max_size=40,
    )
)
async def test_the_ledger_counts_each_task_and_group_once(
    room: Room, seen: list[tuple[int, int, timedelta]]
) -> None:
    """Whatever is seen, however often: full is who has at least as many receipts in the day, week or month."""
    told = {
        (f"t{task}", f"wr{chat}"): Receipt(f"t{task}", f"wr{chat}", STORE, True, NOON + after)
        for task, chat, after in seen
    }
    limits = load_limits(["2/day", "3/week", "4/month"])
    async with room.database.write() as conn:
        await conn.execute(sa.delete(group_receipt))
        await receipts.add(conn, list(told.values()))
        await receipts.add(conn, list(told.values()))
        kept = list(await conn.execute(sa.select(group_receipt)))
        assert len(kept) == len(told)
        for at in (NOON, NOON + timedelta(days=8), NOON + timedelta(days=29), NOON + timedelta(days=35)):
            found = await receipts.full(conn, limits.at(at), ["wr0", "wr1", "wr2"], at)
            for chat in ("wr0", "wr1", "wr2"):
                times = [one.at for one in told.values() if one.chat_id == chat]
                reached = [
                    limit.named(at)
                    for limit in limits.at(at)
                    if sum(limit.period.around(at)[0] <= one < limit.period.around(at)[1] for one in times)
                    >= limit.most_at(at)
                ]
                assert found.get(chat) == (reached[0] if reached else None)
