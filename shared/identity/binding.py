"""What must be true before a port is opened to others."""

from __future__ import annotations

from shared.rpc.address import is_loopback


def require_safe_binding(
    listen: str, *, has_tokens: bool, tls: bool | None, allow_plaintext: bool
) -> list[str]:
    """Why *listen* must not be opened, one line each with the way out; empty when it may.

    *tls* is None for a listener that has none to offer. A loopback address and a Unix socket are always fine.
    ``ValueError`` when *listen* is no address.
    """
    if is_loopback(listen):
        return []
    problems = []
    if not has_tokens:
        problems.append(
            f"{listen} can be reached by others, and no token exists: create one "
            "(reach token create SUBJECT --kind human|service --scopes … --stores …) or listen on 127.0.0.1"
        )
    if not tls and not allow_plaintext:
        files = "REACH_AUTH_TLS_CERT_FILE and REACH_AUTH_TLS_KEY_FILE, or " if tls is not None else ""
        problems.append(
            f"{listen} can be reached by others without encryption: set {files}"
            "REACH_AUTH_ALLOW_PLAINTEXT=true if something in front adds it"
        )
    return problems
