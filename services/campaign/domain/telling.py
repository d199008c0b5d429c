"""Why a campaign went out, or not: told in Chinese and in English from what was recorded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from services.campaign.domain import next_step
from services.campaign.domain.outcomes import TaskStatus
from services.campaign.domain.story import (
    EXCLUDED,
    NOT_RUN,
    About,
    Decided,
    Frozen,
    GroupTold,
    Moved,
    Ran,
    Step,
    Story,
    TaskTold,
    Written,
)
from services.campaign.domain.words import HOLDS, HOW, REMINDED, STATUSES, TARGETS, TASKS, Text, because, told


def of_campaign(
    about: About,
    wrote: Iterable[Written],
    frozen: Frozen | None,
    decided: Iterable[Decided],
    moved: Iterable[Moved],
    ran: Sequence[Ran],
) -> Story:
    """The story of a campaign; *ran* are its runs, the last first."""
    steps = [*_history(about, wrote, decided, moved)]
    if frozen is not None:
        zh = f"冻结{frozen.included}个群，排除{frozen.excluded}个"
        en = f"{frozen.included} groups frozen, {frozen.excluded} left out"
        steps.append(Step("frozen", zh, en, frozen.at))
    steps += [_ran(one) for one in ran]
    live = next((one for one in ran if not one.dry), None)
    return Story(
        about.id, about.spec.name, about.status.value, _ordered(steps), next_step.of_campaign(about, live)
    )


def of_group(
    about: About,
    chat_id: str,
    history: Iterable[Step],
    left_out: tuple[str, str, datetime] | None,
    target: GroupTold | None,
    task: TaskTold | None,
) -> Story:
    """The story of a group in a campaign; *left_out* is the reason, the fact and the instant at which it was."""
    if left_out is not None:
        reason, detail, at = left_out
        zh, en = because(reason, detail)
        steps = [*history, Step(EXCLUDED, f"此群被排除{zh}", f"the group was left out{en}", at)]
        after = ("群恢复后可另建活动", "it may be in another campaign once that has changed")
        return Story(about.id, about.spec.name, EXCLUDED, _ordered(steps), after, chat_id)
    if target is None or task is None:
        verdict = about.status.value if about.status.over else NOT_RUN
        return Story(
            about.id, about.spec.name, verdict, _ordered(history), next_step.of_campaign(about, None), chat_id
        )
    steps = [*history, *_task_steps(about, task), _outcome(target)]
    after = next_step.of_group(about, target, task)
    return Story(about.id, about.spec.name, target.status.value, _ordered(steps), after, chat_id, task.id)


def of_task(about: About, history: Iterable[Step], task: TaskTold) -> Story:
    """The story of an owner's task."""
    zh, en = told(TASKS, task.status.value)
    why_zh, why_en = because(task.reason, task.error)
    last = Step(task.status.value, f"任务{zh}{why_zh}", f"the task: {en}{why_en}", task.updated_at)
    steps = [*history, *_task_steps(about, task)]
    if task.status not in (TaskStatus.CREATED, TaskStatus.DEFERRED):
        steps.append(last)
    if task.groups:
        zh = "，".join(f"{told(TARGETS, one)[0]} {count}" for one, count in task.groups.items())
        en = ", ".join(f"{count} {one.value}" for one, count in task.groups.items())
        steps.append(Step("groups", f"所含各群：{zh}", f"its groups: {en}", task.updated_at))
    after = next_step.of_task(about, task)
    if not after[0]:
        after = next_step.of_owner(about, task)
    return Story(about.id, about.spec.name, task.status.value, _ordered(steps), after, task_id=task.id)


def history(
    about: About, wrote: Iterable[Written], decided: Iterable[Decided], moved: Iterable[Moved]
) -> Sequence[Step]:
    """What happened to a campaign, in order."""
    return _ordered(_history(about, wrote, decided, moved))


def _ordered(steps: Iterable[Step]) -> Sequence[Step]:
    # Sorting is stable: what was decided stands before what it led to.
    return sorted(steps, key=lambda one: one.at)


def _history(
    about: About, wrote: Iterable[Written], decided: Iterable[Decided], moved: Iterable[Moved]
) -> Iterator[Step]:
    for one in wrote:
        zh, en = told(HOW, one.how)
        yield Step(
            "written",
            f"{one.editor} {zh}（第{one.version}版）",
            f"version {one.version}: {en} ({one.editor})",
            one.at,
        )
    for two in decided:
        said_zh, said_en = _said(two.comment)
        if two.approved:
            until = about.when(two.expires_at)
            zh, en = f"{two.approver} 批准，有效至{until}", f"{two.approver} approved it, until {until}"
            yield Step("approved", f"{zh}{said_zh}", f"{en}{said_en}", two.at)
        else:
            yield Step(
                "rejected", f"{two.approver} 驳回{said_zh}", f"{two.approver} rejected it{said_en}", two.at
            )
    for three in moved:
        if three.before == three.after:
            continue
        zh, en = told(STATUSES, three.after)
        why_zh, why_en = because(three.reason)
        said_zh, said_en = _said(three.comment)
        by_zh, by_en = (f"{three.by} 操作：", f" ({three.by})") if three.by else ("", "")
        yield Step("moved", f"{by_zh}{zh}{why_zh}{said_zh}", f"it is {en}{by_en}{why_en}{said_en}", three.at)


def _said(comment: str) -> Text:
    return (f"（{comment}）", f" ({comment})") if comment else ("", "")


def _ran(one: Ran) -> Step:
    zh = "，".join(f"{told(TARGETS, status)[0]} {count}" for status, count in one.groups.items())
    en = ", ".join(f"{count} {status.value}" for status, count in one.groups.items())
    if one.dry:
        return Step("dry_run", f"演练 {one.id}：{zh}", f"dry run {one.id}: {en}", one.at)
    return Step("run", f"正式运行 {one.id}：{zh}", f"run {one.id}: {en}", one.at)


def _task_steps(about: About, task: TaskTold) -> Iterator[Step]:
    kind_zh, kind_en = ("演练", " of a dry run") if task.dry else ("", "")
    groups = sum(task.groups.values())
    yield Step(
        "planned",
        f"{kind_zh}任务 {task.id}：请 {task.owner} 确认{groups}个群",
        f"task {task.id}{kind_en}: {task.owner} is to confirm {groups} groups",
        task.created_at,
    )
    for one in task.tries:
        code = "" if one.errcode is None else f"，errcode {one.errcode}"
        detail = f" ({one.error})" if one.error else ""
        outcome = one.outcome or "under way"
        yield Step(
            "attempt",
            f"第{one.number}次请求：{one.outcome or '进行中'}{code}{detail}",
            f"request {one.number}: {outcome}{code.replace('，', ', ')}{detail}",
            one.at,
        )
    ends = task.until(about)
    if task.made_at is not None and ends is not None:
        until = about.when(ends)
        yield Step(
            "asked",
            f"已请 {task.owner} 确认（平台任务 {task.msgid}），期限{until}",
            f"{task.owner} was asked (the platform's task {task.msgid}), until {until}",
            task.made_at,
        )
    for two in task.reminders:
        how_zh, how_en = told(REMINDED, two.outcome)
        by_zh, by_en = (f"（{two.by}）", f" ({two.by})") if two.by else ("", "")
        yield Step(
            "reminded",
            f"提醒 {task.owner}{by_zh}：{how_zh}",
            f"a reminder for {task.owner}{by_en}: {how_en}",
            two.at,
        )
    if task.confirmed_at is not None:
        yield Step("confirmed", f"{task.owner} 已确认", f"{task.owner} confirmed", task.confirmed_at)
    if task.status is TaskStatus.DEFERRED:
        zh, en = told(HOLDS, task.hold_reason)
        due = about.when(task.due_at)
        yield Step("deferred", f"{zh}，{due}再看", f"{en}; looked at again {due}", task.updated_at)


def _outcome(target: GroupTold) -> Step:
    zh, en = told(TARGETS, target.status.value)
    why_zh, why_en = because(target.reason, target.error)
    code = "" if target.errcode is None else f" errcode {target.errcode}"
    raw = "" if target.raw_status is None else f" [{target.raw_status}]"
    return Step(
        target.status.value,
        f"{zh}{why_zh}{code}{raw}",
        f"{en}{why_en}{code}{raw}",
        target.sent_at or target.updated_at,
    )
