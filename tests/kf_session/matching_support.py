"""Matching on a workbench: real rows, and pushes that are admitted and accepted as a test wants."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.matching.conditions import Among, Condition, Keywords
from services.kf_session.domain.matching.profile import Profile
from services.kf_session.domain.matching.scoring import Intent
from services.kf_session.domain.message import Inbound, Origin
from services.kf_session.domain.push import NewPush
from services.kf_session.pipeline.matching import Matching
from services.kf_session.pipeline.replies import Replies
from services.kf_session.pipeline.telling import Telling
from services.kf_session.store import ledger
from services.kf_session.store.intents import KeptIntent
from services.kf_session.store.ledger import SessionKey
from services.kf_session.store.matching_tables import match
from services.kf_session.store.tables import metadata, preference, push, push_item, session
from services.kf_session.subscriptions import Intake
from services.kf_session.usecases.intents import Intents
from services.kf_session.usecases.profiles import Profiles
from shared.audit import AuditLog
from shared.clock import Clock
from shared.db.engine import Database
from shared.db.once import Once
from shared.db.queue import NORMAL, PENDING, rank_of
from shared.db.rows import dialect_of, insert_into
from shared.db.tables import shared_metadata
from shared.ids import new_id
from shared.rpc.principal import LOCAL_OPERATOR, acting_as
from shared.secrets import SecretKey
from shared.telemetry.metrics import Metrics

STORE, KFID, CUSTOMER = "store-1", "kf-1", "wm-1"
KEY = SessionKey(KFID, CUSTOMER)


async def prepare(database: Database) -> None:
    """The tables."""
    async with database.write() as conn:
        await conn.run_sync(shared_metadata.create_all)
        await conn.run_sync(metadata.create_all)


async def admit(conn: AsyncConnection, new: NewPush, now: datetime) -> str:
    """The rows of a push, once for each dedupe key."""
    push_id = new_id()
    values: dict[str, Any] = {
        name: getattr(new, name)
        for name in (
            "store_id",
            "open_kfid",
            "external_userid",
            "dedupe_key",
            "score",
            "answer_to",
            "expires_at",
        )
    }
    insert = insert_into(dialect_of(conn), push).values(
        id=push_id,
        purpose=new.purpose.value,
        msgid=push_id,
        content=dict(new.content),
        status=PENDING,
        priority=NORMAL,
        rank=rank_of(NORMAL, now),
        due_at=now,
        retries=0,
        refreshes=0,
        reason="",
        created_at=now,
        updated_at=now,
        **values,
    )
    if (await conn.scalar(insert.on_conflict_do_nothing().returning(push.c.id))) is None:
        same = (push.c.store_id == new.store_id) & (push.c.dedupe_key == new.dedupe_key)
        return str(await conn.scalar(sa.select(push.c.id).where(same)))
    for position, item in enumerate(new.items, 1):
        row = {"item_id": item.item_id, "line": item.line, "details": item.details, "score": item.score}
        await conn.execute(sa.insert(push_item).values(push_id=push_id, position=position, **row))
    return push_id


def ai_profile(number: int, text: str = "懂AI", **fields: Any) -> Profile:
    """A profile that matches `ai_intent`."""
    return Profile(f"p{number:05}", f"张{number}", text, fields)


def ai_intent(
    intent_id: str = "i1",
    conditions: Sequence[Condition] = (Keywords(("AI",), Among.ANY),),
    *,
    store: str = STORE,
    customer: str = CUSTOMER,
    auto: bool = True,
    min_score: float = 0.7,
    expires_at: datetime | None = None,
    now: datetime,
    **asked: bool,
) -> KeptIntent:
    """Somebody looks for AI."""
    return KeptIntent(
        store,
        Intent(intent_id, f"找{intent_id}", tuple(conditions), min_score),
        0,
        "",
        "",
        customer,
        auto,
        expires_at,
        None,
        now,
        now,
        **asked,
    )


class Bench:
    """One replica's matching; its loop turns only when told to."""

    def __init__(self, database: Database, clock: Clock, batch: int = 100) -> None:
        self.database, self.clock = database, clock
        self.telling = Telling(admit)
        self.matching = Matching(database, self.telling, clock, batch=batch)
        audit = AuditLog(database.dialect, SecretKey(bytes(32)))
        self.profiles = Profiles(database, audit, clock)
        self.intents = Intents(database, self.matching, self.telling, audit, clock)
        self.replies = Replies(admit, clock)
        self.intake = Intake(
            database, self.telling, clock, Metrics(), default_store=None, max_bytes=64 * 1024
        )

    async def write_profiles(self, *given: Profile, store: str = STORE) -> list[str]:
        """Write profiles."""
        return await self.profiles.upsert(store, given, once=self.once("UpsertProfile", store=store))

    async def create(self, intent_id: str = "i1", **more: Any) -> KeptIntent:
        """Add an intent."""
        with acting_as(LOCAL_OPERATOR):
            given = ai_intent(intent_id, now=self.clock.now(), **more)
            return await self.intents.create(given, once=self.once("CreateIntent"))

    @staticmethod
    def once(method: str, key: str = "", store: str = STORE) -> Once:
        """A call's key."""
        return Once(store, f"kf/{method}", key, "hash")

    async def settle(self, most: int = 1000) -> int:
        """Turn the loop until nothing is due; how many batches that took."""
        for turn in range(most):
            if not await self.matching.step():
                return turn
        raise AssertionError("it never ends")

    async def rows(self, table: sa.Table, *where: sa.ColumnElement[bool]) -> list[Any]:
        """The rows of a table."""
        async with self.database.read() as conn:
            return list(await conn.execute(sa.select(table).where(*where)))

    async def matches(self) -> list[Any]:
        """The matches that stand, by intent and profile."""
        found = await self.rows(match, match.c.withdrawn_at.is_(None))
        return sorted(found, key=lambda row: (row.intent_id, row.profile_id))

    async def pushes(self, purpose: str = "match") -> list[Any]:
        """The pushes of a purpose, in order."""
        found = await self.rows(push, push.c.purpose == purpose)
        return sorted(found, key=lambda row: row.id)

    async def answers(self) -> list[str]:
        """What customers were answered."""
        return [row.content["text"]["content"] for row in await self.pushes("reply")]

    async def open_session(
        self, key: SessionKey = KEY, store: str = STORE, state: int = 1, wrote_at: datetime | None = None
    ) -> None:
        """A customer who has written."""
        now = self.clock.now()
        row = {
            "open_kfid": key.open_kfid,
            "external_userid": key.external_userid,
            "store_id": store,
            "state": state,
            "servicer_userid": "",
            "state_at": now,
            "customer_at": wrote_at or now,
            "window_no": 1,
            "scene": "",
            "scene_param": "",
            "created_at": now,
            "updated_at": now,
        }
        async with self.database.write() as conn:
            await conn.execute(sa.insert(session).values(**row))

    async def show(self, new: NewPush, at: datetime | None = None) -> str:
        """A push that reached its customer."""
        now = at or self.clock.now()
        async with self.database.write() as conn:
            push_id = await admit(conn, new, now)
        await self.accept(push_id, now)
        return push_id

    async def accept(self, push_id: str, at: datetime | None = None) -> None:
        """The platform took a push."""
        values = {"status": "accepted", "accepted_at": at or self.clock.now()}
        async with self.database.write() as conn:
            await conn.execute(sa.update(push).where(push.c.id == push_id).values(**values))

    async def says(
        self,
        text: str,
        *,
        msgid: str = "",
        menu_id: str = "",
        key: SessionKey = KEY,
        origin: Origin = Origin.CUSTOMER,
    ) -> None:
        """A customer writes, in the transaction that takes the page."""
        content = {"content": text} | ({"menu_id": menu_id} if menu_id else {})
        inbound = Inbound(
            key.open_kfid,
            key.external_userid,
            STORE,
            msgid or new_id(),
            origin,
            "text",
            content,
            self.clock.now(),
        )

        async def take(conn: AsyncConnection) -> None:
            standing = await ledger.lock(conn, key)
            assert standing is not None
            await self.replies.hear(conn, inbound, standing)

        await self.database.transact(take)

    async def preference(self) -> Any:
        """What the customer wants."""
        found = await self.rows(preference, preference.c.external_userid == CUSTOMER)
        return found[0] if found else None


LATER = timedelta(minutes=5)
