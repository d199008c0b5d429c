"""A filter of groups between the wire and plain JSON, whose keys are the contract's; no default is written out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from reach.campaign.v1 import audience_pb2 as pb

from services.campaign.domain.audience import DAYS, GROUPS, WORDS
from shared.rpc.fields import from_timestamp, to_timestamp
from shared.text.instants import instant_text


def to_document(wire: pb.Audience, field: str = "audience") -> dict[str, Any]:
    """The filter as plain JSON, the same for the same filter; ``domain.audience.read`` says whether it can be read."""
    found: dict[str, Any] = {}
    if wire.chat_ids:
        found["chat_ids"] = list(wire.chat_ids)
    if wire.HasField("where"):
        found["where"] = _condition(wire.where, f"{field}.where")
    if wire.every_group:
        found["every_group"] = True
    if wire.leave_out_silent_days:
        found["leave_out_silent_days"] = wire.leave_out_silent_days
    return found


def from_document(document: Mapping[str, Any]) -> pb.Audience:
    """The wire form of a filter that was read before."""
    where = document.get("where")
    return pb.Audience(
        chat_ids=document.get("chat_ids", ()),
        where=None if where is None else _wire(where),
        every_group=document.get("every_group", False),
        leave_out_silent_days=document.get("leave_out_silent_days", 0),
    )


def _condition(wire: pb.Condition, field: str) -> dict[str, Any]:
    name = wire.WhichOneof("test")
    if name is None:
        return {}
    value, field = getattr(wire, name), f"{field}.{name}"
    if name in GROUPS:
        return {name: [_condition(one, f"{field}[{at}]") for at, one in enumerate(value.conditions)]}
    if name in WORDS:
        return {name: list(value.words)}
    if name == "members":
        return {name: {"min": value.min} | ({"max": value.max} if value.HasField("max") else {})}
    if name == "created":
        return {
            name: {
                side: instant_text(from_timestamp(getattr(value, side), f"{field}.{side}"))
                for side in ("start", "end")
                if value.HasField(side)
            }
        }
    return {name: value}


def _wire(found: Mapping[str, Any]) -> pb.Condition:
    name, value = next(iter(found.items()))
    made: Any = value
    if name in GROUPS:
        made = pb.Conditions(conditions=[_wire(one) for one in value])
    elif name in WORDS:
        made = pb.AnyWord(words=value)
    elif name == "members":
        made = pb.MemberRange(**value)
    elif name == "created":
        made = pb.TimeRange(
            **{side: to_timestamp(datetime.fromisoformat(text)) for side, text in value.items()}
        )
    elif name not in DAYS and name != "name_contains":
        raise ValueError(f"{name} is nothing that a filter can ask")
    return pb.Condition(**{name: made})
