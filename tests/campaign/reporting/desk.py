"""A house whose campaigns are planned for good, and the desk that tells of them; what the platform would say is said here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from reach.campaign.v1 import campaign_pb2, explain_pb2, report_pb2, target_pb2, top_up_pb2

from services.campaign.approval_side import approval_side
from services.campaign.campaign_wire import to_campaign
from services.campaign.domain.lifecycle import Status
from services.campaign.domain.outcomes import TargetStatus, TaskStatus
from services.campaign.explain_service import ExplainMethods
from services.campaign.pipeline.linting import Linter
from services.campaign.pipeline.planning import Starter
from services.campaign.pipeline.ports import Group, LeftOut, Selection
from services.campaign.report_service import ReportMethods
from services.campaign.reporting_side import reporting_side
from services.campaign.store import campaigns, tasks
from services.campaign.store.campaign_tables import campaign_run, campaign_target, owner_task, task_attempt
from services.campaign.store.follow_tables import task_follow, task_reminder
from services.campaign.target_service import TargetMethods
from services.campaign.usecases.campaigns import Campaigns
from services.campaign.usecases.targets import Targets
from shared.rpc.paging import PageTokens
from shared.rpc.principal import visible_stores
from tests.campaign.approval.house import House

AWAITING = TargetStatus.AWAITING_OWNER


class _Servicer(TargetMethods, ReportMethods, ExplainMethods):  # type: ignore[misc]  # what it lacks nobody asks
    """The methods of this room, as campaign serves them."""

    def __init__(self, desk: Desk) -> None:
        side = reporting_side(desk.database, desk.writing, desk.permit, desk.audit, desk.clock, desk.customer)
        self._targets = Targets(desk.database)
        self._reporting = side.reporting
        self._topping_up = side.topping_up
        self._explaining = side.explaining
        self._tokens = PageTokens(b"k" * 32)
        self._shown = desk


class Desk(House):
    """Writes, approves and plans campaigns; ``says`` is the platform."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.side = approval_side(
            "campaign",
            self.database,
            self.moving,
            self.permit,
            self.groups,
            self.caps,
            Starter(self.database, tasks.queue(self.database.dialect)),
            self.follow,
            self.audit,
            self.clock,
            self.customer,
        )
        linter = Linter(["返现"], ["shop.example.com"])
        self.writing = Campaigns(self.database, linter, self.groups, self.moving, self.audit, self.clock)
        self.rpc = _Servicer(self)

    async def shown(self, campaign_id: str) -> campaign_pb2.Campaign:
        """See ``approval_service.Shown``."""
        return to_campaign(await self.writing.get(campaign_id, visible_stores()))

    def has(self, owners: Mapping[str, int], *, left_out: Mapping[str, str] | None = None) -> None:
        """So many groups of each owner are chosen, and those *left_out*, with the reason."""
        included = [
            Group(f"wr-{owner}-{at:02d}", owner, f"群{owner}{at}", 10)
            for owner, count in owners.items()
            for at in range(count)
        ]
        excluded = [
            LeftOut(Group(chat_id, "zoe", f"群{chat_id}", 3), reason, f"because {reason}")
            for chat_id, reason in (left_out or {}).items()
        ]
        ordered = sorted(included, key=lambda one: one.chat_id)
        self.groups.chosen = Selection(tuple(ordered), tuple(excluded))

    async def task_of(self, owner: str) -> Any:
        """The row of an owner's only task."""
        [row] = [one for one in await self.rows(owner_task) if one.owner == owner and not one.dry]
        return row

    async def asked(self, owner: str, *, after: timedelta = timedelta(0), **changes: Any) -> str:
        """The owner's task was made; its id."""
        task, at = await self.task_of(owner), self.clock.now() + after
        values = {
            "status": TaskStatus.CREATED.value,
            "hold_reason": None,
            "msgid": f"msg-{task.id}",
            "made_at": at,
            "updated_at": at,
            **changes,
        }
        await self.execute(sa.update(owner_task).where(owner_task.c.id == task.id).values(values))
        await self.execute(
            sa.insert(task_attempt).values(
                task_id=task.id,
                attempt_no=1,
                outcome="accepted",
                error="",
                owner="a",
                trace_id="",
                started_at=at,
                finished_at=at,
            )
        )
        waiting = (campaign_target.c.task_id == task.id, campaign_target.c.status == "planned")
        await self.execute(
            sa.update(campaign_target).where(*waiting).values(status=AWAITING.value, updated_at=at)
        )
        return str(task.id)

    async def says(self, chat_id: str, status: TargetStatus, raw: int | None = None, **more: Any) -> None:
        """What became of a group of the real run."""
        now = self.clock.now()
        values = {"status": status.value, "raw_status": raw, "updated_at": now, **more}
        if status is TargetStatus.SENT:
            values = {"raw_status": 1, "sent_at": now, **values, **({} if raw else {"raw_status": 1})}
        live = sa.select(campaign_run.c.id).where(~campaign_run.c.dry)
        where = (campaign_target.c.chat_id == chat_id, campaign_target.c.run_id.in_(live))
        await self.execute(sa.update(campaign_target).where(*where).values(values))

    async def reminded(self, task_id: str, number: int, outcome: str, by: str = "") -> None:
        """An owner was reminded."""
        await self.execute(
            sa.insert(task_reminder).values(
                task_id=task_id,
                number=number,
                campaign_id="",
                by=by,
                asked_at=self.clock.now(),
                outcome=outcome,
                error="",
            )
        )

    async def follows(self, task_id: str, confirmed_at: datetime | None) -> None:
        """A task is followed."""
        task = next(one for one in await self.rows(owner_task) if one.id == task_id)
        queue = tasks.queue(self.database.dialect)
        columns = ("run_id", "campaign_id", "store_id", "owner", "msgid", "made_at")
        await self.execute(
            sa.insert(task_follow).values(
                id=task.id,
                **{name: getattr(task, name) for name in columns},
                confirm_by=task.made_at + timedelta(hours=72),
                stopping=False,
                confirmed_at=confirmed_at,
                looks=0,
                failures=0,
                error="",
                updated_at=task.made_at,
                **queue.ready(1, task.made_at),
            )
        )

    async def becomes(self, campaign_id: str, *states: Status, reason: str = "") -> None:
        """A campaign goes its way."""

        async def work(conn: Any) -> None:
            for status in states:
                found = await campaigns.hold(conn, campaign_id)
                assert found is not None
                await self.moving.move(conn, found, status, self.clock.now(), by="", reason=reason)

        await self.database.transact(work)

    async def finished(self, outcomes: Mapping[str, TargetStatus], **changes: Any) -> str:
        """A campaign that is over, each group with its outcome; all others were sent."""
        campaign_id = await self.running(**changes)
        for owner in sorted({one.owner for one in self.groups.chosen.included}):
            await self.asked(owner)
        for one in self.groups.chosen.included:
            await self.says(one.chat_id, outcomes.get(one.chat_id, TargetStatus.SENT))
        await self.becomes(campaign_id, Status.RECONCILING, Status.FINISHED)
        return campaign_id

    async def report(self, campaign_id: str, by: str = "ann", **more: Any) -> report_pb2.CampaignReport:
        """GetReport."""
        with self.by(by):
            request = report_pb2.GetReportRequest(campaign_id=campaign_id, **more)
            return (await self.rpc.GetReport(request, None)).report

    async def targets(self, campaign_id: str, by: str = "ann", **more: Any) -> target_pb2.ListTargetsResponse:
        """ListTargets."""
        with self.by(by):
            request = target_pb2.ListTargetsRequest(campaign_id=campaign_id, **more)
            return await self.rpc.ListTargets(request, None)

    async def exported(self, campaign_id: str, by: str = "ann", **more: Any) -> bytes:
        """ExportReport, all of it."""
        with self.by(by):
            request = report_pb2.ExportReportRequest(campaign_id=campaign_id, **more)
            return b"".join([part.content async for part in self.rpc.ExportReport(request, None)])

    async def top_up(
        self, campaign_id: str, by: str = "ann", **more: Any
    ) -> top_up_pb2.TopUpCampaignResponse:
        """TopUpCampaign."""
        with self.by(by):
            request = top_up_pb2.TopUpCampaignRequest(campaign_id=campaign_id, **more)
            return await self.rpc.TopUpCampaign(request, None)

    async def explained(self, subject: str, by: str = "ann", **more: Any) -> list[explain_pb2.Explanation]:
        """Explain."""
        with self.by(by):
            return list(
                (await self.rpc.Explain(explain_pb2.ExplainRequest(id=subject, **more), None)).explanations
            )


def counts(report: report_pb2.CampaignReport) -> dict[str, int]:
    """How many groups of a report stand where."""
    return {word(one.status): one.count for one in report.statuses}


def word(status: Any) -> str:
    """A status without what stands before it."""
    return target_pb2.TargetStatus.Name(status).removeprefix("TARGET_STATUS_").lower()


def funnel(report: report_pb2.CampaignReport) -> tuple[int, int, int, int, int]:
    """How far groups have come."""
    one = report.funnel
    return one.audience, one.included, one.asked, one.confirmed, one.sent


__all__ = ["AWAITING", "Desk", "counts", "funnel", "replace", "word"]
