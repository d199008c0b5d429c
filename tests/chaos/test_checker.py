"""The checker sees what it is there to see: each planted fault is found, and named for what it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.notifier.domain.content import RESEND_MARK
from services.notifier.pipeline.settling import LATE
from tests.chaos.checker import check
from tests.chaos.history import Attempt, Delivery, History, Post, token_in

START = datetime(2026, 3, 2, 4, tzinfo=UTC)
APP, ROBOT = ("app:default", "user", "li"), ("robot:default", "robot", "default")


def attempt(delivery_id: str, number: int, state: str) -> Attempt:
    began = START + timedelta(seconds=10 * number)
    ended = None if state == "started" else began + timedelta(seconds=1)
    return Attempt(delivery_id, number, number, state, "one", "", began, ended)


def post(number: int, text: str = "evt1", *, robot: bool = False, errcode: int | None = 0) -> Post:
    return Post(number, "", robot, text, errcode)


@pytest.fixture
def healthy() -> History:
    """An app's delivery repeated after a kill, and an urgent robot post repeated likewise."""
    history = History(
        accepted={"evt1": frozenset({APP}), "evt2": frozenset({ROBOT})}, recorded={"evt1", "evt2"}
    )
    history.deliveries = {
        "d1": Delivery("d1", "evt1", "app:default", 1, "accepted", "", 2),
        "d2": Delivery("d2", "evt2", "robot:default", 0, "accepted", "", 2),
    }
    history.recipients |= {"d1": [APP], "d2": [ROBOT]}
    for key in ("d1", "d2"):
        history.attempts[key] = [attempt(key, 1, "unknown"), attempt(key, 2, "accepted")]
    history.posts["d1"] = [post(1), post(2)]
    history.posts["d2"] = [post(3, robot=True), post(4, RESEND_MARK, robot=True)]
    history.arrivals["d1", "li"] = 1
    return history


def found(history: History) -> set[str]:
    return {violation.invariant for violation in check(history)}


def test_a_healthy_history_has_nothing_wrong(healthy: History) -> None:
    assert check(healthy) == []


def _set(history: History, key: str, **values: object) -> None:
    history.deliveries[key] = replace(history.deliveries[key], **values)  # type: ignore[arg-type]


def _attempt(history: History, key: str, index: int, **values: object) -> None:
    history.attempts[key][index] = replace(history.attempts[key][index], **values)  # type: ignore[arg-type]


def _unplan(history: History) -> None:
    del history.deliveries["d1"]
    history.attempts.pop("d1")
    history.posts.pop("d1")


def _second_delivery(history: History) -> None:
    history.deliveries["d3"] = Delivery("d3", "evt1", "app:default", 1, "accepted", "", 1)
    history.recipients["d3"] = [APP]
    history.attempts["d3"] = [attempt("d3", 1, "accepted")]
    history.posts["d3"] = [post(9)]
    history.arrivals["d3", "li"] = 1


PLANTED: dict[str, tuple[Callable[[History], object], str]] = {
    "an accepted event is not in the inbox": (lambda h: h.recorded.discard("evt1"), "I1 lost"),
    "a recorded event has no delivery": (_unplan, "I1 lost"),
    "a recipient is missing": (lambda h: h.recipients["d1"].clear(), "I1 lost"),
    "an event has a second set of deliveries": (_second_delivery, "I4 doubled"),
    "a healthy event is parked": (lambda h: h.parked.append("handler_bug evt1"), "I8 parked"),
    "a delivery is still sending": (lambda h: _set(h, "d1", status="sending"), "I1 stuck"),
    "a delivery still waits": (lambda h: _set(h, "d1", status="deferred"), "I1 stuck"),
    "an attempt is still started": (lambda h: _attempt(h, "d1", 1, state="started"), "I12 stuck"),
    "an announcement is not published": (lambda h: setattr(h, "unpublished", 1), "I1 stuck"),
    "an attempt has vanished": (lambda h: h.attempts["d1"].pop(0), "I2 numbers"),
    "one attempt made two posts": (lambda h: h.posts["d1"].append(post(9)), "I2 second post"),
    "an attempt that was not sent made a post": (
        lambda h: _attempt(h, "d1", 0, state="not_sent"),
        "I2 second post",
    ),
    "a post belongs to nobody": (lambda h: h.strays.append(post(9)), "I2 stray"),
    "an accepted attempt is followed by another": (
        lambda h: _attempt(h, "d1", 0, state="accepted"),
        "I2 unexplained",
    ),
    "a refusal for good is followed by another": (
        lambda h: _attempt(h, "d1", 0, state="rejected_permanent"),
        "I2 unexplained",
    ),
    "a normal robot post is repeated": (lambda h: _set(h, "d2", priority=2), "I3 policy"),
    "a repeat is not marked": (lambda h: h.posts["d2"].__setitem__(1, post(4, robot=True)), "I3 policy"),
    "a delivery nobody took is accepted": (
        lambda h: h.posts["d1"].__setitem__(slice(None), [post(1, errcode=None)]),
        "I3 outcome",
    ),
    "a delivery is unknown without a reason": (
        lambda h: (
            _set(h, "d1", status="unknown"),
            _attempt(h, "d1", 0, state="not_sent"),
            h.posts["d1"].pop(),
        ),
        "I3 outcome",
    ),
    "a delivery failed though nothing refused it": (lambda h: _set(h, "d1", status="failed"), "I1 failed"),
    "a person was shown a repeat": (lambda h: h.arrivals.update([("d1", "li")]), "I1 arrival"),
    "a person was shown nothing": (lambda h: h.arrivals.clear(), "I1 arrival"),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_found(healthy: History, fault: str) -> None:
    plant, invariant = PLANTED[fault]
    plant(healthy)
    assert invariant in found(healthy)


def test_a_violation_shows_the_slice_it_was_seen_in(healthy: History) -> None:
    healthy.log.append("1.2 s: killed replica 0")
    healthy.posts["d1"].append(post(9))
    text = str(check(healthy)[0])
    assert "number=9" in text
    assert "state='unknown'" in text
    assert "killed replica 0" in text


def test_an_answer_that_came_late_explains_the_attempt_before_it(healthy: History) -> None:
    _attempt(healthy, "d1", 0, state="accepted", detail=f"{LATE}ok")
    assert check(healthy) == []


def test_the_word_of_an_event_is_found_in_any_text() -> None:
    assert token_in("【新订单】\n订单号：evt0042\n桌号") == "evt0042"
    assert token_in("no word") == ""
