"""Why did this push go out, or not: told in Chinese and in English from what was recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from shared.values import value_class

_GATES: Final[Mapping[str, tuple[str, str]]] = {
    "unsubscribed": ("客户已退订", "the customer has unsubscribed"),
    "disabled": ("推送已关闭", "pushes are switched off for the customer"),
    "customer_refused": (
        "客户拒收，待其下次来信",
        "the customer refuses our messages, until they write again",
    ),
    "score_too_low": (
        "匹配度{score}低于最低要求{min_score}",
        "the score {score} is below the least, {min_score}",
    ),
    "session_human": (
        "人工正在接待，等待会话结束，最迟至{expires}，逾期不再发送",
        "a servicer has the session; it waits for the end, until {expires} at most, and is not sent after that",
    ),
    "session_pool": (
        "会话在待接入池中，等待会话结束，最迟至{expires}，逾期不再发送",
        "the session waits in the pool for a servicer; it waits until {expires} at most, and is not sent after that",
    ),
    "session_ended": (
        "会话已结束，客户来信后可再发",
        "the session has ended; a message of the customer opens it",
    ),
    "code_expired": ("一次性凭证已过期", "its one-shot code has expired"),
    "KF_WINDOW_CLOSED": (
        "48小时窗口已关闭（{window_end}），客户来信后重新打开",
        "the 48 hours are over ({window_end}); the customer's next message opens them again",
    ),
    "KF_WINDOW_FULL": (
        "窗口内额度已用{used}/{of}（预留{reserve}），等待客户来信",
        "{used} of {of} messages are used (reserve {reserve}); it waits for the customer to write",
    ),
    "next_window": ("等待客户下次来信", "it waits for the customer to write again"),
    "quiet_hours": ("静默时段，{quiet_ends}后发送", "quiet hours; it goes after {quiet_ends}"),
    "quiet_digest": (
        "静默时段长于窗口（至{window_end}），留到下次窗口合并发送",
        "the quiet outlasts the window (until {window_end}); kept for one list in the next window",
    ),
    "quiet_outlasts_window": (
        "静默时段长于窗口（至{window_end}），按策略放弃",
        "the quiet outlasts the window (until {window_end}); dropped, as the policy says",
    ),
    "daily_limit": (
        "当日已发{today}条，上限{daily_limit}条",
        "{today} of {daily_limit} pushes of the day are used",
    ),
    "best_hour": (
        "等待客户最可能回复的时段，{best_at}发送（窗口至{window_end}）",
        "it waits for the hour at which the customer is likeliest to answer, {best_at} (window until {window_end})",
    ),
    "picture_unknown": (
        "没有名为{picture}的图片，上传后发送",
        "there is no picture {picture}; it goes once one is kept under that name",
    ),
    "picture_pending": ("图片{picture}正在上传", "its picture {picture} is about to be uploaded"),
    "picture_failed": (
        "图片{picture}上传失败，正在重试",
        "its picture {picture} could not be uploaded; it is tried again",
    ),
    "merged": ("额度不足，合并到{into}", "too few credits: merged into {into}"),
    "in_summary": ("并入每日汇总{into}，共{of}条", "one of {of} that the daily summary {into} tells of"),
    "ai_text": ("等待AI撰写文案，最多20秒", "it waits for the words of a model, 20 s at most"),
    "ai_text_used": ("使用AI撰写的文案", "it goes with the words of a model"),
    "ai_text_not_used": (
        "使用模板文案，未采用AI文案：{why}",
        "it goes with the template's words, not a model's: {why}",
    ),
    "resolved": ("运维人员核实了结果", "an operator found out what it was"),
}
_WHY: Final[Mapping[str, tuple[str, str]]] = {
    "merged": ("由另一条消息合并发送", "merged: another push carries it"),
    "match_withdrawn": (
        "匹配已失效（意图或资料已删除、变更，或意图改属他人）",
        "match_withdrawn: the intent or the profile is gone, changed, or another customer's",
    ),
}
"""Why one was not sent, where no gate has said it already."""

_DECIDED: Final[Mapping[str, tuple[str, str]]] = {
    "our_own": (
        "这是本服务自己发布的匹配 {match}，不重复处理",
        "it is our own announcement of the match {match}",
    ),
    "known": ("匹配 {match} 已存在，不重复推送", "the match {match} is there already; nobody is told twice"),
    "no_session": (
        "客户从未在该客服账号发过消息，无法推送；客户来信后由每日汇总告知",
        "the customer never wrote to an account of the store; the daily summary tells of it once they have",
    ),
    "told": ("记为匹配 {match}，并告知客户", "taken as the match {match}, to be told to its customer"),
}

_ENDS: Final[Mapping[str, tuple[str, str]]] = {
    "pending": ("等待发送", "it waits for a free sender"),
    "deferred": ("暂缓：{hold_reason}", "it waits: {hold_reason}"),
    "sending": ("正在发送", "it is being sent"),
    "accepted": ("平台已接收", "the platform took it"),
    "failed": ("发送失败：{reason}", "it failed: {reason}"),
    "unknown": ("结果不明，额度按已用计", "nobody can tell whether it arrived; its credit counts as used"),
    "suppressed": ("未发送：{why_zh}", "it was not sent: {why_en}"),
    "expired": ("已过期，未发送", "it expired before it could go"),
}


@value_class
class Step:
    """One thing that happened or was decided."""

    push_id: str
    code: str
    zh: str
    en: str
    at: datetime


def tell_event(
    event_type: str, received_at: datetime, duplicates: int, decision: Mapping[str, object]
) -> list[Step]:
    """What was made of an event."""
    again, again_en = (
        (f"，另有{duplicates}份相同", f", and {duplicates} more of it") if duplicates else ("", "")
    )
    reason, match_id = str(decision.get("reason", "told")), str(decision.get("match_id", "–"))
    zh, en = _DECIDED.get(reason, (reason, reason))
    return [
        Step(
            "", "received", f"收到事件 {event_type}{again}", f"received {event_type}{again_en}", received_at
        ),
        Step("", reason, zh.format(match=match_id), en.format(match=match_id), received_at),
    ]


def tell_match(
    intent_id: str,
    profile_id: str,
    score: float,
    matched_at: datetime,
    unpushed_reason: str,
    withdrawn_at: datetime | None,
) -> list[Step]:
    """What is known of a match; nobody's name."""
    zh, en = (
        f"意图{intent_id}匹配到{profile_id}（{score:.0%}）",
        f"intent {intent_id} matches {profile_id} ({score:.0%})",
    )
    steps = [Step("", "matched", zh, en, matched_at)]
    if unpushed_reason:
        zh, en = _DECIDED.get(unpushed_reason, (unpushed_reason, unpushed_reason))
        steps.append(Step("", unpushed_reason, zh, en, matched_at))
    if withdrawn_at is not None:
        steps.append(Step("", "withdrawn", *_WHY["match_withdrawn"], withdrawn_at))
    return steps


def tell_opinion(score: float | None, reason: str, outcome: str, at: datetime) -> Step:
    """What became of asking a model for its opinion of a match; *outcome* is empty while it is still to answer."""
    if score is not None:
        return Step("", "ai_score", f"AI评分{score:.0%}：{reason}", f"AI score {score:.0%}: {reason}", at)
    if not outcome:
        return Step("", "ai_score", "等待AI评分", "an AI score is asked for", at)
    return Step("", "ai_score", f"没有AI评分：{outcome}", f"no AI score: {outcome}", at)


def tell(
    row: Mapping[str, Any], attempts: Sequence[Mapping[str, Any]], notes: Sequence[Mapping[str, Any]]
) -> list[Step]:
    """The story of one push, in the order in which it happened."""
    return sorted(_steps(row, attempts, notes), key=lambda step: step.at)


def _steps(
    row: Mapping[str, Any], attempts: Sequence[Mapping[str, Any]], notes: Sequence[Mapping[str, Any]]
) -> Iterator[Step]:
    push_id = row["id"]
    purpose = row["purpose"]
    yield Step(push_id, "admitted", f"已受理（{purpose}）", f"admitted ({purpose})", row["created_at"])
    for note in notes:
        zh, en = _GATES.get(note["reason"], (note["reason"], note["reason"]))
        facts = _Facts({**note["facts"], "expires": _instant(row["expires_at"])})
        gate = note["gate"]
        yield Step(push_id, gate, zh.format_map(facts), f"{gate}: {en.format_map(facts)}", note["at"])
    for one in attempts:
        number, state = one["attempt_no"], one["state"]
        code = "" if one["errcode"] is None else f"，errcode {one['errcode']}"
        en_code = "" if one["errcode"] is None else f", errcode {one['errcode']}"
        zh, en = f"第{number}次尝试：{state}{code}", f"try {number}: {state}{en_code}"
        yield Step(push_id, "attempt", zh, en, one["finished_at"] or one["started_at"])
    zh, en = _ENDS[row["status"]]
    facts = _Facts({"reason": row["reason"], "hold_reason": row["hold_reason"] or ""})
    facts["why_zh"], facts["why_en"] = _WHY.get(row["reason"], (row["reason"], row["reason"]))
    yield Step(push_id, row["status"], zh.format_map(facts), en.format_map(facts), row["updated_at"])


def _instant(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


class _Facts(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return "–"
