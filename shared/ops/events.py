"""``reach.events.v1.EventService``: the door for events by gRPC, through the outbox like everything announced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from reach.events.v1 import event_service_pb2 as pb
from reach.events.v1 import event_service_pb2_grpc

from shared.clock import Clock
from shared.db import outbox
from shared.db.engine import Database
from shared.db.once import Once
from shared.errors import Invalid
from shared.events.catalogue import decode, message_name
from shared.events.envelope import make_event, write_event
from shared.events.kinds import Event
from shared.ids import new_id
from shared.rpc.fields import from_struct, optional_timestamp
from shared.rpc.principal import authorise_store, current
from shared.telemetry.traces import current_traceparent, traceparent_or_new

METHOD: Final = "reach.events.v1.EventService/PublishEvent"
SCOPES: Final[Mapping[str, str]] = {METHOD: "events.publish"}


class EventServicer(event_service_pb2_grpc.EventServiceServicer):
    """See event_service.proto."""

    def __init__(self, database: Database, clock: Clock, default_store: str | None) -> None:
        self._database = database
        self._clock = clock
        self._default_store = default_store

    async def PublishEvent(self, request: pb.PublishEventRequest, context: Any) -> pb.PublishEventResponse:
        """Record an event for publication."""
        store = request.store_id or self._default_store
        if not store:
            raise Invalid.field(
                "store_id", "is required: name the store, or set REACH_DEFAULT_STORE", "STORE_MISSING"
            )
        authorise_store(store)
        event = make_event(
            request.type,
            _data(request),
            id=request.id or new_id(),
            store_id=store,
            now=self._clock.now(),
            source=request.source or f"grpc/{current().subject}",
            subject=request.subject or None,
            occurred_at=optional_timestamp(request, "time"),
            traceparent=traceparent_or_new(current_traceparent()),
            door="grpc",
        )
        return await self._record(event, request)

    async def _record(self, event: Event, request: pb.PublishEventRequest) -> pb.PublishEventResponse:
        now = self._clock.now()
        key = f"id:{request.id}" if request.id else request.idempotency_key
        conflict = "EVENT_ID_CONFLICT" if request.id else "IDEMPOTENCY_KEY_REUSED"
        once = Once(event.store_id, METHOD, key, event.content_hash, conflict)
        out = write_event(event)
        async with self._database.write() as conn:
            # The answer is the id that was given or made the first time.
            earlier = await once.begin(conn, now)
            if earlier is not None:
                return pb.PublishEventResponse(event_id=earlier.decode(), deduplicated=True)
            await once.finish(conn, event.id.encode())
            row = outbox.NewEvent(
                new_id(), event.type, event.store_id, out.body, out.content_type, out.headers, now
            )
            await outbox.add(conn, [row])
            self._database.wakeups.notify(conn, outbox.WAKEUP, others=False)
        return pb.PublishEventResponse(event_id=event.id)


def _data(request: pb.PublishEventRequest) -> Mapping[str, object]:
    if request.WhichOneof("data") == "json":
        return from_struct(request.json)
    expected = message_name(request.type)
    if expected is None:
        raise Invalid.field("message", f"{request.type} has no message of its own; send json")
    if request.message.TypeName() != expected:
        raise Invalid.field("message", f"must be a {expected}, not a {request.message.TypeName()}")
    try:
        return decode(request.type, request.message.value)
    except ValueError as error:
        raise Invalid.field("message", str(error)) from error
