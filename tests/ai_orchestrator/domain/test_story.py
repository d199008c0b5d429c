"""A run's story says the same in Chinese and in English, whatever became of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from services.ai_orchestrator.domain.lifecycle import AttemptStatus, RunStatus, StepStatus
from services.ai_orchestrator.domain.story import tell_event, tell_run

NOON = datetime(2026, 3, 2, 4, tzinfo=UTC)
RUN = {
    "id": "r1", "chain": "note", "member_id": "m1", "assistant_id": "", "trigger": "event", "created_at": NOON,
    "finished_at": NOON, "status": "completed", "reason": "", "error": "",
}  # fmt: skip
STEP = {
    "id": "s1", "name": "app6_note", "refusals": [], "missing": [], "started_at": NOON, "finished_at": None,
    "status": "running", "reason": "", "error": "", "due_at": NOON, "rank": NOON, "hold_reason": None,
}  # fmt: skip
ATTEMPT = {
    "step_id": "s1", "attempt_no": 2, "started_at": NOON, "reason": "", "error": "", "code": "",
    "charged_tokens": 30,
}  # fmt: skip


def chinese(text: str) -> bool:
    return any("\u4e00" <= letter <= "\u9fff" for letter in text)


def pairs(run: Any = RUN, step: Any = STEP, *attempts: Any) -> list[tuple[str, str, str]]:
    told = tell_run(run, [step], attempts)
    assert all(chinese(one.zh) and not chinese(one.en) for one in told)
    return [(one.what, one.zh, one.en) for one in told]


@pytest.mark.parametrize("status", [one for one in RunStatus if not one.open])
def test_every_end_of_a_run_is_told(status: RunStatus) -> None:
    ((_, _, en),) = [one for one in pairs({**RUN, "status": status.value}) if one[0] == "end"]
    assert en == status.value


@pytest.mark.parametrize("status", list(StepStatus))
def test_every_state_of_a_step_is_told(status: StepStatus) -> None:
    over = {} if status.open else {"finished_at": NOON, "missing": ["app3_clue:failed"]}
    ((_, zh, en),) = [one for one in pairs(step={**STEP, "status": status.value, **over}) if one[0] == "step"]
    assert en.startswith("app6_note: ")
    assert ("app3_clue:failed" in zh) == ("app3_clue:failed" in en) == bool(over)


@pytest.mark.parametrize("status", list(AttemptStatus))
def test_every_end_of_a_request_is_told(status: AttemptStatus) -> None:
    told = pairs(RUN, STEP, {**ATTEMPT, "status": status.value, "error": "boom"})
    ((_, zh, en),) = [one for one in told if one[0] == "attempt"]
    assert ("boom" in zh) == ("boom" in en) == (status is not AttemptStatus.COMPLETED)
    assert "第 2 次" in zh
    assert "#2" in en


@pytest.mark.parametrize(
    ("decision", "reason"),
    [
        ({"run_id": "r1"}, "started"),
        ({"run_id": "r1", "deduplicated": True, "follow_up_run_id": "r2"}, "deduplicated"),
        ({"reason": "no_chain"}, "no_chain"),
        (None, ""),
    ],
)
def test_what_became_of_an_event_is_told(decision: Any, reason: str) -> None:
    row = {"event_type": "note.created", "decision": decision, "duplicates": 1, "received_at": NOON}
    told = tell_event(row)
    assert told.reason == reason
    assert chinese(told.zh)
    assert not chinese(told.en)
    assert ("2 次" in told.zh, "2 times" in told.en) == (True, True)
    for run_id in ("r1", "r2"):
        assert (run_id in told.zh) == (run_id in told.en)
