"""Token rows in the service's database, sealed with the secret key."""

from __future__ import annotations

from datetime import datetime
from typing import cast

import structlog
from sqlalchemy import CursorResult, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import Update

from shared.db.engine import Database
from shared.db.tables import wecom_token
from shared.errors import Conflict
from shared.secrets import SecretKey
from shared.wecom.token_rows import StoredToken

_log = structlog.get_logger("reach.wecom")


class SqlTokenStore:
    """:class:`shared.wecom.token_rows.TokenStore` on :class:`shared.db.engine.Database`."""

    def __init__(self, database: Database, key: SecretKey) -> None:
        self._db = database
        self._table = wecom_token
        self._key = key

    async def load(self, key: str) -> StoredToken | None:
        """The row; a token sealed with another key counts as none, so that a new one is fetched."""
        query = select(self._table).where(self._table.c.key == key)
        async with self._db.read() as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
        if row is None:
            return None
        return StoredToken(
            token=self._opened(row["token"], key),
            expires_at=row["expires_at"],
            refresh_at=row["refresh_at"],
            generation=row["generation"],
            refused_until=row["refused_until"],
            refused_errcode=row["refused_errcode"],
            refused_count=row["refused_count"],
        )

    async def try_lease(self, key: str, owner: str, generation: int, now: datetime, until: datetime) -> bool:
        """See the protocol."""
        columns = self._table.c
        insert = (postgresql if self._db.dialect == "postgresql" else sqlite).insert(self._table)
        made = insert.values(key=key, generation=0, refused_count=0).on_conflict_do_nothing()
        lease = (
            update(self._table)
            .where(columns.key == key, columns.generation == generation)
            .where(or_(columns.refresh_until.is_(None), columns.refresh_until <= now))
            .values(refresh_owner=owner, refresh_until=until)
        )
        async with self._db.write() as connection:
            if generation == 0:
                await connection.execute(made)
            return _changed(await connection.execute(lease))

    async def save(
        self, key: str, token: str, refresh_at: datetime, expires_at: datetime, generation: int, owner: str
    ) -> bool:
        """See the protocol."""
        return await self._change(
            update(self._table)
            .where(self._table.c.generation == generation, self._table.c.refresh_owner == owner)
            .values(
                token=self._key.encrypt(token, key),
                refresh_at=refresh_at,
                expires_at=expires_at,
                generation=generation + 1,
                **_NO_LEASE,
                **_NO_REFUSAL,
            ),
            key,
        )

    async def release(self, key: str, owner: str) -> None:
        """See the protocol."""
        await self._change(
            update(self._table).where(self._table.c.refresh_owner == owner).values(**_NO_LEASE), key
        )

    async def refuse(self, key: str, owner: str, until: datetime, errcode: int, count: int) -> None:
        """See the protocol."""
        await self._change(
            update(self._table)
            .where(self._table.c.refresh_owner == owner)
            .values(refused_until=until, refused_errcode=errcode, refused_count=count, **_NO_LEASE),
            key,
        )

    async def drop(self, key: str, generation: int) -> bool:
        """See the protocol."""
        return await self._change(
            update(self._table).where(self._table.c.generation == generation).values(token=None), key
        )

    async def reopen(self, key: str) -> None:
        """See the protocol."""
        await self._change(update(self._table).values(**_NO_REFUSAL), key)

    async def _change(self, statement: Update, key: str) -> bool:
        async with self._db.write() as connection:
            return _changed(await connection.execute(statement.where(self._table.c.key == key)))

    def _opened(self, sealed: str | None, key: str) -> str | None:
        if sealed is None:
            return None
        try:
            return self._key.decrypt(sealed, key)
        except Conflict as error:
            _log.warning("wecom.token_unreadable", reason=error.reason, detail=error.message)
            return None


_NO_LEASE: dict[str, object] = {"refresh_owner": None, "refresh_until": None}
_NO_REFUSAL: dict[str, object] = {"refused_until": None, "refused_errcode": None, "refused_count": 0}


def _changed(result: object) -> bool:
    return cast("CursorResult[object]", result).rowcount == 1
