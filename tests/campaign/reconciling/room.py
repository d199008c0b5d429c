"""Two rooms on one workbench: the one that has owners asked, and the one that looks after what became of it."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

from services.campaign.domain.caps import ReceiveLimits
from services.campaign.domain.lifecycle import Status
from services.campaign.limit_files import load_limits
from services.campaign.pipeline.counting import ReceiptCaps
from services.campaign.pipeline.moving import Moving
from services.campaign.pipeline.reconciling import Reconciler
from services.campaign.reconciling_side import ReconcilingSide, reconciling_side
from services.campaign.store import campaigns, follows
from services.campaign.store.campaign_tables import campaign, campaign_run, campaign_target
from services.campaign.store.follow_tables import task_follow, task_reminder
from services.campaign.usecases.owner_reminders import Asked
from shared.audit import AuditLog
from shared.clock import Clock, ManualClock
from shared.db.engine import Database
from shared.db.once import Once
from shared.rpc.principal import Principal, acting_as
from shared.settings import Customer
from shared.wecom.client import WeComClient
from shared.wecom.mass_send import MassSend
from tests.campaign.sending.sending_support import KEY, STORE, Bench, KnownGroups, Replica
from tests.e2e.harness import Sandbox

TASK = "/cgi-bin/externalcontact/get_groupmsg_task"
RESULTS = "/cgi-bin/externalcontact/get_groupmsg_send_result"
REMIND = "/cgi-bin/externalcontact/remind_groupmsg_send"
CANCEL = "/cgi-bin/externalcontact/cancel_groupmsg_send"
HOUR = timedelta(hours=1)
QPS = 40
OPERATOR = Principal("op", "human", frozenset({"campaign.operate"}), frozenset({STORE}))


class Site(Replica):
    """One replica with both rooms; each turns only when told to."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        url: str,
        groups: KnownGroups,
        owner: str = "a",
        *,
        remind_every: timedelta = 6 * HOUR,
        remind_most: int = 6,
        qps: int = QPS,
    ) -> None:
        follow: Any = Reconciler(database, follows.queue(database.dialect), Moving(database))
        super().__init__(database, clock, url, groups, owner, qps=qps, follow=follow)
        self.reconciling: ReconcilingSide = reconciling_side(
            database,
            self._app,
            MassSend(WeComClient(self.caller, self.tokens, clock)),
            AuditLog(database.dialect, KEY),
            clock,
            self.numbers,
            owner,
            Customer(send_qps=qps, remind_every=remind_every, remind_most=remind_most),
            self.moving,
            groups=groups,
        )
        self.follower = self.reconciling.follower

    async def look(self, limit: int = 8) -> int:
        """Claim what is due and bring it to its end; how many were claimed."""
        claimed = await self.follower.once(limit)
        await self.follower.settled()
        return claimed


class Room(Bench):
    """One replica, a sandbox and the rows; more replicas on the same rows are made with ``beside``."""

    def __init__(self, site: Site, world: Sandbox, clock: ManualClock) -> None:
        super().__init__(site, world, clock)
        self.site = site
        self._others: list[Site] = []

    def beside(self, owner: str = "b", **more: Any) -> Site:
        """One more replica."""
        made = Site(self.database, self.clock, self.world.url, self.groups, owner, **more)
        self._others.append(made)
        return made

    async def close(self) -> None:
        """Close the replicas."""
        for one in (self.site, *self._others):
            await one.close()

    async def asked(self, text: str = "周五上新", **spec: Any) -> str:
        """A campaign whose owners have been asked; its id."""
        campaign_id = await self.start(text, **spec)
        await self.until_idle()
        return campaign_id

    async def pass_time(self, by: timedelta, step: timedelta = timedelta(minutes=30)) -> None:
        """Let time pass in steps, and do in each what is due."""
        end = self.clock.now() + by
        while self.clock.now() < end:
            await self.advance(min(step, end - self.clock.now()))
            await self.look()

    async def look(self, *sites: Site) -> None:
        """Do what is due, a little more than a second apart, until nothing is."""
        for _ in range(200):
            if not sum([await site.look() for site in sites or (self.site,)]):
                return
            await self.advance(timedelta(seconds=1.3))
        raise AssertionError("it never came to rest")

    async def behave(self, owner: str, manner: str, **more: Any) -> None:
        """How an owner treats prompts from here on."""
        await self.world.post(f"/sandbox/owners/{owner}/behaviour", behaviour=manner, **more)

    async def confirm(self, owner: str, **more: Any) -> None:
        """An owner presses send."""
        await self.world.post(f"/sandbox/owners/{owner}/confirm", **more)

    async def cancel(self, campaign_id: str) -> None:
        """As CancelCampaign does it."""
        await self._turn(campaign_id, Status.CANCELLED)

    async def pause(self, campaign_id: str) -> None:
        """As PauseCampaign does it."""
        await self._turn(campaign_id, Status.PAUSED)

    async def _turn(self, campaign_id: str, after: Status) -> None:
        now = self.clock.now()

        async def write(conn: Any) -> None:
            held = await campaigns.hold(conn, campaign_id)
            assert held is not None
            await self.site.moving.move(conn, held, after, now, by="op", reason="by_hand")
            if after is Status.CANCELLED:
                await self.site.side.start.stop(conn, campaign_id, now)
            await self.site.reconciling.follow.run_changed(conn, campaign_id, now)

        await self.database.transact(write)

    async def remind(
        self, campaign_id: str, *owners: str, key: str = "", site: Site | None = None
    ) -> list[Asked]:
        """RemindOwners."""
        once = Once("", "reach.campaign.v1.CampaignService/RemindOwners", key, "|".join(owners))
        with acting_as(OPERATOR):
            return list(await (site or self.site).reconciling.reminders.remind(campaign_id, owners, "", once))

    async def reminded(self) -> dict[str, list[datetime]]:
        """When each owner was reminded: the truth."""
        found: dict[str, list[datetime]] = {}
        for one in await self.made():
            found.setdefault(one["sender"], []).extend(map(datetime.fromisoformat, one["reminded_at"]))
        return found

    async def ledger(self) -> list[tuple[str, str]]:
        """Who asked for each reminder, and what came of it, in order."""
        rows = await self.rows(task_reminder)
        return [(row.by, row.outcome) for row in sorted(rows, key=lambda row: (row.task_id, row.number))]

    async def follow_rows(self) -> dict[str, Any]:
        """The followed tasks, by owner."""
        return {row.owner: row for row in await self.rows(task_follow)}

    async def counts(self) -> Counter[str]:
        """How many groups are in each state."""
        return Counter(status for status, _ in (await self.targets()).values())

    async def states(self) -> dict[str, str]:
        """Each campaign and its state."""
        return {row.id: row.status for row in await self.rows(campaign)}

    async def finished(self) -> bool:
        """Whether every real run is over."""
        return all(row.finished_at is not None for row in await self.rows(campaign_run) if not row.dry)

    async def check_truth(self) -> None:
        """What we say was sent, was sent at the platform, at that second, and nothing else was."""
        truth = {
            (one["msgid"], row["chat_id"]): datetime.fromisoformat(row["at"]).replace(microsecond=0)
            for one in await self.made()
            for row in one["outcomes"]
            if row["outcome"] == "sent" and one["creator"] is None  # others are made by hand
        }
        by_task = {row.id: row.msgid for row in await self.rows(task_follow)}
        ours = {
            (by_task[row.task_id], row.chat_id): row.sent_at
            for row in await self.rows(campaign_target)
            if row.status == "sent"
        }
        assert ours == truth

    async def full(self, *chat_ids: str, limits: ReceiveLimits | None = None) -> dict[str, str]:
        """Which of some groups have no room now."""
        caps = ReceiptCaps(limits or load_limits())
        async with self.database.read() as conn:
            return dict(await caps.full(conn, STORE, chat_ids, self.clock.now()))


def most_in_a_day(times: list[datetime]) -> int:
    """The most of *times* in any 24 hours."""
    return max((sum(at <= other < at + 24 * HOUR for other in times) for at in times), default=0)
