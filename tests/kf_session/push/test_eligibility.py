"""The gates as functions: their order, their numbers, and quiet hours against a closing window."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kf_session.domain.eligibility import (
    Candidate,
    Facts,
    Gate,
    Word,
    day_end,
    day_start,
    first_no,
    free_credits,
    judge,
    latest_before_quiet,
)
from services.kf_session.domain.hours import PATIENCE, Histogram
from services.kf_session.domain.preference import AfterHuman, Closing, Preference, merged
from services.kf_session.domain.push import Purpose
from services.kf_session.domain.window import WINDOW, is_open
from shared.errors import Invalid
from shared.quiet import Window

NOW = datetime(2026, 3, 2, 4, tzinfo=UTC)
OPEN = Facts(Preference(), state=1, customer_at=NOW - timedelta(hours=1))
MESSAGE, MATCH, REPLY = (Candidate(one, 0.9) for one in (Purpose.MESSAGE, Purpose.MATCH, Purpose.REPLY))
ZONES = ["Asia/Shanghai", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]


def decided(one: Candidate, facts: Facts, now: datetime = NOW) -> tuple[str, str, str] | None:
    """Gate, word and reason of the first no."""
    no = first_no(judge(one, facts, now))
    return None if no is None else (no.gate.value, no.word.value, no.reason)


@pytest.mark.parametrize(
    ("one", "changes", "expected"),
    [
        (MESSAGE, {}, None),
        (MESSAGE, {"unsubscribed": True}, ("enabled", "drop", "unsubscribed")),
        (REPLY, {"unsubscribed": True}, None),
        (MATCH, {"preference": Preference(enabled=False)}, ("enabled", "drop", "disabled")),
        (MESSAGE, {"blocked_at": NOW}, ("blocked", "drop", "customer_refused")),
        (Candidate(Purpose.MATCH, 0.69), {}, ("score", "drop", "score_too_low")),
        (Candidate(Purpose.MATCH, 0.7), {}, None),
        (MESSAGE, {"state": None}, ("session", "drop", "KF_WINDOW_CLOSED")),
        (MESSAGE, {"state": 0}, None),
        (MESSAGE, {"state": 2}, ("session", "hold", "session_pool")),
        (REPLY, {"state": 3}, ("session", "hold", "session_human")),
        (MESSAGE, {"state": 4}, ("session", "drop", "session_ended")),
        (replace(MESSAGE, awaited_human=True), {"state": 4}, ("session", "hold", "session_ended")),
        (
            replace(MESSAGE, awaited_human=True),
            {"state": 4, "preference": Preference(after_human=AfterHuman.DROP)},
            ("session", "drop", "session_ended"),
        ),
        (MESSAGE, {"customer_at": NOW - WINDOW}, ("window", "drop", "KF_WINDOW_CLOSED")),
        (MESSAGE, {"customer_at": None}, ("window", "drop", "KF_WINDOW_CLOSED")),
        (MESSAGE, {"used": 4}, None),
        (MESSAGE, {"used": 5}, ("credits", "drop", "KF_WINDOW_FULL")),
        (MATCH, {"used": 4}, ("credits", "hold", "KF_WINDOW_FULL")),
        (MATCH, {"used": 4, "preference": Preference(reserve=0)}, None),
        (REPLY, {"used": 4}, None),
        (MESSAGE, {"today": 10}, ("daily", "hold", "daily_limit")),
        (replace(MESSAGE, picture_missing="picture_failed"), {}, ("picture", "hold", "picture_failed")),
        (replace(MESSAGE, picture_missing="picture_unknown"), {}, ("picture", "drop", "picture_unknown")),
        (replace(MATCH, picture_missing="picture_unknown"), {}, ("picture", "hold", "picture_unknown")),
        (REPLY, {"today": 10}, None),
    ],
)
def test_each_gate_says_no_for_its_own_reason(
    one: Candidate, changes: dict[str, object], expected: tuple[str, str, str] | None
) -> None:
    assert decided(one, replace(OPEN, **changes)) == expected  # type: ignore[arg-type]


def test_a_code_stands_for_session_window_and_credits() -> None:
    one = Candidate(Purpose.WELCOME, by_code=True, code_expires_at=NOW + timedelta(seconds=1))
    assert decided(one, Facts(Preference())) is None
    assert decided(one, Facts(Preference()), NOW + timedelta(seconds=1)) == ("code", "drop", "code_expired")


def test_the_closed_window_names_its_end() -> None:
    no = first_no(judge(MESSAGE, replace(OPEN, customer_at=NOW - WINDOW), NOW))
    assert no is not None
    assert no.facts["window_end"] == "2026-03-02T04:00:00Z"


clocks = st.times().map(lambda at: at.replace(second=0, microsecond=0))
instants = st.integers(0, 365 * 1440).map(
    lambda minutes: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
)


@given(
    start=clocks,
    end=clocks,
    zone=st.sampled_from(ZONES),
    now=instants,
    ago=st.timedeltas(timedelta(0), timedelta(hours=50)),
    closing=st.sampled_from(Closing),
    too_late=st.sampled_from([Closing.DIGEST, Closing.DROP]),
    purpose=st.sampled_from([Purpose.MATCH, Purpose.MESSAGE, Purpose.REPLY]),
)
def test_quiet_never_lets_pass_what_nobody_asked_for_and_never_holds_what_the_window_outlasts_for_ever(
    start: time,
    end: time,
    zone: str,
    now: datetime,
    ago: timedelta,
    closing: Closing,
    too_late: Closing,
    purpose: Purpose,
) -> None:
    if start == end:
        return
    window = Window(start, end)
    preference = Preference(quiet=window, zone=ZoneInfo(zone), closing=closing, too_late=too_late)
    facts = Facts(preference, state=1, customer_at=now - ago)
    quiet = next(each for each in judge(Candidate(purpose, 1.0), facts, now) if each.gate is Gate.QUIET)
    hours = preference.quiet_hours
    assert hours is not None
    over = hours.until(now, preference.zone)
    if over is None or purpose.asked_for:
        assert quiet.passes
    elif is_open(facts.customer_at, over):
        assert (quiet.word, quiet.until) == (Word.HOLD, over)
        assert over > now
        after = next(each for each in judge(Candidate(purpose, 1.0), facts, over) if each.gate is Gate.QUIET)
        assert after.passes
    else:
        policy = too_late if closing is Closing.EARLIER else closing
        assert quiet.word is (Word.DROP if policy is Closing.DROP else Word.HOLD)
        if quiet.word is Word.HOLD:
            assert quiet.until is not None
            assert quiet.until > now - timedelta(minutes=1)


@given(
    shares=st.lists(st.floats(0.01, 1), min_size=24, max_size=24),
    start=clocks,
    end=clocks,
    zone=st.sampled_from(ZONES),
    now=instants,
    ago=st.timedeltas(timedelta(0), timedelta(hours=48)),
    lasts=st.timedeltas(timedelta(minutes=1), timedelta(days=3)),
    late=st.lists(st.timedeltas(timedelta(0), timedelta(minutes=5)), min_size=30, max_size=30),
)
def test_whatever_the_hours_no_window_is_missed_for_a_better_one(
    shares: list[float],
    start: time,
    end: time,
    zone: str,
    now: datetime,
    ago: timedelta,
    lasts: timedelta,
    late: list[timedelta],
) -> None:
    """A match follows the gates, looked at up to five minutes late each time, until it goes or is not to go."""
    quiet = None if start == end else Window(start, end)
    preference = Preference(quiet=quiet, zone=ZoneInfo(zone))
    hours = Histogram(tuple(shares), preference.zone)
    one = Candidate(Purpose.MATCH, 1.0, now + lasts, now)
    facts = Facts(preference, state=1, customer_at=now - ago, hours=hours)
    at = now
    for delay in late:
        no = first_no(judge(one, facts, at))
        if no is None or no.gate is not Gate.BEST_HOUR:
            break
        assert no.word is Word.HOLD
        assert no.until is not None
        assert at < no.until <= now + PATIENCE
        assert is_open(facts.customer_at, no.until + timedelta(minutes=29))
        assert no.until < now + lasts
        at = no.until
        assert first_no(judge(one, facts, at)) is None, "it goes at the instant that it was told"
        at += delay
    else:
        raise AssertionError("it waits for ever")
    if at > now and not (quiet and preference.quiet_until(at)):
        assert no is None, "a wait for a better hour is no way into a refusal"


def test_only_a_match_that_has_not_waited_already_waits_for_the_best_hour() -> None:
    shares = tuple(0.5 if hour == 21 else 0.5 / 23 for hour in range(24))
    facts = replace(OPEN, hours=Histogram(shares, Preference().zone))
    evening = NOW + timedelta(hours=9)
    no = first_no(judge(MATCH, facts, NOW))
    assert no is not None
    assert (no.reason, no.until, no.facts["best_at"]) == ("best_hour", evening, "2026-03-02T13:00:00Z")
    others = [MESSAGE, REPLY, replace(MATCH, kept=True), replace(MATCH, awaited_human=True)]
    closing = replace(MATCH, expires_at=evening)
    for one in [*others, Candidate(Purpose.SUMMARY), closing]:
        assert first_no(judge(one, facts, NOW)) is None


@given(zone=st.sampled_from(ZONES), now=instants)
def test_the_calendar_day_is_the_customers_and_lasts_from_midnight_to_midnight(
    zone: str, now: datetime
) -> None:
    preference = Preference(zone=ZoneInfo(zone))
    start, end = day_start(preference, now), day_end(preference, now)
    assert start <= now < end
    assert timedelta(hours=22) < end - start < timedelta(hours=26)
    assert start.astimezone(preference.zone).date() == now.astimezone(preference.zone).date()


@given(used=st.integers(0, 5), reserve=st.integers(0, 2))
def test_matches_leave_the_reserve_and_messages_do_not(used: int, reserve: int) -> None:
    facts = replace(OPEN, used=used, preference=Preference(reserve=reserve))
    assert free_credits(MESSAGE, facts) == 5 - used
    assert free_credits(MATCH, facts) == max(0, 5 - used - reserve)


def test_a_plan_moves_before_a_quiet_that_the_window_does_not_outlast() -> None:
    preference = Preference(quiet=Window(time(22), time(8)))
    wanted = datetime(2026, 3, 2, 15, tzinfo=UTC)  # 23:00 in Shanghai
    closes_at_night = wanted - timedelta(hours=46)
    assert latest_before_quiet(wanted, preference, closes_at_night) == datetime(
        2026, 3, 2, 13, 59, tzinfo=UTC
    )
    assert latest_before_quiet(wanted, preference, wanted - timedelta(hours=1)) == wanted


def test_the_narrower_word_counts_and_a_wrong_one_is_named() -> None:
    zone = ZoneInfo("Asia/Shanghai")
    found = merged(zone, {"reserve": 2, "daily_limit": 3}, {"reserve": 0})
    assert (found.reserve, found.daily_limit, found.min_score) == (0, 3, 0.7)
    with pytest.raises(Invalid) as caught:
        merged(zone, {"reserve": 3, "time_zone": "Mars/Base", "quiet_from": "25:00", "quiet_to": "08:00"})
    assert [one.field for one in caught.value.violations] == [
        "preferences.reserve",
        "preferences.time_zone",
        "preferences.quiet_from",
    ]
