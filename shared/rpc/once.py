"""From a keyed call on the wire to the guard against a second effect of it."""

from __future__ import annotations

from typing import Any

from shared.db.once import Once
from shared.rpc.fields import fingerprint


def once_of(
    service: str, method: str, request: Any, store_id: str = "", *, without: tuple[str, ...] = ()
) -> Once:
    """The guard of a call of *service* (its full name) whose request has an ``idempotency_key``.

    *without* names fields in which a repeat may differ, such as how long to wait for the answer.
    """
    content = fingerprint(request, without=("idempotency_key", *without))
    return Once(store_id, f"{service}/{method}", request.idempotency_key, content)
