from __future__ import annotations

import base64
from datetime import timedelta

import grpc
import pytest
from google.rpc import error_details_pb2 as details_pb2

from shared import errors
from shared.errors import Violation
from shared.rpc import status
from tests.rpc import contract

EXAMPLES = [
    errors.Invalid("FIELD_INVALID", "标题不能为空", violations=[Violation("targets[2].userid", "不能为空")]),
    errors.Unauthenticated("TOKEN_EXPIRED", "过期", expired_at="2026-01-01"),
    errors.Denied("SCOPE_MISSING", "缺少权限", scope="notify.send"),
    errors.NotFound("NOT_FOUND", "没有", resource="rule"),
    errors.Conflict("STATE_INVALID", "已经结束", state="finished"),
    errors.Unsupported("DISABLED", "未开启"),
    errors.Overtaken("VERSION_CONFLICT", "版本已变"),
    errors.Throttled("RATE_LIMITED", "太快", retry_after=timedelta(seconds=42), limit="robot"),
    errors.Unavailable("DEPENDENCY_DOWN", "数据库不可用"),
    status.DeadlineExceeded("DEADLINE_TOO_SHORT", "时间不够"),
    status.Defect("INTERNAL", "内部错误", incident="abc"),
]


def all_words(base: type[errors.ReachError]) -> set[type[errors.ReachError]]:
    return {base}.union(*(all_words(word) for word in base.__subclasses__()))


def test_every_word_of_the_vocabulary_has_a_code_of_its_own():
    ours = {w for w in all_words(errors.ReachError) if w.__module__ in ("shared.errors", "shared.rpc.status")}
    assert set(status.CODES) == ours - {errors.ReachError}
    assert len(set(status.CODES.values())) == len(status.CODES)


def test_a_word_that_is_not_listed_takes_its_parents_code():
    class Lost(errors.Overtaken):
        pass

    assert status.code_of(Lost("VERSION_CONFLICT", "x")) is grpc.StatusCode.ABORTED


@pytest.mark.parametrize("raised", EXAMPLES, ids=lambda error: type(error).__name__)
async def test_a_caller_gets_back_the_very_error_that_was_raised(serve, raised):
    async def fail(request, context):
        raise raised

    served = await serve(GetEcho=fail)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await contract.unary(served.channel, "GetEcho")(contract.EchoRequest())
    got = status.from_call(caught.value)
    assert type(got) is type(raised)
    assert (got.reason, got.message, got.facts) == (raised.reason, raised.message, raised.facts)
    assert got.violations == raised.violations
    assert got.retry_after == status.retry_after(raised)


def details_of(error: errors.ReachError) -> dict[str, object]:
    found = {}
    for detail in status.to_proto(error).details:
        message = getattr(details_pb2, detail.TypeName().rpartition(".")[2])()
        detail.Unpack(message)
        found[type(message).__name__] = message
    return found


def test_a_spent_quota_is_named_and_says_when_to_return():
    details = details_of(EXAMPLES[7])
    assert details["QuotaFailure"].violations[0].subject == "robot"
    assert details["RetryInfo"].retry_delay.seconds == 42


def test_a_wrong_state_is_named_and_an_absent_thing_only_by_type():
    assert details_of(EXAMPLES[4])["PreconditionFailure"].violations[0].subject == "finished"
    info = details_of(EXAMPLES[3])["ResourceInfo"]
    assert (info.resource_type, info.resource_name) == ("rule", "")


def test_no_one_is_told_to_repeat_what_cannot_succeed():
    assert "RetryInfo" not in details_of(errors.Throttled("MESSAGE_TOO_LARGE", "x"))
    assert "RetryInfo" not in details_of(errors.Overtaken("VERSION_CONFLICT", "x"))
    assert "RetryInfo" in details_of(errors.Overtaken("IDEMPOTENCY_IN_PROGRESS", "x"))


LONG = "错" * 100_000
HUGE = [
    errors.Invalid(
        "FIELD_INVALID",
        LONG,
        violations=[Violation(f"items[{n}].{LONG}", LONG) for n in range(1000)],
        **{f"fact{n}": LONG for n in range(50)},
    ),
    errors.Conflict("STATE_INVALID", LONG, violations=[Violation(LONG, LONG)], state=LONG, other=LONG),
    errors.Throttled("RATE_LIMITED", LONG, limit=LONG, violations=[Violation(LONG, LONG)]),
]


@pytest.mark.parametrize("huge", HUGE, ids=lambda error: type(error).__name__)
async def test_an_error_of_any_size_reaches_its_caller(serve, huge):
    async def fail(request, context):
        raise huge

    served = await serve(GetEcho=fail)
    for _ in range(20):  # above the limit a peer refuses at random
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await contract.unary(served.channel, "GetEcho")(contract.EchoRequest())
        got = status.from_call(caught.value)
        assert (type(got), got.reason) == (type(huge), huge.reason)
    if isinstance(huge, errors.Invalid):
        assert got.violations[0].field.startswith("items[0].")
        assert len(got.facts) > 0


@pytest.mark.parametrize("huge", HUGE, ids=lambda error: type(error).__name__)
def test_an_error_of_any_size_fits_into_the_metadata_a_peer_reads(huge):
    wire = status.to_status(huge)
    details = base64.b64encode(wire.trailing_metadata[0][1])
    assert len(details) + 3 * len(wire.details.encode()) + 200 < 8 * 1024


async def test_a_dead_target_is_unavailable_in_our_words(tmp_path):
    async with grpc.aio.insecure_channel(f"unix:{tmp_path}/nobody") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await contract.unary(channel, "GetEcho")(contract.EchoRequest(), timeout=5)
    got = status.from_call(caught.value)
    assert (type(got), got.reason) == (errors.Unavailable, "DEPENDENCY_DOWN")
