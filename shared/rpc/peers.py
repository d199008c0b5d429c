"""Which client certificates may call what: names of certificates, by package, gRPC service or method."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from shared.errors import Denied
from shared.values import value_class

EVERYTHING: Final = "*"
_NAMES: Final = "x509_subject_alternative_name"


@value_class
class PeerRules:
    """What each name may call; what nobody is named for, nobody may call."""

    by_part: Mapping[str, frozenset[str]]
    """By ``*``, package (``notifier`` for ``reach.notifier.v1``), gRPC service, or ``service/Method``."""

    @classmethod
    def of(cls, pairs: Iterable[str]) -> PeerRules | None:
        """Rules from pairs such as ``notifier=spiffe://reach/campaign``; None where there are none: then all may."""
        found: dict[str, set[str]] = {}
        for pair in pairs:
            part, _, name = pair.partition("=")
            found.setdefault(part, set()).add(name)
        return cls({part: frozenset(names) for part, names in found.items()}) if found else None

    def check(self, path: str, names: Collection[str], *, common: bool) -> None:
        """Raise ``Denied`` (PEER_FORBIDDEN) unless a certificate with *names* may call ``package.Service/Method``.

        *common*: what belongs to no service (health, reflection), for everybody who may call anything.
        """
        parts = self.by_part if common else _parts(path)
        if not any(self.by_part.get(part, frozenset()).intersection(names) for part in parts):
            raise Denied(
                "PEER_FORBIDDEN",
                "this client certificate is not on the list of REACH_AUTH_MTLS_ALLOW for this",
            )


def _parts(path: str) -> tuple[str, ...]:
    service = path.partition("/")[0]
    package = service.split(".")
    short = (package[1],) if len(package) > 2 and package[0] == "reach" else ()
    return (EVERYTHING, *short, service, path)


def names_of(context: Any) -> frozenset[str]:
    """The URI and DNS names in the certificate of whoever calls; none without TLS or a certificate."""
    found: Iterable[bytes] = context.auth_context().get(_NAMES, ())
    return frozenset(name.decode("utf-8", "replace") for name in found)
