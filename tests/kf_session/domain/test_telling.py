"""The story of a push, in words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from services.kf_session.domain.telling import tell

NOON = datetime(2026, 3, 2, 4, tzinfo=UTC)


def _row(**more: Any) -> dict[str, Any]:
    return {
        "id": "p1",
        "purpose": "reply",
        "status": "deferred",
        "reason": "",
        "hold_reason": "session_human",
        "created_at": NOON,
        "updated_at": NOON,
        "expires_at": NOON + timedelta(hours=24),
    } | more


def _note(gate: str, reason: str, **facts: Any) -> dict[str, Any]:
    return {"gate": gate, "reason": reason, "facts": facts, "at": NOON}


def test_what_waits_for_a_servicer_says_until_when() -> None:
    steps = tell(_row(), (), [_note("session", "session_human", state=3)])
    (held,) = [one for one in steps if one.code == "session"]
    assert "最迟至2026-03-03T04:00:00Z" in held.zh
    assert "until 2026-03-03T04:00:00Z at most" in held.en


def test_what_a_summary_tells_of_names_the_summary() -> None:
    steps = tell(
        _row(status="suppressed", reason="merged"), (), [_note("summary", "in_summary", into="p9", of=3)]
    )
    assert "并入每日汇总p9，共3条" in [one.zh for one in steps]
    assert "未发送：由另一条消息合并发送" in [one.zh for one in steps]


def test_a_match_that_is_none_any_more_is_told_in_chinese() -> None:
    steps = tell(_row(status="suppressed", reason="match_withdrawn"), (), ())
    assert steps[-1].zh.startswith("未发送：匹配已失效")
    assert "match_withdrawn" in steps[-1].en
