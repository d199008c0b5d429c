"""What comes in and concerns what went out, or waits to: a customer writes, a session changes hands, a message failed."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.lifecycle import Came, PushStatus, late_reason
from services.kf_session.domain.message import Inbound, Origin
from services.kf_session.domain.window import SessionState
from services.kf_session.pipeline.admitting import WAKEUP
from services.kf_session.pipeline.correcting import change, correct
from services.kf_session.pipeline.push_announcing import announce
from services.kf_session.store import ledger, outgoing
from services.kf_session.store.ledger import SessionKey, Standing
from services.kf_session.store.outgoing import Claimed, claimed
from services.kf_session.store.tables import push
from shared.clock import Clock
from shared.db.engine import Database

_BY_CUSTOMER: Final = (
    "KF_WINDOW_FULL",
    "session_human",
    "session_pool",
    "session_ended",
    "next_window",
    "quiet_digest",
)
_BY_SESSION: Final = ("session_human", "session_pool", "session_ended")

_FAILABLE: Final = (
    PushStatus.ACCEPTED,
    PushStatus.UNKNOWN,
    PushStatus.PENDING,
    PushStatus.DEFERRED,
    PushStatus.SENDING,
)


class Hearing:
    """What the taker of pages tells the sending side, in its own transaction and under the session's lock."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def wrote(self, conn: AsyncConnection, inbound: Inbound, standing: Standing) -> None:
        """A customer's message opened a window: what waited for one is judged anew. A ``Listener``."""
        if inbound.origin is Origin.CUSTOMER:
            await self._wake(conn, standing.key, _BY_CUSTOMER)

    async def changed(self, conn: AsyncConnection, key: SessionKey) -> None:
        """The session is in other hands, or over: what waited for that is judged anew."""
        await self._wake(conn, key, _BY_SESSION)

    async def _wake(self, conn: AsyncConnection, key: SessionKey, reasons: Collection[str]) -> None:
        t, now = push.c, self._clock.now()
        woken = await conn.execute(
            sa.update(push)
            .where(
                t.open_kfid == key.open_kfid,
                t.external_userid == key.external_userid,
                t.status == PushStatus.DEFERRED.value,
                t.hold_reason.in_(reasons),
            )
            .values(status=PushStatus.PENDING.value, hold_reason=None, due_at=now, updated_at=now)
        )
        if woken.rowcount:
            self._database.wakeups.notify(conn, WAKEUP)

    async def failed(
        self, conn: AsyncConnection, open_kfid: str, fail_msgid: str, fail_type: int, now: datetime
    ) -> None:
        """The platform says of a message it had taken that it failed. A ``FailListener``.

        A msgid that is not ours, or one whose failure is known, changes nothing. The credit stays spent.
        """
        found = await self._named(conn, open_kfid, fail_msgid)
        if found is None:
            return
        one = claimed(found)
        standing = await ledger.lock(conn, one.key)
        reason = late_reason(fail_type)
        if not await self._mark(conn, one, fail_type, reason, now):
            return
        if found["status"] != PushStatus.ACCEPTED.value:
            await ledger.spend(conn, {one.id: None}, now)
        await outgoing.write_note(
            conn, one.id, now, gate="platform", verdict="drop", reason=reason, facts={"fail_type": fail_type}
        )
        if standing is not None:
            await self._learn(
                conn, standing, one, fail_type, found["accepted_at"] or found["updated_at"], now
            )
        # One that is under way is announced when its call is settled.
        if found["status"] != PushStatus.SENDING.value:
            await announce(
                conn, self._database, one, PushStatus.FAILED, reason, None, now, fail_type=fail_type
            )

    @staticmethod
    async def _named(conn: AsyncConnection, open_kfid: str, msgid: str) -> sa.RowMapping | None:
        query = sa.select(push).where(push.c.open_kfid == open_kfid, push.c.msgid == msgid)
        return (await conn.execute(query)).mappings().first()

    @staticmethod
    async def _mark(conn: AsyncConnection, one: Claimed, fail_type: int, reason: str, now: datetime) -> bool:
        t = push.c
        under_way = t.status == PushStatus.SENDING.value
        changed = await conn.execute(
            sa.update(push)
            .where(t.id == one.id, t.fail_type.is_(None), t.status.in_([each.value for each in _FAILABLE]))
            .values(
                fail_type=fail_type,
                status=sa.case((under_way, t.status), else_=PushStatus.FAILED.value),
                reason=sa.case((under_way, t.reason), else_=reason),
                hold_reason=None,
                updated_at=now,
            )
        )
        return bool(changed.rowcount)

    @staticmethod
    async def _learn(
        conn: AsyncConnection,
        standing: Standing,
        one: Claimed,
        fail_type: int,
        sent_at: datetime,
        now: datetime,
    ) -> None:
        """Put our view of the session right, unless the customer has written since.

        *sent_at* is of our clock, which may have been wrong: the credit knows better, and a new window leaves it behind.
        """
        if one.code_id is None:
            known = await ledger.taken_at(conn, one.id)
            if known is None:
                return
            sent_at = known.platform_at or sent_at
        if standing.customer_at is not None and standing.customer_at > sent_at:
            return
        match fail_type:
            case 10:
                await change(conn, standing.key, now, blocked_at=now)
            case 4:
                await correct(conn, standing, Came.CLOSED, None, now)
            case 5:
                await correct(conn, standing, Came.STATE, int(SessionState.ENDED), now)
            case 6:
                await correct(conn, standing, Came.FULL, None, now)
            case _:
                pass


async def overtook(conn: AsyncConnection, push_id: str) -> str | None:
    """The reason of a failure that became known before its call was settled, and the push ended so; else None."""
    fail_type = await conn.scalar(sa.select(push.c.fail_type).where(push.c.id == push_id))
    if fail_type is None:
        return None
    reason = late_reason(fail_type)
    ended = {"status": PushStatus.FAILED.value, "reason": reason}
    await conn.execute(sa.update(push).where(push.c.id == push_id).values(ended))
    return reason
