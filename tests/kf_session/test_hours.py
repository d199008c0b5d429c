"""Hours are learned from what customers write, on their clocks, and fall back on their store's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from services.kf_session.domain.daily import Wish
from services.kf_session.domain.hours import PATIENCE, better_instant
from services.kf_session.pipeline.hours import COHORT_KEPT, Hours
from services.kf_session.store.ledger import SessionKey
from shared.clock import ManualClock
from tests.kf_session.learning_support import KEY, STORE, add_session, heard, opened, wrote

NOON = datetime(2026, 3, 2, 4, tzinfo=UTC)
EVENING = datetime(2026, 3, 1, 13, tzinfo=UTC)  # 21:00 in Shanghai
OTHER = SessionKey("kf-1", "wm-2")


@pytest.fixture
async def bench(database_url):
    async def wishes(conn, store_id, customer):
        return Wish(ZoneInfo("Asia/Shanghai"))

    async with opened(database_url) as database:
        clock = ManualClock(NOON)
        async with database.write() as conn:
            await add_session(conn, NOON)
            await add_session(conn, NOON, OTHER)
        yield database, clock, Hours(database.dialect, clock, wishes)


async def chosen(database, hours, key):
    async with database.read() as conn:
        known = await hours.histogram(conn, STORE, key.external_userid, ZoneInfo("Asia/Shanghai"))
    return better_instant(NOON, NOON + PATIENCE, lambda at: None, known)


async def test_the_hour_of_a_customer_and_of_who_is_like_them(bench):
    database, clock, hours = bench
    assert await chosen(database, hours, KEY) is None
    for minute in range(40):
        await heard(database, hours.listen, wrote(EVENING + timedelta(minutes=minute)))
    assert await chosen(database, hours, KEY) == NOON + timedelta(hours=9)
    assert await chosen(database, hours, OTHER) is None, "the store's hours are looked at now and then"
    clock.advance(COHORT_KEPT)
    assert await chosen(database, hours, OTHER) == NOON + timedelta(hours=9)
