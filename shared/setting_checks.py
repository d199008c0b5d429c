"""What no single setting shows: combinations that cannot work, or would be unsafe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from shared.settings import Settings

WECOM_API = "https://qyapi.weixin.qq.com"

Contradiction = tuple[list[tuple[str, ...]], str]
"""The fields it is about (so that a value already refused is not blamed twice) and the problem."""


def contradictions(settings: Settings, service: str) -> Iterator[Contradiction]:
    """Every contradiction in *settings* for the process *service*."""
    for check in _CHECKS:
        yield from check(settings, service)


def _about(text: str, *fields: str) -> Contradiction:
    return [tuple(field.split(".")) for field in fields], text


def _transport(settings: Settings, service: str) -> Iterator[Contradiction]:
    auth = settings.auth
    pair = ("auth.tls_cert_file", "auth.tls_key_file")
    if (auth.tls_cert_file is None) != (auth.tls_key_file is None):
        yield _about(
            "REACH_AUTH_TLS_CERT_FILE and REACH_AUTH_TLS_KEY_FILE go together; set both or neither", *pair
        )
    elif not settings.grpc_listen.loopback and auth.tls_cert_file is None and not auth.allow_plaintext:
        yield _about(
            f"REACH_GRPC_LISTEN: {settings.grpc_listen} can be reached from outside without TLS; set "
            "REACH_AUTH_TLS_CERT_FILE and REACH_AUTH_TLS_KEY_FILE, listen on 127.0.0.1, or set "
            "REACH_AUTH_ALLOW_PLAINTEXT=true behind a proxy that adds TLS",
            "grpc_listen",
            "auth.allow_plaintext",
            *pair,
        )


def _http_transport(settings: Settings, service: str) -> Iterator[Contradiction]:
    auth = settings.auth
    pair = ("auth.http_tls_cert_file", "auth.http_tls_key_file")
    if (auth.http_tls_cert_file is None) != (auth.http_tls_key_file is None):
        yield _about(
            "REACH_AUTH_HTTP_TLS_CERT_FILE and REACH_AUTH_HTTP_TLS_KEY_FILE go together; set both or neither",
            *pair,
        )


def _peers(settings: Settings, service: str) -> Iterator[Contradiction]:
    auth = settings.auth
    certain = auth.tls_cert_file is not None and auth.tls_ca_file is not None and auth.tls_require_client
    if auth.mtls_allow and not certain:
        yield _about(
            "REACH_AUTH_MTLS_ALLOW names client certificates, and none is asked for: set REACH_AUTH_TLS_CERT_FILE, "
            "REACH_AUTH_TLS_KEY_FILE and REACH_AUTH_TLS_CA_FILE, and leave REACH_AUTH_TLS_REQUIRE_CLIENT true",
            "auth.mtls_allow",
            "auth.tls_ca_file",
            "auth.tls_require_client",
        )


def _jwt(settings: Settings, service: str) -> Iterator[Contradiction]:
    auth = settings.auth
    sources = [auth.jwks_file is not None, auth.jwks_url is not None]
    fields = ("auth.jwks_file", "auth.jwks_url", "auth.jwt_issuer", "auth.jwt_audience")
    if all(sources):
        yield _about("REACH_AUTH_JWKS_FILE and REACH_AUTH_JWKS_URL are both set; keep one of them", *fields)
    elif any(sources) != (auth.jwt_issuer is not None) or any(sources) != (auth.jwt_audience is not None):
        yield _about(
            "JWTs need REACH_AUTH_JWT_ISSUER, REACH_AUTH_JWT_AUDIENCE, and one of REACH_AUTH_JWKS_FILE and "
            "REACH_AUTH_JWKS_URL; set all three or none",
            *fields,
        )


def _approval(settings: Settings, service: str) -> Iterator[Contradiction]:
    if not settings.wecom.customer.manual_approval:
        yield _about(
            "WECOM_CUSTOMER_MANUAL_APPROVAL: campaigns are always approved by a person; remove it or set it to true",
            "wecom.customer.manual_approval",
        )


def _callbacks(settings: Settings, service: str) -> Iterator[Contradiction]:
    wecom = settings.wecom
    doors = {"app": wecom.app_callback, "kf": wecom.kf_callback, "customer": wecom.customer_callback}
    for door, callback in doors.items():
        if (callback.token is None) != (callback.aes_key is None):
            name = f"WECOM_{door.upper()}_CALLBACK_"
            yield _about(
                f"{name}TOKEN and {name}AES_KEY go together; set both or neither",
                f"wecom.{door}_callback.token",
                f"wecom.{door}_callback.aes_key",
            )


def _clock(settings: Settings, service: str) -> Iterator[Contradiction]:
    if settings.clock == "sandbox" and _calls_real_wecom(settings, service):
        yield _about(
            "REACH_CLOCK=sandbox needs the sandbox; set REACH_WECOM_BASE_URL to its address "
            "(http://127.0.0.1:9100) or remove REACH_CLOCK",
            "clock",
            "wecom_base_url",
        )


def _calls_real_wecom(settings: Settings, service: str) -> bool:
    """``reach up`` without a URL brings its own sandbox."""
    if settings.wecom_base_url is None:
        return service != "up"
    return urlsplit(settings.wecom_base_url).hostname == urlsplit(WECOM_API).hostname


def _deadlines(settings: Settings, service: str) -> Iterator[Contradiction]:
    if settings.limits.http_connect > settings.limits.http_total:
        yield _about(
            "REACH_LIMIT_HTTP_CONNECT is longer than REACH_LIMIT_HTTP_TOTAL, which includes it; make it shorter",
            "limits.http_connect",
            "limits.http_total",
        )
    if settings.limits.lease < 2 * settings.limits.http_total:
        yield _about(
            "REACH_LIMIT_LEASE is shorter than twice REACH_LIMIT_HTTP_TOTAL: a claim would run out before its call "
            "is over; make it longer",
            "limits.lease",
            "limits.http_total",
        )


def _broker(settings: Settings, service: str) -> Iterator[Contradiction]:
    if service != "up" and settings.embedded:
        yield _about(
            f"REACH_AMQP_URL is not set; reach serve {service} needs a broker (amqp://user:password@host:5672/), "
            "or run everything in one process with reach up",
            "amqp_url",
        )


_CHECKS: tuple[Callable[[Settings, str], Iterator[Contradiction]], ...] = (
    _transport,
    _http_transport,
    _peers,
    _jwt,
    _approval,
    _callbacks,
    _clock,
    _deadlines,
    _broker,
)
