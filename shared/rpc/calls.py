"""How long calls may take, derived from what the contract says of each method."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Final

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions

from shared.values import value_class

MINIMUM: Final = 0.05
"""Seconds a call must have left to be begun at all."""

HELD_BACK: Final = 0.02
"""Seconds kept from sub-calls, so that our own answer can still travel."""


@value_class
class CallClass:
    """The time a kind of call gets, in seconds."""

    default: float
    """What our clients ask for when the caller names no time-out."""

    cap: float
    """What our servers allow at most, whatever the client asked for."""


READ: Final = CallClass(2, 10)
WRITE: Final = CallClass(5, 15)
LIST: Final = CallClass(5, 20)
GENERATION: Final = CallClass(60, 200)
HEALTH: Final = CallClass(1, 3)
WATCH: Final = CallClass(1800, 1800)

NO_SIDE_EFFECTS: Final = MethodOptions.NO_SIDE_EFFECTS

_deadline: ContextVar[float | None] = ContextVar("reach_deadline", default=None)


def classify(method: MethodDescriptor | None) -> CallClass:
    """The class of *method*: streams watch, List… pages, what has no side effects reads, the rest writes."""
    if method is None:
        return WRITE
    if method.containing_service.full_name == "grpc.health.v1.Health":
        return HEALTH if not method.server_streaming else WATCH
    if method.server_streaming:
        return WATCH
    if method.GetOptions().idempotency_level != NO_SIDE_EFFECTS:
        return WRITE
    return LIST if method.name.startswith(("List", "Export")) else READ


def describe(path: str) -> MethodDescriptor | None:
    """The contract of ``package.Service/Method``, or None when its module was never imported."""
    service, _, name = path.partition("/")
    try:
        found = descriptor_pool.Default().FindServiceByName(service)
    except KeyError:
        return None
    return found.methods_by_name.get(name)


def class_of(path: str, special: Mapping[str, CallClass]) -> CallClass:
    """The class of ``package.Service/Method``; *special* wins over the contract."""
    return special.get(path) or classify(describe(path))


def set_deadline(seconds: float) -> None:
    """Remember, for the rest of this task, that it has *seconds* from now."""
    _deadline.set(asyncio.get_running_loop().time() + seconds)


def remaining(most: float) -> float:
    """Seconds a sub-call may take: what is left of the call being served less ``HELD_BACK``, *most* at most.

    Never negative; outside a call it is *most*.
    """
    deadline = _deadline.get()
    if deadline is None:
        return most
    return min(most, max(0.0, deadline - asyncio.get_running_loop().time() - HELD_BACK))
