"""The two ways a call can fail: certainly not sent, or nobody can tell."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """What went wrong; stable words for rows, metrics and spans."""

    POOL_TIMEOUT = "pool_timeout"
    DNS = "dns"
    REFUSED = "refused"
    CONNECT = "connect"
    CONNECT_TIMEOUT = "connect_timeout"
    TLS = "tls"
    CERTIFICATE = "certificate"
    SHUT = "shut"
    DEADLINE = "deadline"
    CLOSED = "closed"
    RESET = "reset"
    TRUNCATED = "truncated"
    PROTOCOL = "protocol"
    TOO_LARGE = "too_large"
    ENCODING = "encoding"
    UNEXPECTED = "unexpected"


_WORDS = {
    Kind.POOL_TIMEOUT: "every connection stayed busy",
    Kind.DNS: "the host name was not resolved",
    Kind.REFUSED: "the connection was refused",
    Kind.CONNECT: "no connection could be made",
    Kind.CONNECT_TIMEOUT: "connecting took too long",
    Kind.TLS: "the TLS handshake failed",
    Kind.CERTIFICATE: "the server's certificate was not accepted",
    Kind.SHUT: "this client has been closed",
    Kind.DEADLINE: "the deadline passed",
    Kind.CLOSED: "the server closed the connection without answering",
    Kind.RESET: "the connection broke",
    Kind.TRUNCATED: "the answer ended early",
    Kind.PROTOCOL: "the answer is not valid HTTP",
    Kind.TOO_LARGE: "the answer is larger than allowed",
    Kind.ENCODING: "the answer's content coding cannot be undone",
    Kind.UNEXPECTED: "the HTTP library failed unexpectedly",
}


class HttpFailure(Exception):
    """A call without an answer. Raised only as :class:`NotSent` or :class:`Unclear`.

    ``kind`` says what happened, ``host`` and ``path`` where; ``detail`` is the system's own word
    for it, possibly empty. A query string is in none of them, nor is any other exception chained:
    our peers carry tokens in their URLs, and the library's exceptions quote those.
    """

    def __init__(self, kind: Kind, *, method: str, host: str, path: str, detail: str = "") -> None:
        words = f"{_WORDS[kind]} ({detail})" if detail else _WORDS[kind]
        super().__init__(f"{method} {path} on {host}: {words}")
        self.kind = kind
        self.host = host
        self.path = path
        self.detail = detail


class NotSent(HttpFailure):
    """No byte of the request was written: calling again repeats nothing."""


class Unclear(HttpFailure):
    """A connection stood: the request may have been read and acted on."""
