"""What ``reach explain`` prints of a story."""

from __future__ import annotations

import pytest
from reach.ai_orchestrator.v1 import run_pb2
from reach.campaign.v1 import explain_pb2 as campaign_pb2
from reach.notifier.v1 import explain_pb2

from cli.stories import Language, tell, tell_campaigns, tell_runs


@pytest.mark.parametrize(("lang", "change"), [("en", "→ make it urgent"), ("zh", "→ 设为 urgent")])
def test_the_smallest_change_stands_below_what_was_in_the_way(
    lang: Language, change: str, capsys: pytest.CaptureFixture[str]
) -> None:
    step = explain_pb2.ExplainStep(
        code="quiet_hours",
        text_zh="免打扰时段",
        text_en="quiet hours",
        change_zh="设为 urgent",
        change_en="make it urgent",
    )
    tell(
        [explain_pb2.Explanation(event_id="e1", steps=[step, explain_pb2.ExplainStep(code="planned")])], lang
    )
    shown = capsys.readouterr().out
    assert change in shown
    assert shown.count("→") == 1


@pytest.mark.parametrize(("lang", "said"), [("en", "app6_note: completed"), ("zh", "app6_note：完成")])
def test_a_run_is_told_in_the_terminal_s_language(
    lang: Language, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    step = run_pb2.ExplainStep(
        what="step", run_id="r1", text_zh="app6_note：完成", text_en="app6_note: completed"
    )
    tell_runs([step], lang)
    shown = capsys.readouterr().out
    assert said in shown
    assert shown.count("app6_note") == 1


@pytest.mark.parametrize(
    ("lang", "said", "then"), [("en", "it is paused", "→ resume it"), ("zh", "已暂停", "→ 恢复")]
)
def test_a_campaign_is_told_with_what_comes_next(
    lang: Language, said: str, then: str, capsys: pytest.CaptureFixture[str]
) -> None:
    step = campaign_pb2.ExplainStep(code="moved", text_zh="已暂停", text_en="it is paused")
    paused = campaign_pb2.Explanation(
        campaign_id="c1",
        campaign_name="春日",
        verdict="paused",
        steps=[step],
        next_zh="恢复",
        next_en="resume it",
    )
    sent = campaign_pb2.Explanation(campaign_id="c2", chat_id="wr1", task_id="t1", verdict="sent")
    tell_campaigns([paused, sent], lang)
    shown = capsys.readouterr().out
    assert said in shown
    assert then in shown
    assert "group wr1  task t1  sent" in shown
    assert shown.count("→") == 1
