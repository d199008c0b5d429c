"""One keyed call, done once: an idempotency key with what it stands for."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db import idempotency
from shared.errors import Conflict
from shared.values import value_class


@value_class
class Once:
    """A call's key, scoped by store and method; without a key every call is a first one."""

    store_id: str
    method: str
    key: str
    request_hash: str
    conflict: str = "IDEMPOTENCY_KEY_REUSED"
    """The reason when the key belongs to another request."""

    @property
    def name(self) -> str:
        """The method without its service: ``SendMessage``."""
        return self.method.rpartition("/")[2]

    async def begin(self, conn: AsyncConnection, now: datetime) -> bytes | None:
        """None: the call is new, do it and ``finish`` in this transaction. Bytes: the answer it had."""
        if not self.key:
            return None
        try:
            return await idempotency.begin(conn, self.store_id, self.method, self.key, self.request_hash, now)
        except Conflict as conflict:
            text = (
                conflict.message
                if self.conflict == conflict.reason
                else "known with other content; the first stands"
            )
            raise Conflict(self.conflict, text) from conflict

    async def finish(self, conn: AsyncConnection, answer: bytes) -> None:
        """Store the answer, in the transaction of the ``begin`` that said None."""
        if self.key:
            await idempotency.finish(conn, self.store_id, self.method, self.key, answer)

    async def is_first(self, conn: AsyncConnection, now: datetime) -> bool:
        """Whether to go on, for calls whose answer is the state of things and needs no storing."""
        if await self.begin(conn, now) is not None:
            return False
        await self.finish(conn, b"done")
        return True
