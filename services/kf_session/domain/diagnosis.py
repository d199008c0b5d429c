"""What is wrong between us and WeChat KF, and what to do about it: from what was seen to findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from shared.ops.finding import CheckStatus, Finding
from shared.wecom.diagnosis import CORP_PAGE, caller_address, network_fix, words
from shared.wecom.errcodes import RetryClass, classify
from shared.wecom.outcome import Outcome, State

APPS_PAGE: Final = "微信客服 → API → 可调用接口的应用"
CALLBACK_PAGE: Final = "微信客服 → API → 回调配置"
_STORE: Final = (
    "store it with `reach credentials add kf default`, and correct WECOM_{setting} where it is set"
)

BEHIND: Final = timedelta(hours=12)
"""The platform keeps three days: so far behind, somebody has to look."""


class _Step(StrEnum):
    """What a call passes, in order; the first that fails hides those after it."""

    SECRET = "kf_secret"
    IP = "kf_ip"
    PERMISSION = "kf_permission"


_STEPS: Final[Mapping[int, _Step]] = {
    **dict.fromkeys((40001, 40013, 40091, 41002, 41004, 45031), _Step.SECRET),
    60020: _Step.IP,
}
"""Where an errcode stops a call; one that is not here is about what the app may do."""

_WELL: Final = {
    _Step.SECRET: "WeCom lets it in",
    _Step.IP: "this server's address is let in",
    _Step.PERMISSION: "the app may call WeChat KF",
}
_NOT_TRIED: Final = {
    _Step.SECRET: "not tried: it needs a token",
    _Step.IP: "not tried: it needs a trusted address",
    _Step.PERMISSION: "not tried: WeChat KF does not answer",
}


def access_findings(outcome: Outcome) -> list[Finding]:
    """``kf_secret``, ``kf_ip`` and ``kf_permission``, from the answer to the list of accounts."""
    if outcome.state is State.ACCEPTED:
        return [Finding(one.value, CheckStatus.OK, _WELL[one]) for one in _Step]
    asked_token = outcome.cause.startswith("token_")
    step = _Step.SECRET if asked_token else _Step.PERMISSION
    if outcome.errcode is not None:
        step = _STEPS.get(outcome.errcode, step)
    told = {one: Finding(one.value, CheckStatus.OK, _WELL[one]) for one in _Step}
    told[step] = Finding(step.value, _status(outcome, step), words(outcome), _fix(outcome, step))
    order = list(_Step)
    for later in order[order.index(step) + 1 :]:
        told[later] = Finding(later.value, CheckStatus.SKIPPED, _NOT_TRIED[step])
    if step is _Step.IP and asked_token:
        # gettoken itself turned the address away: whether the secret is right is not known yet.
        told[_Step.SECRET] = Finding(_Step.SECRET.value, CheckStatus.SKIPPED, _NOT_TRIED[_Step.IP])
    if step is _Step.PERMISSION and outcome.errcode is None:
        # Nobody answered, so nothing is known of the address either.
        told[_Step.IP] = Finding(_Step.IP.value, CheckStatus.SKIPPED, _NOT_TRIED[step])
    return [told[one] for one in order]


def _status(outcome: Outcome, step: _Step) -> CheckStatus:
    busy = outcome.retry_class in (RetryClass.RETRY, RetryClass.REST, RetryClass.REFRESH)
    # A busy platform passes by itself. A token that is not to be had stops everything, whatever the reason.
    mild = busy and outcome.errcode is not None and step is not _Step.SECRET
    return CheckStatus.WARNING if mild else CheckStatus.FAILED


def _fix(outcome: Outcome, step: _Step) -> str:
    code = outcome.errcode
    match code:
        case None:
            return network_fix()
        case 40001 | 45031:
            verb = "reset" if code == 45031 else "copy again"
            return f"{APPS_PAGE}: {verb} the Secret of the app that is listed there; {_STORE.format(setting='KF_SECRET')}"
        case 40013:
            return f"{CORP_PAGE}: copy it; {_STORE.format(setting='CORP_ID')}"
        case 40091:
            return (
                f"{CORP_PAGE}, and the Secret of an app of the same corp: one of the two is another corp's; "
                f"{_STORE.format(setting='CORP_ID')}"
            )
        case 60020:
            address = caller_address(outcome) or "the address this server goes out by"
            return f"应用管理 → 应用 → the app whose Secret this is → 企业可信IP: add {address}; it takes about a minute"
        case 48001 | 48002 | 48004 | 48006:
            return f"{APPS_PAGE}: add the app whose Secret this is, or store the Secret of one that is listed there"
        case 95011 | 95012:
            return (
                "the secret is that of the other way to use WeChat KF: with 微信客服 → API of the admin console use the "
                f"app's own Secret; {_STORE.format(setting='KF_SECRET')}"
            )
        case 95017:
            return "微信客服 → API: switch the interface on"
        case 95023:
            return f"{APPS_PAGE}: the interface was handed to another app; hand it back, or store that app's Secret"
        case 45009 if step is _Step.SECRET:
            return "wait: an address that kept asking with a wrong secret is shut out for an hour"
    entry = classify(code)
    return entry.advice or f"{APPS_PAGE}: {entry.meaning}"


def accounts_finding(managed: Sequence[str], unmanaged: Sequence[str], homeless: Sequence[str]) -> Finding:
    """``kf_accounts``: which accounts the secret sees and may manage, and which of them belong to no store."""
    name = "kf_accounts"
    hand_over = (
        f"{APPS_PAGE}: hand them to the app (管理权限); in 微信客服 make an account where there is none"
    )
    if homeless:
        found = f"{len(homeless)} of {len(managed)} belong to no store and are not read: {_some(homeless)}"
        fix = "say where they belong with REACH_KF_STORES, or set REACH_DEFAULT_STORE"
        return Finding(name, CheckStatus.FAILED, found, fix)
    if unmanaged:
        found = f"{len(unmanaged)} are not this app's to manage, and not read: {_some(unmanaged)}"
        status = CheckStatus.WARNING if managed else CheckStatus.FAILED
        return Finding(name, status, found, hand_over)
    if not managed:
        return Finding(name, CheckStatus.WARNING, "the secret sees no account", hand_over)
    return Finding(name, CheckStatus.OK, f"{len(managed)} visible")


def callback_finding(
    *, configured: bool, heard_at: datetime | None, wrote_at: datetime | None, kept: timedelta
) -> Finding:
    """``kf_callback``: is it set up, and does it ring? *heard_at* is its last one of the time *kept*, *wrote_at* when a
    customer's message of that time came in."""
    name = "kf_callback"
    if not configured:
        found = "not configured: messages are found by the slow poll alone, and welcomes come too late"
        fix = (
            "set WECOM_KF_CALLBACK_TOKEN and WECOM_KF_CALLBACK_AES_KEY, and enter /callback/kf where they come from: "
            f"{CALLBACK_PAGE}"
        )
        return Finding(name, CheckStatus.WARNING, found, fix)
    if heard_at is None and wrote_at is not None:
        found = f"token and key are set, and none came for {kept.days} days, though customers wrote: only the poll reads"
        fix = (
            f"{CALLBACK_PAGE}: the URL must end in /callback/kf and lead to this host's HTTP port; see that the proxy lets "
            "GET and POST pass, and press 保存 again, which asks at once"
        )
        return Finding(name, CheckStatus.WARNING, found, fix)
    heard = "none came yet, and nobody wrote" if heard_at is None else f"the last came {_text(heard_at)}"
    return Finding(name, CheckStatus.OK, f"token and EncodingAESKey are set; {heard}")


def reading_finding(read_until: Mapping[str, datetime], failing: Mapping[str, str], now: datetime) -> Finding:
    """``kf_reading``: up to when each account was read, and what the last reading of some was refused with."""
    name = "kf_reading"
    late = sorted((at, one) for one, at in read_until.items() if now - at > BEHIND)
    if late:
        hours = (now - late[0][0]).total_seconds() / 3600
        found = (
            f"{len(late)} accounts were not read to their end for {hours:.0f} h and more: "
            f"{_some([one for _, one in late])}"
        )
        fix = "the platform keeps three days: see the log of the puller, and the lines above"
        return Finding(name, CheckStatus.FAILED, found, fix)
    if failing:
        word = next(iter(failing.values()))
        found = f"{len(failing)} could not be read last time: {_some(list(failing))} ({word})"
        return Finding(name, CheckStatus.WARNING, found, _FAILING.get(word, _LOG))
    return Finding(name, CheckStatus.OK, f"{len(read_until)} accounts are read to their end")


_LOG: Final = "see the log of the puller, which has the errcode and when it is tried again"
_FAILING: Final = {
    RetryClass.PERM_CONFIG.value: "see kf_secret, kf_ip, kf_permission and kf_accounts: it goes on once those are right",
    RetryClass.REST.value: "wait: the platform asks for a rest, and it goes on by itself",
    "not_sent": network_fix(),
}


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:5])


def _text(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
