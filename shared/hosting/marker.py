"""Whether a process of this host died without saying so: then its successor takes messages one at a time at first."""

from __future__ import annotations

import os
import socket

import sqlalchemy as sa

from shared.db.engine import Database
from shared.db.rows import insert_into
from shared.db.tables import meta


class RunningMarker:
    """A row that is there while a process runs and is removed when it stops in order."""

    def __init__(self, database: Database, service: str) -> None:
        self._database = database
        self._prefix = f"running:{service}:{socket.gethostname()}:"
        self._key = f"{self._prefix}{os.getpid()}"

    async def enter(self) -> bool:
        """Set the marker; whether one was left behind by a process that is no more (it is removed)."""
        async with self._database.write() as conn:
            found = await conn.execute(
                sa.select(meta.c.key).where(meta.c.key >= self._prefix, meta.c.key < self._prefix + "\uffff")
            )
            dead = [key for key in found.scalars() if not _alive(int(key.rpartition(":")[2]))]
            await conn.execute(sa.delete(meta).where(meta.c.key.in_(dead)))
            statement = insert_into(self._database.dialect, meta).values(key=self._key, value="running")
            await conn.execute(statement.on_conflict_do_nothing())
        return bool(dead)

    async def leave(self) -> None:
        """Remove the marker: this process stopped in order."""
        async with self._database.write() as conn:
            await conn.execute(sa.delete(meta).where(meta.c.key == self._key))


def _alive(pid: int) -> bool:
    """Whether another process has *pid*; in a container the number before us was ours."""
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
