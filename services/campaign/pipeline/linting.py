"""The one way to ask what may not be said; see ``ports.Lint``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.blockwords import BlockWords
from services.campaign.domain.campaign import Content
from services.campaign.domain.links import LinkHosts
from services.campaign.domain.linting import Finding, findings
from services.campaign.pipeline.ports import Hit
from services.campaign.store import materials

UNDER: Final = "content"


class Linter:
    """Looks with the words and hosts of the deployment, and a campaign's own words."""

    def __init__(self, block_words: Iterable[str], link_hosts: Iterable[str]) -> None:
        self._block_words = tuple(block_words)
        self._hosts = LinkHosts(link_hosts)
        self._own = BlockWords(self._block_words)

    async def hits(
        self, conn: AsyncConnection, store_id: str, content: Content, banned_words: Sequence[str]
    ) -> Sequence[Hit]:
        """See ``Lint``."""
        return [
            Hit(f"{UNDER}.{one.field}", one.word, one.start, one.end, one.found, one.reason)
            for one in await self.found(conn, store_id, content, banned_words)
        ]

    async def found(
        self, conn: AsyncConnection, store_id: str, content: Content, banned_words: Sequence[str]
    ) -> Sequence[Finding]:
        """The same, with fields below the content."""
        names = {one.material for one in content.attachments if one.material}
        kept = await materials.of_names(conn, store_id, names) if names else []
        words = BlockWords((*self._block_words, *banned_words)) if banned_words else self._own
        return findings(content, words, self._hosts, {one.name: one.filename for one in kept})
