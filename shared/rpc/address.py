"""Where to listen: ``host:port`` (port 0 picks a free one) or ``unix:path``."""

from __future__ import annotations

from dataclasses import replace

from shared.setting_types import Address

_UNIX = "unix:"


def is_loopback(listen: str) -> bool:
    """Whether only this machine can reach *listen*; ``ValueError`` when it is no address."""
    return listen.startswith(_UNIX) or Address.parse(listen).loopback


def as_bound(listen: str, port: int) -> str:
    """*listen* with the *port* that was found."""
    return listen if listen.startswith(_UNIX) else str(replace(Address.parse(listen), port=port))
