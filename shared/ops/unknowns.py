"""A service whose calls of unknown outcome need nobody: they settle themselves."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from shared.db.once import Once
from shared.ops.part import UnknownSend, Verdict


class NothingUnknown:
    """See ``shared.ops.part.UnknownDesk``."""

    async def list_unknown(
        self, stores: Collection[str] | None, after_id: str, limit: int
    ) -> Sequence[UnknownSend]:
        """None, ever."""
        return ()

    async def resolve(
        self,
        id: str,  # noqa: A002  # the contract's word
        verdict: Verdict,
        *,
        stores: Collection[str] | None,
        by: str,
        comment: str,
        once: Once,
    ) -> str | None:
        """There is none of any id."""
        return None
