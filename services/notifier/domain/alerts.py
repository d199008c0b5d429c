"""Who is told that a credential fails, by which other way, and in what words."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, tzinfo

from services.notifier.domain.routing import DEFAULT_ACCOUNT, Bindings, Role, Target, resolve
from shared.breaker import Breaker
from shared.values import value_class

TOLD = (Role.TECH_SUPPORT, Role.MANAGER)
"""Who looks after credentials: the first of them whom another way leads to."""


@value_class
class Told:
    """Those who are told."""

    role: Role
    targets: tuple[Target, ...]
    """Empty where no other way leads to anybody."""
    inherited: bool = False
    """Whether they are the default of all stores."""


def whom(bindings: Bindings, store_id: str, failing: Collection[str]) -> Told:
    """Those to tell by another channel than *failing*: in the store whose delivery failed, else by default."""
    for role in TOLD:
        for store in dict.fromkeys((store_id, "")):
            found = resolve(role, store, bindings)
            reached = tuple(one for one in found.targets if one.address not in failing)
            if reached:
                return Told(role, reached, found.inherited or not store)
    return Told(TOLD[0], ())


def opened(key: str, breaker: Breaker, *, waiting: int, advice: str, zone: tzinfo) -> str:
    """The alert: what fails, since when, how, and what to do."""
    last = breaker.reason if breaker.errcode is None else f"errcode {breaker.errcode}"
    since = f"自 {_time(breaker.since, zone)} 起，" if breaker.since is not None else ""
    return "\n".join(
        (
            f"【告警】{spoken(key)}连续发送失败 {breaker.failures} 次，已暂停使用",
            f"{since}最近一次：{last} {breaker.detail}".rstrip(),
            f"建议：{advice}",
            f"等待发送：{waiting} 条；系统会定时试发一条，成功后自动恢复",
            f"查看：reach breakers list；修复后：reach breakers reset {key}",
        )
    )


def closed(key: str) -> str:
    """The news that it works again."""
    return f"【恢复】{spoken(key)}已恢复发送，等待中的消息将陆续发出"


def spoken(address: str) -> str:
    """What people call a channel or a credential: 机器人 kitchen, 应用 default."""
    kind, _, name = address.partition(":")
    return f"机器人 {name} " if kind == "robot" else f"应用 {name or DEFAULT_ACCOUNT} "


def _time(at: datetime, zone: tzinfo) -> str:
    return f"{at.astimezone(zone):%m-%d %H:%M:%S}"
