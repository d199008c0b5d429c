"""The room of playbooks on stored groups, in parts whose loop turns when told to; what its tests share."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from services.campaign.approval_side import approval_side, permitting
from services.campaign.domain.audience import MOST_CHATS
from services.campaign.pipeline.moving import Moving
from services.campaign.pipeline.playbook_scheduling import PlaybookScheduling
from services.campaign.pipeline.selecting import StoredGroups
from services.campaign.playbook_files import PRESETS
from services.campaign.playbooks_side import playbooks_side
from services.campaign.store import campaigns
from services.campaign.store.campaigns import Kept
from services.campaign.store.group_tables import customer_group, group_label
from services.campaign.store.playbook_tables import playbook_run
from services.campaign.usecases.playbooks import RunView, Seen, Wish
from services.campaign.writing_side import writing_side
from shared.audit import AuditLog
from shared.clock import ManualClock
from shared.db.engine import Database
from shared.db.once import Once
from shared.rpc.principal import Principal, acting_as
from shared.secrets import SecretKey
from shared.settings import load
from shared.telemetry.metrics import Metrics
from shared.wecom.client import WeComClient
from tests.campaign.approval.house import Caps, Follow, Start, Tokens
from tests.campaign.writing.room import Script

STORE = "s1"
NOON = datetime(2026, 3, 2, 4, tzinfo=UTC)
"""A Monday, 12:00 in Shanghai."""
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SCOPES = frozenset({"campaign.read", "campaign.write", "campaign.approve", "campaign.operate"})
SETTINGS = {
    "REACH_DEFAULT_STORE": STORE,
    "WECOM_CUSTOMER_BLOCK_WORDS": "返现,保本",
    "WECOM_CUSTOMER_LINK_HOSTS": "shop.example.com",
}

WELCOME = {"brand": "小鹿"}
WARM_UP = {"event": "周年庆", "event_date": "2026-03-12", "highlight": "现场乐队和精酿"}
RECALL = {"brand": "小鹿", "news": "上新了三款特调", "offer": "到店送一份小食"}


class House:
    """One replica; ``beside`` is another one on the same rows."""

    def __init__(
        self,
        database: Database,
        clock: ManualClock,
        key: SecretKey,
        *,
        folder: Path = PRESETS,
        most_groups: int = MOST_CHATS,
    ) -> None:
        self.database, self.clock, self.key = database, clock, key
        self.script, self.caps, self.tokens = Script(), Caps(), Tokens()
        settings = load(SETTINGS)
        audit, self.moving = AuditLog(database.dialect, key), Moving(database)
        self.groups = StoredGroups(self.caps)
        never: Any = None
        self.writing = writing_side(
            database,
            self.groups,
            self.moving,
            audit,
            clock,
            Metrics(),
            settings,
            "one",
            app=never,
            wecom=WeComClient(never, never, clock),
            writer=self.script,
        )
        customer = settings.wecom.customer
        permit = permitting(self.writing.linter, self.tokens, clock, customer)
        self.approval = approval_side(
            "campaign",
            database,
            self.moving,
            permit,
            self.groups,
            self.caps,
            Start(),
            Follow(),
            audit,
            clock,
            customer,
        )
        self.side = playbooks_side(
            database,
            self.groups,
            self.writing,
            self.approval,
            self.moving,
            audit,
            clock,
            settings,
            folder=folder,
            most_groups=most_groups,
        )
        self._more = {"folder": folder, "most_groups": most_groups}

    def beside(self) -> House:
        """Another replica."""
        return House(self.database, self.clock, self.key, **self._more)  # type: ignore[arg-type]

    @property
    def scheduling(self) -> PlaybookScheduling:
        """The loop."""
        return self.side.scheduling

    def by(self, subject: str, stores: Any = frozenset({STORE})) -> AbstractContextManager[None]:
        """Act as a person."""
        person = Principal(subject, "human", SCOPES, stores, self.clock.now(), f"token-of-{subject}")
        return acting_as(person)

    async def start(
        self, playbook: str, said: Mapping[str, str], by: str = "ann", start: str = "", key: str = ""
    ) -> str:
        """StartPlaybook; the run's id."""
        with self.by(by):
            once = Once(STORE, "reach.campaign.v1.CampaignService/StartPlaybook", key, str(said))
            return (await self.side.playbooks.start(Wish(STORE, playbook, said, start), once=once)).run.id

    async def until(self, at: datetime) -> None:
        """Let time pass; the loops go round whenever something is due, and at the end."""
        due = sa.select(sa.func.min(playbook_run.c.next_at)).where(playbook_run.c.status == "active")
        while self.clock.now() < at:
            async with self.database.read() as conn:
                following = await conn.scalar(due)
            then = min(max(following or at, self.clock.now()), at)
            self.clock.advance(then - self.clock.now())
            await self.turn()

    async def turn(self) -> None:
        """The loops go round once."""
        await self.scheduling.make_due()
        while await self.writing.generating.once():
            pass
        await self.scheduling.go_on()

    async def group(
        self,
        chat_id: str,
        *,
        owner: str = "owner1",
        created: datetime = NOON - 400 * DAY,
        stirred: datetime | None = None,
        members: int = 20,
        labels: tuple[str, ...] = (),
        **more: Any,
    ) -> None:
        """A group that was read; somebody last joined when it was created, or when it *stirred*."""
        now = self.clock.now()
        row = {
            "chat_id": chat_id,
            "store_id": STORE,
            "owner": owner,
            "name": f"群 {chat_id}",
            "status": "normal",
            "gone_reason": "",
            "member_count": members,
            "customer_count": members - 1,
            "created_at": created,
            "last_joined_at": stirred or created,
            "last_changed_at": stirred,
            "first_seen_at": now,
            "updated_at": now,
            "read_at": now,
            "read_rank": 0,
            "read_attempts": 0,
            "read_error": "",
            "sync_id": "",
            "seen_in": "",
            "counted_in": "",
            **more,
        }
        marks = [{"chat_id": chat_id, "label": one, "by": "ann", "at": now} for one in labels]
        async with self.database.write() as conn:
            await conn.execute(sa.insert(customer_group).values(row))
            if marks:
                await conn.execute(sa.insert(group_label), marks)

    async def change(self, chat_id: str, **columns: Any) -> None:
        """What a later reading changes."""
        mine = customer_group.c.chat_id == chat_id
        async with self.database.write() as conn:
            await conn.execute(sa.update(customer_group).where(mine).values(columns))

    async def view(self, run_id: str) -> RunView:
        """A run as it stands."""
        return await self.side.playbooks.get(run_id, None)

    async def seen(self, run_id: str) -> list[Seen]:
        """What became of its steps, the first first."""
        return list(reversed((await self.side.playbooks.occurrences(run_id, None, None, 1000))[1]))

    async def told(self, run_id: str) -> list[tuple[str, str, str]]:
        """(day, step, outcome) of what has come, in order."""
        run = (await self.view(run_id)).run
        steps = run.definition["steps"]
        return [
            (str(one.happened.day), steps[one.happened.step]["name"], one.happened.status)
            for one in await self.seen(run_id)
        ]

    async def campaigns(self) -> list[Kept]:
        """All campaigns, the first first."""
        async with self.database.read() as conn:
            return list(reversed(await campaigns.page(conn, None, before=None, limit=1000)))

    async def rows(self, table: sa.Table) -> list[Any]:
        """All rows of a table, by its primary key."""
        async with self.database.read() as conn:
            return list(await conn.execute(sa.select(table).order_by(*table.primary_key.columns)))
