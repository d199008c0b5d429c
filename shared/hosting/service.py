"""What a service gives back to be served."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import field

from starlette.routing import BaseRoute

from shared.bus import Handler
from shared.hosting.resources import Resources
from shared.ops.part import Part
from shared.rpc.calls import CallClass
from shared.rpc.server import Registrar
from shared.supervise import Loop
from shared.values import value_class


@value_class
class Service:
    """One built service."""

    name: str
    """As in ``reach serve``; also its queue and its schema."""

    registrars: Sequence[Registrar]
    """Add its servicers to a server."""

    rpc_names: Sequence[str]
    """Full names of those servicers, for health."""

    scopes: Mapping[str, str]
    """``package.Service/Method`` → scope."""

    part: Part
    """Its share in the operators' view."""

    types: Sequence[str]
    """Event types it hears; empty hears nothing."""

    handler: Handler
    """Takes a batch of them."""

    loops: Mapping[str, Loop]
    """Background loops by name, started before its doors open."""

    drain: Callable[[float], Awaitable[None]]
    """Finish what is in flight within so many seconds and give back the rest; called once, when all doors are closed
    and loops still turn."""

    flush: Callable[[], Awaitable[None]]
    """Write what is known and not written; called once, after the loops have ended."""

    special: Mapping[str, CallClass] = field(default_factory=dict)
    """Methods whose time is not what the contract suggests."""

    routes: Sequence[BaseRoute] = field(default_factory=tuple)
    """HTTP doors."""


Build = Callable[[Resources], Awaitable[Service]]
"""Opens a service's database, migrated, and wires the service."""
