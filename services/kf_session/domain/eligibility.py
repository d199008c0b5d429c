"""May this push go now? One gate after the other, each with its reason, its numbers, and when it could pass.

    enabled    the customer has not unsubscribed, and pushes are on for them
    blocked    the customer has not refused us since they last wrote
    score      a match is good enough
    session    the session is ours: untreated or the assistant's; with a servicer it waits, ended it is over
    code       a one-shot code still lives (instead of session, window and credits)
    window     48 hours since the customer's last message are not over
    credits    one of the five is free; matches and summaries leave the reserve for an answer
    quiet      not in the customer's quiet hours, if nobody asked for it
    daily      less than the customer's calendar day allows, if nobody asked for it
    picture    the kept picture that it shows, if any, is known to the platform
    best_hour  a match of who wants that: no hour is ahead that is so much better that it is worth waiting for
    words      a match whose words a model is to write has them, or has waited long enough

Quiet hours against a closing window: where the window lasts beyond them, the push waits for their end. Where it does
not, waiting would lose it: what came before the quiet has gone by then (EARLIER: nothing of ours waits on purpose
before it, and ``latest_before_quiet`` tells those who plan ahead); what comes inside it is too late for that and is
kept for the next window (DIGEST) or dropped (DROP).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from services.kf_session.domain.hours import MARGIN, PATIENCE, Histogram, better_instant
from services.kf_session.domain.picture import UNKNOWN as PICTURE_UNKNOWN
from services.kf_session.domain.preference import AfterHuman, Closing, Preference
from services.kf_session.domain.push import Purpose
from services.kf_session.domain.window import CLOSING, CREDITS, SessionState, is_open, window_end
from shared.quiet import QuietHours, Window
from shared.values import value_class

LOOK_AGAIN: Final = timedelta(minutes=10)
"""What waits for somebody to act is looked at so often, should the news of it be lost."""

WORDS_WAIT: Final = timedelta(seconds=20)
"""So long after its admission a push waits for the words of a model."""

AI_TEXT: Final = "ai_text"
"""What it waits for then."""

WINDOW_CLOSED: Final = "KF_WINDOW_CLOSED"
WINDOW_FULL: Final = "KF_WINDOW_FULL"


class Gate(StrEnum):
    """The questions, in their order."""

    ENABLED = "enabled"
    BLOCKED = "blocked"
    SCORE = "score"
    SESSION = "session"
    CODE = "code"
    WINDOW = "window"
    CREDITS = "credits"
    QUIET = "quiet"
    DAILY = "daily"
    PICTURE = "picture"
    BEST_HOUR = "best_hour"
    WORDS = "words"


class Word(StrEnum):
    """What a gate says."""

    PASS = "pass"
    HOLD = "hold"
    """Not now, and perhaps later without anybody asking again."""
    DROP = "drop"
    """Never."""


@value_class
class Verdict:
    """What one gate says."""

    gate: Gate
    word: Word
    reason: str = ""
    """A stable word; empty where it passes."""
    facts: Mapping[str, object] = field(default_factory=dict)
    """The numbers it was decided by; no name, no text."""
    until: datetime | None = None
    """The next instant at which it could pass by itself; None where that is for the customer or never."""

    @property
    def passes(self) -> bool:
        """Whether it says nothing against it."""
        return self.word is Word.PASS


@value_class
class Facts:
    """What is known of a customer when a push is judged."""

    preference: Preference
    unsubscribed: bool = False
    blocked_at: datetime | None = None
    state: int | None = None
    """None: there is no session."""
    customer_at: datetime | None = None
    used: int = 0
    """Credits of the present window, without the push's own."""
    today: int = 0
    """Pushes of the customer's calendar day that nobody asked for."""
    hours: Histogram | None = None
    """When the customer is likely to answer; None: nothing waits for that."""


@value_class
class Candidate:
    """What the gates must know of a push."""

    purpose: Purpose
    score: float | None = None
    expires_at: datetime | None = None
    admitted_at: datetime | None = None
    """None: it is not admitted, and asked about."""
    by_code: bool = False
    code_expires_at: datetime | None = None
    awaited_human: bool = False
    """It has waited for a servicer already."""
    kept: bool = False
    """It has been kept for the next window already, by DIGEST."""

    picture: str = ""
    """The kept picture that it shows."""
    picture_missing: str = ""
    """Why it cannot show it now (``domain.picture``)."""
    words_awaited: bool = False
    """A model was asked for its words, and has not answered."""

    @property
    def keeps_reserve(self) -> bool:
        """Whether the reserve is not for it."""
        return self.purpose in (Purpose.MATCH, Purpose.SUMMARY)

    @property
    def patient(self) -> bool:
        """Whether it waits for the next window rather than be refused: who asked for it by hand is told at once."""
        return self.purpose in (Purpose.MATCH, Purpose.SUMMARY)


def judge(one: Candidate, facts: Facts, now: datetime) -> tuple[Verdict, ...]:
    """Every gate's verdict, in order: all of them, so that somebody who asks sees all that stands in the way."""
    ways = (_code,) if one.by_code else (_session, _window, _credits)
    gates = (_enabled, _blocked, _score, *ways, _quiet, _daily, _picture, _best_hour, _words)
    return tuple(gate(one, facts, now) for gate in gates)


def first_no(verdicts: tuple[Verdict, ...]) -> Verdict | None:
    """What decides: the first gate that does not pass."""
    return next((one for one in verdicts if not one.passes), None)


def free_credits(one: Candidate, facts: Facts) -> int:
    """How many messages like *one* may go now, its reserve left alone."""
    kept = facts.preference.reserve if one.keeps_reserve else 0
    return max(0, CREDITS - facts.used - kept)


def day_start(zone_of: Preference, now: datetime) -> datetime:
    """When the customer's calendar day began."""
    local = now.astimezone(zone_of.zone)
    return local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0).astimezone(UTC)


def day_end(zone_of: Preference, now: datetime) -> datetime:
    """When the customer's next calendar day begins."""
    local = now.astimezone(zone_of.zone)
    tomorrow = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0, tzinfo=None) + timedelta(
        days=1
    )
    return tomorrow.replace(tzinfo=zone_of.zone).astimezone(UTC)


def latest_before_quiet(wanted: datetime, preference: Preference, customer_at: datetime | None) -> datetime:
    """When to send what is wanted at *wanted*: then, or just before a quiet that the window does not outlast.

    For those who plan ahead (a summary). Only EARLIER moves anything.
    """
    quiet, end = preference.quiet_hours, window_end(customer_at)
    if quiet is None or end is None or preference.closing is not Closing.EARLIER:
        return wanted
    over = quiet.until(wanted, preference.zone)
    if over is None or is_open(customer_at, over):
        return wanted
    return _begin_of(quiet, wanted, preference) - timedelta(minutes=1)


def _begin_of(quiet: QuietHours, at: datetime, preference: Preference) -> datetime:
    window: Window = quiet.windows[0]
    day = at.astimezone(preference.zone).date()
    for one in (day, day - timedelta(days=1)):
        found = window.instance(one, preference.zone)
        if found is not None and found[0] <= at < found[1]:
            return found[0]
    return at


def _enabled(one: Candidate, facts: Facts, now: datetime) -> Verdict:
    gate = Gate.ENABLED
    if one.purpose.asked_for:
        return Verdict(gate, Word.PASS)
    if facts.unsubscribed:
        return Verdict(gate, Word.DROP, "unsubscribed")
    if not facts.preference.enabled:
        return Verdict(gate, Word.DROP, "disabled")
    return Verdict(gate, Word.PASS)


def _blocked(one: Candidate, facts: Facts, now: datetime) -> Verdict:
    if facts.blocked_at is None or one.purpose.asked_for:
        return Verdict(Gate.BLOCKED, Word.PASS)
    return Verdict(Gate.BLOCKED, Word.DROP, "customer_refused", {"blocked_at": _text(facts.blocked_at)})


def _score(one: Candidate, facts: Facts, now: datetime) -> Verdict:
    least = facts.preference.min_score
    if one.purpose is not Purpose.MATCH or one.score is None or one.score >= least:
        return Verdict(Gate.SCORE, Word.PASS)
    return Verdict(Gate.SCORE, Word.DROP, "score_too_low", {"score": one.score, "min_score": least})


def _session(one: Candidate, facts: Facts, now: datetime) -> Verdict:
    gate = Gate.SESSION
    if facts.state is None:
        return Verdict(gate, Word.DROP, WINDOW_CLOSED, {"session": "unknown"})
    state = SessionState(facts.state)
    told = {"state": int(state)}
    if state.ours:
        return Verdict(gate, Word.PASS, "", told)
    # Nothing is worth waiting for in a window that closes before anybody could act.
    if not is_open(facts.customer_at, now):
        return Verdict(gate, Word.PASS, "", told)
    if state in (SessionState.POOL, SessionState.HUMAN):
        reason = "session_pool" if state is SessionState.POOL else "session_human"
        return Verdict(gate, Word.HOLD, reason, told, _later(one, facts, now))
    if one.awaited_human and facts.preference.after_human is AfterHuman.SEND:
        return Verdict(gate, Word.HOLD, "session_ended", told, _later(one, facts, now))
    return Verdict(gate, Word.DROP, "session_ended", told)


def _code(one: Candidate, facts: Facts, now: datetime) -> Verdict:
    ends = one.code_expires_at
    if ends is not None and now < ends:
        return Verdict(Gate.CODE, Word.PASS)
    return Verdict(Gate.CODE, Word.DROP, "code_expired", {} if ends is None else {"expired_at": _text(ends)})


def _window(one: Candidate, facts: Facts, now: datetime) -> Verdict:
    end = window_end(facts.customer_at)
    told = {} if end is None else {"window_end": _text(end)}
    if is_open(facts.customer_at, now):
        return Verdict(Gate.WINDOW, Word.PASS, "", told)
    if one.kept or one.awaited_human:
        return Verdict(Gate.WINDOW, Word.HOLD, "next_window", told, _later(one, facts, now))
    return Verdict(Gate.WINDOW, Word.DROP, WINDOW_CLOSED, told)


def _credits(one: Candidate, facts: Facts, now: datetime) -> Verdict:
    free = free_credits(one, facts)
    told = {
        "used": facts.used,
        "of": CREDITS,
        "reserve": facts.preference.reserve if one.keeps_reserve else 0,
    }
    if free > 0:
        return Verdict(Gate.CREDITS, Word.PASS, "", told)
    if one.patient:
        return Verdict(Gate.CREDITS, Word.HOLD, WINDOW_FULL, told, _later(one, facts, now))
    return Verdict(Gate.CREDITS, Word.DROP, WINDOW_FULL, told)


def _quiet(one: Candidate, facts: Facts, now: datetime) -> Verdict:
    gate, preference = Gate.QUIET, facts.preference
    over = None if one.purpose.asked_for else preference.quiet_until(now)
    if over is None:
        return Verdict(gate, Word.PASS)
    end = window_end(facts.customer_at)
    told: dict[str, object] = {"quiet_ends": _text(over)}
    if end is not None:
        told["window_end"] = _text(end)
    if is_open(facts.customer_at, over):
        return Verdict(gate, Word.HOLD, "quiet_hours", told, over)
    policy = preference.too_late if preference.closing is Closing.EARLIER else preference.closing
    told |= {"closing": preference.closing.value, "policy": policy.value}
    if policy is Closing.DROP:
        return Verdict(gate, Word.DROP, "quiet_outlasts_window", told)
    return Verdict(gate, Word.HOLD, "quiet_digest", told, _later(one, facts, max(now, over - LOOK_AGAIN)))


def _daily(one: Candidate, facts: Facts, now: datetime) -> Verdict:
    limit = facts.preference.daily_limit
    told = {"today": facts.today, "daily_limit": limit}
    if one.purpose.asked_for or facts.today < limit:
        return Verdict(Gate.DAILY, Word.PASS, "", told)
    tomorrow = day_end(facts.preference, now)
    if limit == 0 or not is_open(facts.customer_at, tomorrow):
        return Verdict(Gate.DAILY, Word.DROP, "daily_limit", told)
    return Verdict(Gate.DAILY, Word.HOLD, "daily_limit", told, tomorrow)


def _picture(one: Candidate, facts: Facts, now: datetime) -> Verdict:
    """What was never kept may be kept yet; who asks by hand is told at once."""
    gate, told = Gate.PICTURE, {"picture": one.picture}
    if not one.picture_missing:
        return Verdict(gate, Word.PASS)
    if one.picture_missing == PICTURE_UNKNOWN and not one.patient:
        return Verdict(gate, Word.DROP, one.picture_missing, told)
    return Verdict(gate, Word.HOLD, one.picture_missing, told, _later(one, facts, now))


def _best_hour(one: Candidate, facts: Facts, now: datetime) -> Verdict:
    """Only for a match: who calls Push chose the instant, and so did the customer of a summary.

    What has waited for a servicer or a window already goes without waiting again.
    """
    passes = Verdict(Gate.BEST_HOUR, Word.PASS)
    hours, end = facts.hours, window_end(facts.customer_at)
    if one.purpose is not Purpose.MATCH or one.kept or one.awaited_human or hours is None or end is None:
        return passes
    closes = end if one.expires_at is None else min(end, one.expires_at)
    latest = min(closes - MARGIN, (one.admitted_at or now) + PATIENCE)
    best = better_instant(now, latest, facts.preference.quiet_until, hours)
    if best is None:
        return passes
    told = {"best_at": _text(best), "share": round(hours.at(best), 3), "share_now": round(hours.at(now), 3)}
    return Verdict(Gate.BEST_HOUR, Word.HOLD, "best_hour", told | {"window_end": _text(end)}, best)


def _words(one: Candidate, facts: Facts, now: datetime) -> Verdict:
    """Twenty seconds at most, and never into the end of the window or of the push."""
    end = window_end(facts.customer_at)
    passes = Verdict(Gate.WORDS, Word.PASS)
    if not one.words_awaited or one.admitted_at is None or end is None:
        return passes
    until = min(one.admitted_at + WORDS_WAIT, end - 2 * CLOSING)
    if one.expires_at is not None:
        until = min(until, one.expires_at - CLOSING)
    return Verdict(Gate.WORDS, Word.HOLD, AI_TEXT, {}, until) if now < until else passes


def _later(one: Candidate, facts: Facts, now: datetime) -> datetime:
    """When to look again at what waits for somebody: soon, but not beyond the instant at which its fate is sealed."""
    again = now + LOOK_AGAIN
    end = window_end(facts.customer_at)
    sealed = [at for at in (one.expires_at, None if end is None else end - CLOSING) if at and at > now]
    return min([again, *sealed])


def _text(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
