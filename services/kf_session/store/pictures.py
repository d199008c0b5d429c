"""Pictures that are kept, as a queue: each is due again and again, and is uploaded by one process at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain import picture as words
from services.kf_session.domain.lifecycle import PushStatus
from services.kf_session.store.learning_tables import UPLOADING, picture
from services.kf_session.store.tables import push
from shared.db.queue import DEFERRED, NORMAL, DueQueue, Settlement
from shared.db.rows import insert_into
from shared.db.types import DialectName
from shared.ids import new_id
from shared.values import value_class

EVERY_STORE: Final = ""

WAKEUP: Final = "pictures"
"""Given when a picture is to be uploaded."""


@value_class
class Held:
    """A picture under our lease."""

    id: str
    epoch: int
    store_id: str
    name: str
    content: bytes
    failures: int
    """In a row."""
    media_id: str
    expires_at: datetime | None


@value_class
class Kept:
    """A picture as it stands."""

    store_id: str
    name: str
    size: int
    media_id: str
    expires_at: datetime | None
    failure: str
    due_at: datetime
    updated_at: datetime


@value_class
class Found:
    """What a push may name a picture by; *missing* says why it may not."""

    media_id: str = ""
    missing: str = ""


class Pictures:
    """The pictures of one database."""

    def __init__(self, dialect: DialectName) -> None:
        self._dialect = dialect
        self.queue = DueQueue(
            dialect,
            picture,
            running=UPLOADING,
            settle_columns=("media_id", "expires_at", "failure", "updated_at"),
        )

    async def keep(
        self, conn: AsyncConnection, store_id: str, name: str, content: bytes, now: datetime
    ) -> None:
        """Have it be uploaded; one that is kept already, only where it is another, or could not be."""
        row = {
            "id": new_id(),
            "store_id": store_id,
            "name": name,
            "content": content,
            "digest": hashlib.sha256(content).hexdigest(),
            "media_id": "",
            "failure": "",
            "created_at": now,
            "updated_at": now,
            **self.queue.ready(NORMAL, now),
        }
        new = insert_into(self._dialect, picture).values(row)
        # Whoever uploads what was kept before finds the epoch raised, and changes nothing.
        anew: dict[str, Any] = {
            name: new.excluded[name]
            for name in ("content", "digest", "failure", "updated_at", "status", "due_at", "rank")
        }
        anew |= {"lease_epoch": picture.c.lease_epoch + 1, "lease_until": None, "attempt_no": 0}
        other = sa.or_(picture.c.digest != new.excluded.digest, picture.c.failure != "")
        await conn.execute(
            new.on_conflict_do_update(index_elements=["store_id", "name"], set_=anew, where=other)
        )

    async def claim(self, conn: AsyncConnection, owner: str, now: datetime, lease: timedelta) -> Held | None:
        """One that is due, first those whose holder is gone."""
        await self.queue.promote(conn, now)
        taken = await self.queue.expired(conn, owner, now, lease, 1)
        taken = taken or await self.queue.claim(conn, owner, now, lease, 1)
        return _held(taken[0]) if taken else None

    async def uploaded(
        self, conn: AsyncConnection, held: Held, media_id: str, began: datetime, now: datetime
    ) -> bool:
        """It is known as *media_id*, and what waited for it is judged anew. False: the lease is lost."""
        end = began + words.LIVES
        known = {"media_id": media_id, "expires_at": end, "failure": "", "updated_at": now}
        due = end - words.RENEWED
        settlement = Settlement(held.id, held.epoch, DEFERRED, 0, due, "alive", known)
        if not await self.queue.settle(conn, [settlement]):
            return False
        waits = sa.update(push).where(push.c.status == DEFERRED, push.c.hold_reason.in_(words.REASONS))
        if held.store_id != EVERY_STORE:
            waits = waits.where(push.c.store_id == held.store_id)
        await conn.execute(
            waits.values(status=PushStatus.PENDING.value, hold_reason=None, due_at=now, updated_at=now)
        )
        return True

    async def failed(
        self, conn: AsyncConnection, held: Held, failure: str, due: datetime, now: datetime
    ) -> bool:
        """It is tried again at *due*; what the platform still knows stays in use. False: the lease is lost."""
        known = {"media_id": held.media_id, "expires_at": held.expires_at}
        extra = {**known, "failure": failure, "updated_at": now}
        settlement = Settlement(held.id, held.epoch, DEFERRED, held.failures + 1, due, "failed", extra)
        return bool(await self.queue.settle(conn, [settlement]))


async def find(conn: AsyncConnection, store_id: str, name: str, now: datetime) -> Found:
    """How a push of a store may name a picture now; the store's own comes before that of every store."""
    t = picture.c
    query = (
        sa.select(t.media_id, t.expires_at, t.failure)
        .where(t.name == name, t.store_id.in_((EVERY_STORE, store_id)))
        .order_by(t.store_id.desc())
        .limit(1)
    )
    row = (await conn.execute(query)).first()
    if row is None:
        return Found(missing=words.UNKNOWN)
    if row.media_id and row.expires_at > now + words.IN_TIME:
        return Found(row.media_id)
    return Found(missing=words.FAILED if row.failure else words.PENDING)


async def drop(conn: AsyncConnection, store_id: str, name: str) -> bool:
    """Keep it no longer; whether it was kept."""
    gone = await conn.execute(
        sa.delete(picture).where(picture.c.store_id == store_id, picture.c.name == name)
    )
    return bool(gone.rowcount)


async def get(conn: AsyncConnection, store_id: str, name: str) -> Kept | None:
    """One that is kept."""
    query = _KEPT.where(picture.c.store_id == store_id, picture.c.name == name)
    row = (await conn.execute(query)).first()
    return None if row is None else _kept(row)


async def page(
    conn: AsyncConnection, stores: Collection[str] | None, after: tuple[str, str] | None, limit: int
) -> list[Kept]:
    """By store and name, those after *after*."""
    query = _KEPT.order_by(picture.c.store_id, picture.c.name).limit(limit)
    if stores is not None:
        query = query.where(picture.c.store_id.in_(stores))
    if after is not None:
        query = query.where(
            sa.tuple_(picture.c.store_id, picture.c.name) > sa.tuple_(*map(sa.literal, after))
        )
    return [_kept(row) for row in await conn.execute(query)]


_KEPT: Final = sa.select(
    picture.c.store_id,
    picture.c.name,
    sa.func.length(picture.c.content).label("size"),
    picture.c.media_id,
    picture.c.expires_at,
    picture.c.failure,
    picture.c.due_at,
    picture.c.updated_at,
)


def _kept(row: Any) -> Kept:
    return Kept(*row)


def _held(row: Any) -> Held:
    return Held(
        row["id"],
        row["lease_epoch"],
        row["store_id"],
        row["name"],
        row["content"],
        row["attempt_no"],
        row["media_id"],
        row["expires_at"],
    )
