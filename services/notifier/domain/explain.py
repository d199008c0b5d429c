"""Why did this go out, or not: the story of one event, told from what was recorded.

Every sentence exists in Chinese and in English over the same facts; ``code`` is what programs read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from datetime import UTC, datetime, tzinfo

from services.notifier.domain.breaker import HELD as BREAKER
from services.notifier.domain.decision import Decision, RoleOutcome, RuleOutcome, RuleResult, Verdict
from services.notifier.domain.fallback import read, spoken
from services.notifier.domain.gates import Gate, GateNote, Way
from services.notifier.domain.lifecycle import AttemptState, DeliveryStatus
from services.notifier.domain.routing import ROLE_NAMES, Target
from shared.values import value_class


@value_class
class Step:
    """One thing that happened or was decided."""

    code: str
    """Stable word: received, duplicate, rule_matched, rule_disabled, no_rule, no_recipient, …"""
    zh: str
    en: str
    at: datetime | None = None
    """When; None for a decision without an instant of its own."""
    facts: Mapping[str, str] = field(default_factory=dict)
    change_zh: str = ""
    """The smallest change that would have let it through; empty where nothing was in the way."""
    change_en: str = ""


@value_class
class AttemptTold:
    """One try, as recorded."""

    number: int
    state: AttemptState
    started_at: datetime
    finished_at: datetime | None = None
    errcode: int | None = None
    http_status: int = 0
    detail: str = ""
    member: str = ""
    """The robot of a pool that made it."""


@value_class
class RecipientTold:
    """One recipient whose outcome is its own, as recorded."""

    target: Target
    reason: str


@value_class
class DeliveryTold:
    """One delivery, as recorded."""

    id: str
    address: str
    status: DeliveryStatus
    recipients: int
    created_at: datetime
    updated_at: datetime
    reason: str = ""
    hold_reason: str = ""
    due_at: datetime | None = None
    exceptions: Sequence[RecipientTold] = ()
    """Recipients that the platform named as not reached."""
    attempts: Sequence[AttemptTold] = ()
    fallback_of: str = ""
    """The delivery that failed and that it stands in for."""


@value_class
class Story:
    """What is recorded about one event."""

    received_at: datetime | None
    """None where nothing was recorded: a preview."""
    door: str
    """How it came in: amqp, bus, http, grpc."""
    decision: Decision
    deliveries: Sequence[DeliveryTold] = ()
    duplicates: int = 0
    """Further copies that were recognised."""
    derived_id: bool = False
    """Whether the id was derived from the content."""
    zone: tzinfo = UTC
    """On whose clocks the sentences give times; the facts are in UTC."""


def explain(story: Story) -> list[Step]:
    """The story in order: how it came in, what each rule made of it, what was sent, how that ended."""
    return [*_arrival(story), *_decided(story.decision, story.zone), *_sent(story.deliveries, story.zone)]


def _arrival(story: Story) -> Iterator[Step]:
    decision = story.decision
    if story.received_at is not None:
        facts = {"event_type": decision.event_type, "store_id": decision.store_id, "door": story.door}
        yield Step(
            "received",
            f"门店 {decision.store_id} 的事件 {decision.event_type} 已由 {story.door} 接收",
            f"event {decision.event_type} of store {decision.store_id} came in by {story.door}",
            story.received_at,
            facts,
        )
    if story.derived_id:
        yield Step(
            "derived_id",
            "发布方没有给出事件编号，已按内容生成；仅在 60 秒内识别重复",
            "the publisher gave no id; one was derived from the content, which recognises copies for 60 seconds only",
        )
    if story.duplicates:
        yield Step(
            "duplicate",
            f"之后又收到 {story.duplicates} 份相同事件，均未再次处理",
            f"{story.duplicates} further copies of it arrived and caused nothing",
            facts={"count": str(story.duplicates), "duplicate_of": decision.event_id},
        )


def _decided(decision: Decision, zone: tzinfo) -> Iterator[Step]:
    if decision.verdict is Verdict.NO_RULE:
        yield Step(
            "no_rule",
            f"没有规则监听 {decision.event_type}，因此不发送",
            f"no rule listens to {decision.event_type}, so nothing is sent",
            facts={"event_type": decision.event_type},
            change_zh=f"为 {decision.event_type} 建一条规则，或用 RestorePresets 恢复预置规则",
            change_en=f"create a rule for {decision.event_type}, or restore the presets",
        )
    for outcome in decision.outcomes:
        yield from _rule(outcome, zone)
    for note in decision.notes:
        yield _gate(note, zone)
    for merged in decision.merged:
        yield Step(
            "merged",
            f"{merged.target} 已由规则 {merged.into_rule_id} 通知，规则 {merged.rule_id} 不再重复发送",
            f"{merged.target} is told by rule {merged.into_rule_id}; rule {merged.rule_id} does not tell it again",
            facts={
                "target": str(merged.target),
                "rule_id": merged.rule_id,
                "merged_into": merged.into_rule_id,
                "role": str(merged.role),
            },
        )
    for call in decision.calls:
        count = len(call.recipients)
        yield Step(
            "planned",
            f"计划经 {call.address} 发送给 {count} 个对象（{call.priority.word}）",
            f"to be sent by {call.address} to {count} recipient{'s' * (count != 1)} ({call.priority.word})",
            facts={
                "channel": call.address,
                "rule_id": call.rule_id,
                "recipients": str(len(call.recipients)),
                "priority": call.priority.word,
            },
        )


def _rule(outcome: RuleOutcome, zone: tzinfo) -> Iterator[Step]:
    facts = {"rule_id": outcome.rule_id, "rule_version": str(outcome.version)}
    if outcome.own_setting:
        facts["own_setting"] = "true"
    if outcome.result is RuleResult.DISABLED:
        yield _disabled(outcome, facts, zone)
        return
    if outcome.result is RuleResult.UNMET:
        yield Step(
            "condition_unmet",
            f"规则「{outcome.name}」的条件不成立：{outcome.detail}",
            f"the condition of rule {outcome.rule_id} is not met: {outcome.detail}",
            facts=facts | {"condition": outcome.detail},
            change_zh="改条件，或让事件的字段满足它",
            change_en="change the condition, or have the event's fields meet it",
        )
        return
    if outcome.rule_id:  # what somebody wrote, and an alert, come of no rule
        yield Step(
            "rule_matched",
            f"规则「{outcome.name}」匹配",
            f"rule {outcome.rule_id} matches",
            facts=facts,
        )
    if outcome.result is RuleResult.NO_RECIPIENT and outcome.detail:
        yield Step(
            "no_recipient",
            f"事件的字段 {outcome.detail} 里没有接收人的 userid",
            f"the event's field {outcome.detail} names nobody by a userid",
            facts=facts | {"field": outcome.detail},
            change_zh="让发布方在该字段填写企业微信的 userid",
            change_en="have the publisher put a userid of WeCom into that field",
        )
    for role in outcome.roles:
        if not role.targets:
            name = ROLE_NAMES[role.role]
            yield Step(
                "no_recipient",
                f"岗位「{name}」在本店没有接收人",
                f"nobody holds the role {role.role} in this store",
                facts=facts | {"role": str(role.role)},
                change_zh=f"为岗位「{name}」设置接收人（SetRoleTargets）",
                change_en=f"give the role {role.role} somebody (SetRoleTargets)",
            )
        if role.fallback:
            yield _instead_of_role(role, facts)
    if outcome.result is RuleResult.FAILED:
        why = f"（{outcome.detail}）" if outcome.detail else ""
        change_zh, change_en = _template_change(outcome.reason)
        yield Step(
            "template_failed",
            f"规则「{outcome.name}」的模板无法填写：{outcome.reason}{why}",
            f"the template of rule {outcome.rule_id} cannot be filled: {outcome.reason} {outcome.detail}".rstrip(),
            facts=facts | {"reason": outcome.reason},
            change_zh=change_zh,
            change_en=change_en,
        )
    elif outcome.reason:  # some of its recipients are told nothing
        yield Step(
            "recipients_left_out",
            f"规则「{outcome.name}」未通知 {outcome.detail}：{outcome.reason}",
            f"rule {outcome.rule_id} does not tell {outcome.detail}: {outcome.reason}",
            facts=facts | {"reason": outcome.reason, "targets": outcome.detail},
        )


def _template_change(reason: str) -> tuple[str, str]:
    code, _, fields = reason.partition(":")
    if code == "template_field_missing":
        return (
            f"事件带上 {fields}，或把规则的 missing 设为 placeholder",
            f"send {fields} with the event, or let the rule's missing be placeholder",
        )
    return "改规则的模板或条件", "mend the rule's template or condition"


_WAYS: Mapping[Way, tuple[str, str]] = {
    Way.GO: ("放行", "lets it through"),
    Way.HOLD: ("暂缓", "holds it"),
    Way.DROP: ("不发送", "drops it"),
    Way.GATHER: ("合并", "gathers it with others"),
}

_GATES: Mapping[Gate, tuple[str, str]] = {
    Gate.QUIET: ("免打扰时段", "quiet hours"),
    Gate.MERGING: ("合并", "merging"),
    Gate.BUDGET: ("频率上限", "the budget"),
    Gate.RATE: ("平台频率", "the platform's rate"),
}


def _gate(note: GateNote, zone: tzinfo) -> Step:
    (gate_zh, gate_en), (way_zh, way_en) = _GATES[note.gate], _WAYS[note.way]
    zh = f"{gate_zh}（{note.policy_zh or note.rule_id}）{way_zh}发给 {'、'.join(note.targets)} 的消息"
    en = f"{gate_en} ({note.policy or note.rule_id}): {way_en}, for {', '.join(note.targets)}"
    facts = {
        "verdict": note.way.value,
        "rule_id": note.rule_id,
        "targets": ",".join(note.targets),
        "policy": note.policy,
    }
    if note.until is not None:
        facts["until"], until = _time(note.until), _time(note.until, zone)
        zh, en = f"{zh}，至 {until}", f"{en}, until {until}"
    return Step(note.gate.value, zh, en, facts=facts, change_zh=note.change_zh, change_en=note.change_en)


def _instead_of_role(role: RoleOutcome, facts: Mapping[str, str]) -> Step:
    zh, en = spoken(read(role.fallback))
    return Step(
        "fallback_used",
        f"岗位「{ROLE_NAMES[role.role]}」没有接收人，改为通知{zh}",
        f"{en} is told instead of {role.role}, which nobody holds",
        facts={**facts, "role": str(role.role), "fallback": role.fallback},
    )


def _instead_of_delivery(delivery: DeliveryTold, failed: str) -> Step:
    return Step(
        "fallback_used",
        f"经 {failed} 发送失败，改经 {delivery.address} 发送给 {delivery.recipients} 个对象",
        f"the delivery by {failed} failed; {delivery.recipients} others are told by {delivery.address} instead",
        delivery.created_at,
        {
            "delivery_id": delivery.id,
            "channel": delivery.address,
            "fallback_of": delivery.fallback_of,
            "recipients": str(delivery.recipients),
        },
    )


def _disabled(outcome: RuleOutcome, facts: dict[str, str], zone: tzinfo) -> Step:
    zh, en = f"规则「{outcome.name}」已停用", f"rule {outcome.rule_id} is disabled"
    if outcome.disabled_by:
        facts["disabled_by"] = outcome.disabled_by
        zh, en = f"{zh}，操作人 {outcome.disabled_by}", f"{en} by {outcome.disabled_by}"
    if outcome.disabled_at is not None:
        facts["disabled_at"], since = _time(outcome.disabled_at), _time(outcome.disabled_at, zone)
        zh, en = f"{zh}，自 {since}", f"{en} since {since}"
    if outcome.disabled_until is not None:
        facts["disabled_until"], until = _time(outcome.disabled_until), _time(outcome.disabled_until, zone)
        zh, en = f"{zh}，至 {until}", f"{en} until {until}"
    return Step(
        "rule_disabled",
        zh,
        en,
        facts=facts,
        change_zh=f"启用规则 {outcome.rule_id}（ToggleRule）",
        change_en=f"switch rule {outcome.rule_id} on (ToggleRule)",
    )


def _sent(deliveries: Sequence[DeliveryTold], zone: tzinfo) -> Iterator[Step]:
    addresses = {delivery.id: delivery.address for delivery in deliveries}
    for delivery in deliveries:
        facts = {"delivery_id": delivery.id, "channel": delivery.address}
        if delivery.fallback_of:
            failed = addresses.get(delivery.fallback_of, delivery.fallback_of)
            yield _instead_of_delivery(delivery, failed)
        for attempt in delivery.attempts:
            yield _attempt(attempt, facts)
        yield _standing(delivery, facts, zone)
        for one in delivery.exceptions:
            yield Step(
                "recipient_failed",
                f"{one.target} 未送达：{_words(_RECIPIENTS, one.reason)[0]}",
                f"{one.target} was not reached: {_words(_RECIPIENTS, one.reason)[1]}",
                delivery.updated_at,
                facts | {"target": str(one.target), "reason": one.reason},
            )


_ATTEMPTS: Mapping[AttemptState, tuple[str, str]] = {
    AttemptState.STARTED: ("请求已发出，尚无结果", "the answer is still out"),
    AttemptState.ACCEPTED: ("企业微信已接受", "accepted by WeCom"),
    AttemptState.ACCEPTED_PARTIAL: (
        "企业微信已接受，部分接收人无效",
        "accepted by WeCom, some recipients are invalid",
    ),
    AttemptState.REJECTED_RETRYABLE: ("企业微信暂时拒绝", "refused by WeCom for now"),
    AttemptState.REJECTED_PERMANENT: ("企业微信拒绝", "refused by WeCom"),
    AttemptState.NOT_SENT: ("请求未能发出", "nothing was sent"),
    AttemptState.UNKNOWN: ("结果不明，可能已被接受", "outcome unclear, it may have been accepted"),
}

_STANDINGS: Mapping[DeliveryStatus, tuple[str, str]] = {
    DeliveryStatus.PENDING: ("等待发送", "is waiting for a sender"),
    DeliveryStatus.DEFERRED: ("暂缓发送", "is held"),
    DeliveryStatus.SENDING: ("正在发送", "is being sent"),
    DeliveryStatus.ACCEPTED: ("已被企业微信接受", "was accepted by WeCom"),
    DeliveryStatus.FAILED: ("发送失败", "failed"),
    DeliveryStatus.UNKNOWN: ("结果不明", "has an unknown outcome"),
    DeliveryStatus.SUPPRESSED: ("未发送", "was not sent on purpose"),
    DeliveryStatus.EXPIRED: ("已过期", "expired before it could go"),
    DeliveryStatus.CANCELLED: ("已撤回", "was cancelled before it went"),
}

_HOLDS: Mapping[str, tuple[str, str]] = {
    "rate:member": ("等待成员频率额度", "the rate limit of a member"),
    "rate:robot": ("等待机器人频率额度", "the rate limit of the robot"),
    "rate:app": ("等待应用频率恢复", "the rate limit of the app"),
    "quiet_hours": ("免打扰时段", "the quiet hours to end"),
    "merging": ("与同类消息合并", "more of its kind, to go as one"),
    "retry:busy": ("企业微信繁忙，等待重试", "a further try, WeCom was busy"),
    "retry:not_sent": ("上次未能发出，等待重试", "a further try, nothing was sent"),
    "retry:token": ("等待新的 access_token", "a fresh access token"),
    "retry:member": ("换用同群的另一个机器人重试", "a try by another robot of the group"),
    "breaker:open": (
        "发送通道连续失败，已暂停使用，等待恢复",
        "its credential, which failed too often in a row, to work again",
    ),
    "retry:unknown": ("上次结果不明，等待重试", "a further try, the last outcome is unclear"),
}

_RECIPIENTS: Mapping[str, tuple[str, str]] = {
    "invalid_user": ("成员无效或不在应用可见范围", "no such member, or outside the app's visible range"),
    "unlicensed_user": ("成员没有接口许可", "the member has no licence for the API"),
    "invalid_party": ("部门无效或不在应用可见范围", "no such department, or outside the app's visible range"),
    "invalid_tag": ("标签无效或不在应用可见范围", "no such tag, or outside the app's visible range"),
}


def _words(table: Mapping[str, tuple[str, str]], code: str) -> tuple[str, str]:
    # Reasons are data that may be older or newer than this table; the word itself is then the best there is.
    return table.get(code, (code, code))


def _attempt(attempt: AttemptTold, facts: dict[str, str]) -> Step:
    zh, en = _ATTEMPTS[attempt.state]
    facts = facts | {"attempt_no": str(attempt.number), "state": str(attempt.state)}
    if attempt.member:
        facts["member"] = attempt.member
        zh, en = f"{zh}，由 {attempt.member} 发出", f"{en}, by {attempt.member}"
    if attempt.errcode is not None:
        facts["errcode"] = str(attempt.errcode)
        zh, en = f"{zh}，errcode {attempt.errcode}", f"{en}, errcode {attempt.errcode}"
    if attempt.http_status:
        facts["http_status"] = str(attempt.http_status)
    if attempt.detail:
        zh, en = f"{zh}（{attempt.detail}）", f"{en} ({attempt.detail})"
    return Step(
        "attempt",
        f"第 {attempt.number} 次尝试：{zh}",
        f"attempt {attempt.number}: {en}",
        attempt.finished_at or attempt.started_at,
        facts,
    )


def _standing(delivery: DeliveryTold, facts: dict[str, str], zone: tzinfo) -> Step:
    zh, en = _STANDINGS[delivery.status]
    zh, en = f"投递 {delivery.address} {zh}", f"delivery by {delivery.address} {en}"
    facts = facts | {"recipients": str(delivery.recipients)}
    if delivery.status is DeliveryStatus.DEFERRED:
        hold_zh, hold_en = _hold(delivery.hold_reason)
        zh, en = f"{zh}：{hold_zh}", f"{en}, waiting for {hold_en}"
        facts["hold_reason"] = delivery.hold_reason
        if delivery.due_at is not None:
            facts["until"], until = _time(delivery.due_at), _time(delivery.due_at, zone)
            zh, en = f"{zh}，至 {until}", f"{en}, until {until}"
    elif delivery.reason:
        facts["reason"] = delivery.reason
        why_zh, why_en = _budget(delivery.reason) or (delivery.reason, delivery.reason)
        zh, en = f"{zh}：{why_zh}", f"{en}: {why_en}"
    change_zh, change_en = _change(delivery)
    return Step(str(delivery.status), zh, en, delivery.updated_at, facts, change_zh, change_en)


def _hold(reason: str) -> tuple[str, str]:
    return _budget(reason) or _words(_HOLDS, reason)


def _budget(reason: str) -> tuple[str, str] | None:
    kind, _, rest = reason.partition(":")
    if kind != "budget":
        return None
    budget, _, whose = rest.partition(":")
    return f"频率上限 {budget}（{whose}）", f"the budget {budget} of {whose}"


def _change(delivery: DeliveryTold) -> tuple[str, str]:
    """What would let through what is kept where no rule is: its other gates have told theirs."""
    held = delivery.status is DeliveryStatus.DEFERRED
    reason = delivery.hold_reason if held else delivery.reason
    if held and reason == BREAKER:
        return (
            "修复该凭证后用 ResetBreaker 恢复使用",
            "put right what fails, then close its breaker (ResetBreaker)",
        )
    if budget := _budget(reason):
        return f"把优先级设为 urgent，或放宽{budget[0]}", f"make it urgent, or widen {budget[1]}"
    return "", ""


def _time(at: datetime, zone: tzinfo = UTC) -> str:
    return at.astimezone(zone).isoformat(" ", "seconds")
