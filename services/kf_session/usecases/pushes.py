"""What can be asked of pushes: may it go, send it, what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.content import picture_of
from services.kf_session.domain.eligibility import (
    WINDOW_CLOSED,
    WINDOW_FULL,
    Candidate,
    Facts,
    Verdict,
    Word,
    first_no,
    free_credits,
    judge,
)
from services.kf_session.domain.lifecycle import PushStatus
from services.kf_session.domain.push import NewPush
from services.kf_session.domain.window import window_end
from services.kf_session.pipeline.admitting import Admit
from services.kf_session.pipeline.customer_facts import CustomerFacts
from services.kf_session.store import ledger, pictures, push_reading
from services.kf_session.store.ledger import SessionKey
from services.kf_session.store.push_reading import PushView, Wanted
from shared.audit import AuditLog, NewEntry
from shared.clock import Clock
from shared.db.engine import Database
from shared.db.once import Once
from shared.errors import Conflict, NotFound
from shared.telemetry import metrics
from shared.telemetry.metrics import Metrics
from shared.values import value_class

_LOOK_AGAIN: Final = 0.1
"""Seconds between looks, when another replica may be sending."""


@value_class
class Eligibility:
    """What the gates say now."""

    verdicts: tuple[Verdict, ...]
    free: int
    window_end: datetime | None


class Pushes:
    """What callers may look at and send."""

    def __init__(
        self,
        database: Database,
        admit: Admit,
        audit: AuditLog,
        clock: Clock,
        numbers: Metrics,
        facts: CustomerFacts,
    ) -> None:
        self._database = database
        self._admit = admit
        self._audit = audit
        self._clock = clock
        self._numbers = numbers
        self._known = facts
        self._settled = asyncio.Event()

    def settled(self) -> None:
        """A push was settled in this process; wakes those who wait."""
        event, self._settled = self._settled, asyncio.Event()
        event.set()

    async def check(self, store_id: str, key: SessionKey, one: Candidate) -> Eligibility:
        """What every gate says of *one* now; changes nothing."""

        async def look(conn: AsyncConnection) -> Facts:
            return await self._facts(conn, store_id, key)

        facts = await self._database.transact(look)
        now = self._clock.now()
        return Eligibility(judge(one, facts, now), free_credits(one, facts), window_end(facts.customer_at))

    async def push(self, new: NewPush, *, once: Once, wait: timedelta) -> PushView:
        """Admit *new* and wait for its end at most *wait*. Raises Conflict where a gate says never: KF_WINDOW_CLOSED,
        KF_WINDOW_FULL, KF_NOT_ELIGIBLE; then nothing is recorded, and the key may be used again."""

        async def write(conn: AsyncConnection) -> str:
            now = self._clock.now()
            facts = await self._facts(conn, new.store_id, SessionKey(new.open_kfid, new.external_userid))
            if (earlier := await once.begin(conn, now)) is not None:
                return earlier.decode()
            name = picture_of(new.content)
            missing = (await pictures.find(conn, new.store_id, name, now)).missing if name else ""
            one = Candidate(new.purpose, new.score, new.expires_at, picture=name, picture_missing=missing)
            no = first_no(judge(one, facts, now))
            if no is not None and no.word is Word.DROP:
                raise refusal(no, window_end(facts.customer_at))
            push_id = await self._admit(conn, new, now)
            await once.finish(conn, push_id.encode())
            told = {"open_kfid": new.open_kfid, "purpose": new.purpose.value}
            await self._audit.record(conn, NewEntry(once.name, push_id, new.store_id, detail=told), now)
            return push_id

        try:
            push_id = await self._database.transact(write)
        except Conflict as conflict:
            self._numbers.add(metrics.WINDOW_REFUSALS, service="kf_session", reason=conflict.reason)
            raise
        view = await self._ended(push_id, wait)
        if view.row["status"] == PushStatus.SUPPRESSED.value:
            # Admitted, and overtaken by another on its way to the last credit.
            raise _told_later(view)
        return view

    async def get(self, push_id: str, stores: Collection[str] | None) -> PushView:
        """One push. Raises NotFound."""
        async with self._database.read() as conn:
            view = await push_reading.get(conn, push_id, stores)
        if view is None:
            raise NotFound("NOT_FOUND", f"there is no push {push_id}", resource="push")
        return view

    async def listed(
        self, wanted: Wanted, before: tuple[datetime, str] | None, limit: int
    ) -> Sequence[Mapping[str, Any]]:
        """Pushes, newest first."""
        async with self._database.read() as conn:
            return await push_reading.newest(conn, wanted, before, limit)

    async def told(self, wanted: Wanted, limit: int) -> list[PushView]:
        """Pushes with all that is known of them, oldest first."""
        async with self._database.read() as conn:
            found = await push_reading.newest(conn, wanted, None, limit)
            return await push_reading.filled(conn, found[::-1])

    def now(self) -> datetime:
        """What time it is for those who ask for a period."""
        return self._clock.now()

    async def _facts(self, conn: AsyncConnection, store_id: str, key: SessionKey) -> Facts:
        """What is known of the customer; what a caller was promised and has no credit yet counts as gone."""
        standing = await ledger.lock(conn, key)
        if standing is not None and standing.store_id != store_id:
            raise NotFound("NOT_FOUND", "there is no such session in this store", resource="session")
        facts = await self._known.read(conn, standing, store_id, key, self._clock.now())
        promised = await push_reading.waiting_in_line(conn, key.open_kfid, key.external_userid)
        return replace(facts, used=facts.used + promised)

    async def _ended(self, push_id: str, wait: timedelta) -> PushView:
        loop = asyncio.get_running_loop()
        end = loop.time() + wait.total_seconds()
        while True:
            change = self._settled
            view = await self.get(push_id, None)
            left = end - loop.time()
            if left <= 0 or not _under_way(view):
                return view
            try:
                async with asyncio.timeout(min(left, _LOOK_AGAIN)):
                    await change.wait()
            except TimeoutError:
                continue


def refusal(no: Verdict, ends: datetime | None) -> Conflict:
    """What a caller is told whose push may not go."""
    facts: dict[str, Any] = {} if ends is None else {"window_end": f"{ends:%Y-%m-%dT%H:%M:%SZ}"}
    if no.reason == WINDOW_CLOSED:
        when = (
            "无有效会话: the customer has not written"
            if ends is None
            else f"the window ended at {ends:%F %T} UTC"
        )
        return Conflict(
            "KF_WINDOW_CLOSED", f"{when}; it opens when they write", reopens="customer_message", **facts
        )
    if no.reason == WINDOW_FULL:
        text = "five messages have gone out since the customer last wrote"
        return Conflict("KF_WINDOW_FULL", text, reopens="customer_message", **facts)
    after: dict[str, Any] = {} if no.until is None else {"next": f"{no.until:%Y-%m-%dT%H:%M:%SZ}"}
    text = f"gate {no.gate}: {no.reason}"
    return Conflict("KF_NOT_ELIGIBLE", text, gate=no.gate.value, cause=no.reason, **after)


def _told_later(view: PushView) -> Conflict:
    reason = view.row["reason"]
    named = reason if reason in (WINDOW_CLOSED, WINDOW_FULL) else "KF_NOT_ELIGIBLE"
    facts: dict[str, Any] = {"reopens": "customer_message"} if named == reason else {"cause": reason}
    return Conflict(named, f"admitted and then not sent: {reason}", push_id=view.row["id"], **facts)


def _under_way(view: PushView) -> bool:
    status, hold = view.row["status"], view.row["hold_reason"] or ""
    if status == PushStatus.DEFERRED.value:
        return hold.startswith(("retry:", "corrected:"))
    return PushStatus(status).open
