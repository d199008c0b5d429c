"""The table of failures against the platform's own page of codes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sandbox.dashscope.codes import CODES as REAL
from services.ai_orchestrator.domain import failures
from services.ai_orchestrator.domain.call import Count, Scope, Tokens
from services.ai_orchestrator.domain.failures import CODES, STATUSES, Failure, failure_of

ROOT = Path(__file__).parents[3]

ACCOUNT, KEY, APP, NONE = Scope.ACCOUNT, Scope.KEY, Scope.APP, Scope.NONE
SLOW, OPEN, COUNT, NEVER = Count.SLOW, Count.OPEN, Count.COUNT, Count.NEVER
RELEASE, HOLD = Tokens.RELEASE, Tokens.HOLD

# As the reference page has them: code, scope, what the breaker does, the hold, whether it may be sent again.
PAGE = [
    ("Throttling", ACCOUNT, SLOW, RELEASE, True),
    ("Throttling.RateQuota", ACCOUNT, SLOW, RELEASE, True),
    ("Throttling.BurstRate", ACCOUNT, SLOW, RELEASE, True),
    ("Throttling.AllocationQuota", ACCOUNT, SLOW, RELEASE, True),
    ("CommodityNotPurchased", ACCOUNT, OPEN, RELEASE, False),
    ("PrepaidBillOverdue", ACCOUNT, OPEN, RELEASE, False),
    ("PostpaidBillOverdue", ACCOUNT, OPEN, RELEASE, False),
    ("Arrearage", ACCOUNT, OPEN, RELEASE, False),
    ("InvalidApiKey", KEY, OPEN, RELEASE, False),
    ("NOT AUTHORIZED", KEY, OPEN, RELEASE, False),
    ("AccessDenied", APP, OPEN, RELEASE, False),
    ("AccessDenied.Unpurchased", APP, OPEN, RELEASE, False),
    ("Model.AccessDenied", APP, OPEN, RELEASE, False),
    ("App.AccessDenied", APP, OPEN, RELEASE, False),
    ("Workspace.AccessDenied", APP, OPEN, RELEASE, False),
    ("AllocationQuota.FreeTierOnly", ACCOUNT, OPEN, RELEASE, False),
    ("BailianGateway.Workspace.NotAuthorised", KEY, OPEN, RELEASE, False),
    ("ModelNotFound", APP, OPEN, RELEASE, False),
    ("NotFound", APP, OPEN, RELEASE, False),
    ("WorkSpaceNotFound", APP, OPEN, RELEASE, False),
    ("FlowNotPublished", APP, OPEN, RELEASE, False),
    ("InvalidParameter", NONE, NEVER, RELEASE, False),
    ("InvalidURL", NONE, NEVER, RELEASE, False),
    ("UnsupportedOperation", NONE, NEVER, RELEASE, False),
    ("BadRequest.IllegalInput", NONE, NEVER, RELEASE, False),
    ("BadRequest.EmptyInput", NONE, NEVER, RELEASE, False),
    ("BadRequest.TooLarge", NONE, NEVER, RELEASE, False),
    ("DataInspectionFailed", NONE, NEVER, HOLD, False),
    ("FaqRuleBlocked", NONE, NEVER, HOLD, False),
    ("CustomRoleBlocked", NONE, NEVER, HOLD, False),
    ("IPInfringementSuspect", NONE, NEVER, HOLD, False),
    ("InternalError", APP, COUNT, HOLD, True),
    ("InternalError.Algo", APP, COUNT, HOLD, True),
    ("InternalError.Timeout", APP, COUNT, HOLD, True),
    ("SystemError", APP, COUNT, HOLD, True),
    ("ModelServiceFailed", APP, COUNT, HOLD, True),
    ("RequestTimeOut", APP, COUNT, HOLD, True),
    ("ResponseTimeout", APP, COUNT, HOLD, True),
    ("AppProcessFailed", APP, COUNT, HOLD, True),
    ("InvokePluginFailed", APP, COUNT, HOLD, True),
    ("RewriteFailed", APP, COUNT, HOLD, True),
    ("RetrievalFailed", APP, COUNT, HOLD, True),
    ("ModelServingError", APP, COUNT, RELEASE, True),
    ("ModelUnavailable", APP, COUNT, RELEASE, True),
    ("ServiceUnavailable", APP, COUNT, RELEASE, True),
    ("GatewayTimeout", APP, COUNT, HOLD, True),
]


def brief(failure: Failure) -> tuple[Scope, Count, Tokens, bool]:
    return failure.scope, failure.count, failure.tokens, failure.repeatable


@pytest.mark.parametrize(("code", "scope", "count", "tokens", "repeatable"), PAGE, ids=lambda v: str(v))
def test_each_code_means_what_the_page_says(
    code: str, scope: Scope, count: Count, tokens: Tokens, repeatable: bool
) -> None:
    assert brief(failure_of(code, REAL[code][0], REAL[code][1])) == (scope, count, tokens, repeatable)


def test_the_page_and_the_sandbox_know_the_same_codes() -> None:
    assert {code for code, *_ in PAGE} == set(REAL)


def test_the_code_decides_whatever_the_status_is() -> None:
    for status in (200, 400, 408, 429, 500, None):
        assert failure_of("RequestTimeOut", status, "").reason == "server_timeout"
        assert failure_of("PostpaidBillOverdue", status, "").reason == "arrears"


def test_an_allocation_quota_is_told_by_its_status_and_words() -> None:
    code = "Throttling.AllocationQuota"
    assert failure_of(code, 429, "Free allocated quota exceeded.").reason == "free_quota_used"
    assert failure_of(code, 400, "Too many deployments").reason == "quota_of_resources"
    assert failure_of(code, 429, "Allocated quota exceeded").reason == "throttled"


def test_the_openai_dialects_names_mean_the_same() -> None:
    pairs = {
        "limit_requests": "Throttling.RateQuota",
        "limit_burst_rate": "Throttling.BurstRate",
        "insufficient_quota": "Throttling.AllocationQuota",
        "invalid_api_key": "InvalidApiKey",
        "data_inspection_failed": "DataInspectionFailed",
    }
    for theirs, ours in pairs.items():
        assert failure_of(theirs, 429, "") == failure_of(ours, 429, "")


def test_a_code_nobody_knows_stands_for_its_family_and_else_for_its_status() -> None:
    assert failure_of("Throttling.SomethingNew", 429, "").reason == "throttled"
    assert failure_of("BadRequest.SomethingNew", 400, "").reason == "bad_request"
    assert brief(failure_of("SomethingNew", 400, "")) == (NONE, NEVER, HOLD, False)
    assert failure_of("SomethingNew", 404, "").reason == "app_missing"
    assert brief(failure_of("SomethingNew", 503, "")) == (APP, COUNT, HOLD, True)
    assert brief(failure_of("SomethingNew", 200, "")) == (APP, COUNT, HOLD, False)
    assert brief(failure_of("", 302, "")) == (APP, COUNT, HOLD, False)


def test_the_runbook_says_what_to_do_about_every_reason() -> None:
    named = {value.reason for value in vars(failures).values() if isinstance(value, Failure)}
    reasons = named | {row.means.reason for row in CODES} | {one.reason for one in STATUSES.values()}
    section = (ROOT / "docs/runbook.md").read_text().partition("## An AI call fails")[2].partition("\n## ")[0]
    assert reasons == {
        reason
        for row in section.splitlines()
        if row.startswith("| `")
        for reason in re.findall(r"`(\w+)`", row.split("|")[1])
    }


def test_what_is_throttled_says_how_long_to_rest() -> None:
    for code in (
        "Throttling",
        "Throttling.RateQuota",
        "Throttling.BurstRate",
        "Throttling.AllocationQuota",
        "",
    ):
        assert failure_of(code, 429, "").rest is not None
