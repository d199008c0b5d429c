"""The room that has owners asked, on a workbench: real rows, a real sandbox over HTTP, and a clock that both go by."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.campaign import Attachment, Canary, Content, Spec, content_hash, set_hash
from services.campaign.domain.lifecycle import Status
from services.campaign.domain.window import SendWindow, default_window
from services.campaign.pipeline.moving import Moving
from services.campaign.pipeline.ports import Group, Made, Permit, Selection
from services.campaign.pipeline.sending import Sender
from services.campaign.sending_side import SendingSide, sending_side
from services.campaign.store import campaigns
from services.campaign.store.campaign_tables import (
    campaign,
    campaign_target,
    owner_task,
    task_attempt,
)
from services.campaign.store.campaigns import Kept
from services.campaign.store.tables import metadata
from shared.audit import AuditLog
from shared.clock import Clock, ManualClock
from shared.db.engine import Database
from shared.db.tables import shared_metadata
from shared.http import Caller
from shared.ids import new_id
from shared.secrets import SecretKey
from shared.settings import Customer
from shared.telemetry.metrics import Metrics
from shared.values import value_class
from shared.wecom.client import WeComClient
from shared.wecom.credentials import App
from shared.wecom.token_store import SqlTokenStore
from shared.wecom.tokens import TokenAuthority
from tests.e2e.harness import Sandbox

STORE, SECRET, CORP = "s1", "customer-s1", "ww0a1b2c3d4e5f6a7b"
NOON = datetime(2026, 3, 2, 4, tzinfo=UTC)
"""In Shanghai, on a Monday."""
SHANGHAI = "Asia/Shanghai"
APP = App(CORP, 0, SECRET, "customer")
ADD = "/cgi-bin/externalcontact/add_msg_template"
KEY = SecretKey(bytes(32))


@dataclass(slots=True)
class KnownGroups:
    """Groups as declared; what a test says of one goes before."""

    owners: dict[str, str] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)

    async def select(
        self, conn: AsyncConnection, store_id: str, audience: Mapping[str, Any], now: datetime
    ) -> Selection:
        return Selection(self.all(), ())

    def check(self, audience: Mapping[str, Any], field: str) -> None: ...

    def all(self) -> tuple[Group, ...]:
        return tuple(Group(one, owner, f"group {one}", 20) for one, owner in sorted(self.owners.items()))

    async def standing(
        self, conn: AsyncConnection, store_id: str, chat_ids: Collection[str], now: datetime
    ) -> Mapping[str, Group | str]:
        found: dict[str, Group | str] = {}
        for one in chat_ids:
            if one in self.said:
                found[one] = self.said[one]
            elif one in self.owners:
                found[one] = Group(one, self.owners[one], f"group {one}", 20)
        return found


@dataclass(slots=True)
class HashPermit:
    """Lets a running campaign send what was approved, known by its hash; or says what a test wants."""

    database: Database
    says: str = ""
    asked: int = 0

    async def refusal(
        self, conn: AsyncConnection, held: Kept, version: int, content_hash: str, now: datetime
    ) -> str:
        self.asked += 1
        if held.status is not Status.RUNNING:
            return f"campaign_{held.status.value}"
        return self.says


@dataclass(slots=True)
class MemoryFollow:
    """Remembers what exists."""

    tasks: list[Made] = field(default_factory=list)
    changes: int = 0

    async def made(self, conn: AsyncConnection, tasks: Sequence[Made], now: datetime) -> None:
        self.tasks += tasks

    async def run_changed(self, conn: AsyncConnection, campaign_id: str, now: datetime) -> None:
        self.changes += 1


@value_class
class Answer:
    """See ``ports.MediaAnswer``."""

    ids: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""
    again: bool = False
    detail: str = ""


@dataclass(slots=True)
class MemoryMaterials:
    """Hands out ids; a test may have it fail."""

    fails: Answer | None = None
    forgotten: list[str] = field(default_factory=list)

    async def media_ids(self, store_id: str, attachments: Sequence[Attachment]) -> Answer:
        if self.fails is not None:
            return self.fails
        return Answer({one.material: f"media-{one.material}" for one in attachments if one.material})

    async def forget(self, store_id: str, media_ids: Collection[str]) -> None:
        self.forgotten += media_ids


class Replica:
    """One replica's sending side; it turns only when told to."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        url: str,
        groups: KnownGroups,
        owner: str = "a",
        *,
        qps: int = 5,
        retry_max: int = 3,
        follow: MemoryFollow | None = None,
        permit: Permit | None = None,
    ) -> None:
        self.database, self.clock, self.groups = database, clock, groups
        self.caller = Caller(url, allowed_hosts=["127.0.0.1"])
        tokens = TokenAuthority(self.caller, SqlTokenStore(database, KEY), clock, owner=owner)
        self.tokens = tokens
        self.moving = Moving(database)
        self.permit, self.follow = HashPermit(database), follow or MemoryFollow()
        self.materials = MemoryMaterials()
        self.numbers = Metrics()
        self.side: SendingSide = sending_side(
            database,
            self._app,
            WeComClient(self.caller, tokens, clock),
            AuditLog(database.dialect, KEY),
            clock,
            self.numbers,
            owner,
            Customer(send_qps=qps, retry_max=retry_max),
            self.moving,
            groups=groups,
            permit=permit or self.permit,
            follow=self.follow,
            materials=self.materials,
        )
        self.sender: Sender = self.side.sender

    async def _app(self) -> App | None:
        return APP

    async def close(self) -> None:
        await self.tokens.close()
        await self.caller.close()

    async def turn(self, limit: int = 16) -> int:
        """Claim, decide, call and settle once; how many were claimed."""
        claimed = await self.sender.once(limit)
        await self.sender.settled()
        return claimed


class Bench:
    """One replica, a sandbox and the rows; time passes for all of them at once."""

    def __init__(self, replica: Replica, world: Sandbox, clock: ManualClock) -> None:
        self.replica, self.world, self.clock = replica, world, clock
        self.database, self.groups = replica.database, replica.groups
        self.at_once = 16
        """Tasks that are claimed at a time."""

    async def advance(self, by: timedelta) -> None:
        """Let time pass."""
        self.clock.advance(by)
        await self.world.post("/sandbox/clock", set=self.clock.now().isoformat())

    async def until(self, look: Callable[[], Awaitable[bool]], turns: int = 200) -> None:
        """Turn, a little more than a second apart, until something is so."""
        for _ in range(turns):
            if await look():
                return
            await self.replica.turn(self.at_once)
            await self.advance(timedelta(seconds=1.3))
        raise AssertionError("it never came to be")

    async def until_made(self, count: int) -> None:
        """Turn until so many tasks exist, as far as the platform knows."""

        async def look() -> bool:
            return len(await self.made()) >= count

        await self.until(look)

    async def until_asked(self, count: int = 1) -> None:
        """Turn until so many requests to make a task have come in, whatever became of them."""

        async def look() -> bool:
            return len(await self.world.requests(ADD)) >= count

        await self.until(look)

    async def until_idle(self) -> None:
        """Turn until nothing is open but what waits for a person, or for longer than a minute."""

        async def look() -> bool:
            soon = self.clock.now() + timedelta(minutes=1)
            return not any(
                row.status in ("pending", "creating")
                or (row.status == "deferred" and row.due_at <= soon and row.hold_reason != "paused")
                for row in await self.rows(owner_task)
            )

        await self.until(look)

    async def made(self) -> list[dict[str, Any]]:
        """The tasks that there are at the platform: the truth."""
        return list((await self.world.get("/sandbox/mass-sends", limit=10_000))["mass_sends"])

    async def owns(self, owner: str, count: int, prefix: str = "") -> list[str]:
        """Groups of an owner, known to both sides."""
        named = [f"wr-{prefix or owner}-{at:04d}" for at in range(count)]
        await self.world.declare(corp_id=CORP, users=[{"userid": owner, "name": owner}])
        for chat_id in named:
            await self.world.post("/sandbox/groups", chat_id=chat_id, owner=owner, name=chat_id)
            self.groups.owners[chat_id] = owner
        return named

    async def start(self, text: str = "周五上新", *, dry: bool = False, **spec: Any) -> str:
        """A campaign to all groups that are known, running; its id."""
        return await start(self.replica, self.clock.now(), text, dry=dry, **spec)

    async def rows(self, table: sa.Table) -> list[Any]:
        """All rows of a table."""
        async with self.database.read() as conn:
            return list((await conn.execute(sa.select(table))).all())

    async def tasks(self) -> dict[str, tuple[str, str]]:
        """By owner and chunk: state, and reason or what it waits for."""
        return {
            f"{row.owner}/{row.chunk}": (row.status, row.reason or row.hold_reason or "")
            for row in await self.rows(owner_task)
        }

    async def targets(self) -> dict[str, tuple[str, str]]:
        """By group: state and reason."""
        return {row.chat_id: (row.status, row.reason) for row in await self.rows(campaign_target)}

    async def status(self) -> tuple[str, str]:
        """Of the one campaign: state and reason."""
        [row] = await self.rows(campaign)
        return row.status, row.reason

    async def attempts(self) -> list[str]:
        """The outcomes of all requests, in order."""
        rows = sorted(await self.rows(task_attempt), key=lambda row: (row.started_at, row.attempt_no))
        return [row.outcome for row in rows]

    async def move(self, after: Status, reason: str = "") -> None:
        """Somebody pauses, resumes or cancels it."""
        now = self.clock.now()

        async def write(conn: AsyncConnection) -> None:
            [row] = (await conn.execute(sa.select(campaign.c.id))).all()
            held = await campaigns.hold(conn, row.id)
            assert held is not None
            await self.replica.moving.move(conn, held, after, now, by="op", reason=reason)
            if after is Status.CANCELLED:
                await self.replica.side.start.stop(conn, row.id, now)
            if after is Status.RUNNING:
                await self.replica.side.start.resumed(conn, row.id, now)

        await self.database.transact(write)


async def start(
    replica: Replica,
    now: datetime,
    text: str = "周五上新",
    *,
    dry: bool = False,
    content: Content | None = None,
    window: SendWindow | None = None,
    canary: Canary | None = None,
) -> str:
    """A campaign to all groups that are known, running, or a dry run of a draft; its id."""
    spec = Spec(
        name="spring",
        content=content or Content(text),
        audience={},
        window=window or default_window(SHANGHAI),
        canary=canary or Canary(),
    )
    groups = replica.groups.all()
    kept = Kept(
        id=new_id(),
        store_id=STORE,
        status=Status.DRAFT if dry else Status.APPROVED,
        version=1,
        reason="",
        created_by="wu",
        top_up_of="",
        playbook="",
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        created_at=now,
        updated_at=now,
        started_at=None,
        finished_at=None,
        spec=spec,
    )
    whole = content_hash(spec, STORE, set_hash([(one.chat_id, one.owner) for one in groups]))

    async def write(conn: AsyncConnection) -> str:
        await campaigns.add(conn, kept, editor="wu", how="created")
        held = await campaigns.hold(conn, kept.id)
        assert held is not None
        if not dry:
            held = await replica.moving.move(conn, held, Status.RUNNING, now, by="li")
        await replica.side.start.plan(
            conn, held, dry=dry, groups=groups, content_hash=whole, by="li", now=now
        )
        return kept.id

    return await replica.database.transact(write)


async def prepare(database: Database) -> None:
    """The tables."""
    async with database.write() as conn:
        await conn.run_sync(shared_metadata.create_all)
        await conn.run_sync(metadata.create_all)


def fingerprint(text: str) -> str:
    """For names that must not be longer than the platform allows."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
