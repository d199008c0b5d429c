"""Next morning's words for the restaurant's customer groups: written, refused, mended, approved by another, sent.

Owners are asked and confirm, or do not; what the platform did with every group is what the report says of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import grpc
from reach.campaign.v1 import (
    approval_pb2,
    audience_pb2,
    campaign_pb2,
    candidate_pb2,
    group_pb2,
    preview_pb2,
    report_pb2,
    running_pb2,
    target_pb2,
    top_up_pb2,
    writing_pb2,
)

from cli.demo.cast import (
    APPROVER,
    BLOCKED,
    CANDIDATES,
    GROUP_OWNERS,
    GROUPS,
    PEOPLE,
    STAFF,
    STORE,
    THEME,
    WRITER,
)
from cli.demo.scenes import Scene, until
from cli.demo.show import Show, brief
from cli.demo.stage import Stage
from cli.demo.verdict import Arrival
from services.ai_orchestrator.usecases.copywriting import CUSTOMER_CAMPAIGN
from shared.rpc.fields import to_duration, to_timestamp
from shared.rpc.status import from_call

ZONE: Final = ZoneInfo("Asia/Shanghai")
BEGINS: Final = (10, 30)
"""By the clock of the restaurant, on the next day."""
CONFIRM_WITHIN: Final = timedelta(hours=24)
STEP: Final = timedelta(hours=2)
"""That the clock goes on by while owners confirm, and a little beyond their deadline."""
SHOWN: Final = 76


class Campaign(Scene):
    """Groups of customers, each asked through its owner."""

    MARK = "群发待审批"

    def __init__(self, stage: Stage, show: Show) -> None:
        super().__init__(stage, show)
        self._writer, self._approver = stage.campaign[WRITER], stage.campaign[APPROVER]
        self._id = ""
        self._refused: dict[str, str] = {}
        self._said = ""
        self._dry: Any = None
        self._sends_of_dry = -1
        self._report: Any = None

    def owns(self, arrival: Arrival) -> bool:
        """Whatever customers read in their groups, and what the manager is told."""
        return arrival.to in GROUPS or super().owns(arrival)

    async def play(self) -> int:
        """The messages that are due: one for each group whose owner confirms, and the manager's."""
        await self._have_groups()
        now = datetime.fromisoformat((await self._stage.sandbox.get("clock"))["now"]).astimezone(ZONE)
        hour, minute = BEGINS
        begins = (now + timedelta(days=1)).replace(hour=hour, minute=minute, second=0, microsecond=0)
        await self._write(begins)
        await self._approve()
        await self._run_dry()
        request = running_pb2.RunCampaignRequest(campaign_id=self._id, confirm_live=True)
        await self._writer.RunCampaign(request)
        await self._stage.sandbox.post("clock", {"set": begins.isoformat()})
        await self._follow()
        return 1 + sum(GROUP_OWNERS[owner] == "at_once" for owner, _ in GROUPS.values())

    async def _have_groups(self) -> None:
        """Groups at the platform, and owners with their habits; read by a sync."""
        for owner, behaviour in GROUP_OWNERS.items():
            await self._stage.sandbox.post(f"owners/{owner}/behaviour", {"behaviour": behaviour})
        declared = [
            {
                "chat_id": chat_id,
                "name": name,
                "owner": owner,
                "members": [{"external_userid": f"wm-{chat_id}-{at}"} for at in range(8)],
            }
            for chat_id, (owner, name) in GROUPS.items()
        ]
        await self._stage.sandbox.post("groups", {"groups": declared})

        async def look() -> bool:
            # Asked for again: one that was under way may have listed the groups before.
            await self._writer.SyncGroups(group_pb2.SyncGroupsRequest(whole=True))
            found = (await self._writer.ListGroups(group_pb2.ListGroupsRequest(store_id=STORE))).groups
            return len([one for one in found if one.eligible]) == len(GROUPS)

        await until(look, every=0.2)

    async def _write(self, begins: datetime) -> None:
        """A draft; words of a person that are refused, and words of an application in their stead."""
        spec = campaign_pb2.CampaignSpec(
            name="周五上新",
            theme=THEME,
            audience=audience_pb2.Audience(every_group=True),
            schedule_time=to_timestamp(begins),
            confirm_within=to_duration(CONFIRM_WITHIN),
        )
        made = await self._writer.CreateCampaign(
            writing_pb2.CreateCampaignRequest(store_id=STORE, spec=spec, idempotency_key="demo-campaign")
        )
        self._id = made.campaign.id
        spec.content.text = BLOCKED
        request = writing_pb2.UpdateCampaignRequest(campaign_id=self._id, spec=spec)
        request.update_mask.paths.append("content")
        await self._refuse("word", self._writer.UpdateCampaign(request))
        await self._stage.sandbox.post(
            "ai/apps",
            {"app_id": CUSTOMER_CAMPAIGN, "replies": [{"candidates": [{"text": one} for one in CANDIDATES]}]},
        )
        asked = candidate_pb2.GenerateContentRequest(campaign_id=self._id, candidate_count=len(CANDIDATES))
        found = (await self._writer.GenerateContent(asked)).candidate_set

        async def look() -> bool:
            nonlocal found
            wanted = candidate_pb2.GetCandidatesRequest(candidate_set_id=found.id)
            found = (await self._writer.GetCandidates(wanted)).candidate_set
            return bool(found.status != candidate_pb2.CANDIDATE_SET_STATUS_PENDING)

        await until(look)
        await self._writer.UseCandidate(
            candidate_pb2.UseCandidateRequest(candidate_set_id=found.id, number=1)
        )

    async def _approve(self) -> None:
        """Submitted; the writer is refused, another person approves what they have seen."""
        await self._writer.SubmitCampaign(approval_pb2.SubmitCampaignRequest(campaign_id=self._id))
        asked = preview_pb2.PreviewCampaignRequest(campaign_id=self._id)
        seen = (await self._approver.PreviewCampaign(asked)).content_hash
        request = approval_pb2.ApproveCampaignRequest(campaign_id=self._id, content_hash=seen)
        await self._refuse("approval", self._writer.ApproveCampaign(request))
        await self._approver.ApproveCampaign(request)

    async def _run_dry(self) -> None:
        """All of it for show."""
        request = running_pb2.RunCampaignRequest(campaign_id=self._id)
        run = (await self._writer.RunCampaign(request)).run_id
        asked = report_pb2.GetReportRequest(campaign_id=self._id, run_id=run)

        async def look() -> bool:
            self._dry = (await self._writer.GetReport(asked)).report
            return bool(self._dry.final)

        await until(look)
        self._sends_of_dry = len(await self._sends())

    async def _follow(self) -> None:
        """The clock goes on until every group has its outcome."""
        for _ in range(int(CONFIRM_WITHIN / STEP) + 3):
            if await until(self._is_over, patience=0.5):
                return
            await self._stage.sandbox.post("clock", {"advance_seconds": STEP.total_seconds()})
        await until(self._is_over)

    async def _is_over(self) -> bool:
        request = report_pb2.GetReportRequest(campaign_id=self._id)
        self._report = (await self._writer.GetReport(request)).report
        return bool(self._report.final and not self._report.run.dry)

    async def _refuse(self, what: str, call: Any) -> None:
        try:
            await call
        except grpc.RpcError as error:
            told = from_call(error)
            self._refused[what] = told.reason
            self._said = self._said or "; ".join(one.description for one in told.violations)

    async def _sends(self) -> Sequence[Mapping[str, Any]]:
        """Tasks at the platform."""
        listed = await self._stage.sandbox.get("mass-sends")
        sends: Sequence[Mapping[str, Any]] = listed["mass_sends"]
        return sends

    async def judge(self, arrivals: Sequence[Arrival]) -> list[str]:
        """What was wrong."""
        confirmed = [chat for chat, (owner, _) in GROUPS.items() if GROUP_OWNERS[owner] == "at_once"]
        wrong = [
            f"{what} was to be refused with {reason}, not {self._refused.get(what, 'taken')}"
            for what, reason in (("word", "BLOCK_WORD"), ("approval", "FOUR_EYES"))
            if self._refused.get(what) != reason
        ]
        if self._sends_of_dry or self._dry.funnel.asked != len(GROUPS):
            wrong.append(
                f"the dry run was to ask for {len(GROUPS)} groups and send nothing; it made "
                f"{self._sends_of_dry} tasks and asked for {self._dry.funnel.asked}"
            )
        read = [one for one in arrivals if one.to in GROUPS]
        if sorted(one.to for one in read) != sorted(confirmed):
            wrong.append(f"{len(confirmed)} groups were to read it once, and {[one.to for one in read]} did")
        wrong += [f"{one.to} read other words" for one in read if one.text != CANDIDATES[0]]
        told = [one.to for one in arrivals if one not in read]
        if told != [STAFF["manager"][0].userid]:
            wrong.append(f"the manager was to be told that it waits for approval, and {told} were")
        return wrong or await self._tell()

    async def _tell(self) -> list[str]:
        report, sends = self._report, await self._sends()
        theirs = judge_report(report, sends)
        if theirs:
            return theirs
        top_up = await self._writer.TopUpCampaign(top_up_pb2.TopUpCampaignRequest(campaign_id=self._id))
        funnel = report.funnel
        self._show.good(f"{PEOPLE[WRITER].name} wrote to {funnel.included} customer groups:")
        self._show.line(f"    {brief(BLOCKED, SHOWN)}")
        self._show.line(f"    refused with BLOCK_WORD: {self._said}")
        self._show.line(f"    {brief(CANDIDATES[0], SHOWN)}")
        self._show.line(
            f"    written by an application; approved by {PEOPLE[APPROVER].name}, "
            f"as {PEOPLE[WRITER].name} was refused with FOUR_EYES"
        )
        self._show.line(f"    dry run: {self._dry.funnel.asked} groups, nothing at the platform")
        self._show.line(
            f"    next morning: {len(sends)} owners asked, {funnel.sent} groups reached, "
            f"{report.reminder_count} reminders"
        )
        for row in report.outcomes:
            word = (
                row.reason or target_pb2.TargetStatus.Name(row.status).removeprefix("TARGET_STATUS_").lower()
            )
            self._show.line(f"    {row.count} not reached: {word}")
        self._show.line(
            f"  the report agrees with the platform; a top-up for {top_up.group_count} "
            "is a draft that waits for approval"
        )
        return []


def judge_report(report: report_pb2.CampaignReport, sends: Sequence[Mapping[str, Any]]) -> list[str]:
    """What differs between a report and the platform's own tasks."""
    rows = [row for one in sends for row in one["outcomes"]]
    sent = sum(row["outcome"] == "sent" for row in rows)
    asked = len({row["chat_id"] for row in rows})
    wrong = []
    if len(rows) != asked:
        wrong.append(f"{len(rows) - asked} groups were asked for twice")
    if (asked, sent) != (report.funnel.asked, report.funnel.sent):
        wrong.append(
            f"the platform asked for {asked} groups and sent to {sent}; "
            f"the report says {report.funnel.asked} and {report.funnel.sent}"
        )
    if not report.final:
        wrong.append("the campaign's report is not final")
    return wrong
