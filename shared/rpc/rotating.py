"""A channel whose certificates may be replaced: new calls take a new connection, running ones end on the old."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import grpc

from shared.watched_files import WatchedFiles

GRACE: Final = 60.0
"""Seconds in which calls on the old connection may end."""

Open = Callable[[grpc.ChannelCredentials], grpc.aio.Channel]


class RotatingChannel(grpc.aio.Channel):
    """Stands for the newest of the channels that *open_channel* made."""

    def __init__(self, open_channel: Open, credentials: WatchedFiles[grpc.ChannelCredentials]) -> None:
        """Raises ``OSError`` and ``ValueError`` for files that are of no use."""
        self._open, self._credentials = open_channel, credentials
        self._channel = open_channel(credentials.current())
        self._version = credentials.version
        self._callables: dict[tuple[str, str], Any] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def bound(self, kind: str, method: str, *more: Any, **named: Any) -> Any:
        """What calls *method* over the newest channel."""
        found = self._callables.get((kind, method)) if self._newest() else None
        if found is None:
            found = getattr(self._channel, kind)(method, *more, **named)
            self._callables[kind, method] = found
        return found

    def _newest(self) -> bool:
        """Whether the channel is still the newest one; if not, it is replaced."""
        credentials = self._credentials.current()
        if self._credentials.version == self._version:
            return True
        old, self._channel = self._channel, self._open(credentials)
        self._version = self._credentials.version
        self._callables.clear()
        task = asyncio.get_running_loop().create_task(old.close(GRACE))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        return False

    def unary_unary(self, method: str, *more: Any, **named: Any) -> Any:
        """See grpc.aio.Channel."""
        return _Callable(self, "unary_unary", method, *more, **named)

    def unary_stream(self, method: str, *more: Any, **named: Any) -> Any:
        """See grpc.aio.Channel."""
        return _Callable(self, "unary_stream", method, *more, **named)

    def stream_unary(self, method: str, *more: Any, **named: Any) -> Any:
        """See grpc.aio.Channel."""
        return _Callable(self, "stream_unary", method, *more, **named)

    def stream_stream(self, method: str, *more: Any, **named: Any) -> Any:
        """See grpc.aio.Channel."""
        return _Callable(self, "stream_stream", method, *more, **named)

    async def close(self, grace: float | None = None) -> None:
        """Close the newest channel, and at once what is left of older ones."""
        for task in tuple(self._closing):
            task.cancel()
        await asyncio.gather(self._channel.close(grace), *self._closing, return_exceptions=True)

    async def __aenter__(self) -> RotatingChannel:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Of the newest channel."""
        return self._channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Of the newest channel."""
        await self._channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Of the newest channel."""
        await self._channel.channel_ready()


class _Callable:
    """One method, which finds its channel with each call: stubs are made once."""

    def __init__(self, owner: RotatingChannel, kind: str, method: str, *more: Any, **named: Any) -> None:
        self._owner, self._kind, self._method, self._more, self._named = owner, kind, method, more, named

    def __call__(self, *request: Any, **how: Any) -> Any:
        return self._owner.bound(self._kind, self._method, *self._more, **self._named)(*request, **how)
