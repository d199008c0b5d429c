"""What is wrong between us and customer contact, and what to do about it: from what was seen to findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from shared.ops.finding import CheckStatus, Finding
from shared.wecom.diagnosis import CORP_PAGE, caller_address, network_fix, words
from shared.wecom.errcodes import RetryClass, classify
from shared.wecom.outcome import Outcome, State

CONTACT_PAGE: Final = "客户与上下游 → 客户联系 → 客户 → API"
RANGE_PAGE: Final = "客户与上下游 → 客户联系 → 权限配置"
CALLBACK_PAGE: Final = f"{CONTACT_PAGE} → 接收事件服务器"
LATE: Final = timedelta(hours=2)
"""So long after the groups were last listed, somebody has to look."""
_STORE: Final = (
    "store it with `reach credentials add customer default`, and correct WECOM_{setting} where it is set"
)


class _Step(StrEnum):
    """What a call passes, in order; the first that fails hides those after it."""

    SECRET = "customer_secret"
    IP = "customer_ip"
    PERMISSION = "customer_permission"


_STEPS: Final[Mapping[int, _Step]] = {
    **dict.fromkeys((40001, 40013, 40091, 41002, 41004, 45031), _Step.SECRET),
    60020: _Step.IP,
}
_WELL: Final = {
    _Step.SECRET: "WeCom lets it in",
    _Step.IP: "this server's address is let in",
    _Step.PERMISSION: "the secret may read customer groups",
}
_NOT_TRIED: Final = {
    _Step.SECRET: "not tried: it needs a token",
    _Step.IP: "not tried: it needs a trusted address",
    _Step.PERMISSION: "not tried: customer contact does not answer",
}


def access_findings(outcome: Outcome) -> list[Finding]:
    """``customer_secret``, ``customer_ip`` and ``customer_permission``, from the answer to the list of groups."""
    told = {one: Finding(one.value, CheckStatus.OK, _WELL[one]) for one in _Step}
    if outcome.state is State.ACCEPTED:
        return list(told.values())
    asked_token = outcome.cause.startswith("token_")
    step = _Step.SECRET if asked_token else _Step.PERMISSION
    if outcome.errcode is not None:
        step = _STEPS.get(outcome.errcode, step)
    busy = outcome.retry_class in (RetryClass.RETRY, RetryClass.REST, RetryClass.REFRESH)
    mild = busy and outcome.errcode is not None and step is not _Step.SECRET
    status = CheckStatus.WARNING if mild else CheckStatus.FAILED
    told[step] = Finding(step.value, status, words(outcome), _fix(outcome, step))
    order = list(_Step)
    for later in order[order.index(step) + 1 :]:
        told[later] = Finding(later.value, CheckStatus.SKIPPED, _NOT_TRIED[step])
    if step is _Step.IP and asked_token:
        # gettoken itself turned the address away: whether the secret is right is not known yet.
        told[_Step.SECRET] = Finding(_Step.SECRET.value, CheckStatus.SKIPPED, _NOT_TRIED[_Step.IP])
    if step is _Step.PERMISSION and outcome.errcode is None:
        # Nobody answered, so nothing is known of the address either.
        told[_Step.IP] = Finding(_Step.IP.value, CheckStatus.SKIPPED, _NOT_TRIED[step])
    return list(told.values())


def _fix(outcome: Outcome, step: _Step) -> str:
    code = outcome.errcode
    match code:
        case None:
            return network_fix()
        case 40001 | 45031:
            verb = "reset" if code == 45031 else "copy again"
            return f"{CONTACT_PAGE}: {verb} the Secret; {_STORE.format(setting='CUSTOMER_SECRET')}"
        case 40013:
            return f"{CORP_PAGE}: copy it; {_STORE.format(setting='CORP_ID')}"
        case 40091:
            return f"{CORP_PAGE}, and the Secret: one of the two is another corp's; {_STORE.format(setting='CORP_ID')}"
        case 60020:
            address = caller_address(outcome) or "the address this server goes out by"
            return f"{CONTACT_PAGE} → 企业可信IP: add {address}; it takes about a minute"
        case 48001 | 48002 | 48004 | 48006:
            return f"{CONTACT_PAGE} → 可调用接口的应用: add the app whose Secret this is, or store the Secret of that page"
        case 60011 | 84074:
            return f"{RANGE_PAGE}: let the owners of the groups use customer contact, within the app's range"
        case 81017:
            return "the app's range has more than 1,000 members: narrow it to those who own groups"
        case 45009 if step is _Step.SECRET:
            return "wait: an address that kept asking with a wrong secret is shut out for an hour"
    entry = classify(code)
    return entry.advice or f"{CONTACT_PAGE}: {entry.meaning}"


def callback_finding(*, configured: bool, heard_at: datetime | None) -> Finding:
    """``customer_callback``: is it set up, and does it ring? *heard_at* is when a group's change was last told of."""
    name = "customer_callback"
    if not configured:
        found = "not configured: changes of groups are found by the sync alone, members' after a day"
        fix = (
            "set WECOM_CUSTOMER_CALLBACK_TOKEN and WECOM_CUSTOMER_CALLBACK_AES_KEY, and enter "
            f"/callback/external-contact where they come from: {CALLBACK_PAGE}"
        )
        return Finding(name, CheckStatus.WARNING, found, fix)
    if heard_at is None:
        found = "token and key are set; none came yet"
        fix = (
            f"{CALLBACK_PAGE}: the URL must end in /callback/external-contact and lead to this host's HTTP port; let "
            "somebody join a group, or press 保存 again, which asks at once"
        )
        return Finding(name, CheckStatus.WARNING, found, fix)
    return Finding(name, CheckStatus.OK, f"token and EncodingAESKey are set; the last came {_text(heard_at)}")


def sync_finding(
    *, listed_at: datetime | None, status: str, error: str, counts: Mapping[str, int], now: datetime
) -> Finding:
    """``customer_groups``: when the list was last walked to its end, and what its groups are like."""
    name = "customer_groups"
    log = "see GetGroupSync, and the log of the groups"
    if status == "failed":
        return Finding(name, CheckStatus.FAILED, f"the last sync failed: {error or 'without a word'}", log)
    if listed_at is None:
        words_ = f"never listed to the end yet{f': {error}' if error else ''}"
        return Finding(name, CheckStatus.WARNING, words_, log)
    if now - listed_at > LATE:
        hours = (now - listed_at).total_seconds() / 3600
        words_ = f"last listed {hours:.0f} h ago{f': {error}' if error else ''}"
        return Finding(
            name, CheckStatus.FAILED, words_, f"{log}; WECOM_CUSTOMER_SYNC_CRON says when they are"
        )
    if counts["denied"]:
        words_ = f"of {counts['here']} groups the platform refuses to tell about {counts['denied']}"
        return Finding(name, CheckStatus.WARNING, words_, f"{RANGE_PAGE}: take their owners in")
    return Finding(
        name,
        CheckStatus.OK,
        f"{counts['here']} here, {counts['gone']} gone, {counts['due']} to be read; listed {_text(listed_at)}",
    )


def owners_finding(homeless: int, owners: Sequence[str]) -> Finding:
    """``customer_stores``: do all groups belong to a store?"""
    name = "customer_stores"
    if homeless:
        found = f"{homeless} groups belong to no store, and no campaign reaches them; of: {', '.join(owners)}"
        fix = "say where they belong with WECOM_CUSTOMER_STORES, or set REACH_DEFAULT_STORE"
        return Finding(name, CheckStatus.WARNING, found, fix)
    return Finding(name, CheckStatus.OK, "every group belongs to a store")


def ways_finding(counts: Mapping[str, int]) -> Finding:
    """``customer_join_ways``: are they what we made them?"""
    name = "customer_join_ways"
    wrong = {word: counts.get(word, 0) for word in ("unknown", "drifted", "gone")}
    if any(wrong.values()):
        found = ", ".join(f"{number} {word}" for word, number in wrong.items() if number)
        fix = "ListJoinWays tells which: update what was changed, delete what is gone or unknown, and make it anew"
        return Finding(name, CheckStatus.WARNING, found, fix)
    return Finding(name, CheckStatus.OK, f"{counts.get('active', 0)} as they were made")


def _text(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
