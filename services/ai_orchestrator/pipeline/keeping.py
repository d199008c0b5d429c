"""What replies are worth, and what is kept of them: the class that meets ``ports.Results``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain import reading
from services.ai_orchestrator.domain.call import Completion
from services.ai_orchestrator.domain.clues import Change, clues_of, source_of
from services.ai_orchestrator.domain.definitions import AppDefinition, Subject
from services.ai_orchestrator.domain.insights import Insight, aim, as_input, score_of
from services.ai_orchestrator.domain.material import Input, Prompt
from services.ai_orchestrator.domain.reading import Bad
from services.ai_orchestrator.pipeline.result_announcing import insight_updated
from services.ai_orchestrator.store import clues, insights
from shared.db import outbox
from shared.db.engine import Database

CLUES_CHANGED = "clues_changed"
"""Why insights are stale after somebody changed a member's clues by hand."""


class Keeping:
    """See ``pipeline.ports.Results``; every connection is a transaction of the caller's."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self, app: AppDefinition, reply: Completion) -> Mapping[str, Any] | Bad:
        """The result of a reply, or why it is refused."""
        return reading.read(app, reply.text, reply.finish_reason)

    async def fresh(
        self, conn: AsyncConnection, app: AppDefinition, subject: Subject, fingerprint: str
    ) -> Mapping[str, Any] | None:
        """The kept result, when it was made from these very facts by this version."""
        if not app.cache_type:
            return None
        target, _ = aim(app, subject)
        found = await insights.get(conn, subject.store_id, app.cache_type, target)
        return found.result if found is not None and found.fingerprint == fingerprint else None

    async def confirm(
        self,
        conn: AsyncConnection,
        app: AppDefinition,
        subject: Subject,
        fingerprint: str,
        known_at: datetime,
    ) -> None:
        """The kept result is of what is known at *known_at*, where it is still the one of these facts."""
        target, _ = aim(app, subject)
        await insights.confirm(conn, subject.store_id, app.cache_type, target, fingerprint, known_at)

    async def inputs(
        self, conn: AsyncConnection, app: AppDefinition, subject: Subject, now: datetime
    ) -> Sequence[Input]:
        """The newest results of the apps that *app* names as inputs."""
        return [
            as_input(one, await insights.newest(conn, one, subject), app.input_max_age, now)
            for one in app.inputs
        ]

    async def keep(
        self,
        conn: AsyncConnection,
        app: AppDefinition,
        subject: Subject,
        result: Mapping[str, Any],
        prompt: Prompt,
        *,
        run_id: str,
        triggered_by: str,
        now: datetime,
        known_at: datetime | None = None,
    ) -> None:
        """Insight, clues and what is announced of them; nothing where a result of later facts is kept."""
        if not app.cache_type:
            return
        target, own = aim(app, subject)
        made = Insight(
            store_id=subject.store_id,
            cache_type=app.cache_type,
            target=target,
            app_type=app.app_type,
            app_version=app.version,
            member_id=own.member_id,
            assistant_id=own.assistant_id,
            time_dimension=own.time_dimension,
            area=own.area,
            result=result,
            score=score_of(result),
            fingerprint=prompt.fingerprint,
            references=prompt.references,
            missing=prompt.missing,
            triggered_by=triggered_by,
            run_id=run_id,
            made_at=now,
            known_at=known_at or now,
            revision=1,
            stale="",
        )
        if await insights.put(conn, made) is None:
            return
        changed = Change((), ())
        if app.clues:
            changed = await clues.replace(
                conn,
                subject.store_id,
                subject.member_id,
                source_of(app.clues, triggered_by),
                clues_of(result),
                run_id=run_id,
                now=now,
            )
        await outbox.add(conn, [insight_updated(made, app.title, changed, now)])
        self._database.wakeups.notify(conn, outbox.WAKEUP, others=False)

    async def stale(
        self, conn: AsyncConnection, store_id: str, member_id: str, reason: str, now: datetime
    ) -> None:
        """Something newer is known of a member than what is kept was made from."""
        await insights.note_news(conn, store_id, [member_id], reason, now)
