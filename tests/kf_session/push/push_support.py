"""The sending side on a workbench: real rows, a clock one can push, a platform that counts exactly and answers as told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from services.kf_session.domain.content import Content
from services.kf_session.domain.daily import Wish
from services.kf_session.domain.message import Inbound, Origin
from services.kf_session.domain.push import Item, NewPush, Purpose
from services.kf_session.pipeline.admitting import WAKEUP, admit
from services.kf_session.pipeline.customer_facts import CustomerFacts
from services.kf_session.pipeline.deciding import Decider, Job
from services.kf_session.pipeline.hearing import Hearing
from services.kf_session.pipeline.hours import Hours
from services.kf_session.pipeline.pushing import Pusher
from services.kf_session.pipeline.settling import Settler
from services.kf_session.store import ledger, outgoing
from services.kf_session.store.ledger import SessionKey
from services.kf_session.store.tables import (
    credit,
    event_code,
    metadata,
    preference,
    push,
    push_attempt,
    push_item,
    push_note,
    session,
)
from shared.clock import Clock, ManualClock
from shared.db.engine import Database
from shared.db.tables import shared_metadata
from shared.ids import new_id
from shared.telemetry.metrics import Metrics
from shared.wecom.errcodes import classify
from shared.wecom.kf_sending import Sent
from shared.wecom.outcome import Outcome, State

STORE, KFID = "store-1", "kf-1"
NOON = datetime(2026, 3, 2, 4, tzinfo=UTC)
"""In Shanghai."""

SHANGHAI = ZoneInfo("Asia/Shanghai")
NOT_SENT = Sent(Outcome(State.NOT_SENT, "refused", "nobody listens"))
LOST = Sent(Outcome(State.UNKNOWN, "reset", "the answer was lost"))


def key_of(who: str) -> SessionKey:
    """The session of a customer at the one account."""
    return SessionKey(KFID, who)


def refused(errcode: int, errmsg: str = "") -> Sent:
    """The platform says no."""
    entry = classify(errcode)
    return Sent(
        Outcome(
            State.REJECTED_PERMANENT,
            errcode=errcode,
            errmsg=errmsg,
            http_status=200,
            retry_class=entry.retry_class,
        )
    )


@dataclass(slots=True)
class Platform:
    """Counts as WeChat KF does: five messages after each of the customer's, each msgid once."""

    clock: Clock
    wrote_at: dict[str, datetime] = field(default_factory=dict)
    counted: Counter[str] = field(default_factory=Counter)
    states: dict[str, int] = field(default_factory=dict)
    accepted: list[Job] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)
    calls: list[Job] = field(default_factory=list)
    refusals: list[int] = field(default_factory=list)
    script: Callable[[Job], Awaitable[Sent | None]] | None = None
    """Asked before the platform is: None lets it answer; LOST after it was asked is for ``drop``."""

    drop: Callable[[Job], bool] = lambda job: False
    """Whether the answer to a call that was carried out is lost."""

    def write(self, who: str) -> datetime:
        """A customer writes; when, in whole seconds."""
        at = self.clock.now().replace(microsecond=0)
        self.wrote_at[who], self.counted[who] = at, 0
        self.states[who] = 0 if self.states.get(who, 4) == 4 else self.states[who]
        return at

    async def send(self, job: Job, deadline: float) -> Sent:
        """See ``Way``."""
        self.calls.append(job)
        if self.script is not None and (said := await self.script(job)) is not None:
            return said
        answer = self._answer(job)
        if answer.outcome.errcode:
            self.refusals.append(answer.outcome.errcode)
        return LOST if self.drop(job) else answer

    def _answer(self, job: Job) -> Sent:
        who, msgid = job.push.key.external_userid, job.push.msgid
        if msgid in self.taken:
            return refused(40058, "msgid duplicated")
        if job.by_code:
            return self._take(job)
        wrote = self.wrote_at.get(who)
        if wrote is None or self.clock.now() >= wrote + timedelta(hours=48):
            return refused(95002)
        if self.states.get(who, 0) not in (0, 1):
            return refused(95018)
        if self.counted[who] >= 5:
            return refused(95001)
        self.counted[who] += 1
        return self._take(job)

    def _take(self, job: Job) -> Sent:
        self.taken.add(job.push.msgid)
        self.accepted.append(job)
        at = self.clock.now().replace(microsecond=0)
        return Sent(Outcome(State.ACCEPTED, errcode=0, http_status=200, msgid=job.push.msgid), at)


_queue = cache(outgoing.queue)


class Replica:
    """One replica's sending side; it turns only when told to."""

    def __init__(
        self, database: Database, clock: Clock, platform: Platform, owner: str = "a", **how: Any
    ) -> None:
        self.database, self.clock, self.platform = database, clock, platform
        numbers, queue = Metrics(), _queue(database.dialect)
        self.decider = Decider(
            database, queue, CustomerFacts(SHANGHAI, Hours(database.dialect, clock, self._wish)), owner
        )
        self.settler = Settler(database, queue, clock, numbers, self._state, jitter=lambda: 0.0)
        self.pusher = Pusher(
            database, queue, self.decider, self.settler, platform, clock, numbers, owner, **how
        )
        self.hearing = Hearing(database, clock)

    async def _wish(self, conn: Any, store_id: str, customer: str) -> Wish:
        return Wish(SHANGHAI)

    async def _state(self, key: SessionKey) -> int | None:
        return self.platform.states.get(key.external_userid)

    async def turn(self) -> int:
        """Claim, judge, send and settle once; how many were claimed."""
        claimed = await self.pusher.once()
        await self.pusher.settled()
        return claimed

    async def until_idle(self) -> None:
        """Turn until nothing is ready."""
        while await self.turn():
            pass

    async def writes(self, who: str, text: str = "你好") -> None:
        """A customer writes a few seconds later, and we have heard of it."""
        if isinstance(self.clock, ManualClock):
            self.clock.advance(timedelta(seconds=5))
        await self.hears(who, self.platform.write(who), text)

    async def hears(self, who: str, wrote_at: datetime, text: str = "你好") -> None:
        """We learn that a customer wrote at *wrote_at*; as taking a page does it."""
        key, msgid = key_of(who), new_id()

        async def take(conn: Any) -> None:
            standing = await ledger.lock(conn, key)
            if standing is None:
                await conn.execute(sa.insert(session).values(**_fresh(key, self.clock.now())))
                standing = await ledger.lock(conn, key)
            assert standing is not None
            now = self.clock.now()
            if await ledger.open_window(conn, standing, msgid, wrote_at, now):
                if standing.state == 4:
                    await conn.execute(
                        sa.update(session).where(session.c.external_userid == who).values(state=0)
                    )
                opened = await ledger.lock(conn, key)
                assert opened is not None
                inbound = Inbound(
                    KFID, who, STORE, msgid, Origin.CUSTOMER, "text", {"content": text}, wrote_at
                )
                await self.hearing.wrote(conn, inbound, opened)

        await self.database.transact(take)

    async def moves(self, who: str, state: int) -> None:
        """The session changes hands, and we have heard of it."""
        self.platform.states[who] = state

        async def write(conn: Any) -> None:
            await ledger.lock(conn, key_of(who))
            await conn.execute(sa.update(session).where(session.c.external_userid == who).values(state=state))
            await self.hearing.changed(conn, key_of(who))

        await self.database.transact(write)

    async def admit(self, who: str, dedupe: str, purpose: Purpose = Purpose.MESSAGE, **more: Any) -> str:
        """Something is to go to a customer."""
        now = self.clock.now()
        content = more.pop("content", None) or Content.text(f"words {dedupe}").to_json()
        new = NewPush(
            STORE,
            KFID,
            who,
            purpose,
            dedupe,
            content,
            more.pop("expires_at", now + timedelta(days=7)),
            **more,
        )

        async def write(conn: Any) -> str:
            self.database.wakeups.notify(conn, WAKEUP)
            return await admit(conn, self.database.dialect, new, now)

        return await self.database.transact(write)

    async def match(self, who: str, dedupe: str, score: float) -> str:
        """Somebody matches."""
        item = Item(f"match-{dedupe}", f"【{dedupe}】 {score:.0%}", f"all about {dedupe}", score)
        return await self.admit(who, dedupe, Purpose.MATCH, score=score, items=(item,))

    async def prefers(self, who: str, **spec: object) -> None:
        """What a customer says of pushes."""
        now = self.clock.now()
        unsubscribed = spec.pop("unsubscribed_at", None)
        async with self.database.write() as conn:
            await conn.execute(
                sa.insert(preference).values(
                    store_id=STORE,
                    external_userid=who,
                    spec=spec,
                    unsubscribed_at=unsubscribed,
                    updated_at=now,
                    updated_by="test",
                )
            )

    async def code(self, who: str, code_id: str, lives: timedelta) -> None:
        """A one-shot code was issued."""
        now = self.clock.now()
        async with self.database.write() as conn:
            await conn.execute(
                sa.insert(event_code).values(
                    id=code_id,
                    open_kfid=KFID,
                    external_userid=who,
                    occasion="entered",
                    code=f"secret-{code_id}",
                    issued_at=now,
                    expires_at=now + lives,
                )
            )

    async def pushes(self) -> dict[str, Any]:
        """All pushes by their dedupe keys."""
        return {row.dedupe_key: row for row in await self.rows(push)}

    async def stands(self, dedupe: str) -> tuple[str, str]:
        """Status and reason (or what it waits for) of a push."""
        row = (await self.pushes())[dedupe]
        return row.status, row.reason or row.hold_reason or ""

    async def rows(self, table: sa.Table) -> list[Any]:
        """All rows of a table."""
        async with self.database.read() as conn:
            return list((await conn.execute(sa.select(table))).all())

    async def items(self, push_id: str) -> list[str]:
        """What a push lists, in order."""
        rows = [row for row in await self.rows(push_item) if row.push_id == push_id]
        return [row.item_id for row in sorted(rows, key=lambda row: row.position)]

    async def notes(self, push_id: str) -> list[tuple[str, str, str]]:
        """Gate, verdict and reason of every note."""
        rows = [row for row in await self.rows(push_note) if row.push_id == push_id]
        return [(row.gate, row.verdict, row.reason) for row in sorted(rows, key=lambda row: row.seq)]

    async def attempts(self, push_id: str) -> list[str]:
        """The states of a push's attempts."""
        rows = [row for row in await self.rows(push_attempt) if row.push_id == push_id]
        return [row.state for row in sorted(rows, key=lambda row: row.attempt_no)]

    async def credits(self, who: str) -> int:
        """Credits that are taken."""
        return sum(row.external_userid == who for row in await self.rows(credit))


def _fresh(key: SessionKey, now: datetime) -> dict[str, object]:
    return {
        "open_kfid": key.open_kfid,
        "external_userid": key.external_userid,
        "store_id": STORE,
        "state": 0,
        "servicer_userid": "",
        "state_at": now,
        "customer_at": None,
        "customer_msgid": None,
        "window_no": 0,
        "blocked_at": None,
        "scene": "",
        "scene_param": "",
        "created_at": now,
        "updated_at": now,
    }


async def prepare(database: Database) -> None:
    """The tables."""
    async with database.write() as conn:
        await conn.run_sync(shared_metadata.create_all)
        await conn.run_sync(metadata.create_all)
