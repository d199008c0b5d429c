"""What answers of WeCom say to whoever examines them: the words, the address we called from, the clock. No I/O."""

from __future__ import annotations

import ipaddress
import re
from datetime import datetime

from shared.ops.finding import CheckStatus, Finding
from shared.wecom.outcome import Outcome

CLOCK_SLACK = 5.0
"""Seconds the clocks of two machines may be apart before it is worth a word."""

CORP_PAGE = "我的企业 → 企业信息 → 企业ID"


def platform_clock_finding(
    before: datetime, after: datetime, platform: datetime | None, name: str = "wecom_clock"
) -> Finding:
    """How far our clock, read *before* and *after* the call, is from the Date of its answer."""
    if platform is None:
        return Finding(name, CheckStatus.SKIPPED, "no answer told WeCom's time")
    # The header has whole seconds: its instant lies within the second that begins there.
    behind = (platform - after).total_seconds()
    ahead = (before - platform).total_seconds() - 1
    if max(behind, ahead) > CLOCK_SLACK:
        found = f"this host is {max(behind, ahead):.0f} s {'behind' if behind > ahead else 'ahead of'} WeCom's time"
        fix = "synchronise the hosts' clocks (NTP; `timedatectl` shows whether it is on)"
        return Finding(name, CheckStatus.WARNING, found, fix)
    return Finding(name, CheckStatus.OK, f"within {CLOCK_SLACK:.0f} s of WeCom's")


def words(outcome: Outcome) -> str:
    """What came of a call, for people; of the platform's text its hint is kept, which the vendor's support asks for."""
    if outcome.errcode is not None:
        text, code = _HELP.sub("", outcome.errmsg or outcome.detail), f"errcode {outcome.errcode}"
        return text if text.startswith(code) else f"{code}: {text}"
    return f"{outcome.cause.removeprefix('token_')}: {outcome.detail}"


def network_fix() -> str:
    """What to do when nobody answered, or not as WeCom does."""
    return "check the network between here and REACH_WECOM_BASE_URL, and that it is the right address"


_HELP = re.compile(r", more info at \S*")
_FROM = re.compile(r"from ip: ?([0-9A-Fa-f.:]{2,45})")


def caller_address(outcome: Outcome) -> str:
    """The address the platform saw us call from, where its text says so; only ever shown."""
    found = _FROM.search(f"{outcome.errmsg} {outcome.detail}")
    if found is None:
        return ""
    try:
        return str(ipaddress.ip_address(found[1].rstrip(".:")))
    except ValueError:
        return ""
