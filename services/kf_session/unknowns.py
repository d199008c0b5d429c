"""Pushes whose outcome nobody can tell, for the operators' desk."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.lifecycle import PushStatus
from services.kf_session.pipeline.admitting import WAKEUP
from services.kf_session.store import ledger, outgoing
from services.kf_session.store.ledger import SessionKey
from services.kf_session.store.tables import push, push_attempt
from shared.audit import AuditLog, NewEntry
from shared.clock import Clock
from shared.db.engine import Database
from shared.db.once import Once
from shared.errors import Conflict
from shared.ops.part import UnknownSend, Verdict

_log = structlog.get_logger("reach.kf_session.unknowns")

_AFTER: Final = {
    Verdict.SENT: PushStatus.ACCEPTED,
    Verdict.NOT_SENT: PushStatus.FAILED,
    Verdict.RESEND: PushStatus.PENDING,
}


class PushDesk:
    """See ``shared.ops.part.UnknownDesk``."""

    def __init__(self, database: Database, audit: AuditLog, clock: Clock) -> None:
        self._database = database
        self._audit = audit
        self._clock = clock

    async def list_unknown(
        self, stores: Collection[str] | None, after_id: str, limit: int
    ) -> Sequence[UnknownSend]:
        """The unknown pushes, by id."""
        last = (
            sa.select(push_attempt.c.detail)
            .where(push_attempt.c.push_id == push.c.id)
            .order_by(push_attempt.c.attempt_no.desc())
            .limit(1)
            .scalar_subquery()
        )
        query = (
            sa.select(push.c.id, push.c.store_id, push.c.updated_at, push.c.reason, last.label("detail"))
            .where(push.c.status == PushStatus.UNKNOWN.value, push.c.id > after_id)
            .order_by(push.c.id)
            .limit(limit)
        )
        if stores is not None:
            query = query.where(push.c.store_id.in_(stores))
        async with self._database.read() as conn:
            found = (await conn.execute(query)).all()
        return [
            UnknownSend(row.id, "push", row.store_id, "", "kf", row.detail or row.reason, row.updated_at)
            for row in found
        ]

    async def resolve(
        self,
        id: str,  # noqa: A002  # the contract's word
        verdict: Verdict,
        *,
        stores: Collection[str] | None,
        by: str,
        comment: str,
        once: Once,
    ) -> str | None:
        """Record what was found out. A resend bears the same msgid, which the platform takes once, and has all its
        tries again; the credit stays spent even where a person says that nothing was sent, since a person may err."""

        async def write(conn: AsyncConnection) -> str | None:
            return await self._resolve(conn, id, verdict, stores, comment, once)

        status = await self._database.transact(write)
        if status is not None:
            _log.info("unknown resolved", push_id=id, verdict=verdict.value, by=by)
        return status

    async def _resolve(
        self,
        conn: AsyncConnection,
        push_id: str,
        verdict: Verdict,
        stores: Collection[str] | None,
        comment: str,
        once: Once,
    ) -> str | None:
        now = self._clock.now()
        found = (await conn.execute(sa.select(push).where(push.c.id == push_id))).first()
        if found is None or (stores is not None and found.store_id not in stores):
            return None
        if (earlier := await once.begin(conn, now)) is not None:
            return earlier.decode()
        await ledger.lock(conn, SessionKey(found.open_kfid, found.external_userid))
        status = _AFTER[verdict]
        values: dict[str, object] = {"status": status.value, "reason": "", "updated_at": now}
        if verdict is Verdict.SENT:
            values["accepted_at"] = found.updated_at
        elif verdict is Verdict.NOT_SENT:
            values["reason"] = "resolved_not_sent"
        else:
            values |= {"retries": 0, "refreshes": 0, "due_at": now}
        changed = await conn.execute(
            sa.update(push)
            .where(push.c.id == push_id, push.c.status == PushStatus.UNKNOWN.value)
            .values(values)
        )
        if not changed.rowcount:
            raise Conflict("STATE_INVALID", "the push is not unknown any more", state=found.status)
        await outgoing.write_note(
            conn, push_id, now, gate="operator", verdict=verdict.value, reason="resolved", facts={}
        )
        await once.finish(conn, status.value.encode())
        if status is PushStatus.PENDING:
            self._database.wakeups.notify(conn, WAKEUP)
        told = {"resolution": verdict.value, "comment": comment}
        await self._audit.record(conn, NewEntry(once.name, push_id, found.store_id, detail=told), now)
        return status.value
