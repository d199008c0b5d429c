"""An answer, or a failure, that tells of a window which is over by the time we hear of it."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa

from services.kf_session.pipeline.deciding import Job
from services.kf_session.store import matching_tables
from services.kf_session.store.tables import session
from shared.clock import ManualClock
from shared.wecom.kf_sending import Sent
from tests.kf_session.push.push_support import KFID, STORE, Platform, Replica, refused


@pytest.mark.parametrize("errcode", [95001, 95002, 95018])
async def test_a_refusal_of_the_window_before_takes_nothing_of_the_new_one(
    replica: Replica, platform: Platform, errcode: int
) -> None:
    async def script(job: Job) -> Sent | None:
        if len(platform.calls) > 1:
            return None
        await replica.writes("ann")  # while the platform's refusal is on its way
        return refused(errcode)

    platform.script = script
    await replica.writes("ann")
    await replica.admit("ann", "first")
    await replica.until_idle()
    assert await replica.stands("first") == ("accepted", "")
    await replica.admit("ann", "second")
    await replica.until_idle()
    assert await replica.stands("second") == ("accepted", "")
    assert await replica.credits("ann") == 2


@pytest.mark.parametrize("fail_type", [4, 5, 6, 10])
async def test_a_late_failure_of_the_window_before_does_not_close_the_new_one_whatever_our_clock_said(
    replica: Replica, platform: Platform, clock: ManualClock, fail_type: int
) -> None:
    await replica.writes("ann")
    clock.advance(timedelta(hours=2))  # our clock is wrong while it goes out, and is put right
    await replica.admit("ann", "first")
    platform_at = platform.wrote_at["ann"] + timedelta(seconds=1)

    async def script(job: Job) -> Sent | None:
        platform.script = None
        answer = await platform.send(job, 1.0)
        return Sent(answer.outcome, platform_at)

    platform.script = script
    await replica.until_idle()
    clock.advance(timedelta(hours=-2))
    await replica.writes("ann")
    msgid = (await replica.pushes())["first"].msgid

    async def fails(conn) -> None:  # type: ignore[no-untyped-def]
        await replica.hearing.failed(conn, KFID, msgid, fail_type, clock.now())

    await replica.database.transact(fails)
    assert (await replica.stands("first"))[0] == "failed"
    await replica.admit("ann", "second")
    await replica.until_idle()
    assert await replica.stands("second") == ("accepted", "")


async def test_what_we_know_of_a_state_is_dated_by_the_platforms_clock(
    replica: Replica, platform: Platform, clock: ManualClock
) -> None:
    await replica.writes("ann")
    clock.advance(timedelta(milliseconds=700))
    await replica.admit("ann", "first")
    await replica.until_idle()
    (row,) = await replica.rows(session)
    assert (row.state, row.state_at) == (1, clock.now().replace(microsecond=0))


async def test_a_match_that_is_none_any_more_is_not_told_when_the_quiet_is_over(
    replica: Replica, platform: Platform, clock: ManualClock
) -> None:
    await replica.prefers("ann", quiet_from="11:00", quiet_to="13:00")
    await replica.writes("ann")
    for name in "ab":
        await replica.match("ann", name, 0.9)
    await replica.until_idle()
    assert await replica.stands("a") == ("deferred", "quiet_hours")
    now = clock.now()
    async with replica.database.write() as conn:
        for name, withdrawn_at in (("a", now), ("b", None)):
            match = ai_match(f"match-{name}", name, "ann", now) | {"withdrawn_at": withdrawn_at}
            await conn.execute(sa.insert(matching_tables.match).values(match))
    clock.advance(timedelta(hours=2))
    await replica.until_idle()
    assert await replica.stands("a") == ("suppressed", "match_withdrawn")
    assert await replica.stands("b") == ("accepted", "")
    assert len(platform.calls) == 1


def ai_match(match_id: str, profile_id: str, who: str, now: datetime) -> dict[str, object]:
    return {
        "id": match_id,
        "store_id": STORE,
        "intent_id": "i1",
        "profile_id": profile_id,
        "source": "own",
        "intent_name": "AI",
        "profile_name": profile_id,
        "score": 0.9,
        "conditions": [],
        "explanation": "",
        "profile_fingerprint": "f",
        "intent_version": 1,
        "open_kfid": "",
        "external_userid": who,
        "created_at": now,
        "updated_at": now,
    }
