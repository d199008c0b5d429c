"""Certificates, for listening and for calling: PEM files that may be replaced while a process runs."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from shared.values import value_class
from shared.watched_files import WatchedFiles


@value_class
class TlsFiles:
    """PEM files of a listener."""

    certificate: Path
    key: Path
    client_ca: Path | None = None
    """When set, clients must show a certificate signed by it."""

    def __str__(self) -> str:
        return ", ".join(map(str, self._paths()))

    def credentials(self) -> grpc.ServerCredentials:
        """Credentials that take up replaced files with the next connection.

        Raises ``OSError`` when one cannot be read, ``ValueError`` when they are of no use.
        """
        watched = WatchedFiles("TLS of gRPC", self._paths(), self._configuration)
        first, taken, turn = watched.current(), [watched.version], threading.Lock()

        def fetch() -> Any:
            """Called by the library's own threads, for each connection."""
            with turn:
                found = watched.current()
                if watched.version == taken[0]:
                    return None  # nothing new: the library keeps what it has
                taken[0] = watched.version
                return found

        return grpc.dynamic_ssl_server_credentials(
            first, fetch, require_client_authentication=self.client_ca is not None
        )

    def _paths(self) -> list[Path]:
        return [self.certificate, self.key, *([self.client_ca] if self.client_ca is not None else [])]

    def _configuration(self, contents: Sequence[bytes]) -> Any:
        certificate, key, *authority = contents
        check_pair(certificate, key)
        for pem in authority:
            check_authority(pem)
        return grpc.ssl_server_certificate_configuration([(key, certificate)], next(iter(authority), None))


@value_class
class ClientTls:
    """PEM files of a caller."""

    ca: Path
    """Who signed the certificates of those we call."""
    certificate: Path | None = None
    """Shown to those who ask for one, with *key*."""
    key: Path | None = None

    def __str__(self) -> str:
        return ", ".join(map(str, self._paths()))

    def watched(self) -> WatchedFiles[grpc.ChannelCredentials]:
        """Credentials for channels; see ``WatchedFiles`` for what it raises."""
        return WatchedFiles("TLS of calls", self._paths(), _channel_credentials)

    def _paths(self) -> list[Path]:
        if self.certificate is None or self.key is None:
            return [self.ca]
        return [self.ca, self.certificate, self.key]


def _channel_credentials(contents: Sequence[bytes]) -> grpc.ChannelCredentials:
    authority, *pair = contents
    check_authority(authority)
    if not pair:
        return grpc.ssl_channel_credentials(authority)
    certificate, key = pair
    check_pair(certificate, key)
    return grpc.ssl_channel_credentials(authority, key, certificate)


def check_pair(certificate: bytes, key: bytes) -> None:
    """Raise ``ValueError`` unless *key* is the key of the first certificate, both PEM; neither is repeated."""
    try:
        shown = x509.load_pem_x509_certificates(certificate)[0].public_key()
        held = load_pem_private_key(key, None).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("not a PEM certificate and its PEM key without a password") from None
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if shown.public_bytes(*form) != held.public_bytes(*form):
        raise ValueError("the key is of another certificate")


def check_authority(pem: bytes) -> None:
    """Raise ``ValueError`` unless *pem* holds at least one certificate."""
    try:
        x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise ValueError("the authority is not a PEM certificate") from None
