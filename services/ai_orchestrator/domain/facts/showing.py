"""Views: what prompts show of the facts, as JSON values with Chinese names, which models and people read without a key.

Amounts are yuan as text, instants the store's local time. Nothing in a view depends on the instant it was made but by
the days it is of, so that the same facts give the same fingerprint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from services.ai_orchestrator.domain.clues import Clue
from services.ai_orchestrator.domain.facts.figures import Figures, Share, change, hours, number, yuan
from services.ai_orchestrator.domain.facts.kinds import NoteFact, Profile, TaskFact, VisitFact
from services.ai_orchestrator.domain.facts.stores import ALL, TIME_DIMENSIONS, Store
from services.ai_orchestrator.domain.facts.windows import Window
from shared.telemetry.redaction import redact
from shared.values import value_class

_LONGEST_TEXT: Final = 2000
"""Characters of one note or name."""
_WEEKDAYS: Final = "一二三四五六日"


@value_class
class Finance:
    """What a store took in a window, and in the one before."""

    time_dimension: str
    area: str
    window: Window
    before: Window
    figures: Figures
    figures_before: Figures
    by_area: Sequence[Share] = ()
    """By the folded names that tills use; empty is a visit of none."""
    items: Sequence[Share] = ()
    trend: Sequence[tuple[Window, Share]] = ()


def finance(store: Store, found: Finance) -> dict[str, Any]:
    """A window's figures against those of the window before."""
    now, before = found.figures, found.figures_before
    view: dict[str, Any] = {
        "门店": text(store.name or store.store_id),
        "区域": text(store.title(found.area)),
        "统计口径": TIME_DIMENSIONS[found.time_dimension],
        "本期": {"起止": _days(found.window)} | _figures(now),
        "上期": {"起止": _days(found.before)} | _figures(before),
        "变化": {
            "营业额": change(now.revenue_cents, before.revenue_cents) or "上期为零",
            "消费单数": change(now.visits, before.visits) or "上期为零",
            "客单价": change(now.ticket_cents, before.ticket_cents) or "上期为零",
            "时长": change(now.seconds, before.seconds) or "上期为零",
            "到店会员数": change(now.members, before.members) or "上期为零",
        },
        "热销项目": [_item(one) for one in found.items],
        "走势": [
            {
                "日期": _days(step) if step.days > 1 else step.first.isoformat(),
                "营业额": yuan(one.cents),
                "消费单数": one.count,
            }
            for step, one in found.trend
        ],
    }
    if found.area == ALL:
        view["区域构成"] = areas(store, found.by_area)
    return view


def areas(store: Store, shares: Sequence[Share]) -> list[dict[str, Any]]:
    """The figures of each area of the floor with those within it; what tills call otherwise is one more."""
    rows = []
    known: set[str] = set()
    for area in store.areas:
        spoken = store.spoken(area.key) or frozenset()
        known |= spoken
        rows.append((area.title, [one for one in shares if one.name in spoken]))
    rows.append(("未登记区域", [one for one in shares if one.name not in known]))
    return [
        {
            "区域": text(title),
            "营业额": yuan(sum(one.cents for one in some)),
            "消费单数": sum(one.count for one in some),
        }
        for title, some in rows
        if some
    ]


@value_class
class Known:
    """What is kept of a member, or of an assistant's work."""

    profile: Profile | None
    figures: Figures
    by_area: Sequence[Share] = ()
    by_assistant: Sequence[Share] = ()
    """By the assistant's id; empty is none."""
    items: Sequence[Share] = ()
    notes: int = 0


def member(store: Store, member_id: str, known: Known, names: Mapping[str, str]) -> dict[str, Any]:
    """A member, and what their visits come to."""
    return {
        "档案": _profile(member_id, known.profile),
        "消费概况": _summary(store.zone, known.figures),
        "常去区域": areas(store, known.by_area),
        "常见助教": [
            {"助教": _named(one.name, names), "服务次数": one.count} for one in known.by_assistant if one.name
        ],
        "常点项目": [_item(one) for one in known.items],
        "备注条数": known.notes,
    }


def assistant(store: Store, assistant_id: str, known: Known) -> dict[str, Any]:
    """An assistant, and the visits they looked after."""
    return {
        "档案": _profile(assistant_id, known.profile),
        "服务概况": _summary(store.zone, known.figures) | {"服务过的会员数": known.figures.members},
    }


def pair(
    store: Store,
    together: Figures,
    of_member: Figures,
    visits: Sequence[VisitFact],
    tasks: Sequence[TaskFact],
) -> dict[str, Any]:
    """What an assistant and a member have had to do with each other."""
    share = f"{together.visits * 100 // of_member.visits}%" if of_member.visits else "会员没有到店记录"
    return {
        "共同消费": _summary(store.zone, together),
        "占会员到店比例": share,
        "最近的共同消费": [_visit(store, one, {}) for one in visits],
        "会员最近到店": None if of_member.last_at is None else local(of_member.last_at, store.zone),
        "任务": [{"派给助教的时间": local(one.assigned_at, store.zone)} for one in tasks],
    }


def visits(store: Store, found: Sequence[VisitFact], names: Mapping[str, str]) -> list[dict[str, Any]]:
    """A member's last visits."""
    return [_visit(store, one, names) for one in found]


def notes(store: Store, found: Sequence[NoteFact]) -> list[dict[str, Any]]:
    """What staff wrote of a member last."""
    return [
        {"时间": local(one.noted_at, store.zone), "员工": text(one.noted_by), "内容": text(one.content)}
        for one in found
    ]


def tasks(store: Store, found: Sequence[TaskFact], names: Mapping[str, str]) -> list[dict[str, Any]]:
    """To whom a member was given last."""
    return [
        {"助教": _named(one.assistant_id, names), "派给助教的时间": local(one.assigned_at, store.zone)}
        for one in found
    ]


def clues(store: Store, found: Sequence[tuple[datetime, Clue]]) -> list[dict[str, Any]]:
    """What people keep in mind of a member, written by hand, with the instants it was."""
    return [
        {"时间": local(at, store.zone), "类别": text(one.category), "线索": text(one.shown)}
        | ({"说明": text(one.detail)} if one.detail else {})
        for at, one in found
    ]


def local(at: datetime, zone: ZoneInfo) -> str:
    """An instant on the store's clocks, with its day of the week: habits are made of those."""
    there = at.astimezone(zone)
    return f"{there:%Y-%m-%d %H:%M} 周{_WEEKDAYS[there.weekday()]}"


def text(given: str) -> str:
    """What a person wrote, cut, with telephone numbers and secrets masked: a model needs neither."""
    masked = redact(given)
    return masked if len(masked) <= _LONGEST_TEXT else masked[:_LONGEST_TEXT] + "…（已截断）"


def _days(window: Window) -> str:
    return f"{window.first} 至 {window.last}"


def _figures(of: Figures) -> dict[str, Any]:
    return {
        "营业额": yuan(of.revenue_cents),
        "消费单数": of.visits,
        "客单价": None if of.ticket_cents is None else yuan(of.ticket_cents),
        "时长": hours(of.seconds),
        "到店会员数": of.members,
        "助教单": of.assisted,
        "助教单金额": yuan(of.assisted_cents),
        "退款单": of.refunds,
        "退款金额": yuan(of.refund_cents),
    }


def _summary(zone: ZoneInfo, of: Figures) -> dict[str, Any]:
    return {
        "次数": of.visits,
        "消费金额": yuan(of.revenue_cents),
        "客单价": None if of.ticket_cents is None else yuan(of.ticket_cents),
        "时长": hours(of.seconds),
        "首次": None if of.first_at is None else local(of.first_at, zone),
        "最近": None if of.last_at is None else local(of.last_at, zone),
    }


def _profile(key: str, known: Profile | None) -> dict[str, Any]:
    shown: dict[str, Any] = {"编号": key}
    if known is None:
        return shown
    parts = {"姓名": known.name, "等级": known.level, **(known.more or {})}
    shown |= {
        name: text(value) if isinstance(value, str) else value
        for name, value in parts.items()
        if value is not None
    }
    if known.joined_on is not None:
        shown["加入日期"] = known.joined_on.isoformat()
    return shown


def _visit(store: Store, one: VisitFact, names: Mapping[str, str]) -> dict[str, Any]:
    shown: dict[str, Any] = {"时间": local(one.settled_at, store.zone), "金额": yuan(one.cents)}
    if one.area is not None:
        shown["区域"] = text(one.area)
    if one.assistant_id is not None:
        shown["助教"] = _named(one.assistant_id, names)
    if one.seconds is not None:
        shown["时长"] = hours(one.seconds)
    if one.items:
        shown["项目"] = [
            {"名称": text(item.name), "数量": number(item.thousandths)}
            | ({} if item.cents is None else {"金额": yuan(item.cents)})
            for item in one.items
        ]
    return shown


def _item(one: Share) -> dict[str, Any]:
    return {"名称": text(one.name), "数量": number(one.count), "金额": yuan(one.cents)}


def _named(key: str, names: Mapping[str, str]) -> str:
    return text(names.get(key, key))
