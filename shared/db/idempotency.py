"""Idempotency keys (I5): the same call with the same key has one effect and one answer."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cache

from sqlalchemy import Integer, LargeBinary, bindparam, delete, null, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.frozen import frozen
from shared.db.rows import insert_into
from shared.db.tables import idempotency
from shared.db.types import DialectName, Id, Instant
from shared.errors import Conflict, Overtaken

HORIZON = timedelta(hours=72)
"""How long a key is remembered."""


class _Statements:
    def __init__(self, dialect: DialectName) -> None:
        t = idempotency
        insert = insert_into(dialect, t).values(
            store_id=bindparam("store", type_=Id),
            method=bindparam("rpc", type_=Id),
            key=bindparam("name", type_=Id),
            request_hash=bindparam("hash", type_=Id),
            expires_at=bindparam("expires", type_=Instant()),
        )
        self.begin = frozen(
            dialect,
            insert.on_conflict_do_update(  # a key past its horizon begins anew
                index_elements=[t.c.store_id, t.c.method, t.c.key],
                set_={
                    "request_hash": insert.excluded.request_hash,
                    "expires_at": insert.excluded.expires_at,
                    "response": null(),
                },
                where=t.c.expires_at <= bindparam("now", type_=Instant()),
            ).returning(t.c.key),
        )


_statements = cache(_Statements)
_SAME = (
    idempotency.c.store_id == bindparam("store"),
    idempotency.c.method == bindparam("rpc"),
    idempotency.c.key == bindparam("name"),
)
_STORED = select(idempotency.c.request_hash, idempotency.c.response).where(*_SAME)
_FINISH = update(idempotency).where(*_SAME).values(response=bindparam("answer", type_=LargeBinary()))
_PRIMARY_KEY = tuple_(idempotency.c.store_id, idempotency.c.method, idempotency.c.key)
_OLD = (
    select(idempotency.c.store_id, idempotency.c.method, idempotency.c.key)
    .where(idempotency.c.expires_at < bindparam("now", type_=Instant()))
    .order_by(idempotency.c.expires_at)
    .limit(bindparam("size", type_=Integer()))
)
_PURGE = delete(idempotency).where(_PRIMARY_KEY.in_(_OLD))


async def begin(
    connection: AsyncConnection, store_id: str, method: str, key: str, request_hash: str, now: datetime
) -> bytes | None:
    """None: the call is new, do it and `finish` in this transaction. Bytes: the answer it had.

    A concurrent call with the same key waits here until the first has committed or rolled back.
    Raises ``Conflict`` (``IDEMPOTENCY_KEY_REUSED``) when the key belongs to another request.
    """
    same = {"store": store_id, "rpc": method, "name": key}
    parameters = same | {"hash": request_hash, "expires": now + HORIZON, "now": now}
    sql = _statements(connection.dialect.name)
    if (await connection.execute(sql.begin, parameters)).scalar_one_or_none() is not None:
        return None
    stored = (await connection.execute(_STORED, same)).one_or_none()
    if stored is not None and stored.request_hash != request_hash:
        raise Conflict("IDEMPOTENCY_KEY_REUSED", "the idempotency key was used with another request")
    if stored is None or stored.response is None:  # purged just now, or begun and never finished
        raise Overtaken("IDEMPOTENCY_IN_PROGRESS", "the call with this key has no answer yet")
    return bytes(stored.response)


async def finish(connection: AsyncConnection, store_id: str, method: str, key: str, response: bytes) -> None:
    """Store the answer, in the transaction of the `begin` that said None."""
    parameters = {"store": store_id, "rpc": method, "name": key, "answer": response}
    done = await connection.execute(_FINISH, parameters)
    if done.rowcount != 1:
        raise LookupError("finish without begin")


async def purge(connection: AsyncConnection, now: datetime, limit: int = 1000) -> int:
    """Delete up to *limit* keys past their horizon; how many there were."""
    return (await connection.execute(_PURGE, {"now": now, "size": limit})).rowcount
