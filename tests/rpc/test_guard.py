from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families

from shared import errors
from shared.rpc import calls, principal, status
from shared.rpc.calls import CallClass
from shared.rpc.principal import Principal
from shared.telemetry.metrics import Metrics
from tests.rpc import contract
from tests.rpc.conftest import until
from tests.rpc.contract import EchoReply, EchoRequest, Person

ALICE = Principal("alice", "human", frozenset({"notify.read"}), frozenset({"S1"}), token_id="t1")


async def refusal(call: Any) -> errors.ReachError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return status.from_call(caught.value)


class Recorder:
    """A method that notes that it ran."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    async def __call__(self, request: Any, context: Any) -> Any:
        self.calls.append(request)
        return EchoReply(text=request.text)


async def test_chinese_text_comes_and_goes_intact(serve):
    served = await serve()
    reply = await contract.unary(served.channel, "GetEcho")(EchoRequest(text="您好，新订单"))
    assert reply.text == "您好，新订单"


# --- Identity


async def test_without_a_token_nothing_runs_once_tokens_are_required(serve, callers):
    callers.closed, method = True, Recorder()
    served = await serve(GetEcho=method)
    got = await refusal(contract.unary(served.channel, "GetEcho")(EchoRequest()))
    assert (type(got), got.reason) == (errors.Unauthenticated, "TOKEN_MISSING")
    assert method.calls == []


@pytest.mark.parametrize("header", ["Bearer wrong", "Basic YWxpY2U6eA==", "Bearer", ""])
async def test_a_wrong_or_foreign_credential_is_refused(serve, callers, header):
    callers.closed = True
    served = await serve()
    call = contract.unary(served.channel, "GetEcho")(EchoRequest(), metadata=[("authorization", header)])
    assert (await refusal(call)).reason == "TOKEN_INVALID"


async def test_a_caller_may_do_what_its_scopes_say_and_no_more(serve, callers):
    callers.known["a"], method = ALICE, Recorder()
    served = await serve(token="a", CreateEcho=method)
    await contract.unary(served.channel, "GetEcho")(EchoRequest())
    got = await refusal(contract.unary(served.channel, "CreateEcho")(EchoRequest()))
    assert (type(got), got.reason, got.facts) == (errors.Denied, "SCOPE_MISSING", {"scope": "notify.send"})
    assert method.calls == []


async def test_a_method_that_nobody_gave_a_scope_is_denied_to_everybody(serve):
    method = Recorder()
    served = await serve(ForgottenEcho=method)
    got = await refusal(contract.unary(served.channel, "ForgottenEcho")(EchoRequest()))
    assert (type(got), got.reason) == (errors.Denied, "METHOD_UNKNOWN")
    assert method.calls == []


async def test_the_method_knows_its_caller_and_the_callers_stores(serve, callers):
    callers.known["a"] = ALICE
    seen: list[Any] = []

    async def look(request, context):
        seen.append((principal.current(), principal.visible_stores()))
        principal.authorise_store(request.store_id)
        return EchoReply()

    served = await serve(token="a", GetEcho=look)
    call = contract.unary(served.channel, "GetEcho")
    await call(EchoRequest(store_id="S1"))
    assert seen == [(ALICE, frozenset({"S1"}))]
    assert (await refusal(call(EchoRequest(store_id="S2")))).reason == "STORE_FORBIDDEN"


def test_work_without_a_caller_is_refused_rather_than_trusted():
    with pytest.raises(errors.Unauthenticated):
        principal.current()
    with pytest.raises(errors.Unauthenticated):
        principal.authorise_store("S1")


def test_the_local_operator_sees_every_store():
    with principal.acting_as(principal.LOCAL_OPERATOR):
        principal.authorise_store("anything")
        assert principal.visible_stores() is None


async def test_two_callers_at_once_are_never_mixed_up(serve, callers):
    both = asyncio.Barrier(2)

    async def look(request, context):
        await both.wait()
        return EchoReply(text=principal.current().subject)

    served = await serve(GetEcho=look)
    callers.known |= {n: Principal(n, "service", frozenset({"notify.read"}), "*") for n in "ab"}
    call = contract.unary(served.channel, "GetEcho")
    replies = await asyncio.gather(
        *(call(EchoRequest(), metadata=[("authorization", f"Bearer {n}")]) for n in "ab")
    )
    assert [reply.text for reply in replies] == ["a", "b"]


# --- Requests


async def test_an_invalid_request_names_list_index_and_map_key_and_runs_nothing(serve, lines):
    method = Recorder()
    served = await serve(GetEcho=method)
    request = EchoRequest(people=[Person(userid="u"), Person()], by_name={"甲": Person()})
    got = await refusal(contract.unary(served.channel, "GetEcho")(request))
    assert (type(got), got.reason) == (errors.Invalid, "FIELD_INVALID")
    assert [v.field for v in got.violations] == ["people[1].userid", 'by_name["甲"].userid']
    assert method.calls == []
    assert "甲" not in str(lines)


async def test_a_request_over_the_limit_is_refused_with_a_reason(serve):
    served = await serve(rules={"max_request_bytes": 1000})
    call = contract.unary(served.channel, "GetEcho")
    await call(EchoRequest(text="x" * 990))
    got = await refusal(call(EchoRequest(text="x" * 1000)))
    assert (got.reason, got.facts["max_bytes"], got.retry_after) == ("MESSAGE_TOO_LARGE", "1000", None)


async def test_far_over_the_limit_the_library_refuses_and_we_still_name_it(serve):
    served = await serve(rules={"max_request_bytes": 1000})
    got = await refusal(contract.unary(served.channel, "GetEcho")(EchoRequest(text="x" * 5000)))
    assert got.reason == "MESSAGE_TOO_LARGE"


async def test_the_idempotency_key_may_come_as_metadata_but_not_differ(serve):
    served = await serve()
    call = contract.unary(served.channel, "CreateEcho")
    header = [("x-idempotency-key", "k1")]
    assert (await call(EchoRequest(), metadata=header)).idempotency_key == "k1"
    assert (await call(EchoRequest(idempotency_key="k1"), metadata=header)).idempotency_key == "k1"
    got = await refusal(call(EchoRequest(idempotency_key="k2"), metadata=header))
    assert got.violations[0].field == "idempotency_key"


# --- Time


async def test_a_call_with_too_little_time_has_no_effect(serve):
    method = Recorder()
    served = await serve(CreateEcho=method)
    got = await refusal(contract.unary(served.channel, "CreateEcho")(EchoRequest(), timeout=0.04))
    assert type(got) is status.DeadlineExceeded
    assert method.calls == []


async def test_the_servers_cap_ends_a_call_that_asked_for_more(serve):
    ended = asyncio.Event()

    async def hang(request, context):
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    special = {f"{contract.NAME}/GetEcho": CallClass(60, 0.1)}
    served = await serve(rules={"special": special}, GetEcho=hang)
    got = await refusal(contract.unary(served.channel, "GetEcho")(EchoRequest(), timeout=60))
    assert (type(got), got.reason, got.facts) == (
        status.DeadlineExceeded,
        "DEADLINE_EXCEEDED",
        {"limit_ms": "100"},
    )
    assert ended.is_set()


async def test_a_method_knows_how_long_its_sub_calls_may_take(serve):
    left: list[float] = []

    async def look(request, context):
        left.extend([calls.remaining(60), calls.remaining(0.5)])
        return EchoReply()

    served = await serve(GetEcho=look)
    await contract.unary(served.channel, "GetEcho")(EchoRequest(), timeout=2)
    assert 1 < left[0] < 2.1  # the wire rounds up a little
    assert left[1] == 0.5
    assert calls.remaining(60) == 60


async def test_a_little_is_kept_back_from_sub_calls_and_nothing_left_is_zero():
    calls.set_deadline(2)
    assert calls.remaining(60) <= 2 - calls.HELD_BACK
    calls.set_deadline(0.01)
    assert calls.remaining(60) == 0


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("GetEcho", calls.READ),
        ("ListEchoes", calls.LIST),
        ("CreateEcho", calls.WRITE),
        ("WatchEchoes", calls.WATCH),
    ],
)
def test_the_contract_says_how_long_a_method_may_take(method, expected):
    assert calls.class_of(f"{contract.NAME}/{method}", {}) is expected


async def test_more_calls_than_the_limit_are_told_to_come_back(serve):
    release, inside = asyncio.Event(), asyncio.Barrier(3)

    async def wait(request, context):
        await inside.wait()
        await release.wait()
        return EchoReply()

    served = await serve(rules={"max_concurrent": 2}, GetEcho=wait)
    call = contract.unary(served.channel, "GetEcho")
    first_two = [asyncio.ensure_future(call(EchoRequest())) for _ in range(2)]
    await inside.wait()
    got = await refusal(call(EchoRequest()))
    assert (type(got), got.reason) == (errors.Throttled, "OVERLOADED")
    assert got.retry_after is not None
    release.set()
    await asyncio.gather(*first_two)


async def test_the_log_tells_a_deadline_from_a_client_that_left(serve, lines):
    async def hang(request, context):
        await asyncio.Event().wait()

    served = await serve(GetEcho=hang)
    with pytest.raises(grpc.aio.AioRpcError):
        await contract.unary(served.channel, "GetEcho")(EchoRequest(), timeout=0.1)
    async with asyncio.timeout(5):
        await until(lambda: any(line["event"] == "rpc" for line in lines))
    assert [line["reason"] for line in lines if line["event"] == "rpc"] == ["DEADLINE_EXCEEDED"]


# --- Failures and what is written down


async def test_a_defect_says_nothing_outside_and_everything_once_inside(serve, lines):
    async def fail(request, context):
        raise RuntimeError("SELECT secret FROM tokens at /srv/app")

    served = await serve(GetEcho=fail)
    got = await refusal(contract.unary(served.channel, "GetEcho")(EchoRequest(text="正文")))
    assert type(got) is status.Defect
    assert "SELECT" not in f"{got.message} {got.facts}"
    (line,) = [entry for entry in lines if entry["event"] == "rpc"]
    assert line["incident"] == got.facts["incident"]
    assert "SELECT secret" in str(line["exc_info"])
    assert line["log_level"] == "error"
    assert "正文" not in str(line)


async def test_each_call_leaves_one_line_in_the_words_of_the_contract(serve, callers, lines):
    callers.known["a"] = ALICE
    served = await serve(token="a")
    await contract.unary(served.channel, "GetEcho")(EchoRequest(text="正文", store_id="S1"))
    await refusal(contract.unary(served.channel, "CreateEcho")(EchoRequest()))
    first, second = [entry for entry in lines if entry["event"] == "rpc"]
    assert first.pop("ms") >= 0
    assert first == {
        "event": "rpc",
        "log_level": "info",
        "method": f"{contract.NAME}/GetEcho",
        "code": "OK",
        "reason": "OK",
        "subject": "alice",
        "store_id": "S1",
    }
    assert (second["code"], second["reason"]) == ("PERMISSION_DENIED", "SCOPE_MISSING")


async def test_each_call_is_measured_and_a_made_up_method_is_no_label(serve):
    metrics = Metrics()
    served = await serve(metrics=metrics)
    await contract.unary(served.channel, "GetEcho")(EchoRequest())
    await refusal(served.channel.unary_unary("/made.up/Name")(b""))
    samples = {
        tuple(sample.labels.values()): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
        if sample.name == "reach_rpcs_total"
    }
    assert samples == {(f"{contract.NAME}/GetEcho", "OK"): 1, ("unknown", "METHOD_UNKNOWN"): 1}


async def test_a_servicer_may_still_abort_by_itself(serve, lines):
    async def abort(request, context):
        await context.abort(grpc.StatusCode.DATA_LOSS, "gone")

    served = await serve(GetEcho=abort)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await contract.unary(served.channel, "GetEcho")(EchoRequest())
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.DATA_LOSS, "gone")
    async with asyncio.timeout(5):
        await until(lambda: any(entry["event"] == "rpc" for entry in lines))  # written after the answer
    assert [entry["code"] for entry in lines if entry["event"] == "rpc"] == ["DATA_LOSS"]
