"""A run is written: who is asked for which groups, in one transaction, before anybody is asked."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.campaign import GROUPS_A_TASK
from services.campaign.domain.message import lane_of
from services.campaign.domain.outcomes import TargetStatus
from services.campaign.domain.shares import Share, shared_out
from services.campaign.pipeline.ports import Group
from services.campaign.store import tasks
from services.campaign.store.campaigns import Kept
from shared.db.engine import Database
from shared.db.queue import HIGH, NORMAL, DueQueue
from shared.errors import Conflict
from shared.ids import new_id

WAKEUP: Final = "campaign_tasks"
"""Given when tasks become ready."""


class Starter:
    """See ``ports.Start``."""

    def __init__(self, database: Database, queue: DueQueue, *, groups_a_task: int = GROUPS_A_TASK) -> None:
        """*groups_a_task* at most; the platform takes 2,000."""
        self._database = database
        self._queue = queue
        self._groups_a_task = min(groups_a_task, GROUPS_A_TASK)

    async def plan(
        self,
        conn: AsyncConnection,
        held: Kept,
        *,
        dry: bool,
        groups: Sequence[Group],
        content_hash: str,
        by: str,
        now: datetime,
    ) -> str:
        """See ``ports.Start``. Raises Conflict: AUDIENCE_EMPTY, and STATE_INVALID where the version has run before."""
        if not groups:
            raise Conflict("AUDIENCE_EMPTY", "no group is left that it could be sent to", excluded=0)
        if not dry and any(
            one.version == held.version and not one.dry for one in await tasks.runs(conn, held.id)
        ):
            raise Conflict(
                "STATE_INVALID", "this version has been run; a version runs once", state=held.status.value
            )
        run_id = new_id()
        await tasks.add_run(
            conn,
            {
                "id": run_id,
                "campaign_id": held.id,
                "version": held.version,
                "store_id": held.store_id,
                "dry": dry,
                "content_hash": content_hash,
                "started_by": by,
                "started_at": now,
            },
        )
        await self._add(conn, held, run_id, dry, groups, now)
        self._database.wakeups.notify(conn, WAKEUP)
        return run_id

    async def _add(
        self,
        conn: AsyncConnection,
        held: Kept,
        run_id: str,
        dry: bool,
        groups: Sequence[Group],
        now: datetime,
    ) -> None:
        canary = held.spec.canary
        shares = list(shared_out(groups, first=canary.owners, most=self._groups_a_task))
        waited_for = any(share.canary for share in shares)
        lanes: dict[str, str] = {}
        asked: list[dict[str, object]] = []
        wanted: list[dict[str, object]] = []
        for share in shares:
            task_id = new_id()
            if not dry and share.owner not in lanes:
                lanes[share.owner] = lane_of(share.owner, held.spec.content)
            lane = lanes.get(share.owner)
            if share.canary or dry or not waited_for:
                due = self._queue.ready(HIGH if share.canary else NORMAL, now, lane=lane)
            else:
                due = self._queue.deferred(NORMAL, now, now + canary.wait, "canary", lane=lane)
            asked.append({**_task(held, run_id, dry, task_id, share, now), **due})
            wanted += [_target(held, run_id, task_id, one, now) for one in share.groups]
        await tasks.add_tasks(conn, self._database.dialect, asked)
        await tasks.add_targets(conn, self._database.dialect, wanted)

    async def resumed(self, conn: AsyncConnection, campaign_id: str, now: datetime) -> None:
        """See ``ports.Start``."""
        await tasks.release(conn, campaign_id, "paused", now, now)
        self._database.wakeups.notify(conn, WAKEUP)

    async def stop(self, conn: AsyncConnection, campaign_id: str, now: datetime) -> None:
        """See ``ports.Start``."""
        await tasks.cancel(conn, campaign_id, now)


def _task(
    held: Kept, run_id: str, dry: bool, task_id: str, share: Share[Group], now: datetime
) -> dict[str, object]:
    return {
        "id": task_id,
        "run_id": run_id,
        "campaign_id": held.id,
        "version": held.version,
        "store_id": held.store_id,
        "dry": dry,
        "owner": share.owner,
        "chunk": share.chunk,
        "group_count": len(share.groups),
        "canary": share.canary,
        "msgid": "",
        "reason": "",
        "error": "",
        "created_at": now,
        "updated_at": now,
        "retries": 0,
        "renewals": 0,
        "looks": 0,
        "take_first": False,
    }


def _target(held: Kept, run_id: str, task_id: str, group: Group, now: datetime) -> dict[str, object]:
    return {
        "run_id": run_id,
        "chat_id": group.chat_id,
        "campaign_id": held.id,
        "task_id": task_id,
        "owner": group.owner,
        "name": group.name,
        "status": TargetStatus.PLANNED.value,
        "reason": "",
        "error": "",
        "created_at": now,
        "updated_at": now,
    }
