"""What operators are told: the class that meets ``ports.Alerts``."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.masking import MESSAGE_LONGEST, kept
from services.ai_orchestrator.pipeline.result_announcing import alert_created
from services.ai_orchestrator.store import alerts
from services.ai_orchestrator.store.alerts import KeptAlert
from shared.db import outbox
from shared.db.engine import Database
from shared.ids import new_id

QUIET: Final = timedelta(minutes=10)
"""After an alert was announced, others of its store, application and kind are not, for so long: a gate that is shut
stops many steps, and a person needs to hear of it once."""


class Alerting:
    """Records alerts, in a transaction of the caller's."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def tell(
        self,
        conn: AsyncConnection,
        *,
        store_id: str,
        app_type: str,
        kind: str,
        message: str,
        run_id: str,
        step: str,
        now: datetime,
    ) -> None:
        """Record an alert once for (run, step, kind); without a run every time."""
        # Two that look at the same moment may both be announced, which is no harm.
        heard = await alerts.announced_since(conn, store_id, app_type, kind, now - QUIET)
        new = KeptAlert(
            id=new_id(),
            store_id=store_id,
            app_type=app_type,
            kind=kind,
            message=kept(message, MESSAGE_LONGEST) or kind,
            run_id=run_id,
            step=step,
            announced=not heard,
            created_at=now,
        )
        if not await alerts.add(conn, new, f"{run_id}/{step}/{kind}" if run_id else new.id):
            return
        self._database.wakeups.notify(conn, alerts.WAKEUP)
        if new.announced:
            await outbox.add(conn, [alert_created(new, now)])
            self._database.wakeups.notify(conn, outbox.WAKEUP, others=False)
