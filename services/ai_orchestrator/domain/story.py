"""The story of a run, from its rows: what happened when, and why; in Chinese and in English over the same facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from services.ai_orchestrator.domain.lifecycle import AttemptStatus, RunStatus, StepStatus
from shared.values import value_class

Row = Mapping[Any, Any]

_ENDS: Final[Mapping[str, str]] = {
    RunStatus.COMPLETED: "全部完成",
    RunStatus.PARTIAL: "部分完成",
    RunStatus.FAILED: "失败",
    RunStatus.CANCELLED: "已取消",
}
_STEPS: Final[Mapping[str, str]] = {
    StepStatus.BLOCKED: "等待前面的步骤",
    StepStatus.PENDING: "等待处理",
    StepStatus.DEFERRED: "推迟",
    StepStatus.RUNNING: "处理中",
    StepStatus.COMPLETED: "完成",
    StepStatus.CACHED: "沿用已有结果",
    StepStatus.SKIPPED: "跳过",
    StepStatus.FAILED: "失败",
    StepStatus.REFUSED: "被拦下",
    StepStatus.CANCELLED: "已取消",
}
_ATTEMPTS: Final[Mapping[str, str]] = {
    AttemptStatus.CALLING: "请求中",
    AttemptStatus.COMPLETED: "成功",
    AttemptStatus.REFUSED_REPLY: "回答不合格",
    AttemptStatus.FAILED: "失败",
    AttemptStatus.UNKNOWN: "结果不明",
    AttemptStatus.CANCELLED: "已取消",
}


@value_class
class Told:
    """One thing that happened, or did not."""

    at: datetime
    what: str
    """event, run, step, gate, attempt or end."""
    reason: str
    zh: str
    en: str
    run_id: str = ""


def tell_event(row: Row) -> Told:
    """What became of an event that came in."""
    decision = row["decision"] or {}
    kind, run_id = row["event_type"], decision.get("run_id", "")
    if decision.get("deduplicated"):
        zh, en, reason = f"由当天的运行 {run_id} 处理", f"today's run {run_id} answers it", "deduplicated"
        if later := decision.get("follow_up_run_id"):
            zh += f"；其中新的内容由 {later} 再看一次"
            en += f"; what is new in it is looked at by {later}"
    elif run_id:
        zh, en, reason = f"启动了运行 {run_id}", f"started run {run_id}", "started"
    else:
        zh, en, reason = "资料已保存", "its facts were kept", decision.get("reason", "")
    if times := row["duplicates"]:
        zh += f"；共收到 {times + 1} 次"
        en += f"; it came {times + 1} times"
    return Told(row["received_at"], "event", reason, f"{kind}：{zh}", f"{kind}: {en}", run_id)


def tell_run(run: Row, steps: Sequence[Row], attempts: Sequence[Row]) -> list[Told]:
    """A run from its beginning to its end, oldest first."""
    run_id = run["id"]
    about = " ".join(one for one in (run["chain"], run["member_id"], run["assistant_id"]) if one)
    told = [Told(run["created_at"], "run", run["trigger"], f"开始 {about}", about, run_id)]
    names = {step["id"]: step["name"] for step in steps}
    told += [_tell_attempt(one, names.get(one["step_id"], ""), run_id) for one in attempts]
    for step in steps:
        told += _tell_step(step, run_id)
    if run["finished_at"] is not None:
        status, error = run["status"], run["error"]
        zh, en = f"结束：{_ENDS[status]} {error}".rstrip(), f"{status} {error}".rstrip()
        told.append(Told(run["finished_at"], "end", run["reason"], zh, en, run_id))
    return sorted(told, key=lambda one: one.at)


def _tell_attempt(one: Row, step: str, run_id: str) -> Told:
    status, number = one["status"], one["attempt_no"]
    if status == AttemptStatus.COMPLETED:
        tokens = one["charged_tokens"]
        zh, en = f"{tokens} 个 token", f"{tokens} tokens"
    else:
        zh = en = one["error"] or one["code"]
    return Told(
        one["started_at"],
        "attempt",
        one["reason"],
        f"{step} 第 {number} 次请求：{_ATTEMPTS[status]} {zh}".rstrip(),
        f"{step} #{number}: {status} {en}".rstrip(),
        run_id,
    )


def _tell_step(step: Row, run_id: str) -> list[Told]:
    name, status = step["name"], step["status"]
    told = [
        Told(
            datetime.fromisoformat(no["at"]),
            "gate",
            no["refusal"],
            f"{name}：{no['detail']}",
            f"{name}: {no['detail']}",
            run_id,
        )
        for no in step["refusals"]
    ]
    lacking = ", ".join(step["missing"])
    without = (f"；缺少 {lacking}", f"; without {lacking}") if lacking else ("", "")
    if step["finished_at"] is not None:
        zh, en = (f"{name}{colon}{said} {step['error']}".rstrip() for colon, said in _said(status))
        told.append(
            Told(step["finished_at"], "step", step["reason"], zh + without[0], en + without[1], run_id)
        )
    elif status == StepStatus.DEFERRED:
        until = f"{step['due_at']:%Y-%m-%dT%H:%M:%SZ}"
        at, why = step["started_at"] or step["rank"], step["hold_reason"] or ""
        told.append(Told(at, "step", why, f"{name}：等到 {until}", f"{name}: waits until {until}", run_id))
    elif step["started_at"] is not None:
        zh, en = (f"{name}{colon}{said}" for colon, said in _said(status))
        told.append(Told(step["started_at"], "step", status, zh + without[0], en + without[1], run_id))
    return told


def _said(status: str) -> tuple[tuple[str, str], tuple[str, str]]:
    return ("：", _STEPS[status]), (": ", status)
