"""KF accounts as a queue: each is due again and again, and is pulled by one process at a time.

Whoever rings an account locks its row, and so does whoever ends a pull: a ring is either seen by that pull's end or
finds the account waiting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.store.tables import PULLING, account, doorbell
from shared.db.queue import DEFERRED, HIGH, LOW, PENDING, DueQueue, Settlement, rank_of
from shared.db.recalling import recall
from shared.db.rows import insert_into
from shared.db.types import DialectName
from shared.ids import new_id
from shared.values import value_class

WAKEUP: Final = "accounts"
"""Given when an account is due earlier than it was."""

REMOVED: Final = "removed"
"""The account is no longer ours to read."""

TOKEN_LIVES: Final = timedelta(minutes=10)


@value_class
class Held:
    """An account under our lease."""

    id: str
    store_id: str
    cursor: str
    epoch: int
    attempt_no: int
    synced_at: datetime | None


@value_class
class Bell:
    """A callback that nobody has answered with a pull yet."""

    id: str
    token: str
    rung_at: datetime

    def opens(self, now: datetime) -> bool:
        """Whether its token is still good."""
        return bool(self.token) and now - self.rung_at < TOKEN_LIVES


@value_class
class AccountView:
    """An account as it stands."""

    id: str
    store_id: str
    name: str
    status: str
    hold_reason: str
    synced_at: datetime | None
    created_at: datetime

    @property
    def read_until(self) -> datetime:
        """Up to when everything of it has been read."""
        return self.synced_at or self.created_at


class Accounts:
    """The accounts of one database."""

    def __init__(self, dialect: DialectName) -> None:
        self._dialect = dialect
        self.queue = DueQueue(
            dialect, account, running=PULLING, settle_columns=("rank", "synced_at", "updated_at")
        )

    async def ring(
        self, conn: AsyncConnection, open_kfid: str, store_id: str, token: str, now: datetime
    ) -> None:
        """The platform has something for us: the account is due at once."""
        await self.add(conn, {open_kfid: ""}, {open_kfid: store_id}, now)
        await conn.execute(
            sa.insert(doorbell).values(id=new_id(), open_kfid=open_kfid, token=token, rung_at=now)
        )

    async def add(
        self, conn: AsyncConnection, names: Mapping[str, str], stores: Mapping[str, str], now: datetime
    ) -> None:
        """Know these accounts from now on and pull them at once; an empty name leaves the one that is known."""
        for open_kfid in sorted(names):
            row = {
                "id": open_kfid,
                "store_id": stores[open_kfid],
                "name": names[open_kfid],
                "cursor": "",
                "created_at": now,
                "updated_at": now,
                **self.queue.ready(HIGH, now),
            }
            waits = account.c.status.in_([DEFERRED, REMOVED])
            insert = insert_into(self._dialect, account).values(row)
            changed = {
                "name": sa.case((insert.excluded.name != "", insert.excluded.name), else_=account.c.name),
                "store_id": insert.excluded.store_id,
                "status": sa.case((waits, PENDING), else_=account.c.status),
                "due_at": sa.case((waits, insert.excluded.due_at), else_=account.c.due_at),
                "rank": sa.case((waits, insert.excluded.rank), else_=account.c.rank),
                "hold_reason": sa.case((waits, None), else_=account.c.hold_reason),
                "updated_at": now,
            }
            await conn.execute(insert.on_conflict_do_update(index_elements=["id"], set_=changed))

    async def rename(
        self, conn: AsyncConnection, names: Mapping[str, str], stores: Mapping[str, str], now: datetime
    ) -> set[str]:
        """Take names and stores of accounts that are known and ours; which those are."""
        known: set[str] = set()
        for open_kfid in sorted(names):
            done = await conn.execute(
                sa.update(account)
                .where(account.c.id == open_kfid, account.c.status != REMOVED)
                .values(name=names[open_kfid], store_id=stores[open_kfid], updated_at=now)
            )
            known |= {open_kfid} if done.rowcount else set()
        return known

    async def remove(self, conn: AsyncConnection, open_kfids: Sequence[str], now: datetime) -> None:
        """They are no longer ours; whoever is pulling one of them finds its lease gone."""
        gone = {
            "status": REMOVED,
            "lease_owner": None,
            "lease_until": None,
            "lease_epoch": account.c.lease_epoch + 1,
            "updated_at": now,
        }
        for open_kfid in sorted(open_kfids):
            await conn.execute(
                sa.update(account).where(account.c.id == open_kfid, account.c.status != REMOVED).values(gone)
            )

    async def unlisted(self, conn: AsyncConnection, listed: Sequence[str], before: datetime) -> list[str]:
        """Accounts known since before *before* that are not among *listed*."""
        query = sa.select(account.c.id).where(
            account.c.status != REMOVED, account.c.updated_at < before, account.c.id.not_in(listed)
        )
        return list((await conn.execute(query)).scalars())

    async def claim(
        self, conn: AsyncConnection, owner: str, now: datetime, lease: timedelta, limit: int
    ) -> list[Held]:
        """Take up to *limit* accounts that are due, first those whose holder is gone."""
        await recall(conn, account, PULLING, now, lease, rank=rank_of(LOW, now))
        await self.queue.promote(conn, now)
        taken = await self.queue.expired(conn, owner, now, lease, limit)
        if len(taken) < limit:
            taken += await self.queue.claim(conn, owner, now, lease, limit - len(taken))
        return [_held(row) for row in taken]

    async def advance(
        self, conn: AsyncConnection, held: Held, cursor: str, now: datetime, until: datetime
    ) -> bool:
        """A page was taken: the next pull begins at *cursor*, and the lease lasts until *until*. False: it is lost."""
        moved = await conn.execute(
            sa.update(account)
            .where(
                account.c.id == held.id,
                account.c.lease_epoch == held.epoch,
                account.c.status == PULLING,
                account.c.cursor == held.cursor,
            )
            .values(cursor=cursor, lease_until=until, updated_at=now)
        )
        return bool(moved.rowcount)

    async def bells(self, conn: AsyncConnection, open_kfid: str) -> list[Bell]:
        """What rang, the newest first."""
        query = (
            sa.select(doorbell.c.id, doorbell.c.token, doorbell.c.rung_at)
            .where(doorbell.c.open_kfid == open_kfid)
            .order_by(doorbell.c.rung_at.desc(), doorbell.c.id.desc())
        )
        return [Bell(row.id, row.token, row.rung_at) for row in await conn.execute(query)]

    async def done(
        self, conn: AsyncConnection, held: Held, served: Sequence[str], now: datetime, next_at: datetime
    ) -> bool:
        """Everything was read: due again at *next_at*, or at once when it rang meanwhile. False: the lease is lost."""
        if not await self._rest(conn, held, now, next_at, now, 0, "poll"):
            return False
        await conn.execute(sa.delete(doorbell).where(doorbell.c.id.in_(served)))
        rung = await conn.scalar(sa.select(doorbell.c.id).where(doorbell.c.open_kfid == held.id).limit(1))
        if rung is not None:
            await conn.execute(
                sa.update(account)
                .where(account.c.id == held.id, account.c.status == DEFERRED)
                .values(status=PENDING, due_at=now, rank=rank_of(HIGH, now), hold_reason=None)
            )
        return True

    async def failed(
        self, conn: AsyncConnection, held: Held, reason: str, now: datetime, next_at: datetime
    ) -> bool:
        """The pull came to nothing: again at *next_at*. False: the lease is lost."""
        return await self._rest(conn, held, now, next_at, held.synced_at, held.attempt_no + 1, reason)

    async def release(self, conn: AsyncConnection, now: datetime, owner: str | None = None) -> None:
        """What *owner* held is due at once; None is whoever held anything, only where nobody else can be alive."""
        held = sa.update(account).where(account.c.status == PULLING)
        if owner is not None:
            held = held.where(account.c.lease_owner == owner)
        free = {"lease_epoch": account.c.lease_epoch + 1, "lease_owner": None, "lease_until": None}
        await conn.execute(held.values(status=PENDING, due_at=now, rank=rank_of(HIGH, now), **free))

    async def list(self, conn: AsyncConnection) -> list[AccountView]:
        """All that are ours, by id."""
        query = sa.select(account).where(account.c.status != REMOVED).order_by(account.c.id)
        return [
            AccountView(
                row.id,
                row.store_id,
                row.name,
                row.status,
                row.hold_reason or "",
                row.synced_at,
                row.created_at,
            )
            for row in await conn.execute(query)
        ]

    async def _rest(
        self,
        conn: AsyncConnection,
        held: Held,
        now: datetime,
        next_at: datetime,
        synced_at: datetime | None,
        attempt_no: int,
        reason: str,
    ) -> bool:
        extra = {"rank": rank_of(LOW, next_at), "synced_at": synced_at, "updated_at": now}
        outcome = Settlement(held.id, held.epoch, DEFERRED, attempt_no, next_at, reason, extra)
        return bool(await self.queue.settle(conn, [outcome]))


async def purge_bells(conn: AsyncConnection, before: datetime, limit: int) -> int:
    """Forget up to *limit* rings from before *before*; how many there were."""
    old = sa.select(doorbell.c.id).where(doorbell.c.rung_at < before).limit(limit)
    return (await conn.execute(sa.delete(doorbell).where(doorbell.c.id.in_(old)))).rowcount


def _held(row: RowMapping) -> Held:
    return Held(
        row["id"], row["store_id"], row["cursor"], row["lease_epoch"], row["attempt_no"], row["synced_at"]
    )
