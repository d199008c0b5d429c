"""The stable words of campaigns for people, in Chinese and in English; what is not here stands for itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

Text = tuple[str, str]
"""In Chinese and in English."""

STATUSES: Final[Mapping[str, Text]] = {
    "draft": ("草稿", "a draft"),
    "pending_approval": ("待审批", "waiting for an approval"),
    "approved": ("已批准", "approved"),
    "scheduled": ("已排期", "scheduled"),
    "running": ("进行中", "running"),
    "paused": ("已暂停", "paused"),
    "reconciling": ("对账中", "waiting for its owners"),
    "finished": ("已完成", "finished"),
    "failed": ("已失败", "failed"),
    "cancelled": ("已取消", "cancelled"),
    "missed": ("已错过", "missed"),
}
HOW: Final[Mapping[str, Text]] = {
    "created": ("新建", "created"),
    "edited": ("修改", "edited"),
    "ai_text": ("采用AI文案", "took over words of an application"),
    "top_up": ("作为补发生成", "written as a top-up"),
    "playbook": ("由方案生成", "written by a playbook"),
}
REASONS: Final[Mapping[str, Text]] = {
    # of campaigns
    "by_hand": ("人工操作", "by hand"),
    "edited": ("内容有修改", "it was edited"),
    "brake": ("异常过多，自动刹车", "too many of its last tasks went wrong"),
    "canary_failed": ("首批群主结果异常", "the first owners' tasks went wrong"),
    "platform_refuses": ("平台因企业设置拒绝", "the platform refuses for a setting of the corp"),
    "campaign_cancelled": ("活动已取消", "the campaign was cancelled"),
    "dry_run_only": ("本部署只允许演练", "this deployment only simulates"),
    "not_submitted": ("未提交审批", "it was not submitted"),
    "not_approved": ("未获批准", "it is not approved"),
    "version_changed": ("审批后版本变更", "another version was approved"),
    "content_changed": ("审批后内容变更", "it is not what was approved"),
    "approval_expired": ("审批已过期", "its approval has expired"),
    "four_eyes": ("审批人参与了撰写", "its approver wrote some of it"),
    "approver_gone": ("审批人已无权限", "its approver may not approve any more"),
    "approver_unknown": ("暂时无法核实审批人", "nobody can tell whether its approver still may"),
    "block_word": ("含违禁词或禁用链接", "it holds a word or a link that it may not"),
    # of groups
    "dismissed": ("群已解散", "the group is dismissed"),
    "gone": ("群已不存在", "the group is gone"),
    "not_in_range": ("不在可见范围", "the secret does not see the group"),
    "not_read": ("群详情未读取", "the group was never read"),
    "no_owner": ("没有群主", "the group has no owner"),
    "owner_left": ("群主已离职", "its owner has left the company"),
    "owner_changed": ("群主已变更", "it has another owner than the one approved"),
    "being_inherited": ("群正在转交", "the group is on its way to another owner"),
    "opted_out": ("群已标记拒收", "the group is labelled opted_out"),
    "silent": ("群长期沉默", "nobody joined or left for long"),
    "no_slot_today": ("今日接收额度已满", "it has received as many mass messages as it may"),
    "other_store": ("属于其他门店", "it belongs to another store"),
    "platform_limit": ("平台称群接收已达上限", "the platform says that the group is full"),
    "platform_gone": ("平台称已不在群内", "the platform says that the group is gone"),
    "unknown_status": ("平台返回未知状态", "the platform says what nobody understands"),
    "task_not_found": ("平台不认识此任务", "the platform does not know its task any more"),
    "cancelled_at_platform": ("已在平台停止", "it was stopped at the platform"),
    "left_out": ("平台未接受此群", "the platform left it out of the task"),
    # of tasks
    "no_group_left": ("没有可发送的群", "none of its groups could be sent to any more"),
    "version_gone": ("版本已不存在", "its version is gone"),
    "retries_exhausted": ("重试次数用尽", "it was tried as often as allowed"),
    "owner_out_of_range": ("群主不在应用可见范围", "its owner is out of the app's range"),
    "owner_unknown": ("平台不认识群主", "the platform does not know its owner"),
    "owner_without_permission": ("群主无客户联系权限", "its owner may not contact customers"),
    "no_relation": ("群主与客户无关联", "its owner has no relation to its customers"),
    "nobody_left": ("平台称无可发送对象", "the platform finds nobody to send to"),
    "attachments_refused": ("附件被平台拒绝", "the platform refuses its attachments"),
    "media_refused": ("文件被平台拒绝", "the platform refuses its files"),
    "invalid_request": ("请求不符合平台要求", "the platform finds the request wrong"),
    "blocked_as_spam": ("被平台判为垃圾信息", "the platform takes it for spam"),
    "too_long": ("内容过长", "it is too long for the platform"),
    "platform_refused": ("平台拒绝", "the platform refused it"),
    "resolved_not_sent": ("人工核实未创建", "an operator found that it was not made"),
    "outcome_unknown": ("请求结果不明", "nobody knows what became of its request"),
    "several_found": ("平台上有多个相同任务", "several tasks at the platform could be it"),
}
HOLDS: Final[Mapping[str, Text]] = {
    "send_window": ("等待发送时段", "it waits for the hours in which owners may be asked"),
    "pace": ("等待发送速率", "it waits for its turn: the rate is spent"),
    "canary": ("等待首批群主的结果", "it waits for what the first owners bring"),
    "paused": ("活动暂停中", "the campaign is paused"),
    "retry": ("等待重试", "it is tried again"),
    "rest": ("平台限流，稍后继续", "the platform asks for a rest"),
    "look_up": ("正在平台核实是否已创建", "it is being looked for at the platform"),
    "unknown_before": (
        "等待人工核实同内容的另一任务",
        "another task of the same words is to be resolved first",
    ),
    "renew_token": ("正在更新凭证", "its token is being renewed"),
    "renew_media": ("正在重新上传附件", "its files are being uploaded anew"),
}
REMINDED: Final[Mapping[str, Text]] = {
    "": ("进行中", "under way"),
    "given": ("已发出", "given"),
    "unknown": ("可能已发出", "it may have been given"),
    "refused": ("平台拒绝", "the platform refused it"),
    "dropped": ("不再需要", "not wanted any more"),
}
TARGETS: Final[Mapping[str, Text]] = {
    "planned": ("尚未请群主确认", "its owner was not asked yet"),
    "awaiting_owner": ("等待群主确认", "its owner has not confirmed yet"),
    "unknown": ("不知道是否已请群主确认", "nobody can tell whether its owner was asked"),
    "sent": ("平台称已发送", "the platform says that it was sent"),
    "owner_never_confirmed": ("群主逾期未确认", "its owner did not confirm in time"),
    "limit_reached": ("群接收次数已达上限", "it had received as many mass messages as it may"),
    "group_gone": ("群已不可发送", "the group is gone, or another's"),
    "refused": ("未能请群主确认", "its owner could not be asked"),
    "cancelled": ("活动取消，未发送", "the campaign was cancelled before it was sent"),
    "simulated": ("演练：未真实发送", "a dry run went through it; nothing was sent"),
    "excluded": ("已排除", "it was left out"),
}
TASKS: Final[Mapping[str, Text]] = {
    "pending": ("等待执行", "it is to be made next"),
    "deferred": ("暂缓", "it waits"),
    "creating": ("正在创建", "it is being made"),
    "created": ("平台已有此任务", "it exists at the platform"),
    "simulated": ("演练任务", "it was for show"),
    "refused": ("被拒绝", "it was refused"),
    "unknown": ("结果不明", "nobody can tell whether it exists"),
    "cancelled": ("已取消", "it was cancelled"),
}


def told(words: Mapping[str, Text], word: str) -> Text:
    """A word for people."""
    return words.get(word, (word, word))


def because(reason: str, detail: str = "") -> Text:
    """A reason behind a sentence, and the fact that decided; '' where there is none."""
    zh, en = told(REASONS, reason)
    facts = f" ({detail})" if detail else ""
    return (f"：{zh}{facts}", f": {en}{facts}") if reason else ("", "")
