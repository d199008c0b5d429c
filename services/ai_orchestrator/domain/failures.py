"""What DashScope's failures mean, as data: how far each reaches, what it does to the breaker, what it cost.

The platform's own page of codes, read with caution: HTTP 429 is also an unpaid bill, 400 is also arrears, and statuses
changed over the years. So the code decides, and the status only where there is no code that is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from services.ai_orchestrator.domain.call import Count, Scope, Tokens
from shared.values import value_class


@value_class
class Failure:
    """What one kind of failure means."""

    reason: str
    """A stable word, for rows and people."""
    scope: Scope
    count: Count
    tokens: Tokens
    repeatable: bool
    rest: timedelta | None = None
    """How long at least nobody asks again, where the platform does not say."""


@value_class
class _Row:
    codes: tuple[str, ...]
    means: Failure
    status: int | None = None
    """Only with this HTTP status."""
    says: str = ""
    """Only when the message says this, in lower case."""


def _throttled(seconds: int) -> Failure:
    return Failure(
        "throttled", Scope.ACCOUNT, Count.SLOW, Tokens.RELEASE, True, rest=timedelta(seconds=seconds)
    )


def _shut(reason: str, scope: Scope) -> Failure:
    """Nothing changes until somebody does something."""
    return Failure(reason, scope, Count.OPEN, Tokens.RELEASE, False)


def _ours(reason: str) -> Failure:
    return Failure(reason, Scope.NONE, Count.NEVER, Tokens.RELEASE, False)


def _broken(reason: str, tokens: Tokens = Tokens.HOLD, *, repeatable: bool = True) -> Failure:
    return Failure(reason, Scope.APP, Count.COUNT, tokens, repeatable)


_CONTENT_REFUSED: Final = Failure("content_refused", Scope.NONE, Count.NEVER, Tokens.HOLD, False)
"""The output may have been written, and billed, before it was blocked."""

CODES: Final[Sequence[_Row]] = (
    _Row(("Throttling.RateQuota", "limit_requests"), _throttled(5)),
    _Row(("Throttling.BurstRate", "limit_burst_rate"), _throttled(10)),
    _Row(("Throttling.AllocationQuota", "insufficient_quota"), _ours("quota_of_resources"), status=400),
    _Row(
        ("Throttling.AllocationQuota", "insufficient_quota"),
        _shut("free_quota_used", Scope.ACCOUNT),
        says="free",
    ),
    _Row(("Throttling.AllocationQuota", "insufficient_quota"), _throttled(60)),
    _Row(("Throttling",), _throttled(30)),
    _Row(
        ("CommodityNotPurchased", "PrepaidBillOverdue", "PostpaidBillOverdue", "Arrearage"),
        _shut("arrears", Scope.ACCOUNT),
    ),
    _Row(("AllocationQuota.FreeTierOnly",), _shut("free_quota_used", Scope.ACCOUNT)),
    _Row(("InvalidApiKey", "invalid_api_key"), _shut("key_refused", Scope.KEY)),
    _Row(("NOT AUTHORIZED", "BailianGateway.Workspace.NotAuthorised"), _shut("workspace_refused", Scope.KEY)),
    _Row(
        ("AccessDenied", "Model.AccessDenied", "App.AccessDenied", "Workspace.AccessDenied"),
        _shut("app_denied", Scope.APP),
    ),
    _Row(("ModelNotFound", "NotFound", "WorkSpaceNotFound"), _shut("app_missing", Scope.APP)),
    _Row(("FlowNotPublished",), _shut("app_unpublished", Scope.APP)),
    _Row(("BadRequest.TooLarge",), _ours("too_large")),
    _Row(("InvalidParameter", "BadRequest", "InvalidURL", "UnsupportedOperation"), _ours("bad_request")),
    _Row(
        (
            "DataInspectionFailed",
            "data_inspection_failed",
            "FaqRuleBlocked",
            "CustomRoleBlocked",
            "IPInfringementSuspect",
        ),
        _CONTENT_REFUSED,
    ),
    _Row(("RequestTimeOut", "InternalError.Timeout", "ResponseTimeout"), _broken("server_timeout")),
    _Row(("InternalError", "SystemError", "ModelServiceFailed"), _broken("server_error")),
    _Row(
        ("AppProcessFailed", "InvokePluginFailed", "RewriteFailed", "RetrievalFailed"), _broken("app_failed")
    ),
    _Row(("ModelServingError",), _broken("saturated", Tokens.RELEASE)),
    _Row(("ModelUnavailable", "ServiceUnavailable"), _broken("unavailable", Tokens.RELEASE)),
    _Row(("GatewayTimeout",), _broken("gateway_timeout")),
)
"""The first row that fits counts."""

STATUSES: Final = {
    401: _shut("key_refused", Scope.KEY),
    403: _shut("app_denied", Scope.APP),
    404: _shut("app_missing", Scope.APP),
    408: _broken("server_timeout"),
    413: _ours("too_large"),
    429: _throttled(30),
    504: _broken("gateway_timeout"),
}
"""Of an answer without a code that is known."""

TIMED_OUT: Final = _broken("timeout", repeatable=False)
"""Our own deadline: the step has had its time."""
BROKEN_OFF: Final = _broken("unknown")
"""The connection stood, and broke: nobody can tell whether the application ran."""
UNREADABLE: Final = _broken("bad_reply")
"""HTTP 200 with something that is no answer; it was paid for."""
UNREACHABLE: Final = Failure("unreachable", Scope.ACCOUNT, Count.COUNT, Tokens.RELEASE, True)
"""No connection: not a byte left, whichever application it was for."""
BUSY: Final = Failure("busy", Scope.NONE, Count.NEVER, Tokens.RELEASE, True)
"""Every connection of ours stayed in use."""
SHUT: Final = Failure("shutting_down", Scope.NONE, Count.NEVER, Tokens.RELEASE, True)
"""This process is ending; another one will ask."""
NO_KEY: Final = _ours("key_not_configured")
NO_APP: Final = _ours("app_not_configured")

_REFUSED: Final = Failure("refused", Scope.NONE, Count.NEVER, Tokens.HOLD, False)
_ODD: Final = _broken("bad_reply", repeatable=False)


def failure_of(code: str, status: int | None, message: str) -> Failure:
    """What an answer with this code, HTTP status and message means.

    A code that is not known stands for the nearest one it is a part of: ``BadRequest.IllegalInput`` is a ``BadRequest``.
    """
    said, name = message.lower(), code
    while name:
        for row in CODES:
            if name in row.codes and row.status in (None, status) and row.says in said:
                return row.means
        name = name.rpartition(".")[0]
    known = STATUSES.get(status or 0)
    if known is not None:
        return known
    if status is not None and 400 <= status < 500:
        return _REFUSED
    return _broken("server_error") if status is not None and status >= 500 else _ODD
