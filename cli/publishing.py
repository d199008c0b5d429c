"""``reach publish``: fire an event, over the broker where there is one, else by gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli.common import quieten_logs, refuse, run, say, settings
from cli.inputs import text

if TYPE_CHECKING:
    from shared.settings import Settings


def publish(
    event_type: Annotated[str, typer.Argument(metavar="TYPE", help="What happened: order.created.")],
    data: Annotated[str, typer.Option(metavar="JSON", help="The payload: JSON, @FILE, or - for stdin.")],
    store: Annotated[str, typer.Option(metavar="ID", help="Where; empty: REACH_DEFAULT_STORE.")] = "",
    event_id: Annotated[
        str, typer.Option("--id", metavar="ID", help="The publisher's id; a repeat of it is recognised.")
    ] = "",
    source: Annotated[str, typer.Option(help="Who says so.")] = "reach/cli",
) -> None:
    """Publish one event and print its id."""
    quieten_logs()
    chosen, payload = settings(), _payload(data)
    store = store or chosen.default_store or ""
    if not store:
        refuse("--store is missing, and REACH_DEFAULT_STORE is not set")
    send = _by_grpc if chosen.amqp_url is None else _by_broker
    typer.echo(run(send(chosen, event_type, payload, store, event_id, source)))


def _payload(data: str) -> dict[str, object]:
    from shared.strict_json import BadJson, load_object

    try:
        return load_object(text(data, "--data"))
    except BadJson as error:
        refuse(f"--data is not a JSON object: {error}")


async def _by_grpc(
    chosen: Settings, event_type: str, payload: dict[str, object], store: str, event_id: str, source: str
) -> str:
    from reach.events.v1 import event_service_pb2 as pb
    from reach.events.v1 import event_service_pb2_grpc

    from cli.connect import calling
    from shared.rpc.fields import to_struct

    request = pb.PublishEventRequest(
        type=event_type, id=event_id, store_id=store, source=source, json=to_struct(payload)
    )
    async with calling(chosen, "notifier", pb.DESCRIPTOR.services_by_name["EventService"]) as channel:
        answer = await event_service_pb2_grpc.EventServiceStub(channel).PublishEvent(request)
    if answer.deduplicated:
        say(f"{answer.event_id} was published before; nothing was done")
    return str(answer.event_id)


async def _by_broker(
    chosen: Settings, event_type: str, payload: dict[str, object], store: str, event_id: str, source: str
) -> str:
    from shared.bus.publisher import Publisher
    from shared.bus.topology import Topology
    from shared.clock import SystemClock
    from shared.errors import Unavailable
    from shared.events.envelope import make_event, write_event
    from shared.ids import new_id
    from shared.telemetry.traces import new_traceparent

    assert chosen.amqp_url is not None
    clock = SystemClock()
    event = make_event(
        event_type,
        payload,
        id=event_id or new_id(),
        store_id=store,
        now=clock.now(),
        source=source,
        traceparent=new_traceparent(),
    )
    topology = Topology(chosen.amqp_prefix, chosen.amqp_exchange)
    timeout = chosen.limits.publish_confirm.total_seconds()
    publisher = Publisher(chosen.amqp_url.get_secret_value(), topology, clock, timeout=timeout)
    publisher.link.start()
    try:
        await publisher.link.settled(timeout)
        if publisher.link.mismatch is not None:
            raise publisher.link.mismatch
        if not publisher.connected:
            why = publisher.link.last_error or "no answer"
            raise Unavailable("BROKER_UNAVAILABLE", f"the broker of REACH_AMQP_URL cannot be reached: {why}")
        (failure,) = await publisher.publish([write_event(event)])
        if failure is not None:
            raise failure
    finally:
        await publisher.link.stop(grace=0)
    return event.id
