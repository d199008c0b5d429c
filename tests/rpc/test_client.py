from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import grpc_testing
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2 as details_pb2
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from shared import errors
from shared.rpc import calls, client, status, tracing
from shared.rpc.principal import Principal, current
from tests.rpc import contract
from tests.rpc.conftest import until
from tests.rpc.contract import EchoReply, EchoRequest, ListEchoesRequest, ListEchoesResponse


def test_only_what_the_contract_declares_safe_is_repeated():
    (entry,) = client.service_config(contract.SERVICE)["methodConfig"]
    assert {name["method"] for name in entry["name"]} == {"GetEcho", "ListEchoes", "WatchEchoes"}


async def failing_twice(serve: Any, method: str) -> tuple[int, Any]:
    tries = 0

    async def flaky(request, context):
        nonlocal tries
        tries += 1
        if tries < 3:
            raise errors.Unavailable("DEPENDENCY_DOWN", "down")
        return EchoReply(text="at last")

    served = await serve(**{method: flaky})
    outcome = await asyncio.gather(
        contract.unary(served.channel, method)(EchoRequest()), return_exceptions=True
    )
    return tries, outcome[0]


async def test_a_safe_call_survives_two_refusals(serve):
    tries, reply = await failing_twice(serve, "GetEcho")
    assert (tries, reply.text) == (3, "at last")


async def test_a_call_that_may_have_effects_is_sent_once(serve):
    tries, error = await failing_twice(serve, "CreateEcho")
    assert tries == 1
    assert status.from_call(error).reason == "DEPENDENCY_DOWN"


@pytest.mark.parametrize(
    ("method", "expected"), [("GetEcho", calls.READ.default), ("CreateEcho", calls.WRITE.default)]
)
async def test_a_call_without_a_time_out_gets_the_default_of_its_class(serve, method, expected):
    left: list[float] = []

    async def look(request, context):
        left.append(context.time_remaining())
        return EchoReply()

    served = await serve(**{method: look})
    await contract.unary(served.channel, method)(EchoRequest())
    assert expected - 1 < left[0] < expected + 0.1  # the wire rounds up a little


async def test_a_call_made_while_serving_one_never_outlives_it(serve):
    left: list[float] = []

    async def inner(request, context):
        left.append(context.time_remaining())
        return EchoReply()

    async def outer(request, context):
        return await contract.unary(served.channel, "CreateEcho")(EchoRequest(), timeout=60)

    served = await serve(GetEcho=outer, CreateEcho=inner)
    await contract.unary(served.channel, "GetEcho")(EchoRequest(), timeout=1)
    assert left[0] < 1.1  # the wire rounds up a little


async def test_the_token_travels_with_calls_and_streams(serve, callers):
    callers.closed = True
    callers.known["a"] = Principal("a", "service", frozenset({"notify.read"}), "*")

    async def watch(request, context):
        yield EchoReply(text=current().subject)

    served = await serve(token="a", WatchEchoes=watch)
    await contract.unary(served.channel, "GetEcho")(EchoRequest())
    assert [reply.text async for reply in contract.stream(served.channel)(EchoRequest())] == ["a"]


# --- Traces


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "_tracer", provider.get_tracer("test"))
    return exporter


async def test_client_and_server_are_one_trace_with_codes(serve, spans):
    seen: list[int] = []

    async def look(request, context):
        seen.append(trace.get_current_span().get_span_context().trace_id)
        raise errors.Unavailable("DEPENDENCY_DOWN", "down")

    served = await serve(CreateEcho=look)
    with pytest.raises(grpc.aio.AioRpcError):
        await contract.unary(served.channel, "CreateEcho")(EchoRequest())
    async with asyncio.timeout(5):
        await until(lambda: len(spans.get_finished_spans()) == 2)
    server, caller = sorted(spans.get_finished_spans(), key=lambda span: span.kind.name, reverse=True)
    assert (server.kind, caller.kind) == (trace.SpanKind.SERVER, trace.SpanKind.CLIENT)
    assert server.parent.span_id == caller.context.span_id
    assert seen == [server.context.trace_id]
    assert server.attributes["rpc.grpc.status_code"] == caller.attributes["rpc.grpc.status_code"] == 14
    assert server.status.is_ok is False


async def test_a_defect_is_recorded_on_its_span_and_a_refusal_is_no_error(serve, spans):
    async def fail(request, context):
        raise RuntimeError("bug")

    async def refuse(request, context):
        raise errors.Conflict("STATE_INVALID", "no")

    served = await serve(CreateEcho=fail, GetEcho=refuse)
    for method in ("CreateEcho", "GetEcho"):
        with pytest.raises(grpc.aio.AioRpcError):
            await contract.unary(served.channel, method)(EchoRequest())
    server = {s.name.rpartition("/")[2]: s for s in spans.get_finished_spans() if s.kind.name == "SERVER"}
    assert [event.name for event in server["CreateEcho"].events] == ["exception"]
    assert server["CreateEcho"].status.status_code is trace.StatusCode.ERROR
    assert server["GetEcho"].status.status_code is trace.StatusCode.UNSET


async def test_without_a_tracer_the_trace_still_passes_through(serve):
    seen: list[str] = []

    async def look(request, context):
        seen.append(f"{trace.get_current_span().get_span_context().trace_id:032x}")
        return EchoReply()

    served = await serve(GetEcho=look)
    sent = "0af7651916cd43dd8448eb211c80319c"
    async with grpc.aio.insecure_channel(served.address) as channel:
        await contract.unary(channel, "GetEcho")(
            EchoRequest(), metadata=[("traceparent", f"00-{sent}-b7ad6b7169203331-01")]
        )
    assert seen == [sent]


# --- Pages


class Shelf:
    """Three pages."""

    async def __call__(self, request: Any, context: Any) -> Any:
        n = int(request.page_token or 0)
        return ListEchoesResponse(
            echoes=[EchoReply(text=f"{request.store_id}{n}")], next_page_token=str(n + 1) if n < 2 else ""
        )


async def test_all_pages_come_in_order_and_the_request_stays_as_it_was(serve):
    served = await serve(ListEchoes=Shelf())
    request = ListEchoesRequest(store_id="S")
    stub = contract.unary(served.channel, "ListEchoes")
    texts = [echo.text async for page in client.pages(stub, request) for echo in page.echoes]
    assert texts == ["S0", "S1", "S2"]
    assert request.page_token == ""


LIST = contract.SERVICE.methods_by_name["ListEchoes"]


@pytest.fixture
def fake() -> Any:
    return grpc_testing.channel([contract.SERVICE], grpc_testing.strict_real_time())


@pytest.mark.timeout(30)
def test_blocking_code_pages_too_with_a_deadline_for_each_page(fake):
    def listing() -> list[str]:
        stub = contract.unary(fake, "ListEchoes")
        return [e.text for page in client.pages_sync(stub, ListEchoesRequest()) for e in page.echoes]

    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(listing)
        for expected, following in (("", "p2"), ("p2", "")):
            _, request, rpc = fake.take_unary_unary(LIST)
            assert request.page_token == expected
            rpc.send_initial_metadata(())
            page = ListEchoesResponse(echoes=[EchoReply(text=f"页{expected}")], next_page_token=following)
            rpc.terminate(page, (), grpc.StatusCode.OK, "")
        assert result.result(10) == ["页", "页p2"]


@pytest.mark.timeout(30)
def test_blocking_code_reads_the_reason_of_a_failure(fake):
    def fetch() -> errors.ReachError:
        try:
            contract.unary(fake, "ListEchoes")(ListEchoesRequest(), timeout=5)
        except grpc.RpcError as error:
            return status.from_call(error)
        raise AssertionError("did not fail")

    raised = errors.Denied("STORE_FORBIDDEN", "不是您的门店")
    wire = status.to_status(raised)
    info, packed = details_pb2.ErrorInfo(domain="reach", reason=raised.reason), AnyMessage()
    packed.Pack(info)
    assert packed in status.to_proto(raised).details
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(fetch)
        _, _, rpc = fake.take_unary_unary(LIST)
        rpc.send_initial_metadata(())
        rpc.terminate(None, wire.trailing_metadata, wire.code, wire.details)
        got = result.result(10)
    assert (type(got), got.reason, got.message) == (errors.Denied, "STORE_FORBIDDEN", "不是您的门店")
