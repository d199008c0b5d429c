"""What became of something, whichever thing an id is of."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.asking import Kind
from services.kf_session.domain.telling import Step, tell, tell_event, tell_match, tell_opinion
from services.kf_session.store import matches, push_reading, questions
from services.kf_session.store.matches import Match
from shared.db import inbox
from shared.db.engine import Database
from shared.errors import NotFound


class Stories:
    """Reads, and changes nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, ident: str, stores: Collection[str] | None) -> list[Step]:
        """The story of a push, a match or an event; *stores* None is every store. Raises NotFound."""
        async with self._database.read() as conn:
            steps = [
                *await self._event(conn, ident, stores),
                *await self._match(conn, ident, stores),
                *await self._push(conn, ident, stores),
            ]
        if not steps:
            raise NotFound("NOT_FOUND", f"nothing is known as {ident}", resource="subject")
        return steps

    async def _event(self, conn: AsyncConnection, ident: str, stores: Collection[str] | None) -> list[Step]:
        steps: list[Step] = []
        for row in await inbox.find(conn, ident, stores):
            decision = row["decision"] or {}
            steps += tell_event(row["event_type"], row["received_at"], row["duplicates"], decision)
            steps += await self._match(conn, str(decision.get("match_id", "")), stores)
        return steps

    async def _match(self, conn: AsyncConnection, ident: str, stores: Collection[str] | None) -> list[Step]:
        found = [one for one in await matches.get(conn, [ident]) if stores is None or one.store_id in stores]
        steps: list[Step] = []
        for one in found:
            steps += _told(one)
            for asked in await questions.of_match(conn, one.id):
                if asked.kind is Kind.SCORE:
                    steps.append(tell_opinion(one.ai_score, one.ai_reason, asked.outcome, asked.updated_at))
            steps += await self._push(conn, one.push_id or "", stores)
        return steps

    @staticmethod
    async def _push(conn: AsyncConnection, ident: str, stores: Collection[str] | None) -> list[Step]:
        view = await push_reading.get(conn, ident, stores)
        return [] if view is None else tell(view.row, view.attempts, view.notes)


def _told(one: Match) -> list[Step]:
    assert one.created_at is not None, "it was read from its row"
    return tell_match(
        one.intent_id, one.profile_id, one.score, one.created_at, one.unpushed_reason or "", one.withdrawn_at
    )
