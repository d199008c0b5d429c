"""The event types of the contract, read from its descriptors: what ``reach/events/v1`` says is all there is."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from buf.validate import validate_pb2
from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from reach.events.v1 import (
    ai_events_pb2,
    ai_pb2,
    campaign_events_pb2,
    inventory_pb2,
    kf_pb2,
    kf_push_events_pb2,
    kf_session_events_pb2,
    member_pb2,
    notifier_events_pb2,
    operations_pb2,
    options_pb2,
    order_pb2,
    payment_pb2,
    reservation_pb2,
)

from shared.events.kinds import EventType, Field, FieldKind

_FILES = (
    order_pb2,
    reservation_pb2,
    member_pb2,
    payment_pb2,
    inventory_pb2,
    operations_pb2,
    ai_pb2,
    kf_pb2,
    kf_push_events_pb2,
    notifier_events_pb2,
    kf_session_events_pb2,
    ai_events_pb2,
    campaign_events_pb2,
)


def _field(descriptor: FieldDescriptor) -> Field:
    options = descriptor.GetOptions()
    rules = options.Extensions[validate_pb2.field]
    items = rules.repeated.items if descriptor.is_repeated else rules
    kind = FieldKind(
        options_pb2.FieldKind.Name(options.Extensions[options_pb2.kind]).removeprefix("FIELD_KIND_")
    )
    return Field(
        name=descriptor.name,
        kind=kind,
        required=not descriptor.is_repeated and not descriptor.has_presence,
        repeated=descriptor.is_repeated,
        max_length=items.string.max_len if items.string.HasField("max_len") else None,
        max_items=rules.repeated.max_items if rules.repeated.HasField("max_items") else None,
    )


def _types() -> tuple[dict[str, EventType], dict[str, type[Message]]]:
    types: dict[str, EventType] = {}
    messages: dict[str, type[Message]] = {}
    for file in _FILES:
        for descriptor in file.DESCRIPTOR.message_types_by_name.values():
            options = descriptor.GetOptions()
            fields = tuple(map(_field, descriptor.fields))
            for name in options.Extensions[options_pb2.event_type]:
                types[name] = EventType(name, fields, announced=options.Extensions[options_pb2.announced])
                messages[name] = GetMessageClass(descriptor)
    return types, messages


_TYPES, _MESSAGES = _types()

EVENT_TYPES: Mapping[str, EventType] = MappingProxyType(_TYPES)
"""Every known type by name."""

INBOUND: tuple[str, ...] = tuple(name for name, known in _TYPES.items() if not known.announced)
"""The types that publishers outside send."""

ANNOUNCED: tuple[str, ...] = tuple(name for name, known in _TYPES.items() if known.announced)
"""The types that the suite announces."""


def message_class(event_type: str) -> type[Message]:
    """The class of the message that holds the data of a known type; KeyError for an unknown one."""
    return _MESSAGES[event_type]


def message_name(event_type: str) -> str | None:
    """The full name of the message that holds the data of *event_type*, None for an unknown type."""
    message = _MESSAGES.get(event_type)
    return None if message is None else message.DESCRIPTOR.full_name


def decode(event_type: str, body: bytes) -> dict[str, object]:
    """Read the protobuf data of a known type as JSON values under the contract's names.

    Raises ValueError when the bytes are not that message; KeyError for an unknown type.
    """
    try:
        return to_json(_MESSAGES[event_type].FromString(body))
    except DecodeError:
        raise ValueError(f"not a {_MESSAGES[event_type].DESCRIPTOR.full_name} in protobuf") from None


def encode(event_type: str, data: Mapping[str, object]) -> bytes:
    """Write normalised data of a known type as protobuf. Raises ValueError for a field the message does not have."""
    message = _MESSAGES[event_type]()
    try:
        json_format.ParseDict(dict(data), message)
    except json_format.ParseError as error:
        raise ValueError(str(error)) from None
    return message.SerializeToString(deterministic=True)


def to_json(message: Message) -> dict[str, object]:
    """A message of the contract as JSON values. Fields that cannot be absent are always there."""
    data: dict[str, object] = {}
    for descriptor in message.DESCRIPTOR.fields:
        value = getattr(message, descriptor.name)
        if descriptor.is_repeated:
            if value:
                data[descriptor.name] = [_value(one) for one in value]
        elif not descriptor.has_presence or message.HasField(descriptor.name):
            data[descriptor.name] = value
    return data


def _value(value: object) -> object:
    return json_format.MessageToDict(value) if isinstance(value, Message) else value
