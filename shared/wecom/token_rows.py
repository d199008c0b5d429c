"""What is kept of one secret's access token, and who may change it."""

from __future__ import annotations

from dataclasses import field
from datetime import datetime
from typing import Protocol

from shared.values import value_class


@value_class
class StoredToken:
    """One row. ``generation`` counts the tokens fetched so far; 0 is none yet."""

    token: str | None = field(repr=False)
    """None before the first, and after the platform refused it."""

    expires_at: datetime | None
    refresh_at: datetime | None
    """From here on a replacement is fetched while this one is still used."""

    generation: int
    refused_until: datetime | None = None
    """The breaker: the secret itself was refused, do not show it again before."""

    refused_errcode: int | None = None
    refused_count: int = 0
    """Refusals in a row."""


class TokenStore(Protocol):
    """Rows shared by all replicas. Every change is one compare-and-set: True means it was made.

    Failures surface as :class:`shared.errors.ReachError`.
    """

    async def load(self, key: str) -> StoredToken | None:
        """The row, or None before the first lease."""
        ...

    async def try_lease(self, key: str, owner: str, generation: int, now: datetime, until: datetime) -> bool:
        """Become the one who refreshes, if *generation* is current and no lease runs; makes the row."""
        ...

    async def save(
        self, key: str, token: str, refresh_at: datetime, expires_at: datetime, generation: int, owner: str
    ) -> bool:
        """Replace generation *generation* by the next and end the lease, if both are still *owner*'s."""
        ...

    async def release(self, key: str, owner: str) -> None:
        """End the lease without a token, if it is still *owner*'s."""
        ...

    async def refuse(self, key: str, owner: str, until: datetime, errcode: int, count: int) -> None:
        """Open the breaker and end the lease, if it is still *owner*'s."""
        ...

    async def drop(self, key: str, generation: int) -> bool:
        """Forget a token the platform refused, if *generation* is still current."""
        ...

    async def reopen(self, key: str) -> None:
        """Close the breaker."""
        ...
