"""TLS of the HTTP listener: files that are replaced hold from the next connection on."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path

from shared.environment import ConfigurationError
from shared.rpc.tls import check_pair
from shared.watched_files import WatchedFiles


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """What a listener with this PEM certificate chain and key speaks TLS by; 1.2 at least, no client certificates.

    Raises ``ConfigurationError`` for files that are of no use.
    """

    def read(contents: Sequence[bytes]) -> ssl.SSLContext:
        check_pair(contents[0], contents[1])
        context = _context()
        context.load_cert_chain(certificate, key)  # ssl reads paths only; the pair is compared again there
        return context

    watched = WatchedFiles("TLS of HTTP", [certificate, key], read)
    try:
        watched.current()
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ConfigurationError(
            [
                f"REACH_AUTH_HTTP_TLS_CERT_FILE, REACH_AUTH_HTTP_TLS_KEY_FILE: {error}; name a PEM certificate and its key"
            ]
        ) from None

    def newest(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """Asked in each handshake, also where the client names nobody."""
        connection.context = watched.current()

    front = _context()
    front.load_cert_chain(certificate, key)
    front.sni_callback = newest
    return front


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
