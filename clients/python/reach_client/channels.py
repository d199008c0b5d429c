"""Channels on which every call has a deadline, a token when one is given, and the retries its contract allows."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NamedTuple

import grpc

from reach_client import contract

_OPTIONS: Final = [
    ("grpc.service_config", contract.service_config()),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
]


def channel(target: str, *, token: str | None = None, ca: Path | str | None = None) -> grpc.aio.Channel:
    """A channel for asyncio to *target* (``host:port``), to be closed by the caller.

    *token* goes with every call. *ca* names a PEM file and turns encryption on; without it everything, the
    token too, travels in the clear. A time-out given with a call wins over the default (2 s to read, 5 s to
    list or to change). UNAVAILABLE is tried three times in all, where the contract says that is safe.
    Raises OSError when *ca* cannot be read.
    """
    extras = _Extras(token)
    interceptors = [_AsyncUnary(extras), _AsyncStream(extras)]
    if ca is None:
        return grpc.aio.insecure_channel(target, _OPTIONS, interceptors=interceptors)
    return grpc.aio.secure_channel(target, _credentials(ca), _OPTIONS, interceptors=interceptors)


def sync_channel(target: str, *, token: str | None = None, ca: Path | str | None = None) -> grpc.Channel:
    """The same for blocking stubs."""
    bare = (
        grpc.insecure_channel(target, _OPTIONS)
        if ca is None
        else grpc.secure_channel(target, _credentials(ca), _OPTIONS)
    )
    return grpc.intercept_channel(bare, _Sync(_Extras(token)))


def _credentials(ca: Path | str) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(Path(ca).read_bytes())


class _Extras:
    """What is added to a call."""

    def __init__(self, token: str | None) -> None:
        self._token = token

    def timeout(self, details: Any) -> float | None:
        """The caller's, else the contract's."""
        if details.timeout is not None:
            return float(details.timeout)
        method = details.method
        return contract.deadline(method.decode() if isinstance(method, bytes) else method)

    def metadata(self, details: Any) -> list[tuple[str, str | bytes]]:
        """The caller's and the token; a caller who shows a token of his own is left alone."""
        given = list(details.metadata or ())
        if self._token is None or any(key == "authorization" for key, _ in given):
            return given
        return [*given, ("authorization", f"Bearer {self._token}")]

    def add(self, details: Any) -> Any:
        """The details of an async call, completed."""
        metadata = grpc.aio.Metadata(*self.metadata(details))
        return details._replace(timeout=self.timeout(details), metadata=metadata)


class _AsyncUnary(grpc.aio.UnaryUnaryClientInterceptor):
    def __init__(self, extras: _Extras) -> None:
        self._extras = extras

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await continuation(self._extras.add(client_call_details), request)


class _AsyncStream(grpc.aio.UnaryStreamClientInterceptor):
    def __init__(self, extras: _Extras) -> None:
        self._extras = extras

    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await continuation(self._extras.add(client_call_details), request)


class _Details(NamedTuple):
    """What the blocking library reads of a call; its own class for it is private."""

    method: Any
    timeout: float | None
    metadata: Any
    credentials: Any
    wait_for_ready: Any
    compression: Any


class _Sync(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    def __init__(self, extras: _Extras) -> None:
        self._extras = extras

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(self._complete(client_call_details), request)

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(self._complete(client_call_details), request)

    def _complete(self, details: Any) -> _Details:
        return _Details(
            details.method,
            self._extras.timeout(details),
            self._extras.metadata(details),
            details.credentials,
            details.wait_for_ready,
            details.compression,
        )
