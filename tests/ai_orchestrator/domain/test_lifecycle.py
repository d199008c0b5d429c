"""Runs by the rules alone: steps let go in any order and ended in any way."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from services.ai_orchestrator.definition_files import load_chains
from services.ai_orchestrator.domain.call import CallProblem
from services.ai_orchestrator.domain.definitions import Subject
from services.ai_orchestrator.domain.lifecycle import (
    CANCELLED,
    INTERRUPTED,
    LOST,
    REPEATS,
    TIMEOUT,
    UNKNOWN_REPEATS,
    AttemptStatus,
    Part,
    RunStatus,
    StepStatus,
    after_problem,
    attempt_status,
    releasable,
    run_status,
)
from services.ai_orchestrator.domain.planning import Site, plan

NOW = datetime(2026, 3, 2, 4, tzinfo=UTC)
SITE = Site(ZoneInfo("Asia/Shanghai"))
ENDS = [one for one in StepStatus if not one.open]
GOOD = (StepStatus.COMPLETED, StepStatus.CACHED)


@given(
    chain=st.sampled_from(load_chains()),
    assistant=st.sampled_from(["", "a1"]),
    width=st.sampled_from([0, 1, 8]),
    data=st.data(),
)
def test_in_whatever_order_steps_end_each_is_let_go_once_and_after_those_it_awaits(
    chain, assistant, width, data
):
    steps = plan(chain, Subject("s1", "m1", assistant), SITE)
    states = {step.name: StepStatus.BLOCKED for step in steps}

    def open_parts():
        return [
            Part(step.name, step.name, states[step.name], step.after)
            for step in steps
            if states[step.name].open
        ]

    while parts := open_parts():
        freed = releasable(parts, width)
        for part in freed:
            assert states[part.name] is StepStatus.BLOCKED
            assert all(not states[awaited].open for awaited in part.after)
            states[part.name] = StepStatus.PENDING
        busy = [name for name, state in states.items() if state.open and state is not StepStatus.BLOCKED]
        assert busy, "an open run has something that goes on"
        assert not width or len(busy) <= width
        assert releasable(open_parts(), width) == [], "what may go has gone"
        states[data.draw(st.sampled_from(busy))] = data.draw(st.sampled_from(ENDS))
    assert not run_status(list(states.values())).open


@given(
    statuses=st.lists(st.sampled_from([one for one in StepStatus if one.open]), max_size=20),
    width=st.integers(1, 5),
    data=st.data(),
)
def test_a_step_that_has_its_answer_takes_no_room_and_still_holds_back_what_awaits_it(statuses, width, data):
    parts = [Part(f"{at}", f"{at}", status, ()) for at, status in enumerate(statuses)]
    going = [part.id for part in parts if part.status is not StepStatus.BLOCKED]
    answered = data.draw(st.sets(st.sampled_from(going)) if going else st.just(set()))
    freed = releasable(parts, width, answered)
    room, waiting = max(0, width - len(going) + len(answered)), len(parts) - len(going)
    assert len(freed) == min(room, waiting)
    if answered:
        last = Part("last", "last", StepStatus.BLOCKED, (min(answered),))
        assert last not in releasable([*parts, last], 100, answered)


@given(ends=st.lists(st.sampled_from(ENDS), min_size=1, max_size=8))
def test_a_run_ended_as_its_steps_did(ends):
    status = run_status(ends)
    bad = [one for one in ends if one not in (*GOOD, StepStatus.SKIPPED)]
    assert (status is RunStatus.COMPLETED) == (not bad)
    assert (status is RunStatus.FAILED) == (bool(bad) and not any(one in GOOD for one in ends))
    assert status in (RunStatus.COMPLETED, RunStatus.PARTIAL, RunStatus.FAILED)
    assert run_status(ends[::-1]) is status


PROBLEMS = st.builds(
    CallProblem,
    reason=st.sampled_from(["throttled", "server_error", "unknown", TIMEOUT, LOST, INTERRUPTED, CANCELLED]),
    http_status=st.sampled_from([None, 429, 500]),
    sent=st.booleans(),
    repeatable=st.booleans(),
    retry_at=st.one_of(st.none(), st.integers(-10, 400).map(lambda at: NOW + timedelta(seconds=at))),
)


@given(
    problems=st.lists(PROBLEMS, min_size=1, max_size=12),
    limit=st.integers(0, 300),
    jitter=st.floats(0, 1, exclude_max=True),
)
def test_a_step_is_asked_again_a_bounded_number_of_times_and_never_after_its_time(problems, limit, jitter):
    until, now = NOW + timedelta(seconds=limit), NOW
    earlier: list[AttemptStatus] = []
    for problem in problems:
        following = after_problem(problem, earlier, now, until, jitter=jitter)
        earlier.append(attempt_status(problem))
        if following.status is StepStatus.FAILED:
            break
        assert problem.repeatable
        assert now < until
        if following.due_at is not None:
            assert following.status is StepStatus.DEFERRED
            assert now < following.due_at < until
            now = following.due_at
    failed = [one for one in earlier if one in (AttemptStatus.FAILED, AttemptStatus.UNKNOWN)]
    assert len(failed) <= REPEATS + 1
    assert earlier.count(AttemptStatus.UNKNOWN) <= UNKNOWN_REPEATS + 1
