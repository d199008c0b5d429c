"""Leases: who may do the one thing of this name, until when, and under which epoch."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cache

from sqlalchemy import BigInteger, bindparam, case, literal_column, update
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.frozen import frozen
from shared.db.rows import insert_into
from shared.db.tables import lease
from shared.db.types import DialectName, Id, Instant
from shared.values import value_class


@value_class
class Lease:
    """Held until *until*. Put *epoch* into the WHERE of every write made under it."""

    name: str
    owner: str
    epoch: int
    """Rises whenever the lease changes hands, or is taken again after it ran out."""
    until: datetime


class _Statements:
    def __init__(self, dialect: DialectName) -> None:
        t = lease
        now = bindparam("now", type_=Instant())
        insert = insert_into(dialect, t).values(
            name=bindparam("lease_name", type_=Id),
            owner=bindparam("lease_owner", type_=Id),
            epoch=literal_column("1", BigInteger()),
            until=bindparam("lease_until", type_=Instant()),
        )
        same_hands = (t.c.owner == insert.excluded.owner) & (t.c.until > now)
        self.acquire = frozen(
            dialect,
            insert.on_conflict_do_update(
                index_elements=[t.c.name],
                set_={
                    "owner": insert.excluded.owner,
                    "epoch": case((same_hands, t.c.epoch), else_=t.c.epoch + 1),
                    "until": insert.excluded.until,
                },
                where=(t.c.owner == insert.excluded.owner) | (t.c.until <= now),
            ).returning(t.c.epoch),
        )


_statements = cache(_Statements)
_OURS = (
    update(lease)
    .where(lease.c.name == bindparam("lease_name"))
    .where(lease.c.owner == bindparam("lease_owner"), lease.c.epoch == bindparam("lease_epoch"))
)
_RENEW = _OURS.where(lease.c.until > bindparam("now", type_=Instant())).values(until=bindparam("lease_until"))
_RELEASE = _OURS.where(lease.c.until > bindparam("now")).values(until=bindparam("now"))


async def acquire(
    connection: AsyncConnection, name: str, owner: str, now: datetime, length: timedelta
) -> Lease | None:
    """Take the lease, or extend it if *owner* has it; None while somebody else does."""
    parameters = {"lease_name": name, "lease_owner": owner, "lease_until": now + length, "now": now}
    sql = _statements(connection.dialect.name)
    epoch = (await connection.execute(sql.acquire, parameters)).scalar_one_or_none()
    return None if epoch is None else Lease(name, owner, epoch, now + length)


async def renew(connection: AsyncConnection, held: Lease, now: datetime, length: timedelta) -> Lease | None:
    """Extend *held*; None if it ran out or went to somebody else: stop the work, acquire again."""
    parameters = _held(held) | {"now": now, "lease_until": now + length}
    done = await connection.execute(_RENEW, parameters)
    return Lease(held.name, held.owner, held.epoch, now + length) if done.rowcount else None


async def release(connection: AsyncConnection, held: Lease, now: datetime) -> bool:
    """End *held* early, if it is still ours."""
    return bool((await connection.execute(_RELEASE, _held(held) | {"now": now})).rowcount)


def _held(held: Lease) -> dict[str, object]:
    return {"lease_name": held.name, "lease_owner": held.owner, "lease_epoch": held.epoch}
