"""What an operator may set of who may call, and over what (``REACH_AUTH_…``)."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from pydantic import Field

from shared.environment import Group
from shared.setting_types import Algorithms, BaseUrl, Duration, Issuer, Peers, ReadableFile


class Auth(Group):
    """Who may call, and over what. Beyond loopback TLS is required."""

    env_prefix: ClassVar[str] = "REACH_AUTH_"

    tls_cert_file: ReadableFile | None = None
    """PEM certificate chain that gRPC is served with, and that is shown to the other services. Replaced files are taken up
    without a restart, as are all that are named here."""
    tls_key_file: ReadableFile | None = None
    """PEM key of that certificate."""
    tls_ca_file: ReadableFile | None = None
    """PEM of the authority that signed the other services' certificates; client certificates are then required."""
    tls_require_client: bool = True
    """Whether client certificates are required; false: REACH_AUTH_TLS_CA_FILE is only what other services are checked with."""
    mtls_allow: Peers = ()
    """Which client certificates may call what: ``notifier=spiffe://reach/campaign``, separated by commas. On the left a
    package, a gRPC service, a method or ``*``; on the right a URI or DNS name of the certificate. Empty: all of our
    authority; else what is not named here may be called by nobody."""
    http_tls_cert_file: ReadableFile | None = None
    """PEM certificate chain that HTTP is served with."""
    http_tls_key_file: ReadableFile | None = None
    """PEM key of that certificate."""
    allow_plaintext: bool = False
    """Serve beyond loopback without TLS (behind a proxy or mesh that adds it). Tokens are still required."""
    jwks_file: ReadableFile | None = None
    """JWK set with the public keys of an issuer whose JWTs are taken beside our tokens."""
    jwks_url: BaseUrl | None = None
    """The same behind a URL, in place of the file."""
    jwks_ttl: Duration = Field(
        default=timedelta(minutes=10), ge=timedelta(seconds=10), le=timedelta(hours=24)
    )
    """How often the URL is asked anew. A key that is unknown is asked for at once, every ten seconds at most."""
    jwt_issuer: Issuer | None = None
    """Issuer of those JWTs (``iss``), as it writes itself."""
    jwt_audience: str | None = Field(default=None, max_length=256)
    """What those JWTs must be for (``aud``)."""
    jwt_algorithms: Algorithms = ("ES256", "EdDSA", "RS256", "PS256")
    """Signatures that are taken, separated by commas; those with a shared secret never are."""
    jwt_longest: Duration = Field(default=timedelta(hours=1), le=timedelta(hours=24))
    """How long a JWT may be good, from ``iat`` to ``exp``."""
    jwt_subject_claim: str = Field(default="sub", min_length=1, max_length=128)
    """Claim with the name of the caller; the issuer is put before it."""
    jwt_scopes_claim: str = Field(default="scope", min_length=1, max_length=128)
    """Claim with scopes: a list, or words with spaces between them. Those that are not ours are left out."""
    jwt_stores_claim: str = Field(default="stores", min_length=1, max_length=128)
    """Claim with stores, in the same form; ``*`` is every store."""
    jwt_kind_claim: str = Field(default="sub_kind", min_length=1, max_length=128)
    """Claim that says ``human`` or ``service``; without it the caller is a program, which can approve nothing."""
