"""A push waits for the words of a model, and not for ever."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from services.kf_session.domain.asking import Kind
from services.kf_session.domain.eligibility import WORDS_WAIT, Candidate, Facts, Gate, first_no, judge
from services.kf_session.domain.preference import Preference
from services.kf_session.domain.push import Purpose
from services.kf_session.domain.window import CLOSING, WINDOW
from services.kf_session.store import questions, wording
from shared.clock import ManualClock
from tests.kf_session.push.push_support import Platform, Replica

NOW = datetime(2026, 3, 2, 4, tzinfo=UTC)
OPEN = Facts(Preference(), state=1, customer_at=NOW - timedelta(hours=1))
ASKED = Candidate(Purpose.MATCH, 0.9, admitted_at=NOW, words_awaited=True)


def _until(one: Candidate, facts: Facts, now: datetime = NOW) -> datetime | None:
    no = first_no(judge(one, facts, now))
    assert no is None or (no.gate, no.reason) == (Gate.WORDS, "ai_text")
    return None if no is None else no.until


def test_a_push_waits_twenty_seconds_and_never_into_the_end_of_its_window() -> None:
    assert _until(ASKED, OPEN) == NOW + WORDS_WAIT
    assert _until(ASKED, OPEN, NOW + WORDS_WAIT) is None
    assert _until(replace(ASKED, words_awaited=False), OPEN) is None
    soon = replace(OPEN, customer_at=NOW - WINDOW + 2 * CLOSING + timedelta(seconds=3))
    assert _until(ASKED, soon) == NOW + timedelta(seconds=3)
    assert _until(ASKED, replace(OPEN, customer_at=NOW - WINDOW + 2 * CLOSING)) is None
    assert _until(replace(ASKED, expires_at=NOW + CLOSING), OPEN) is None


async def test_a_push_goes_with_the_words_that_came_or_with_its_own_when_the_time_is_over(
    replica: Replica, platform: Platform, clock: ManualClock
) -> None:
    await replica.writes("ann")
    ids = {name: await replica.match("ann", name, 0.9) for name in ("came", "late")}

    async def ask(push_id: str) -> None:
        async with replica.database.write() as conn:
            await questions.ask(conn, push_id, Kind.TEXT, push_id, clock.now(), push_id=push_id)

    for push_id in ids.values():
        await ask(push_id)
    await replica.until_idle()
    assert [await replica.stands(name) for name in ids] == [("deferred", "ai_text")] * 2
    assert not platform.calls

    async def come() -> None:
        now = clock.now()
        async with replica.database.write() as conn:
            held = await questions.claim(conn, "a", now, timedelta(seconds=30), 5)
            (mine,) = [one for one in held if one.push_id == ids["came"]]
            assert await wording.hold(conn, ids["came"])
            assert await questions.finish(conn, mine, "answered", now)
            await wording.end(conn, ids["came"], "answered", "别的话", now)

    await come()
    await replica.until_idle()
    assert [await replica.stands(name) for name in ids] == [("accepted", ""), ("deferred", "ai_text")]
    (job,) = platform.accepted
    assert job.body["text"] == {"content": "别的话"}
    assert [note[2] for note in await replica.notes(ids["came"])] == ["ai_text", "ai_text_used"]

    clock.advance(WORDS_WAIT)
    await replica.until_idle()
    assert await replica.stands("late") == ("accepted", "")
    assert platform.accepted[-1].body["text"] == {"content": "words late"}
    async with replica.database.read() as conn:
        assert await wording.replaceable(conn, ids["late"]) is None


async def test_words_that_come_between_claim_and_judgement_go(
    replica: Replica, platform: Platform, clock: ManualClock
) -> None:
    await replica.writes("ann")
    push_id = await replica.match("ann", "m", 0.9)
    claimed = await replica.database.transact(lambda conn: replica.pusher._claim(conn, 5))
    async with replica.database.write() as conn:
        assert await wording.hold(conn, push_id)
        await wording.end(conn, push_id, "answered", "别的话", clock.now())
    jobs = await replica.database.transact(lambda conn: replica.pusher._decide(conn, claimed))
    assert [job.body["text"] for job in jobs] == [{"content": "别的话"}]
