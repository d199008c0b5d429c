"""Alerts as they come, in an order that a reader can go on in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from services.ai_orchestrator.store import alerts
from services.ai_orchestrator.store.alerts import WAKEUP, Head, KeptAlert, Wanted
from shared.db.engine import Database
from shared.errors import Conflict
from shared.values import value_class

PAGE: Final = 200
POLL: Final = 2.0
"""Seconds after which a watcher looks again without a wake-up."""
SILENT_MOST: Final = 1000
"""Numbers that pass a watcher by, being of others, before it is told a new cursor."""


@value_class
class Told:
    """What a watcher is told."""

    alert: KeptAlert | None
    """None: the cursor alone."""
    cursor: int


class Watching:
    """Follows alerts by their numbers."""

    def __init__(self, database: Database, *, poll: float = POLL) -> None:
        self._database = database
        self._poll = poll

    async def alerts(self, wanted: Wanted, after: int | None) -> AsyncIterator[Told]:
        """The cursor from which it goes; then each alert behind it once, for as long as somebody iterates.

        *after* None is from now on. Raises Conflict (CURSOR_INVALID) for a cursor that cannot be gone on from.
        """
        signal = self._database.wakeups.listen(WAKEUP)  # before the first look, so that nothing falls between
        head = await self._head()
        at = head.seq if after is None else _checked(after, head)
        yield Told(None, at)
        while True:
            async with self._database.read() as conn:
                page = await alerts.behind(conn, wanted, at, head.seq, PAGE)
            for one in page:
                assert one.seq is not None  # it was found by its number
                at = one.seq
                yield Told(one, at)
            if len(page) == PAGE:
                continue
            if head.seq - at >= SILENT_MOST:
                at = head.seq
                yield Told(None, at)
            if not head.waiting:
                await signal.wait(self._poll)
            head = await self._head()

    async def _head(self) -> Head:
        """How far the numbers go, once what is committed has some."""
        async with self._database.read() as conn:
            head = await alerts.head(conn)
        if not head.waiting:
            return head
        await self._database.transact(alerts.number)
        async with self._database.read() as conn:
            return await alerts.head(conn)


def _checked(after: int, head: Head) -> int:
    if after > head.seq:
        raise Conflict(
            "CURSOR_INVALID", "no alert has that number yet: it is another database's", cursor=after
        )
    if 0 < after < head.purged:
        raise Conflict("CURSOR_INVALID", "alerts behind it are not kept any more; begin with 0", cursor=after)
    return after
