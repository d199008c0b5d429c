"""What customers and stores prefer: read it, change it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.preference import FIELDS, Preference, merged
from services.kf_session.pipeline.admitting import WAKEUP as PUSHES
from services.kf_session.pipeline.effects import Effects
from services.kf_session.pipeline.summaries import WAKEUP as SUMMARIES
from services.kf_session.store import ledger, outgoing, summaries
from services.kf_session.store.ledger import SessionKey
from services.kf_session.store.tables import preference
from shared.audit import AuditLog, NewEntry
from shared.clock import Clock
from shared.db.engine import Database
from shared.db.once import Once
from shared.db.rows import insert_into
from shared.errors import Invalid
from shared.rpc.principal import current
from shared.values import value_class


@value_class
class Said:
    """What was said for a customer or a store, and what counts."""

    own: Mapping[str, object]
    effective: Preference
    unsubscribed_at: datetime | None


class Preferences:
    """The preferences of customers, and each store's default (a customer of no name)."""

    def __init__(
        self, database: Database, audit: AuditLog, clock: Clock, zone: ZoneInfo, effects: Effects
    ) -> None:
        self._database = database
        self._audit = audit
        self._clock = clock
        self._zone = zone
        self._effects = effects

    async def get(self, store_id: str, external_userid: str) -> Said:
        """What was said, and what counts."""
        async with self._database.read() as conn:
            return await self._said(conn, store_id, external_userid)

    async def update(
        self,
        store_id: str,
        external_userid: str,
        said: Mapping[str, object],
        fields: Collection[str],
        unsubscribed: bool | None,
        *,
        once: Once,
    ) -> Said:
        """Say *said* for *fields*; a field that is not in *said* is taken back. Raises Invalid naming the field.

        Of a customer, what waits comes before the gates at once; of a store, when it is looked at next.
        """
        if unknown := set(fields) - set(FIELDS):
            raise Invalid.field("update_mask", f"no such field: {sorted(unknown)[0]}")
        if unsubscribed is not None and not external_userid:
            raise Invalid.field("unsubscribed", "a customer unsubscribes, not a store; name one")

        async def write(conn: AsyncConnection) -> Said:
            # Sessions are locked before all else, here as by who takes what customers write.
            keys = await ledger.lock_all(conn, store_id, external_userid)
            now = self._clock.now()
            if not await once.is_first(conn, now):
                return await self._said(conn, store_id, external_userid)
            await self._lay(conn, store_id, external_userid, now)
            before = await self._said(conn, store_id, external_userid, lock=True)
            spec = {key: value for key, value in before.own.items() if key not in fields}
            spec |= {key: said[key] for key in fields if key in said}
            gone = before.unsubscribed_at
            if unsubscribed is not None:
                gone = (gone or now) if unsubscribed else None
            await self._write(conn, store_id, external_userid, spec, gone, now)
            after = await self._said(conn, store_id, external_userid)
            await self._changed(conn, store_id, external_userid, keys, before, after, now)
            told = {"fields": sorted(fields), "unsubscribed": unsubscribed}
            await self._audit.record(
                conn, NewEntry(once.name, external_userid or "store", store_id, detail=told), now
            )
            return after

        return await self._database.transact(write)

    async def _changed(
        self,
        conn: AsyncConnection,
        store_id: str,
        external_userid: str,
        keys: Sequence[SessionKey],
        before: Said,
        after: Said,
        now: datetime,
    ) -> None:
        """What follows: the same as of a typed 退订, and other times of what is planned."""
        if keys:
            await outgoing.look_again(conn, store_id, external_userid, now)
            self._database.wakeups.notify(conn, PUSHES)
        if after.unsubscribed_at is not None and before.unsubscribed_at is None:
            await self._effects.unsubscribed(conn, keys, now)
        if _summary(after) != _summary(before):
            await summaries.reschedule(conn, store_id, external_userid, now)
            self._database.wakeups.notify(conn, SUMMARIES)

    async def _lay(self, conn: AsyncConnection, store_id: str, external_userid: str, now: datetime) -> None:
        """A row to lock."""
        await conn.execute(
            insert_into(self._database.dialect, preference)
            .values(
                store_id=store_id,
                external_userid=external_userid,
                spec={},
                unsubscribed_at=None,
                updated_at=now,
                updated_by=current().subject,
            )
            .on_conflict_do_nothing()
        )

    @staticmethod
    async def _write(
        conn: AsyncConnection,
        store_id: str,
        external_userid: str,
        spec: Mapping[str, object],
        gone: datetime | None,
        now: datetime,
    ) -> None:
        t = preference.c
        await conn.execute(
            sa.update(preference)
            .where(t.store_id == store_id, t.external_userid == external_userid)
            .values(spec=dict(spec), unsubscribed_at=gone, updated_at=now, updated_by=current().subject)
        )

    async def _said(
        self, conn: AsyncConnection, store_id: str, external_userid: str, *, lock: bool = False
    ) -> Said:
        t = preference.c
        query = (
            sa.select(preference)
            .where(t.store_id == store_id, t.external_userid.in_(("", external_userid)))
            .order_by(t.external_userid)
        )
        rows = (await conn.execute(query.with_for_update() if lock else query)).all()
        own = next((row for row in rows if row.external_userid == external_userid), None)
        effective = merged(self._zone, *(row.spec for row in rows))
        return Said({} if own is None else own.spec, effective, own.unsubscribed_at if own else None)


def _summary(said: Said) -> tuple[object, ...]:
    """What decides when the daily summary is due."""
    one = said.effective
    return one.zone, one.summary_at, one.enabled
