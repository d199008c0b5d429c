"""A house with people who write and approve campaigns; its neighbours are small and kept in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from services.campaign.approval_side import approval_side, permitting
from services.campaign.domain.campaign import Content, Spec
from services.campaign.domain.candidates import Asked, Form
from services.campaign.domain.lifecycle import Status
from services.campaign.domain.window import default_window
from services.campaign.pipeline.moving import Moving
from services.campaign.pipeline.ports import Group, Hit, Selection
from services.campaign.store import campaigns, candidates
from services.campaign.store.approvals import Approval
from services.campaign.store.campaign_tables import campaign_run
from services.campaign.store.campaigns import Kept
from shared.audit import AuditLog
from shared.db.engine import Database
from shared.db.migrate import SHARED, Location, migrate
from shared.db.once import Once
from shared.errors import Unavailable
from shared.identity import TokenRecord
from shared.ids import new_id
from shared.rpc.principal import Principal, acting_as
from shared.secrets import SecretKey
from shared.settings import Customer

STORE = "s1"
NOON = datetime(2026, 3, 2, 4, tzinfo=UTC)
"""A Monday, 12:00 in Shanghai."""
LOCATIONS = (SHARED, Location("campaign", Path("services/campaign/migrations/versions")))
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
TOWN = tuple(Group(f"wr{n}", f"owner{n % 2}", f"群{n}", 10 + n) for n in range(4))
SCOPES = frozenset({"campaign.read", "campaign.write", "campaign.approve", "campaign.operate", "audit.read"})


class Groups:
    """Chooses whatever it is told to."""

    def __init__(self) -> None:
        self.chosen = Selection(TOWN, ())

    async def select(
        self, conn: Any, store_id: str, audience: Any, now: datetime, *, with_room: bool = False
    ) -> Selection:
        """What it was told."""
        return self.chosen

    def check(self, audience: Any, field: str) -> None:
        """Anything goes."""

    async def standing(self, conn: Any, store_id: str, chat_ids: Any, now: datetime) -> dict[str, Any]:
        """All are as they were chosen."""
        return {one.chat_id: one for one in self.chosen.included if one.chat_id in chat_ids}


class Lint:
    """Finds plain words."""

    def __init__(self) -> None:
        self.words = ["返现"]

    async def hits(
        self, conn: Any, store_id: str, content: Content, banned_words: Sequence[str]
    ) -> Sequence[Hit]:
        """Each word once."""
        found = [(word, content.text.find(word)) for word in [*self.words, *banned_words]]
        return [Hit("content.text", word, at, at + len(word), word) for word, at in found if at >= 0]


class Tokens:
    """All tokens, as they are now."""

    def __init__(self) -> None:
        self.by_id: dict[str, TokenRecord] = {}
        self.down = False

    async def issued(self) -> Sequence[TokenRecord]:
        """All, unless it is down."""
        if self.down:
            raise Unavailable("DEPENDENCY_DOWN", "identity is away", dependency="identity")
        return list(self.by_id.values())


class Start:
    """Writes the row of a run, as whoever makes tasks would, and remembers for which groups."""

    def __init__(self) -> None:
        self.planned: list[tuple[str, bool, tuple[str, ...], str]] = []
        self.stopped: list[str] = []
        self.woken: list[str] = []

    async def plan(
        self,
        conn: Any,
        held: Kept,
        *,
        dry: bool,
        groups: Sequence[Group],
        content_hash: str,
        by: str,
        now: datetime,
    ) -> str:
        """The run's id."""
        run_id = new_id()
        values = {
            "id": run_id,
            "campaign_id": held.id,
            "version": held.version,
            "store_id": held.store_id,
            "dry": dry,
            "content_hash": content_hash,
            "started_by": by,
            "started_at": now,
        }
        await conn.execute(sa.insert(campaign_run).values(values))
        self.planned.append((held.id, dry, tuple(one.chat_id for one in groups), content_hash))
        return run_id

    async def stop(self, conn: Any, campaign_id: str, now: datetime) -> None:
        """Remember it."""
        self.stopped.append(campaign_id)

    async def resumed(self, conn: Any, campaign_id: str, now: datetime) -> None:
        """Remember it."""
        self.woken.append(campaign_id)


class Follow:
    """Remembers whose tasks are to be looked at."""

    def __init__(self) -> None:
        self.changed: list[str] = []

    async def made(self, conn: Any, tasks: Any, now: datetime) -> None:
        """Nothing."""

    async def run_changed(self, conn: Any, campaign_id: str, now: datetime) -> None:
        """Remember it."""
        self.changed.append(campaign_id)


class Caps:
    """Knows which groups have no room."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}

    async def full(self, conn: Any, store_id: str, chat_ids: Any, at: datetime) -> dict[str, str]:
        """Of those asked for."""
        return {one: self.known[one] for one in chat_ids if one in self.known}


class House:
    """One replica; ``beside`` is another one on the same rows."""

    def __init__(
        self, database: Database, clock: Any, key: SecretKey, registry: Any = None, **settings: Any
    ) -> None:
        """*registry* knows real tokens; without one people are hired."""
        self.database, self.clock, self.key = database, clock, key
        self.groups, self.lint, self.tokens = Groups(), Lint(), Tokens()
        self.start, self.follow, self.caps = Start(), Follow(), Caps()
        self.audit = AuditLog(database.dialect, key)
        self.moving = Moving(database)
        self.customer = Customer(**{"dry_run": False, **settings})
        self.permit = permitting(self.lint, registry or self.tokens, clock, self.customer)
        self.side = approval_side(
            "campaign",
            database,
            self.moving,
            self.permit,
            self.groups,
            self.caps,
            self.start,
            self.follow,
            self.audit,
            clock,
            self.customer,
        )
        for name in ("ann", "ben"):
            self.hire(name)

    def hire(self, subject: str, **changes: Any) -> Principal:
        """Give somebody a token; a person's, for the store, of now, unless *changes* say otherwise."""
        token_id = changes.pop("token_id", f"token-of-{subject}")
        ends = {name: changes.pop(name, None) for name in ("expires_at", "revoked_at")}
        known: dict[str, Any] = {
            "kind": "human",
            "scopes": SCOPES,
            "stores": frozenset({STORE}),
            "login_at": self.clock.now(),
            "token_id": token_id,
            **changes,
        }
        person = Principal(subject, **known)
        self.tokens.by_id[token_id] = TokenRecord(person, self.clock.now(), **ends)
        return person

    def log_in(self, subject: str) -> None:
        """Have somebody who was hired log in now."""
        known = self.tokens.by_id[f"token-of-{subject}"]
        person = replace(known.principal, login_at=self.clock.now())
        self.tokens.by_id[f"token-of-{subject}"] = replace(known, principal=person)

    def by(self, subject: str) -> AbstractContextManager[None]:
        """Act as somebody who was hired."""
        return acting_as(self.tokens.by_id[f"token-of-{subject}"].principal)

    async def write(self, text: str = "春日上新", by: str = "ann", **changes: Any) -> str:
        """A draft; its id."""
        spec = Spec(
            name="春日",
            content=Content(text),
            audience={"chat_ids": ["wr0"]},
            window=default_window("Asia/Shanghai"),
        )
        kept = Kept(
            id=new_id(),
            store_id=changes.pop("store_id", STORE),
            status=Status.DRAFT,
            version=1,
            reason="",
            created_by=by,
            top_up_of="",
            playbook="",
            traceparent=None,
            created_at=self.clock.now(),
            updated_at=self.clock.now(),
            started_at=None,
            finished_at=None,
            spec=replace(spec, **changes),
        )
        async with self.database.write() as conn:
            await campaigns.add(conn, kept, editor=by, how="created")
        return kept.id

    async def edit(self, campaign_id: str, by: str = "ann", how: str = "edited", **changes: Any) -> bool:
        """Write a new version, where it still may be edited; whether it was."""

        async def work(conn: Any) -> bool:
            found = await campaigns.hold(conn, campaign_id)
            assert found is not None
            if not found.status.editable:
                return False
            now, version = self.clock.now(), found.version + 1
            spec = replace(found.spec, **changes)
            await campaigns.add_version(conn, found.id, version, spec, editor=by, how=how, now=now)
            await self.moving.move(
                conn,
                replace(found, version=version),
                Status.DRAFT,
                now,
                by=by,
                version=version,
                schedule_at=spec.schedule_at,
            )
            return True

        return await self.database.transact(work)

    async def had_written(self, campaign_id: str, by: str) -> None:
        """Somebody asks an application for words, for the version there is."""
        wish = Asked(Form.TEXT, "春日", "", "", (), 3, 300, (), "")
        async with self.database.write() as conn:
            found = await campaigns.get(conn, campaign_id)
            assert found is not None
            now, set_id = self.clock.now(), new_id()
            await candidates.add(conn, set_id, STORE, campaign_id, found.version, wish, by, now)

    async def submit(self, campaign_id: str, by: str = "ann") -> str:
        """Submit it; the hash that an approver would be shown."""
        with self.by(by):
            return (await self.side.approving.submit(campaign_id, expected=0, once=once())).content_hash

    async def approve(self, campaign_id: str, seen: str, by: str = "ben") -> Approval:
        """Approve what has *seen* as its hash."""
        with self.by(by):
            return await self.side.approving.approve(campaign_id, seen, "好", once("ApproveCampaign"))

    async def approved(self, **changes: Any) -> str:
        """A campaign that ann wrote and ben, who has just logged in, approved."""
        campaign_id = await self.write(**changes)
        self.log_in("ben")
        await self.approve(campaign_id, await self.submit(campaign_id))
        return campaign_id

    async def run(self, campaign_id: str, by: str = "ann", *, live: bool = True) -> Any:
        """RunCampaign."""
        with self.by(by):
            return await self.side.running.run(campaign_id, live=live, expected=0, once=once("RunCampaign"))

    async def running(self, **changes: Any) -> str:
        """A campaign that runs."""
        campaign_id = await self.approved(**changes)
        await self.run(campaign_id)
        return campaign_id

    async def now(self, campaign_id: str) -> Kept:
        """It as it stands."""
        async with self.database.read() as conn:
            found = await campaigns.get(conn, campaign_id)
        assert found is not None
        return found

    async def claim(self, campaign_id: str, version: int = 1, content_hash: str = "") -> str:
        """What a claim of a task of its run is answered: '' or the reason."""
        planned = [one[3] for one in self.start.planned if one[0] == campaign_id and not one[1]]

        async def work(conn: Any) -> str:
            held = await campaigns.share(conn, campaign_id)
            assert held is not None
            wanted = content_hash or (planned[-1] if planned else "")
            return await self.permit.refusal(conn, held, version, wanted, self.clock.now())

        return await self.database.transact(work)

    async def execute(self, statement: Any) -> None:
        """Change rows behind everybody's back."""
        async with self.database.write() as conn:
            await conn.execute(statement)

    async def rows(self, table: sa.Table) -> list[Any]:
        """All rows of a table, by its primary key."""
        async with self.database.read() as conn:
            return list(await conn.execute(sa.select(table).order_by(*table.primary_key.columns)))


def once(method: str = "SubmitCampaign", key: str = "", content: str = "") -> Once:
    """The guard of a call, without a key unless one is given."""
    return Once("", f"reach.campaign.v1.CampaignService/{method}", key, content)


async def opened(url: str) -> Database:
    """The database of a campaign service at *url*, migrated."""
    await asyncio.to_thread(migrate, url, "campaign", LOCATIONS)
    return Database.open(url, schema="campaign")
