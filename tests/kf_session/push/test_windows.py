"""What operators see of customers' windows and days."""

from __future__ import annotations

from datetime import timedelta

from services.kf_session.windows import WindowDesk
from shared.clock import ManualClock
from tests.kf_session.push.push_support import NOON, SHANGHAI, Replica


async def test_windows_and_days_are_listed_with_what_is_used_of_them(
    replica: Replica, clock: ManualClock
) -> None:
    for who in ("ann", "bob"):
        await replica.writes(who)
    await replica.prefers("ann", daily_limit=1)
    await replica.admit("ann", "a")
    await replica.until_idle()
    desk = WindowDesk(replica.database, SHANGHAI)

    async def lines(prefix: str = "", after: str = "", limit: int = 10) -> list[tuple[str, str, int, int]]:
        found = await desk.list_limits(prefix, after, clock.now(), limit)
        return [(one.key, one.window, one.used, one.max) for one in found]

    ann = [("kf:kf-1 ann", "window", 1, 5), ("kf:kf-1 ann", "day", 1, 1)]
    bob = [("kf:kf-1 bob", "window", 0, 5), ("kf:kf-1 bob", "day", 0, 10)]
    assert await lines() == ann + bob
    assert await lines(limit=1) == ann
    assert await lines(after="kf:kf-1 ann") == await lines("kf:kf-1 b") == bob
    assert await lines(after="app:default") == await lines("kf:kf") == ann + bob
    assert await lines("robot:") == await lines(after="robot:") == await lines("kf:other") == []
    (_, day) = await desk.list_limits("kf:kf-1 ann", "", clock.now(), 1)
    assert day.free_at == NOON + timedelta(hours=12)
    clock.advance(timedelta(hours=48))
    assert await lines() == []
