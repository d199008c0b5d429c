"""From an aiohttp exception to one of ours."""

from __future__ import annotations

import asyncio
import errno
import ssl

import aiohttp

from shared.http.decode import Undecodable
from shared.http.failures import Kind


def before_connection(error: BaseException) -> tuple[Kind, str]:
    """Kind and the system's own word for a failure inside ``connect``."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return Kind.CERTIFICATE, _word(error.certificate_error)
        case aiohttp.ClientSSLError():
            return Kind.TLS, _word(error.os_error)
        case aiohttp.ClientConnectorDNSError():
            return Kind.DNS, _word(error.os_error)
        case asyncio.TimeoutError():
            return Kind.CONNECT_TIMEOUT, ""
        case aiohttp.ClientConnectorError():
            refused = error.os_error.errno == errno.ECONNREFUSED
            return (Kind.REFUSED if refused else Kind.CONNECT), _word(error.os_error)
    return Kind.UNEXPECTED, type(error).__name__


def after_connection(error: BaseException) -> tuple[Kind, str]:
    """Kind and detail for a failure once a connection stood."""
    match error:
        case Undecodable():
            return error.kind, ""
        case aiohttp.ServerDisconnectedError():
            return Kind.CLOSED, ""
        case aiohttp.ClientPayloadError():
            return Kind.TRUNCATED, ""
        case aiohttp.ClientResponseError():
            return Kind.PROTOCOL, ""
        case asyncio.TimeoutError():
            return Kind.DEADLINE, ""
        case OSError():
            return Kind.RESET, errno.errorcode.get(error.errno or 0, "")
    return Kind.UNEXPECTED, type(error).__name__


def _word(error: BaseException) -> str:
    """A short reason that cannot hold a URL: OpenSSL's or the system's, never ``str(error)``."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return str(error.verify_message)
    if isinstance(error, ssl.SSLError):
        return str(error.reason or "")
    if isinstance(error, OSError):
        return errno.errorcode.get(error.errno or 0, "")
    return type(error).__name__
