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
from services.ai_orchestrator.domain.material import Input
from services.ai_orchestrator.domain.reading import Bad
from services.ai_orchestrator.pipeline.ports import Made, Sought
from services.ai_orchestrator.pipeline.result_announcing import insight_updated
from services.ai_orchestrator.pipeline.together import Apart
from services.ai_orchestrator.store import clues, insights
from services.ai_orchestrator.store.insights import Key
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
        self, conn: AsyncConnection, sought: Sequence[Sought]
    ) -> Sequence[Mapping[str, Any] | None]:
        """The kept results, each where it was made from these very facts by this version."""
        keys = [_key(one.app, one.subject) if one.app.cache_type else None for one in sought]
        kept = await insights.results(conn, {key for key in keys if key is not None})
        return [
            found.result
            if key is not None and (found := kept.get(key)) and found.fingerprint == one.fingerprint
            else None
            for one, key in zip(sought, keys, strict=True)
        ]

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

    async def keep(self, conn: AsyncConnection, made: Sequence[Made], now: datetime) -> None:
        """Insights, clues and what is announced of them; nothing where a result of later facts is kept."""
        of = {_key(one.app, one.subject): one for one in made if one.app.cache_type}
        if len(of) < sum(bool(one.app.cache_type) for one in made):
            raise Apart  # one after the other: the later facts win
        new = [_insight(one, now) for _, one in sorted(of.items())]
        put = await insights.put(conn, new)
        told = [
            insight_updated(insight, one.app.title, await self._clues(conn, one, now), now)
            for insight in new
            if insight.key in put
            for one in (of[insight.key],)
        ]
        if told:
            await outbox.add(conn, told)
            self._database.wakeups.notify(conn, outbox.WAKEUP, others=False)

    async def _clues(self, conn: AsyncConnection, one: Made, now: datetime) -> Change:
        if not one.app.clues:
            return Change((), ())
        return await clues.replace(
            conn,
            one.subject.store_id,
            one.subject.member_id,
            source_of(one.app.clues, one.triggered_by),
            clues_of(one.result),
            run_id=one.run_id,
            now=now,
        )

    async def stale(
        self, conn: AsyncConnection, store_id: str, member_id: str, reason: str, now: datetime
    ) -> None:
        """Something newer is known of a member than what is kept was made from."""
        await insights.note_news(conn, store_id, [member_id], reason, now)


def _key(app: AppDefinition, subject: Subject) -> Key:
    target, _ = aim(app, subject)
    return subject.store_id, app.cache_type, target


def _insight(one: Made, now: datetime) -> Insight:
    target, own = aim(one.app, one.subject)
    return Insight(
        store_id=one.subject.store_id,
        cache_type=one.app.cache_type,
        target=target,
        app_type=one.app.app_type,
        app_version=one.app.version,
        member_id=own.member_id,
        assistant_id=own.assistant_id,
        time_dimension=own.time_dimension,
        area=own.area,
        result=one.result,
        score=score_of(one.result),
        fingerprint=one.prompt.fingerprint,
        references=one.prompt.references,
        missing=one.prompt.missing,
        triggered_by=one.triggered_by,
        run_id=one.run_id,
        made_at=now,
        known_at=one.known_at,
        revision=1,
        stale="",
    )
