"""What to do next about a campaign, or what will happen by itself; in Chinese and in English."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from services.campaign.domain import permit
from services.campaign.domain.lifecycle import Status
from services.campaign.domain.outcomes import TargetStatus, TaskStatus
from services.campaign.domain.story import About, GroupTold, Ran, TaskTold
from services.campaign.domain.words import HOLDS, REASONS, Text, because, told


def of_campaign(about: About, live: Ran | None) -> Text:
    """Of a campaign; *live* is its real run."""
    counts: Mapping[TargetStatus, int] = {} if live is None else live.groups
    if about.refused:
        return _refused(about)
    match about.status:
        case Status.DRAFT:
            return "提交审批（SubmitCampaign）", "submit it for approval (SubmitCampaign)"
        case Status.PENDING_APPROVAL:
            return (
                "由未参与撰写的人批准（ApproveCampaign）",
                "somebody who wrote none of it approves it (ApproveCampaign)",
            )
        case Status.APPROVED:
            return (
                "正式运行（RunCampaign，confirm_live=true）",
                "run it (RunCampaign with confirm_live); without that it is a dry run",
            )
        case Status.SCHEDULED if about.spec.schedule_at is not None:
            begins = about.when(about.spec.schedule_at)
            return f"{begins}自动开始", f"it begins by itself at {begins}"
        case Status.RUNNING if live is not None and live.holds:
            reason = Counter(live.holds).most_common(1)[0][0]
            zh, en = told(HOLDS, reason)
            return f"{live.holds[reason]}个任务{zh}", f"of its tasks, {live.holds[reason]}: {en}"
        case Status.PAUSED:
            zh, en = because(about.reason)
            return (
                f"处理后恢复（ResumeCampaign）{zh}",
                f"see to what paused it, and resume it (ResumeCampaign){en}",
            )
        case Status.RECONCILING:
            waiting = counts.get(TargetStatus.AWAITING_OWNER, 0)
            unknown = counts.get(TargetStatus.UNKNOWN, 0)
            if unknown:
                return _RESOLVE
            return f"等待群主确认{waiting}个群", f"owners have still to confirm {waiting} groups"
        case Status.FINISHED | Status.CANCELLED | Status.FAILED:
            return _top_up(about, counts)
        case Status.MISSED:
            return "错过开始时间，不会补发；请另建活动", "it is never sent late; write another campaign"
    return "", ""


def _refused(about: About) -> Text:
    """What is to be done about a campaign that may not be sent."""
    zh, en = told(REASONS, about.refused)
    if about.refused == permit.DRY_RUN_ONLY:
        then = (
            "部署设置WECOM_CUSTOMER_DRY_RUN=false后可发送",
            "WECOM_CUSTOMER_DRY_RUN=false in the deployment lets it",
        )
    elif about.refused == permit.APPROVER_UNKNOWN:
        then = ("稍后再试", "try again later")
    elif about.status is Status.PAUSED:
        then = (
            "取消后为剩余的群补发（TopUpCampaign，outcomes=CANCELLED）",
            "cancel it and top up the rest (TopUpCampaign with outcomes CANCELLED)",
        )
    else:
        then = ("修改并重新审批", "edit it and have it approved anew")
    return f"现在不能发送（{zh}）：{then[0]}", f"it may not be sent now ({en}): {then[1]}"


_RESOLVE: Final[Text] = (
    "由运维人员核实结果不明的任务（ResolveUnknown）",
    "an operator finds out what became of the unknown tasks (ResolveUnknown)",
)


def _top_up(about: About, counts: Mapping[TargetStatus, int]) -> Text:
    if counts.get(TargetStatus.UNKNOWN):
        return _RESOLVE
    if about.topped_up_by:
        return (
            f"未送达的群已由补发活动 {about.topped_up_by} 接手",
            f"its top-up {about.topped_up_by} asks once more for those that it did not reach",
        )
    never = counts.get(TargetStatus.OWNER_NEVER_CONFIRMED, 0)
    if not never:
        return "", ""
    return (
        f"为{never}个未确认的群补发（TopUpCampaign）",
        f"ask once more for the {never} groups that nobody confirmed (TopUpCampaign)",
    )


def of_group(about: About, target: GroupTold, task: TaskTold) -> Text:
    """Of a group of a run."""
    match target.status:
        case TargetStatus.PLANNED:
            return _first(of_task(about, task), of_campaign(about, None))
        case TargetStatus.AWAITING_OWNER:
            return of_owner(about, task)
        case TargetStatus.UNKNOWN:
            return _first(of_task(about, task), _RESOLVE)
        case TargetStatus.OWNER_NEVER_CONFIRMED:
            return _top_up(about, {target.status: 1}) if about.status.over else ("", "")
        case TargetStatus.LIMIT_REACHED if about.topped_up_by:
            return _top_up(about, {})
        case TargetStatus.LIMIT_REACHED:
            return (
                "待接收额度恢复后补发（TopUpCampaign，outcomes=LIMIT_REACHED）",
                "top it up once it has room again (TopUpCampaign with outcomes LIMIT_REACHED)",
            )
        case TargetStatus.SIMULATED:
            return of_campaign(about, None)
    return "", ""


def of_task(about: About, task: TaskTold) -> Text:
    """What comes next for a task that is not made; nothing where it is over."""
    match task.status:
        case TaskStatus.DEFERRED if task.hold_reason == "paused":
            return of_campaign(about, None)
        case TaskStatus.DEFERRED:
            zh, en = told(HOLDS, task.hold_reason)
            due = about.when(task.due_at)
            return f"{zh}，{due}自动继续", f"{en}; it goes on by itself at {due}"
        case TaskStatus.PENDING | TaskStatus.CREATING:
            return "即将创建任务", "it is made next"
        case TaskStatus.UNKNOWN:
            return _RESOLVE
    return "", ""


def of_owner(about: About, task: TaskTold) -> Text:
    """Of a task that its owner has still to confirm; nothing where there is nothing to confirm."""
    ends = task.until(about)
    if ends is None or not task.groups.get(TargetStatus.AWAITING_OWNER):
        return "", ""
    until = about.when(ends)
    return (
        f"请 {task.owner} 在企业微信中确认，期限{until}（RemindOwners可提醒）",
        f"{task.owner} has to confirm it in WeCom until {until} (RemindOwners reminds them)",
    )


def _first(one: Text, other: Text) -> Text:
    return one if any(one) else other
