"""What a process needs to know who calls it, and to say who it is: made from the settings when it opens."""

from __future__ import annotations

from contextlib import AsyncExitStack

from shared.environment import ConfigurationError
from shared.identity.binding import require_safe_binding
from shared.identity.claims import Names, Terms
from shared.identity.jwt_verifier import JwtVerifier
from shared.identity.key_sources import FileKeys, Keys, KeyUrl, UrlKeys
from shared.rpc.tls import ClientTls, TlsFiles
from shared.setting_auth import Auth
from shared.settings import Settings
from shared.watched_files import watched_token


def jwt_verifier(auth: Auth, stack: AsyncExitStack) -> JwtVerifier | None:
    """What proves JWTs; None where none are taken. Raises ``ConfigurationError`` for a file that is of no use."""
    if auth.jwt_issuer is None or auth.jwt_audience is None:
        return None
    names = Names(auth.jwt_subject_claim, auth.jwt_scopes_claim, auth.jwt_stores_claim, auth.jwt_kind_claim)
    terms = Terms(auth.jwt_issuer, auth.jwt_audience, auth.jwt_longest, names)
    return JwtVerifier(_keys(auth, stack), terms, auth.jwt_algorithms)


def _keys(auth: Auth, stack: AsyncExitStack) -> Keys:
    if auth.jwks_url is None:
        return _file_keys(auth)
    url = KeyUrl(auth.jwks_url)
    keys = UrlKeys(url.fetch, auth.jwt_algorithms, auth.jwks_ttl)
    stack.push_async_callback(url.close)
    stack.push_async_callback(keys.close)
    return keys


def _file_keys(auth: Auth) -> FileKeys:
    if auth.jwks_file is None:
        raise ConfigurationError(["JWTs need REACH_AUTH_JWKS_FILE or REACH_AUTH_JWKS_URL; set one of them"])
    try:
        return FileKeys(auth.jwks_file, auth.jwt_algorithms)
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            [f"REACH_AUTH_JWKS_FILE: {auth.jwks_file} {error}; write the issuer's JWK set into it"]
        ) from None


def check_calls(settings: Settings) -> None:
    """Raise ``ConfigurationError`` where this process could not call another one: its token, its certificates."""
    token, tls = settings.service_token_file, client_tls(settings.auth)
    if token is not None:
        try:
            watched_token(token).current()
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                [
                    f"REACH_SERVICE_TOKEN_FILE: {error}; write the text that `reach token create` printed into it"
                ]
            ) from None
    if tls is not None:
        try:
            tls.watched().current()
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                [f"REACH_AUTH_TLS_CA_FILE, REACH_AUTH_TLS_CERT_FILE, REACH_AUTH_TLS_KEY_FILE: {tls}: {error}"]
            ) from None


def client_tls(auth: Auth) -> ClientTls | None:
    """With what other services are called: checked by our authority, shown our own certificate; None is plaintext."""
    if auth.tls_ca_file is None:
        return None
    return ClientTls(auth.tls_ca_file, auth.tls_cert_file, auth.tls_key_file)


def check_bindings(settings: Settings, *, has_credentials: bool) -> None:
    """Raise ``ConfigurationError`` with every reason why a listener of callers must not be opened as it is."""
    auth = settings.auth
    listeners = (
        (settings.grpc_listen, auth.tls_cert_file is not None, "REACH_AUTH_TLS"),
        (settings.http_listen, auth.http_tls_cert_file is not None, "REACH_AUTH_HTTP_TLS"),
    )
    problems = [
        problem
        for listen, encrypts, files in listeners
        for problem in require_safe_binding(
            str(listen),
            has_credentials=has_credentials,
            tls=encrypts,
            files=files,
            allow_plaintext=auth.allow_plaintext,
        )
    ]
    if problems:
        raise ConfigurationError(problems)


def tls_files(auth: Auth) -> TlsFiles | None:
    """The files gRPC is served with; None is plaintext."""
    if auth.tls_cert_file is None or auth.tls_key_file is None:
        return None
    return TlsFiles(
        auth.tls_cert_file, auth.tls_key_file, auth.tls_ca_file if auth.tls_require_client else None
    )
