"""How an urgent message went on: opened, climbed, answered, or answered by nobody; told as ``explain`` tells the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from services.notifier.domain.escalation import BUTTONS, LEVEL_NAMES, Action, Level
from services.notifier.domain.explain import Step
from shared.values import value_class


@value_class
class Happened:
    """One thing that happened to an escalation, as recorded."""

    kind: str
    level: Level
    at: datetime
    who: str = ""
    action: str = ""
    by_card: bool = False
    counted: bool = True
    comment: str = ""
    told: Sequence[str] = ()


@value_class
class EscalationTold:
    """One escalation, as recorded."""

    rule_id: str
    title: str
    after: timedelta
    opened_at: datetime
    happened: Sequence[Happened] = ()


def escalation_steps(told: EscalationTold) -> Iterator[Step]:
    """Its story, in order."""
    facts = {"rule_id": told.rule_id}
    minutes = f"{told.after.total_seconds() / 60:g}"
    within = f"{minutes} minute{'s' * (minutes != '1')}"
    yield Step(
        "escalation_opened",
        f"规则「{told.title}」等待确认；每级 {minutes} 分钟内无人确认则上报下一级",
        f"rule {told.rule_id} waits for an answer; without one within {within} a level, it climbs",
        told.opened_at,
        facts | {"after_seconds": str(int(told.after.total_seconds()))},
    )
    for one in told.happened:
        yield from _STEPS[one.kind](one, facts)


def _climbed(one: Happened, facts: dict[str, str]) -> Iterator[Step]:
    zh, en = LEVEL_NAMES[one.level]
    names = "、".join(one.told)
    yield Step(
        "escalation_climbed",
        f"无人确认，已上报{zh}：{names}",
        f"nobody had answered; it climbed to {en}: {', '.join(one.told)}",
        one.at,
        facts | {"level": str(one.level.value), "told": ",".join(one.told)},
    )


def _answered(one: Happened, facts: dict[str, str]) -> Iterator[Step]:
    action = Action(one.action)
    facts = facts | {"by": one.who, "action": one.action, "level": str(one.level.value)}
    if one.comment:
        facts["comment"] = one.comment
    said_zh, said_en = (f"：{one.comment}", f": {one.comment}") if one.comment else ("", "")
    how_zh, how_en = ("点击了卡片按钮", "pressed") if one.by_card else ("通过接口回复了", "called")
    late_zh, late_en = ("", "") if one.counted else ("；在此之前已有回复，未产生效果", "; too late to count")
    yield Step(
        "card_clicked" if one.by_card else "answered_by_call",
        f"{one.who} {how_zh}「{BUTTONS[action]}」{said_zh}{late_zh}",
        f"{one.who} {how_en} {action.value} ({BUTTONS[action]}){said_en}{late_en}",
        one.at,
        facts | {"counted": str(one.counted).lower()},
    )
    if not one.counted:
        return
    if action.settles:
        yield Step(
            "escalation_acknowledged",
            f"{one.who} 已确认，不再上报",
            f"{one.who} has answered; it climbs no further",
            one.at,
            facts,
        )
    else:
        yield Step(
            "escalation_handed_over",
            f"{one.who} 已转派，立即上报下一级",
            f"{one.who} handed it over; it climbs at once",
            one.at,
            facts,
        )


def _exhausted(one: Happened, facts: dict[str, str]) -> Iterator[Step]:
    yield Step(
        "escalation_exhausted",
        "所有级别均已通知，无人确认",
        "every level was told, and nobody has answered",
        one.at,
        facts,
    )


_STEPS = {"climbed": _climbed, "answered": _answered, "exhausted": _exhausted}
