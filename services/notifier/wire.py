"""Between stored deliveries, rules and decisions and their messages in the contract."""

from __future__ import annotations

from collections.abc import Iterable

from reach.notifier.v1 import delivery_pb2, notifier_service_pb2, rule_pb2, target_pb2

from services.notifier.domain.content import Content, Format, fit
from services.notifier.domain.escalation import Action
from services.notifier.domain.lifecycle import AttemptState, DeliveryStatus, RecipientStatus
from services.notifier.domain.recipients import follows
from services.notifier.domain.routing import Channel, Role, Target, TargetKind
from services.notifier.domain.rules import Priority
from services.notifier.store.reading import AttemptView, DeliveryView, RecipientView
from shared.errors import Invalid
from shared.rpc.fields import EnumMap, to_timestamp

STATUS: EnumMap[DeliveryStatus] = EnumMap(
    delivery_pb2.DeliveryStatus,
    {
        status: delivery_pb2.DeliveryStatus.Value(f"DELIVERY_STATUS_{status.name}")
        for status in DeliveryStatus
    },
)
RECIPIENT: EnumMap[RecipientStatus] = EnumMap(
    delivery_pb2.RecipientStatus,
    {
        status: delivery_pb2.RecipientStatus.Value(f"RECIPIENT_STATUS_{status.name}")
        for status in RecipientStatus
    },
)
ATTEMPT: EnumMap[AttemptState] = EnumMap(
    delivery_pb2.AttemptState,
    {state: delivery_pb2.AttemptState.Value(f"ATTEMPT_STATE_{state.name}") for state in AttemptState},
)
KIND: EnumMap[TargetKind] = EnumMap(
    target_pb2.TargetKind,
    {kind: target_pb2.TargetKind.Value(f"TARGET_KIND_{kind.name}") for kind in TargetKind},
)
PRIORITY: EnumMap[Priority] = EnumMap(
    rule_pb2.Priority,
    {priority: rule_pb2.Priority.Value(f"PRIORITY_{priority.name}") for priority in Priority},
)
FORMAT: EnumMap[Format] = EnumMap(
    rule_pb2.Format,
    {form: rule_pb2.Format.Value(f"FORMAT_{form.name}") for form in Format},
)


def role_named(name: str, field: str) -> Role:
    """The role of that stable name. Raises Invalid for *field*."""
    try:
        return Role(name)
    except ValueError:
        raise Invalid.field(field, f"{name} is no role; the roles are {', '.join(Role)}") from None


ACTION: EnumMap[Action] = EnumMap(
    notifier_service_pb2.AcknowledgeAction,
    {
        action: notifier_service_pb2.AcknowledgeAction.Value(f"ACKNOWLEDGE_ACTION_{action.name}")
        for action in Action
    },
)


def to_target(target: Target) -> target_pb2.Target:
    """A typed address."""
    return target_pb2.Target(kind=KIND.to_wire(target.kind), id=target.id, account=target.account)


def to_holder(target: Target) -> target_pb2.Target:
    """A typed address with its attributes, for whoever looks at who holds a role."""
    wire = to_target(target)
    wire.attributes.update(dict(target.attributes))
    return wire


def from_target(wire: target_pb2.Target, field: str, *, holder: bool = False) -> Target:
    """A typed address; the account's default is filled in. Only a role's *holder* has attributes."""
    kind = KIND.to_domain(wire.kind, f"{field}.kind")
    if wire.attributes and not holder:
        raise Invalid.field(
            f"{field}.attributes", "belong to the holder of a role; give them to SetRoleTargets"
        )
    return Target.checked(kind, wire.id, wire.account, wire.attributes, field=field)


def from_targets(
    wire: Iterable[target_pb2.Target], field: str = "targets", *, holders: bool = False
) -> tuple[Target, ...]:
    """Typed addresses, none twice; ``Invalid`` names the one that is."""
    targets: list[Target] = []
    for at, one in enumerate(wire):
        target = from_target(one, f"{field}[{at}]", holder=holders)
        if target in targets:
            raise Invalid.field(f"{field}[{at}]", f"{one.id} is named twice; name it once")
        targets.append(target)
    return tuple(targets)


def to_delivery(view: DeliveryView, *, whole: bool) -> delivery_pb2.Delivery:
    """A delivery; *whole* adds its text and attempts."""
    content = Content.from_json(view.content)
    wire = delivery_pb2.Delivery(
        delivery_id=view.id,
        store_id=view.store_id,
        event_id=view.event_id,
        event_type=view.event_type,
        rule_id=view.rule_id,
        rule_version=view.rule_version,
        channel=view.channel,
        priority=PRIORITY.to_wire(Priority(view.priority)),
        status=STATUS.to_wire(DeliveryStatus(view.status)),
        reason=view.reason,
        hold_reason=view.hold_reason or "",
        due_time=to_timestamp(view.due_at),
        recipients=[_recipient(one, view) for one in view.recipients],
        attempt_count=view.attempt_no,
        format=FORMAT.to_wire(content.format),
        part=view.part,
        create_time=to_timestamp(view.created_at),
        update_time=to_timestamp(view.updated_at),
        trace_id=trace_id(view.traceparent),
        fallback_of=view.fallback_of or "",
        acknowledged_by=view.acknowledged_by or "",
    )
    if view.clicked_at is not None:
        wire.click_time.CopyFrom(to_timestamp(view.clicked_at))
    if view.acknowledged_at is not None:
        wire.acknowledge_time.CopyFrom(to_timestamp(view.acknowledged_at))
    if whole:
        wire.text = sent_text(view)
        wire.attempts.extend(_attempt(one) for one in view.attempts)
    return wire


def sent_text(view: DeliveryView) -> str:
    """The words as they are sent, with the reference or mark the channel adds."""
    channel = Channel(view.channel.partition(":")[0])
    return fit(Content.from_json(view.content), channel, view.id, resend=view.resend_mark).text


def trace_id(traceparent: str | None) -> str:
    """The trace id inside a ``traceparent``; empty without one."""
    return traceparent.split("-")[1] if traceparent else ""


def _recipient(view: RecipientView, of: DeliveryView) -> delivery_pb2.Recipient:
    own = RecipientStatus(view.status) if view.status else None
    status = own or follows(DeliveryStatus(of.status))
    failed = status in (RecipientStatus.FAILED, RecipientStatus.SUPPRESSED)
    return delivery_pb2.Recipient(
        target=to_target(view.target),
        status=RECIPIENT.to_wire(status),
        reason=view.reason or (of.reason if failed else ""),
        role=view.role,
    )


def _attempt(view: AttemptView) -> delivery_pb2.Attempt:
    wire = delivery_pb2.Attempt(
        attempt_no=view.attempt_no,
        state=ATTEMPT.to_wire(AttemptState(view.state)),
        http_status=view.http_status,
        errcode=view.errcode,
        detail=view.detail,
        vendor_msgid=view.vendor_msgid,
        start_time=to_timestamp(view.started_at),
        owner=view.owner,
        member=view.member,
    )
    if view.finished_at is not None:
        wire.finish_time.CopyFrom(to_timestamp(view.finished_at))
    return wire
