"""Tasks of which nobody can tell whether they exist, for the operators' desk."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.lifecycle import Status
from services.campaign.domain.outcomes import TargetStatus, TaskStatus
from services.campaign.pipeline.moving import Moving
from services.campaign.pipeline.planning import WAKEUP
from services.campaign.pipeline.ports import Follow
from services.campaign.store import campaigns, targets, tasks
from services.campaign.store.campaign_tables import owner_task
from shared.audit import AuditLog, NewEntry
from shared.clock import Clock
from shared.db.engine import Database
from shared.db.once import Once
from shared.errors import Conflict
from shared.ops.part import UnknownSend, Verdict

_log = structlog.get_logger("reach.campaign.unknowns")
NOT_MADE: Final = "resolved_not_sent"
"""Why a task is refused of which a person said that it does not exist."""


class TaskDesk:
    """See ``shared.ops.part.UnknownDesk``.

    ``sent``: it exists, and the first task that fits is taken for it. ``not_sent``: its groups end as refused, for a
    top-up. ``resend``: it is made again, under all the rules for sending.
    """

    def __init__(
        self, database: Database, audit: AuditLog, clock: Clock, moving: Moving, follow: Follow
    ) -> None:
        self._database = database
        self._audit = audit
        self._clock = clock
        self._moving = moving
        self._follow = follow

    async def list_unknown(
        self, stores: Collection[str] | None, after_id: str, limit: int
    ) -> Sequence[UnknownSend]:
        """The unknown tasks, by id."""
        t = owner_task
        query = (
            sa.select(t.c.id, t.c.store_id, t.c.updated_at, t.c.reason, t.c.error)
            .where(t.c.status == TaskStatus.UNKNOWN.value, t.c.id > after_id)
            .order_by(t.c.id)
            .limit(limit)
        )
        if stores is not None:
            query = query.where(t.c.store_id.in_(sorted(stores)))
        async with self._database.read() as conn:
            found = (await conn.execute(query)).all()
        return [
            UnknownSend(
                row.id, "owner_task", row.store_id, "", "mass_send", row.error or row.reason, row.updated_at
            )
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
        """Record what was found out."""

        async def write(conn: AsyncConnection) -> str | None:
            return await self._resolve(conn, id, verdict, stores, comment, once)

        status = await self._database.transact(write)
        if status is not None:
            _log.info("unknown resolved", task_id=id, verdict=verdict.value, by=by)
        return status

    async def _resolve(
        self,
        conn: AsyncConnection,
        task_id: str,
        verdict: Verdict,
        stores: Collection[str] | None,
        comment: str,
        once: Once,
    ) -> str | None:
        now, t = self._clock.now(), owner_task
        found = (await conn.execute(sa.select(t).where(t.c.id == task_id))).first()
        if found is None or (stores is not None and found.store_id not in stores):
            return None
        if (earlier := await once.begin(conn, now)) is not None:
            return earlier.decode()
        held = await campaigns.hold(conn, found.campaign_id)
        values: dict[str, Any] = {"reason": "", "error": "", "looks": 0, "due_at": now, "updated_at": now}
        match verdict:
            case Verdict.SENT:
                values |= {"status": TaskStatus.PENDING.value, "take_first": True}
            case Verdict.RESEND:
                values |= {"status": TaskStatus.PENDING.value, "unclear_at": None, "retries": 0}
            case Verdict.NOT_SENT:
                values |= {"status": TaskStatus.REFUSED.value, "unclear_at": None, "reason": NOT_MADE}
        unknown = (t.c.id == task_id, t.c.status == TaskStatus.UNKNOWN.value)
        if not (await conn.execute(sa.update(t).where(*unknown).values(values))).rowcount:
            raise Conflict("STATE_INVALID", "the task is not unknown any more", state=found.status)
        if verdict is Verdict.RESEND:
            await targets.mark(conn, task_id, TargetStatus.PLANNED, now)
        if verdict is Verdict.NOT_SENT:
            await targets.mark(conn, task_id, TargetStatus.REFUSED, now, reason=NOT_MADE)
            last = not await tasks.unfinished(conn, found.run_id)
            if last and held is not None and held.status in (Status.RUNNING, Status.PAUSED):
                await self._moving.move(conn, held, Status.RECONCILING, now, by="")
            await self._follow.run_changed(conn, found.campaign_id, now)
        await once.finish(conn, str(values["status"]).encode())
        self._database.wakeups.notify(conn, WAKEUP)
        told = {"resolution": verdict.value, "comment": comment}
        await self._audit.record(conn, NewEntry(once.name, task_id, found.store_id, detail=told), now)
        return str(values["status"])
