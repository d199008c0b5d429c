"""What one call says about the breakers it went through: of the account, of the key and of its application.

An application's failures say nothing about the others; what refuses the account refuses all of them.
"""

from __future__ import annotations

from typing import Final

from services.ai_orchestrator.domain.call import CallProblem, Completion, Count, Scope
from shared.breaker import Sign
from shared.values import value_class

ACCOUNT: Final = "account"
KEY: Final = "key"
TIME_OUTS: Final = frozenset({"timeout", "server_timeout", "gateway_timeout"})
"""The reasons of calls that had no answer in time, by whosever clock."""
TIMEOUTS: Final = 3
"""So many time-outs in a row open a breaker: each has cost minutes."""
_WINDOW: Final = 10
_WORKED, _FAILED, _TIMED_OUT = "wft"


def app_key(app_type: str) -> str:
    """What the breaker of an application is called."""
    return f"app:{app_type}"


def keys_of(app_type: str) -> tuple[str, ...]:
    """The breakers a call goes through, the widest first."""
    return (ACCOUNT, KEY, app_key(app_type))


def key_of(scope: Scope, app_type: str) -> str:
    """The one that a failure of *scope* is about; what names none is the account's."""
    return {Scope.APP: app_key(app_type), Scope.KEY: KEY}.get(scope, ACCOUNT)


@value_class
class Said:
    """What a call says about one breaker."""

    sign: Sign
    opens: bool = False
    timed_out: bool = False


def said(outcome: Completion | CallProblem, key: str, app_type: str) -> Said:
    """What *outcome* says about the breaker *key*."""
    if isinstance(outcome, Completion):
        return Said(Sign.WORKS)
    counts = outcome.count in (Count.COUNT, Count.OPEN) and outcome.scope is not Scope.NONE
    if not counts or key_of(outcome.scope, app_type) != key:
        return Said(Sign.NEITHER)
    return Said(Sign.FAILS, outcome.count is Count.OPEN, outcome.reason in TIME_OUTS)


def remembered(recent: str, one: Said) -> str:
    """How the last ten calls ended, a letter each, with *one* behind them."""
    if one.sign is Sign.NEITHER:
        return recent
    letter = _WORKED if one.sign is Sign.WORKS else _TIMED_OUT if one.timed_out else _FAILED
    return (recent + letter)[-_WINDOW:]


def troubled(recent: str) -> bool:
    """Whether one of the last ten failed, so that a success is worth remembering."""
    return recent.count(_WORKED) < len(recent)


def trips(recent: str, threshold: int) -> bool:
    """Whether the last ten calls are bad enough: *threshold* failures among them, or the last three timed out."""
    failures = len(recent) - recent.count(_WORKED)
    return failures >= threshold or recent.endswith(_TIMED_OUT * TIMEOUTS)
