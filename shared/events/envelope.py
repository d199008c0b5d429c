"""From a message to an event and back: CloudEvents 1.0 (structured and binary), protobuf data, plain JSON bodies.

What is read how:

- headers that begin with ``cloudEvents:``, ``cloudEvents_`` or (HTTP) ``ce-``: binary mode, the body is the data;
- ``application/cloudevents+json``, or a JSON object with ``specversion`` and ``type``: structured mode;
- any other JSON object: plain. ``{event_type, event_data, store_id}``, or the data itself, of the type that the
  routing key names. Its id is the message id; without one it is derived (``Event.derived_id``);
- ``application/protobuf`` (or ``x-protobuf``): the message of a known type.

The store is the extension ``storeid``, the header ``store_id``, or ``store_id`` in the body, which is part of the
envelope and not of the data. Two that differ are refused.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import unquote

import orjson

from shared.bus import Incoming, Outgoing
from shared.errors import Violation
from shared.events.canonical import Unreadable, content_hash, normalise
from shared.events.catalogue import EVENT_TYPES, decode, encode
from shared.events.identity import check_id, check_store, check_type, derived_ids
from shared.events.kinds import Event, parse_instant
from shared.strict_json import BadJson, check_values, load_object

MAX_EVENT_BYTES = 256 * 1024
PROTOBUF = "application/protobuf"

_PREFIXES = ("cloudevents:", "cloudevents_", "ce-")
_PROTOBUF = frozenset({PROTOBUF, "application/x-protobuf"})
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)
_ATTRIBUTES = frozenset(
    {
        "specversion",
        "id",
        "type",
        "source",
        "subject",
        "time",
        "storeid",
        "traceparent",
        "tracestate",
        "datacontenttype",
    }
)


@dataclass(slots=True)
class _Draft:
    """What has been learnt of a message so far."""

    incoming: Incoming
    type: str = ""
    id: str | None = None
    store: str | None = None
    data: dict[str, object] | None = None
    source: str = ""
    subject: str | None = None
    occurred_at: datetime | None = None
    traceparent: str | None = None
    tracestate: str | None = None


def read_event(
    incoming: Incoming,
    *,
    default_store: str | None,
    now: datetime,
    max_bytes: int = MAX_EVENT_BYTES,
    trace: Callable[[str | None], str | None] = lambda parent: parent,
) -> Event:
    """Read and check one message; *default_store* is where an event without a store happened.

    *trace* is asked for the event's ``traceparent``, given the publisher's (None where there was none).

    Raises ``Unreadable``, and nothing else for any message; what was learnt before is in its ``event_id``,
    ``event_type`` and ``store_id``.
    """
    draft = _Draft(incoming, type=incoming.routing_key)
    try:
        if len(incoming.body) > max_bytes:
            raise Unreadable("oversize", f"{len(incoming.body)} bytes; at most {max_bytes} are taken")
        _read(draft)
        draft.store = _store(draft) or default_store
        if draft.store is None:
            raise Unreadable(
                "store_missing", "no storeid, no store_id, and this deployment has no default store"
            )
        draft.traceparent = trace(draft.traceparent)
        return _finish(draft, now)
    except Unreadable as error:
        error.event_id, error.event_type, error.store_id = draft.id, draft.type or None, draft.store
        raise


def make_event(
    event_type: str,
    data: Mapping[str, object],
    *,
    id: str,  # noqa: A002  # its name in CloudEvents
    store_id: str,
    now: datetime,
    source: str = "reach",
    subject: str | None = None,
    occurred_at: datetime | None = None,
    traceparent: str | None = None,
    tracestate: str | None = None,
    door: str = "bus",
) -> Event:
    """An event from its parts, checked and normalised like one that was read. Raises ``Unreadable``."""
    draft = _Draft(Incoming(b"", door=door), check_type(event_type), check_id(id), store_id, dict(data))
    draft.source, draft.subject, draft.occurred_at = source, subject, occurred_at
    draft.traceparent, draft.tracestate = traceparent, tracestate
    try:
        check_values(draft.data)
    except BadJson as error:
        raise Unreadable("decode", str(error)) from None
    return _finish(draft, now)


def _finish(draft: _Draft, now: datetime) -> Event:
    store, event_type, data = check_store(draft.store), draft.type, draft.data
    assert data is not None
    known = EVENT_TYPES.get(event_type)
    if known is not None:
        data = normalise(known, data)
    digest = content_hash(event_type, store, data)
    if draft.id is not None:
        candidates: tuple[str, ...] = (draft.id,)
    else:
        candidates = derived_ids(event_type, store, digest, draft.incoming.timestamp, now)
    return Event(
        id=candidates[0],
        type=event_type,
        store_id=store,
        data=data,
        content_hash=digest,
        received_at=now,
        source=draft.source,
        subject=draft.subject,
        occurred_at=draft.occurred_at,
        known=known is not None,
        derived_id=draft.id is None,
        candidate_ids=candidates,
        traceparent=draft.traceparent,
        tracestate=draft.tracestate,
        door=draft.incoming.door,
    )


def _read(draft: _Draft) -> None:
    incoming = draft.incoming
    media = _media_type(incoming.content_type)
    attributes = _prefixed(incoming.headers) if incoming.headers else None
    if attributes:
        _take_attributes(draft, attributes)
        draft.data = _data(draft.type, media, incoming.body)
    elif media in _PROTOBUF:
        _take_plain(draft)
        draft.data = _data(draft.type, media, incoming.body)
    else:
        body = _object(incoming.body)
        if media == "application/cloudevents+json" or ("specversion" in body and "type" in body):
            _take_structured(draft, body)
        else:
            _take_plain(draft, body)


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower() if isinstance(content_type, str) else ""


def _prefixed(headers: Mapping[str, object]) -> dict[str, object]:
    """The CloudEvents attributes among the headers that mean something here."""
    found: dict[str, object] = {}
    for key, value in headers.items():
        name = key.lower() if isinstance(key, str) else ""
        for prefix in _PREFIXES:
            if name.startswith(prefix) and name[len(prefix) :] in _ATTRIBUTES:
                coded = prefix == "ce-" and isinstance(value, str)
                found[name[len(prefix) :]] = unquote(value) if coded else value  # type: ignore[arg-type]
    return found


def _take_structured(draft: _Draft, body: dict[str, object]) -> None:
    _take_attributes(draft, body)
    media = _media_type(str(body.get("datacontenttype", "")))
    coded = body.get("data_base64")
    if coded is None:
        data = body.get("data")
        if not isinstance(data, dict):
            raise Unreadable.listing([Violation("data", "must be an object")])
        draft.data = data
        return
    try:
        raw = b64decode(coded, validate=True) if isinstance(coded, str) else None
    except ValueError:
        raw = None
    if raw is None:
        raise Unreadable.listing([Violation("data_base64", "must be base64 text")])
    draft.data = _data(draft.type, media, raw)


def _take_attributes(draft: _Draft, attributes: Mapping[str, object]) -> None:
    """Read the attributes of CloudEvents, complaining about all that do not fit at once."""
    violations: list[Violation] = []

    def text(name: str, *, required: bool = False) -> str | None:
        value = _as_text(attributes.get(name))
        if value is None and (required or attributes.get(name) is not None):
            violations.append(Violation(name, "is required, as text" if required else "must be text"))
        elif value is not None and not value.isprintable():
            violations.append(Violation(name, "must be printable text"))
        return value

    if text("specversion", required=True) not in (None, "1.0"):
        violations.append(Violation("specversion", "must be 1.0"))
    event_type, event_id = text("type", required=True), text("id", required=True)
    draft.source, draft.subject = text("source", required=True) or "", text("subject")
    draft.store, draft.occurred_at = text("storeid"), _time(attributes.get("time"), violations)
    headers = draft.incoming.headers
    draft.traceparent = _trace(attributes.get("traceparent", headers.get("traceparent")))
    if draft.traceparent is not None:
        draft.tracestate = _tracestate(attributes.get("tracestate", headers.get("tracestate")))
    if violations:
        raise Unreadable.listing(violations)
    draft.type, draft.id = check_type(event_type), check_id(event_id)


def _time(value: object, violations: list[Violation]) -> datetime | None:
    if value is None:
        return None
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC)
    try:
        return parse_instant(_as_text(value) or "")
    except ValueError:
        violations.append(Violation("time", "must be an RFC 3339 instant with a zone"))
        return None


def _take_plain(draft: _Draft, body: dict[str, object] | None = None) -> None:
    incoming = draft.incoming
    event_type: object = incoming.routing_key
    draft.data = body
    if body is not None and "event_data" in body:
        inner = body["event_data"]
        if not isinstance(inner, dict):
            raise Unreadable.listing([Violation("event_data", "must be an object")])
        event_type = body.get("event_type", event_type)
        draft.store = _as_text(body.get("store_id"))
        draft.data = inner
    draft.type = check_type(event_type)
    draft.id = check_id(incoming.message_id) if incoming.message_id else None
    draft.source = incoming.door
    draft.occurred_at = incoming.timestamp
    draft.traceparent = _trace(incoming.headers.get("traceparent"))
    if draft.traceparent is not None:
        draft.tracestate = _tracestate(incoming.headers.get("tracestate"))


def _store(draft: _Draft) -> str | None:
    """The one store that extension, header and body agree on; None when none of them names one."""
    headers = draft.incoming.headers
    named = [draft.store, headers.get("store_id", headers.get("store-id"))]
    if draft.data is not None and "store_id" in draft.data:
        draft.data = dict(draft.data)
        named.append(draft.data.pop("store_id"))
    stores = {check_store(_as_text(name)) for name in named if name is not None and name != ""}
    if len(stores) > 1:
        raise Unreadable("store_mismatch", "extension, header and body name different stores")
    return stores.pop() if stores else None


def _data(event_type: str, media: str, body: bytes) -> dict[str, object]:
    if media not in _PROTOBUF:
        return _object(body)
    if event_type not in EVENT_TYPES:
        raise Unreadable("decode", f"protobuf data of a type that has no message here: {event_type}")
    try:
        data = decode(event_type, body)
        check_values(data)
        return data
    except ValueError as error:
        raise Unreadable("decode", str(error)) from None


def _object(body: bytes) -> dict[str, object]:
    try:
        return load_object(body)
    except BadJson as error:
        raise Unreadable("decode", f"not acceptable JSON: {error}") from None


def _as_text(value: object) -> str | None:
    """A header's or attribute's value as text, None when it is no such thing."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return None
    return None


def _trace(value: object) -> str | None:
    text = _as_text(value)
    return text if text and _TRACEPARENT.fullmatch(text) else None


def _tracestate(value: object) -> str | None:
    text = _as_text(value)
    return text if text and len(text) <= 512 and text.isprintable() else None


def write_event(event: Event) -> Outgoing:
    """Write an event in binary mode.

    What the suite announces goes as protobuf; everything else as JSON, since publishers' fields that the contract does
    not know would not survive protobuf.
    """
    headers = binary_headers(
        event.type,
        event.id,
        event.store_id,
        event.source or "reach",
        event.occurred_at or event.received_at,
        subject=event.subject,
        traceparent=event.traceparent,
        tracestate=event.tracestate,
    )
    content_type, body = write_data(event.type, event.data)
    return Outgoing(event.id, event.type, body, content_type, headers)


def binary_headers(
    event_type: str,
    event_id: str,
    store_id: str,
    source: str,
    at: datetime,
    *,
    subject: str | None = None,
    traceparent: str | None = None,
    tracestate: str | None = None,
) -> dict[str, str]:
    """The attributes of CloudEvents as message headers; those that are None are left out."""
    headers = {
        "cloudEvents:specversion": "1.0",
        "cloudEvents:id": event_id,
        "cloudEvents:type": event_type,
        "cloudEvents:source": source,
        "cloudEvents:storeid": store_id,
        "cloudEvents:time": at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
    }
    more = (("subject", subject), ("traceparent", traceparent), ("tracestate", tracestate))
    headers.update({f"cloudEvents:{name}": value for name, value in more if value is not None})
    return headers


def write_data(event_type: str, data: Mapping[str, object]) -> tuple[str, bytes]:
    """The content type and the bytes of normalised data, as ``write_event`` says."""
    known = EVENT_TYPES.get(event_type)
    if known is not None and known.announced and known.by_name.keys() >= data.keys():
        return PROTOBUF, encode(event_type, data)
    return "application/json", orjson.dumps(dict(data))
