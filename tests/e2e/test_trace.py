"""One trace from the publisher to WeCom, as a collector sees it; with nothing secret in it."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from reach.notifier.v1 import delivery_pb2 as dv
from reach.notifier.v1 import notifier_service_pb2 as pb

from tests.e2e.harness import (
    EXAMPLES,
    SECRET,
    STORE,
    Reach,
    Sandbox,
    environment,
    eventually,
    names_on,
    publisher,
    robot,
    sandbox_program,
    seconds,
    struct,
    user,
)
from tests.e2e.replicas import add_robot, delivery, empty_database, standing, started

pytestmark = pytest.mark.server

ROBOT_KEY = "trace-robot-key-0123456789"
SERVER, CLIENT, CONSUMER = Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT, Span.SPAN_KIND_CONSUMER
INTERNAL, PRODUCER = Span.SPAN_KIND_INTERNAL, Span.SPAN_KIND_PRODUCER


class Collector(trace_service_pb2_grpc.TraceServiceServicer):  # type: ignore[misc]  # generated without types
    """An OTLP collector that keeps what it is sent."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    async def Export(self, request: Any, context: Any) -> Any:
        """Keep the spans."""
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.spans += scope.spans
        return trace_service_pb2.ExportTraceServiceResponse()

    def of(self, trace_id: str) -> list[Span]:
        """The spans of one trace, by start."""
        found = [span for span in self.spans if span.trace_id.hex() == trace_id]
        return sorted(found, key=lambda span: span.start_time_unix_nano)

    async def wait(self, trace_id: str, enough: Callable[[list[Span]], bool]) -> list[Span]:
        """The spans of one trace, once they are enough."""

        async def look() -> list[Span] | None:
            found = self.of(trace_id)
            return found if enough(found) else None

        try:
            return await eventually(look, 20, every=0.1) or []
        except AssertionError:
            raise AssertionError(f"only: {[(s.name, s.kind) for s in self.of(trace_id)]}") from None


@asynccontextmanager
async def collecting() -> AsyncIterator[tuple[Collector, str]]:
    """A collector and its endpoint."""
    server, collector = grpc.aio.server(), Collector()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield collector, f"http://127.0.0.1:{port}"
    finally:
        await server.stop(0)


@dataclass
class Publication:
    """A publisher's trace."""

    trace_id: str = field(default_factory=lambda: secrets.token_hex(16))
    span_id: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def traceparent(self) -> str:
        """As it travels."""
        return f"00-{self.trace_id}-{self.span_id}-01"


def posts(spans: list[Span]) -> list[Span]:
    """The calls to WeCom among them."""
    return [span for span in spans if span.kind == CLIENT and span.name.startswith("POST /cgi-bin/")]


def one(spans: list[Span], name: str, kind: int) -> Span:
    """The only span of that name and kind."""
    found = [span for span in spans if (span.name, span.kind) == (name, kind)]
    assert len(found) == 1, [(span.name, span.kind) for span in spans]
    return found[0]


def ancestors(spans: list[Span], span: Span) -> list[str]:
    """Names from the parent of *span* up to the last one the collector knows, then the id it hangs on."""
    by_id = {each.span_id: each for each in spans}
    names = []
    while span.parent_span_id in by_id:
        span = by_id[span.parent_span_id]
        names.append(span.name)
    return [*names, span.parent_span_id.hex()]


def rooted(published: Publication, count: int = 1) -> Callable[[list[Span]], bool]:
    """Whether so many calls to WeCom are there, each hanging, by spans that are there too, on the publisher's."""

    def look(spans: list[Span]) -> bool:
        found = posts(spans)
        return len(found) == count and all(ancestors(spans, each)[-1] == published.span_id for each in found)

    return look


async def request_of(sandbox: Sandbox, to: str) -> dict[str, Any]:
    """The last send to a member that came in at the platform."""
    calls = [call for call in await sandbox.requests("/cgi-bin/message/send") if call["body"]["touser"] == to]
    found: dict[str, Any] = calls[-1]
    return found


async def test_one_trace_goes_from_the_publisher_to_the_platform_by_every_door_and_through_every_wait(
    amqp_url: str, postgres_url: str, tmp_path: Path
) -> None:
    """One process for all of it: starting it costs more than everything it is asked here."""
    async with (
        collecting() as (collector, endpoint),
        sandbox_program() as sandbox,
        names_on(amqp_url) as names,
    ):
        with empty_database(postgres_url) as database:
            environ = environment(
                sandbox.url,
                tmp_path,
                amqp_url=amqp_url,
                database_url=database,
                clock="sandbox",
                OTEL_EXPORTER_OTLP_ENDPOINT=endpoint,
                OTEL_EXPORTER_OTLP_INSECURE="true",
                OTEL_BSP_SCHEDULE_DELAY="100",
                **names.settings,
            )
            async with started(environ) as reach:
                await reach.staff(STORE)
                await add_robot(reach, "front", ROBOT_KEY)
                async with publisher(amqp_url, names.exchange) as amqp:
                    await by_amqp_header(collector, sandbox, amqp)
                    await by_cloudevents_extension(collector, sandbox, amqp)
                await by_grpc(collector, sandbox, reach)
                await through_a_retry(collector, sandbox, reach)
                await through_a_rate(collector, sandbox, reach)
                await a_robots_post(collector, reach)
                await unsampled(collector, sandbox, reach)
            nothing_secret(collector)


async def by_amqp_header(collector: Collector, sandbox: Sandbox, amqp: Any) -> None:
    """A plain body with a header, as a hurried publisher sends it."""
    published = Publication()
    await amqp.publish(
        "order.created",
        {**EXAMPLES["order.created"], "store_id": STORE},
        headers={"traceparent": published.traceparent},
        message_id="trace-amqp",
    )
    await sandbox.arrived(1, "kitchen_staff")
    spans = await collector.wait(published.trace_id, rooted(published))
    await check_chain(sandbox, spans, published, "kitchen_staff")


async def by_cloudevents_extension(collector: Collector, sandbox: Sandbox, amqp: Any) -> None:
    """The extension of a structured event."""
    published = Publication()
    await amqp.publish(
        "payment.completed",
        {
            "specversion": "1.0",
            "id": "trace-structured",
            "type": "payment.completed",
            "source": "till",
            "storeid": STORE,
            "traceparent": published.traceparent,
            "data": dict(EXAMPLES["payment.completed"]),
        },
        content_type="application/cloudevents+json",
    )
    await sandbox.arrived(1, "cashier")
    spans = await collector.wait(published.trace_id, rooted(published))
    await check_chain(sandbox, spans, published, "cashier")


async def check_chain(sandbox: Sandbox, spans: list[Span], published: Publication, person: str) -> None:
    """Consume, transaction, send and request hang on one another and on the publisher."""
    received = next(span for span in spans if span.kind == CONSUMER)
    assert received.name.endswith("receive")
    assert received.parent_span_id.hex() == published.span_id
    admitted = one(spans, "notifier admit", INTERNAL)
    sent = one(spans, "notifier send", INTERNAL)
    (posted,) = posts(spans)
    assert posted.name == "POST /cgi-bin/message/send"
    assert ancestors(spans, posted) == [sent.name, admitted.name, received.name, published.span_id]
    call = await request_of(sandbox, person)
    assert call["traceparent"] == f"00-{published.trace_id}-{posted.span_id.hex()}-01"


async def by_grpc(collector: Collector, sandbox: Sandbox, reach: Reach) -> None:
    """The metadata of TriggerPush."""
    published = Publication()
    request = pb.TriggerPushRequest(
        event_type="order.completed",
        event_data=struct(EXAMPLES["order.completed"]),
        store_id=STORE,
        wait=seconds(5),
    )
    answer = await reach.notifier.TriggerPush(request, metadata=(("traceparent", published.traceparent),))
    assert [each.trace_id for each in answer.deliveries] == [published.trace_id]
    spans = await collector.wait(published.trace_id, rooted(published))
    served_call = next(span for span in spans if span.kind == SERVER)
    assert served_call.name == "reach.notifier.v1.NotifierService/TriggerPush"
    assert served_call.parent_span_id.hex() == published.span_id
    (posted,) = posts(spans)
    assert ancestors(spans, posted)[-2:] == [served_call.name, published.span_id]
    call = await request_of(sandbox, "manager")
    assert call["traceparent"].split("-")[1:3] == [published.trace_id, posted.span_id.hex()]


async def through_a_retry(collector: Collector, sandbox: Sandbox, reach: Reach) -> None:
    """The second try belongs to the trace of the first."""
    await sandbox.fault(path="/cgi-bin/message/send", to="retried", errcode=-1, count=1)
    published = Publication()
    await message(reach, published, user("retried"), wait=8)
    spans = await collector.wait(published.trace_id, rooted(published, 2))
    tries = [span for span in spans if span.name == "notifier send"]
    assert [attribute(span, "reach.attempt_no") for span in tries] == [1, 2]
    assert [attribute(span, "reach.outcome") for span in tries] == ["rejected_retryable", "accepted"]


async def through_a_rate(collector: Collector, sandbox: Sandbox, reach: Reach) -> None:
    """What waited for its rate is still the same story."""
    for number in range(28):
        await message(reach, Publication(), user("crowded"), text=f"{number}")
    published = Publication()
    held = (await message(reach, published, user("crowded"))).deliveries[0]
    await standing(reach, held.delivery_id, dv.DELIVERY_STATUS_DEFERRED)
    await sandbox.arrived(28, "crowded")
    await sandbox.advance(61)
    await standing(reach, held.delivery_id, dv.DELIVERY_STATUS_ACCEPTED)
    spans = await collector.wait(published.trace_id, rooted(published))
    assert len(posts(spans)) == 1
    assert (await request_of(sandbox, "crowded"))["traceparent"].split("-")[1] == published.trace_id
    assert (await delivery(reach, held.delivery_id)).trace_id == published.trace_id


async def a_robots_post(collector: Collector, reach: Reach) -> None:
    """Its key stands in the query."""
    published = Publication()
    await message(reach, published, robot("front"), wait=8)
    spans = await collector.wait(published.trace_id, rooted(published))
    assert [span.name for span in posts(spans)] == ["POST /cgi-bin/webhook/send"]


async def unsampled(collector: Collector, sandbox: Sandbox, reach: Reach) -> None:
    """A publisher that does not sample is not recorded, and its trace travels on all the same."""
    published = Publication()
    request = pb.SendMessageRequest(store_id=STORE, targets=[user("quiet")], text="静", wait=seconds(8))
    quiet = published.traceparent.removesuffix("01") + "00"
    await reach.notifier.SendMessage(request, metadata=(("traceparent", quiet),))
    assert (await request_of(sandbox, "quiet"))["traceparent"].startswith(f"00-{published.trace_id}-")
    later = Publication()
    await message(reach, later, user("loud"), wait=8)
    await collector.wait(later.trace_id, rooted(later))
    assert collector.of(published.trace_id) == []


async def message(
    reach: Reach, published: Publication, *targets: Any, wait: float = 0, text: str = "绝密"
) -> Any:
    """SendMessage as a part of somebody's trace."""
    request = pb.SendMessageRequest(store_id=STORE, targets=targets, text=text, wait=seconds(wait))
    return await reach.notifier.SendMessage(request, metadata=(("traceparent", published.traceparent),))


def attribute(span: Span, name: str) -> Any:
    """The value of an attribute."""
    value = next(each.value for each in span.attributes if each.key == name)
    return getattr(value, value.WhichOneof("value"))


def nothing_secret(collector: Collector) -> None:
    """No key, secret, token, query or words of a message in anything that was exported."""
    exported = b"".join(span.SerializeToString() for span in collector.spans)
    for secret in (ROBOT_KEY, SECRET, "access_token", "corpsecret", "key=", "绝密", "【新订单】"):
        assert secret.encode() not in exported, secret
    shown = "".join(f"{span.name} {span.attributes} {span.events} {span.status}" for span in collector.spans)
    assert "?" not in shown, "a URL with its query"
