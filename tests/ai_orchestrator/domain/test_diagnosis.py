"""What the doctor says of the settings of DashScope."""

from __future__ import annotations

import pytest

from services.ai_orchestrator.domain.diagnosis import applications_finding
from shared.ops.finding import CheckStatus

APPS = ("app3_clue", "app6_note")


@pytest.mark.parametrize(
    ("ids", "has_key", "status", "words"),
    [
        ({"app3_clue", "app6_note"}, True, CheckStatus.OK, "ids of 2 applications"),
        ({"app3_clue"}, True, CheckStatus.FAILED, "no application id of app6_note"),
        (set(), True, CheckStatus.FAILED, "app3_clue, app6_note"),
        ({"app3_clue", "app6_note"}, False, CheckStatus.SKIPPED, "DASHSCOPE_API_KEY is not set"),
    ],
)
def test_an_application_needs_a_key_and_an_id(
    ids: set[str], has_key: bool, status: CheckStatus, words: str
) -> None:
    found = applications_finding(APPS, ids, has_key=has_key)
    assert found.status is status
    assert words in found.found
    assert bool(found.fix) == (status is not CheckStatus.OK)
