"""What WeCom's answers say about an app, a robot and the clock."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from shared.ops.finding import CheckStatus, Finding
from shared.values import value_class
from shared.wecom.diagnosis import CORP_PAGE, caller_address, network_fix, words
from shared.wecom.errcodes import RetryClass, classify
from shared.wecom.outcome import Outcome, State

MEMBERS_PAGE = "通讯录"
_SET_APP = "store it with `reach credentials add app {name}`, and correct WECOM_{setting} where it is set"


@value_class
class AppFacts:
    """An app as it is registered, and as people see it."""

    name: str
    """Of its credential."""
    corp_id: str
    agent_id: int
    title: str = ""
    """What the platform calls it; empty where it did not say."""

    @property
    def page(self) -> str:
        """Its page in the admin console."""
        return f"应用管理 → 应用 → {self.title or f'AgentId {self.agent_id}'}"


class _Step(StrEnum):
    """What a call passes, in order; the first that fails hides those after it."""

    TOKEN = "token"
    IP = "ip"
    APP = "app"


_STEPS: Mapping[int, _Step] = {
    **dict.fromkeys((40001, 40013, 40091, 41002, 41004, 45031), _Step.TOKEN),
    60020: _Step.IP,
}
"""Where an errcode stops a call; one that is not here is about the app itself."""

_NOT_TRIED: Mapping[_Step, str] = {
    _Step.TOKEN: "not tried: it needs a token",
    _Step.IP: "not tried: it needs a trusted address",
    _Step.APP: "not tried: the app does not answer",
}


def app_findings(app: AppFacts, outcome: Outcome, *, closed: bool = False) -> list[Finding]:
    """``wecom_token``, ``wecom_ip`` and ``wecom_app`` of one app, from the answer to ``agent/get``.

    *closed* is what the answer said of the app: switched off, though it may be asked about.
    """
    asked_token = outcome.cause.startswith("token_")
    if outcome.state is State.ACCEPTED:
        step = _Step.APP
        last = _closed(app) if closed else None
    else:
        step = _Step.TOKEN if asked_token else _Step.APP
        if outcome.errcode is not None:
            step = _STEPS.get(outcome.errcode, step)
        last = _refused(app, outcome, step)
    told = {
        _Step.TOKEN: Finding(f"wecom_token:{app.name}", CheckStatus.OK, f"{app.corp_id} gives a token"),
        _Step.IP: Finding(f"wecom_ip:{app.name}", CheckStatus.OK, "this server's address is let in"),
        _Step.APP: Finding(
            f"wecom_app:{app.name}",
            CheckStatus.OK,
            f"agent {app.agent_id}{app.title and f' ({app.title})'} of {app.corp_id} is this secret's, and on",
        ),
    }
    order = list(_Step)
    if last is not None:
        told[step] = last
        for later in order[order.index(step) + 1 :]:
            name = f"wecom_{later.value}:{app.name}"
            told[later] = Finding(name, CheckStatus.SKIPPED, _NOT_TRIED[step])
        if step is _Step.IP and asked_token:
            # gettoken itself turned the address away: whether the secret is right is not known yet.
            name = f"wecom_token:{app.name}"
            told[_Step.TOKEN] = Finding(name, CheckStatus.SKIPPED, _NOT_TRIED[_Step.IP])
        if step is _Step.APP and outcome.errcode is None and outcome.state is not State.ACCEPTED:
            # Nobody answered, so nothing is known of the address either.
            told[_Step.IP] = Finding(f"wecom_ip:{app.name}", CheckStatus.SKIPPED, _NOT_TRIED[step])
    return [told[one] for one in order]


def _closed(app: AppFacts) -> Finding:
    return Finding(
        f"wecom_app:{app.name}",
        CheckStatus.FAILED,
        f"agent {app.agent_id} is switched off (已停用)",
        f"{app.page} → 启用",
    )


def _refused(app: AppFacts, outcome: Outcome, step: _Step) -> Finding:
    name = f"wecom_{step.value}:{app.name}"
    busy = outcome.retry_class in (RetryClass.RETRY, RetryClass.REST, RetryClass.REFRESH)
    # A busy platform passes by itself. A token that is not to be had for it stops everything, whatever the reason.
    mild = busy and outcome.errcode is not None and step is not _Step.TOKEN
    status = CheckStatus.WARNING if mild else CheckStatus.FAILED
    return Finding(name, status, words(outcome), _app_fix(app, outcome, step))


def _app_fix(app: AppFacts, outcome: Outcome, step: _Step) -> str:
    code = outcome.errcode
    match code:
        case None:
            return network_fix()
        case 40001:
            return (
                f"{app.page} → Secret: copy it again and see that the app is on (已启用); "
                f"{_SET_APP.format(name=app.name, setting='SECRET')}"
            )
        case 40013:
            return f"{CORP_PAGE}: copy it; {_SET_APP.format(name=app.name, setting='CORP_ID')}"
        case 40091:
            return (
                f"{CORP_PAGE}, and {app.page} → Secret in the same corp: one of the two is another corp's; "
                f"{_SET_APP.format(name=app.name, setting='CORP_ID')}"
            )
        case 45031:
            return f"{app.page} → Secret: reset it; {_SET_APP.format(name=app.name, setting='SECRET')}"
        case 60020:
            address = caller_address(outcome) or "the address this server goes out by"
            return (
                f"{app.page} → 企业可信IP: add {address}; it takes about a minute. The page asks first for a trusted "
                "domain (网页授权及JS-SDK) or a callback URL (接收消息)"
            )
        case 40056 | 41011 | 301002:
            return (
                "应用管理 → 应用: open the app whose Secret this is and copy the AgentId at the top of its page; "
                f"{_SET_APP.format(name=app.name, setting='AGENT_ID')}"
            )
        case 50003 | 60031:
            return f"{app.page} → 启用: it is switched off, or barred from the API"
        case 48001 | 48002 | 48004 | 48006:
            return (
                f"use the Secret on the app's own page ({app.page}), not that of 通讯录同步, 客户联系 or 微信客服; "
                "what an app may call beyond its messages is granted at 客户联系 → 可调用接口的应用 "
                "and 微信客服 → 可调用接口的应用"
            )
        case 45009 if step is _Step.TOKEN:
            return (
                "wait; an address that kept asking with a wrong secret is shut out for an hour. Until then see "
                f"{app.page} → Secret"
            )
    entry = classify(code)
    return entry.advice or f"{app.page}: {entry.meaning}"


def robot_finding(name: str, outcome: Outcome) -> Finding:
    """``wecom_robot`` of one robot, from the answer to an upload that holds no file."""
    check = f"wecom_robot:{name}"
    again = (
        f"in the group: … → 消息推送 (群机器人): add it again, and store its key with "
        f"`reach credentials add robot {name}`"
    )
    if outcome.errcode == 93000:
        found = f"the key is wrong, or the robot was removed ({words(outcome)})"
        return Finding(check, CheckStatus.FAILED, found, again)
    if outcome.errcode == 93004:
        fix = f"in the group: … → 消息推送 (群机器人): switch {name} on again"
        return Finding(check, CheckStatus.FAILED, words(outcome), fix)
    if outcome.errcode is None:
        return Finding(check, CheckStatus.FAILED, words(outcome), network_fix())
    if outcome.retry_class in (RetryClass.RETRY, RetryClass.REST):
        return Finding(check, CheckStatus.WARNING, words(outcome), "ask again in a minute")
    return Finding(check, CheckStatus.OK, "its key is not refused")


def robot_key_finding(name: str) -> Finding:
    """``wecom_robot`` of a robot whose stored key cannot be one."""
    return Finding(
        f"wecom_robot:{name}",
        CheckStatus.FAILED,
        "what is stored is no robot key",
        f"`reach credentials add robot {name}` with what follows key= in its webhook address "
        "(in the group: … → 消息推送 (群机器人)); the whole address is taken too",
    )
