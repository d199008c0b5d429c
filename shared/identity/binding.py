"""What must be true before a port is opened to others."""

from __future__ import annotations

from shared.rpc.address import is_loopback


def require_safe_binding(
    listen: str, *, has_credentials: bool, tls: bool, files: str, allow_plaintext: bool
) -> list[str]:
    """Why *listen* must not be opened, one line each with the way out; empty when it may.

    *files* is what the names of the settings of its certificate begin with. A loopback address and a Unix socket are
    always fine; a name is not, whatever it means today, but for localhost. ``ValueError`` when *listen* is no address.
    """
    if is_loopback(listen):
        return []
    problems = []
    if not has_credentials:
        problems.append(
            f"{listen} can be reached by others, and no token exists: create one "
            "(reach token create SUBJECT --kind human|service --scopes … --stores …), take JWTs (REACH_AUTH_JWT_…), "
            "or listen on 127.0.0.1"
        )
    if not tls and not allow_plaintext:
        problems.append(
            f"{listen} can be reached by others without encryption: set {files}_CERT_FILE and {files}_KEY_FILE, or "
            "REACH_AUTH_ALLOW_PLAINTEXT=true if something in front adds it"
        )
    return problems
