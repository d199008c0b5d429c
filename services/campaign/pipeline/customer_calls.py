"""What calls of customer contact share: the app that makes them, and the words for what came of them."""

from __future__ import annotations

from services.campaign.pipeline.group_reading import word_of
from shared.credentials import FIRST, Credentials
from shared.errors import Conflict, Invalid, ReachError, Throttled, Unavailable
from shared.telemetry import metrics
from shared.telemetry.metrics import Metrics
from shared.wecom.client import WeComClient
from shared.wecom.customer import CustomerApi
from shared.wecom.errcodes import RetryClass
from shared.wecom.outcome import Outcome, State

__all__ = ["api_of", "counted", "refusal", "word_of"]


async def api_of(credentials: Credentials, wecom: WeComClient) -> CustomerApi:
    """The calls. Raises Conflict (CUSTOMER_SECRET_MISSING)."""
    app = await credentials.customer(FIRST)
    if app is None:
        raise Conflict(
            "CUSTOMER_SECRET_MISSING",
            "no secret of customer contact is stored: set WECOM_CUSTOMER_SECRET, or run "
            "`reach credentials add customer default`",
        )
    return CustomerApi(wecom, app)


def counted(numbers: Metrics, api: str, outcome: Outcome) -> Outcome:
    """*outcome*, counted."""
    numbers.add(metrics.GROUP_READS, api=api, outcome=word_of(outcome))
    return outcome


def refusal(outcome: Outcome) -> ReachError:
    """What a call that did not work is answered with."""
    code = outcome.errcode
    if outcome.retry_class is RetryClass.REST:
        return Throttled(
            "RATE_LIMITED", "the platform asks to wait", retry_after=outcome.retry_after, limit="wecom"
        )
    if outcome.state is State.REJECTED_PERMANENT and outcome.retry_class is RetryClass.PERM_INPUT:
        return Invalid("FIELD_INVALID", f"the platform refuses it: {outcome.errmsg}", errcode=code)
    if outcome.state is State.REJECTED_PERMANENT:
        return Conflict("CUSTOMER_REFUSED", f"the platform refuses it: {outcome.errmsg}", errcode=code)
    return Unavailable("DEPENDENCY_DOWN", f"WeCom: {outcome.detail or outcome.errmsg}", dependency="wecom")
