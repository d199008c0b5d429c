"""The gRPC servicer: from the wire to one use case and back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from google.protobuf.message import Message
from reach.notifier.v1 import delivery_pb2, explain_pb2, rule_pb2, target_pb2
from reach.notifier.v1 import notifier_service_pb2 as pb

from services.notifier.domain.content import Content, Format
from services.notifier.domain.escalation import Action
from services.notifier.domain.explain import Step, Story, explain
from services.notifier.domain.gates import GateNote
from services.notifier.domain.rules import Priority, Rule
from services.notifier.policy_service import PolicyMethods
from services.notifier.report_wire import from_report
from services.notifier.rule_service import SERVICE, RuleMethods
from services.notifier.rule_wire import from_spec, to_check, to_rule
from services.notifier.statistics_service import StatisticsMethods
from services.notifier.store import reading
from services.notifier.store.reading import Filter
from services.notifier.usecases.acknowledging import Acknowledging
from services.notifier.usecases.deliveries import Deliveries
from services.notifier.usecases.messages import Messages, Request
from services.notifier.usecases.policies import Policies
from services.notifier.usecases.pushes import Pushes, Rehearsed, Taken
from services.notifier.usecases.rules import RoleHolders, Rules
from services.notifier.usecases.statistics import Statistics
from services.notifier.usecases.stories import Stories, Told
from services.notifier.usecases.watching import Watching
from services.notifier.wire import (
    ACTION,
    PRIORITY,
    STATUS,
    from_target,
    from_targets,
    role_named,
    to_delivery,
    to_holder,
    to_target,
    trace_id,
)
from shared.clock import Clock
from shared.db.engine import Database
from shared.errors import Invalid, NotFound
from shared.rpc.fields import (
    from_duration,
    from_struct,
    optional_timestamp,
    to_timestamp,
)
from shared.rpc.once import once_of
from shared.rpc.paging import Cursor, PageTokens, page_size
from shared.rpc.principal import authorise_store, authorise_store_or_every, stores_named, visible_stores

SCOPES: Final[Mapping[str, str]] = {
    f"{SERVICE}/{method}": scope
    for method, scope in {
        "TriggerPush": "notify.send",
        "PreviewPush": "notify.read",
        "ListRules": "rules.read",
        "GetRule": "rules.read",
        "CreateRule": "rules.write",
        "UpdateRule": "rules.write",
        "UpdateTemplate": "rules.write",
        "PublishRule": "rules.write",
        "RollbackRule": "rules.write",
        "DeleteRule": "rules.write",
        "RestorePresets": "rules.write",
        "ListRuleVersions": "rules.read",
        "TestRule": "rules.read",
        "ToggleRule": "rules.write",
        "ListRoles": "rules.read",
        "SetRoleTargets": "rules.write",
        "SetPolicy": "rules.write",
        "GetPolicy": "rules.read",
        "ListPolicies": "rules.read",
        "SendMessage": "notify.send",
        "SendReport": "notify.send",
        "ListDeliveries": "notify.read",
        "GetDelivery": "notify.read",
        "ReplayDelivery": "notify.send",
        "CancelDelivery": "notify.send",
        "AcknowledgeDelivery": "notify.send",
        "WatchDeliveries": "notify.read",
        "Explain": "notify.read",
        "GetStats": "notify.read",
    }.items()
}
"""The scope each method needs; one that is missing here is denied."""

_VERDICTS: Final = {
    word: explain_pb2.Verdict.Value(f"VERDICT_{word.upper()}")
    for word in (
        "planned",
        "no_rule",
        "rule_disabled",
        "no_recipient",
        "template_failed",
        "not_found",
        "parked",
        "condition_unmet",
    )
}
_DAY = timedelta(days=1)


class NotifierServicer(RuleMethods, PolicyMethods, StatisticsMethods):
    """See notifier_service.proto."""

    def __init__(
        self,
        database: Database,
        pushes: Pushes,
        messages: Messages,
        rules: Rules,
        policies: Policies,
        stories: Stories,
        statistics: Statistics,
        watching: Watching,
        changes: Deliveries,
        answers: Acknowledging,
        tokens: PageTokens,
        clock: Clock,
        default_store: str | None,
    ) -> None:
        self._database = database
        self._pushes = pushes
        self._messages = messages
        self._rules = rules
        self._policies = policies
        self._stories = stories
        self._statistics = statistics
        self._watching = watching
        self._changes = changes
        self._answers = answers
        self._tokens = tokens
        self._clock = clock
        self._default_store = default_store

    async def TriggerPush(self, request: pb.TriggerPushRequest, context: Any) -> pb.TriggerPushResponse:
        """Take one event as if it had come from the broker."""
        taken = await self._pushes.trigger(
            request.event_type,
            from_struct(request.event_data),
            store_id=self._store(request.store_id),
            event_id=request.event_id,
            occurred_at=optional_timestamp(request, "occurred_time"),
            key=request.idempotency_key,
            wait=from_duration(request.wait, "wait"),
        )
        return pb.TriggerPushResponse(
            event_id=taken.event_id,
            store_id=taken.store_id,
            duplicate=taken.duplicate,
            verdict=_VERDICTS[taken.verdict],
            deliveries=_deliveries(taken),
        )

    async def PreviewPush(self, request: pb.PreviewPushRequest, context: Any) -> pb.PreviewPushResponse:
        """Decide and render without recording anything."""
        preview = await self._pushes.preview(
            request.event_type, from_struct(request.event_data), store_id=self._store(request.store_id)
        )
        return pb.PreviewPushResponse(
            verdict=_VERDICTS[preview.decision.verdict],
            steps=[
                _step(step)
                for step in explain(Story(None, "grpc", preview.decision, zone=self._stories.zone))
            ],
            calls=[_call(call) for call in preview.calls],
        )

    async def TestRule(self, request: pb.TestRuleRequest, context: Any) -> pb.TestRuleResponse:
        """Say what a rule that is not stored would do."""
        store = self._store(request.store_id)
        saved, decision = await self._rules.test(
            from_spec("test", request.spec), from_struct(request.event_data), store
        )
        return pb.TestRuleResponse(
            check=to_check(saved),
            verdict=_VERDICTS[decision.verdict],
            steps=[_step(step) for step in explain(Story(None, "grpc", decision, zone=self._stories.zone))],
            calls=[
                _call(call) for call in await self._pushes.rehearse(store, decision.calls, decision.notes)
            ],
        )

    async def ListRules(self, request: pb.ListRulesRequest, context: Any) -> pb.ListRulesResponse:
        """The rules, by id."""
        self._may_look(request.store_id)
        rules = await self._rules.list_rules(request.store_id, request.event_type)
        cursor = self._tokens.read(request)
        rest = [rule for rule in rules if cursor is None or rule.id > str(cursor[0])]
        size = page_size(request.page_size)
        return pb.ListRulesResponse(
            rules=[self._rule(rule) for rule in rest[:size]],
            next_page_token=self._next(request, rest, size, lambda rule: [rule.id]),
            total_size=len(rules),
        )

    async def GetRule(self, request: pb.GetRuleRequest, context: Any) -> pb.GetRuleResponse:
        """One rule."""
        self._may_look(request.store_id)
        return pb.GetRuleResponse(
            rule=self._rule(await self._rules.get_rule(request.rule_id, request.store_id))
        )

    async def ToggleRule(self, request: pb.ToggleRuleRequest, context: Any) -> pb.ToggleRuleResponse:
        """Switch a rule on or off."""
        authorise_store_or_every(request.store_id)
        rule = await self._rules.toggle(
            request.rule_id,
            enabled=request.enabled,
            store_id=request.store_id,
            until=optional_timestamp(request, "disabled_until_time"),
            comment=request.comment,
            once=once_of(SERVICE, "ToggleRule", request, request.store_id),
        )
        return pb.ToggleRuleResponse(rule=self._rule(rule))

    async def ListRoles(self, request: pb.ListRolesRequest, context: Any) -> pb.ListRolesResponse:
        """All roles and who holds them."""
        self._may_look(request.store_id)
        return pb.ListRolesResponse(
            roles=[_role(one) for one in await self._rules.list_roles(request.store_id)]
        )

    async def SetRoleTargets(
        self, request: pb.SetRoleTargetsRequest, context: Any
    ) -> pb.SetRoleTargetsResponse:
        """Replace who holds a role."""
        authorise_store_or_every(request.store_id)
        holders = await self._rules.set_targets(
            role_named(request.role, "role"),
            request.store_id,
            from_targets(request.targets, holders=True),
            from_targets(request.deputies, "deputies", holders=True),
            once=once_of(SERVICE, "SetRoleTargets", request, request.store_id),
        )
        return pb.SetRoleTargetsResponse(role=_role(holders))

    async def SendMessage(self, request: pb.SendMessageRequest, context: Any) -> pb.SendMessageResponse:
        """Send what somebody wrote, or show how."""
        to, content = self._request(request), _content(request)
        if request.preview_only:
            shown = await self._messages.rehearse(to, content)
            return pb.SendMessageResponse(
                verdict=_VERDICTS[shown.verdict], calls=[_call(call) for call in shown.calls]
            )
        taken = await self._messages.send(to, content)
        return pb.SendMessageResponse(
            message_id=taken.event_id, verdict=_VERDICTS[taken.verdict], deliveries=_deliveries(taken)
        )

    async def SendReport(self, request: pb.SendReportRequest, context: Any) -> pb.SendReportResponse:
        """Send a long text or a report in pages, or show how."""
        to, report = self._request(request), from_report(request)
        if request.preview_only:
            shown = await self._messages.rehearse_report(to, report)
            return pb.SendReportResponse(
                verdict=_VERDICTS[shown.verdict],
                page_count=shown.page_count,
                calls=[_call(call) for call in shown.calls],
                warnings=shown.warnings,
            )
        taken = await self._messages.report(to, report)
        return pb.SendReportResponse(
            message_id=taken.event_id,
            verdict=_VERDICTS[taken.verdict],
            page_count=max((view.part for view in taken.deliveries), default=0),
            deliveries=_deliveries(taken),
        )

    async def ListDeliveries(
        self, request: pb.ListDeliveriesRequest, context: Any
    ) -> pb.ListDeliveriesResponse:
        """Deliveries, newest first."""
        wanted = Filter(
            stores=stores_named(request.store_id),
            event_id=request.event_id,
            event_types=(request.event_type,) if request.event_type else (),
            statuses=tuple(STATUS.to_domain(one, "statuses").value for one in request.statuses),
            start_at=optional_timestamp(request, "start_time"),
            end_at=optional_timestamp(request, "end_time"),
        )
        size = page_size(request.page_size)
        cursor = self._tokens.read(request)
        before = (datetime.fromisoformat(str(cursor[0])), str(cursor[1])) if cursor else None
        async with self._database.read() as conn:
            found = await reading.list_deliveries(conn, wanted, before=before, limit=size + 1)
        return pb.ListDeliveriesResponse(
            deliveries=[to_delivery(view, whole=False) for view in found[:size]],
            next_page_token=self._next(
                request, found, size, lambda view: [view.created_at.isoformat(), view.id]
            ),
        )

    async def GetDelivery(self, request: pb.GetDeliveryRequest, context: Any) -> pb.GetDeliveryResponse:
        """One delivery, whole."""
        async with self._database.read() as conn:
            found = await reading.get_deliveries(conn, [request.delivery_id], visible_stores())
        if not found:
            raise NotFound("NOT_FOUND", f"there is no delivery {request.delivery_id}", resource="delivery")
        return pb.GetDeliveryResponse(delivery=to_delivery(found[0], whole=True))

    async def ReplayDelivery(
        self, request: pb.ReplayDeliveryRequest, context: Any
    ) -> pb.ReplayDeliveryResponse:
        """Send a delivery once more."""
        view = await self._changes.replay(
            request.delivery_id, visible_stores(), once=once_of(SERVICE, "ReplayDelivery", request)
        )
        return pb.ReplayDeliveryResponse(delivery=to_delivery(view, whole=True))

    async def CancelDelivery(
        self, request: pb.CancelDeliveryRequest, context: Any
    ) -> pb.CancelDeliveryResponse:
        """Take a delivery back."""
        view = await self._changes.cancel(
            request.delivery_id, visible_stores(), once=once_of(SERVICE, "CancelDelivery", request)
        )
        return pb.CancelDeliveryResponse(delivery=to_delivery(view, whole=True))

    async def AcknowledgeDelivery(
        self, request: pb.AcknowledgeDeliveryRequest, context: Any
    ) -> pb.AcknowledgeDeliveryResponse:
        """Answer an urgent message."""
        done = await self._answers.call(
            request.delivery_id,
            visible_stores(),
            ACTION.to_domain_or(request.action, Action.ACKNOWLEDGE, "action"),
            request.comment,
            once=once_of(SERVICE, "AcknowledgeDelivery", request),
        )
        return pb.AcknowledgeDeliveryResponse(
            delivery=to_delivery(done.view, whole=True), escalation_state=done.state.value
        )

    async def WatchDeliveries(
        self, request: pb.WatchDeliveriesRequest, context: Any
    ) -> AsyncIterator[pb.WatchDeliveriesResponse]:
        """Deliveries as they change."""
        statuses = tuple(STATUS.to_domain(one, "statuses").value for one in request.statuses)
        wanted = Filter(
            stores_named(request.store_id), event_types=tuple(request.event_types), statuses=statuses
        )
        since = self._clock.now()
        await context.send_initial_metadata(())  # the caller sees from here on that nothing is missed
        async for view in self._watching.changes(wanted, since):
            yield pb.WatchDeliveriesResponse(delivery=to_delivery(view, whole=False))

    async def Explain(self, request: pb.ExplainRequest, context: Any) -> pb.ExplainResponse:
        """Why it went out, or not."""
        stores = stores_named(request.store_id)
        if request.WhichOneof("subject") == "person":
            told = await self._told_of_person(request.person, stores)
        else:
            told = await self._stories.of_id(request.id, stores)
        return pb.ExplainResponse(explanations=[_explanation(one) for one in told])

    async def _told_of_person(
        self, person: pb.PersonPeriod, stores: Collection[str] | None
    ) -> Sequence[Told]:
        end = optional_timestamp(person, "end_time") or self._clock.now()
        start = optional_timestamp(person, "start_time") or end - _DAY
        target = from_target(person.target, "person.target")
        return await self._stories.of_target(target, start, end, stores)

    def _store(self, named: str) -> str:
        store = named or self._default_store
        if not store:
            raise Invalid.field(
                "store_id", "is required: name the store, or set REACH_DEFAULT_STORE", "STORE_MISSING"
            )
        authorise_store(store)
        return store

    @staticmethod
    def _may_look(store_id: str) -> None:
        if store_id:
            authorise_store(store_id)

    def _request(self, request: Any) -> Request:
        return Request(
            store_id=self._store(request.store_id),
            targets=from_targets(request.targets),
            roles=tuple(role_named(name, f"roles[{at}]") for at, name in enumerate(request.roles)),
            priority=PRIORITY.to_domain_or(request.priority, Priority.NORMAL, "priority"),
            key=request.idempotency_key,
            wait=from_duration(request.wait, "wait"),
        )

    def _next(
        self, request: Message, found: Sequence[Any], size: int, cursor: Callable[[Any], Cursor]
    ) -> str:
        return self._tokens.issue(request, cursor(found[size - 1])) if len(found) > size else ""

    def _rule(self, rule: Rule) -> rule_pb2.Rule:
        return to_rule(rule, self._clock.now())


def _content(request: pb.SendMessageRequest) -> Content:
    kind = request.WhichOneof("content")
    if kind == "textcard":
        card = request.textcard
        return Content.card(card.title, card.description, card.url, card.button_text)
    return Content(Format(str(kind)), getattr(request, str(kind)))


def _deliveries(taken: Taken) -> list[delivery_pb2.Delivery]:
    return [to_delivery(view, whole=False) for view in taken.deliveries]


def _step(step: Step) -> explain_pb2.ExplainStep:
    wire = explain_pb2.ExplainStep(code=step.code, text_zh=step.zh, text_en=step.en, facts=dict(step.facts))
    wire.change_zh, wire.change_en = step.change_zh, step.change_en
    if step.at is not None:
        wire.time.CopyFrom(to_timestamp(step.at))
    return wire


def _call(one: Rehearsed) -> pb.PlannedCall:
    call = one.call
    wire = pb.PlannedCall(
        channel=call.address,
        rule_id=call.rule_id,
        priority=PRIORITY.to_wire(call.priority),
        recipients=[
            delivery_pb2.Recipient(
                target=to_target(recipient.target),
                status=delivery_pb2.RECIPIENT_STATUS_PENDING,
                role=recipient.role.value if recipient.role else "",
            )
            for recipient in call.recipients
        ],
        text=one.fitted.text,
        byte_count=one.fitted.byte_count,
        byte_limit=one.fitted.byte_limit,
        payload_json=one.payload,
        held_by=one.held_by,
        gates=[_gate(note) for note in one.gates],
    )
    if one.earliest_at is not None:
        wire.earliest_time.CopyFrom(to_timestamp(one.earliest_at))
    return wire


def _gate(note: GateNote) -> explain_pb2.GateVerdict:
    wire = explain_pb2.GateVerdict(
        gate=note.gate.value,
        way=explain_pb2.GateWay.Value(f"GATE_WAY_{note.way.name}"),
        policy=note.policy,
        change_zh=note.change_zh,
        change_en=note.change_en,
        targets=note.targets,
    )
    if note.until is not None:
        wire.until_time.CopyFrom(to_timestamp(note.until))
    return wire


def _role(one: RoleHolders) -> target_pb2.Role:
    wire = target_pb2.Role(
        role=one.role.value,
        display_name=one.display_name,
        store_id=one.store_id,
        targets=[to_holder(target) for target in one.targets],
        inherited=one.inherited,
        updated_by=one.updated_by,
        deputies=[to_target(target) for target in one.deputies],
    )
    if one.updated_at is not None:
        wire.update_time.CopyFrom(to_timestamp(one.updated_at))
    return wire


def _explanation(told: Told) -> explain_pb2.Explanation:
    wire = explain_pb2.Explanation(
        event_id=told.event_id,
        store_id=told.store_id,
        event_type=told.event_type,
        verdict=_VERDICTS[told.verdict],
        steps=[_step(step) for step in told.steps],
        deliveries=[to_delivery(view, whole=True) for view in told.deliveries],
        duplicate_count=told.duplicates,
        trace_id=trace_id(told.traceparent),
        derived_id=told.derived_id,
    )
    if told.received_at is not None:
        wire.receive_time.CopyFrom(to_timestamp(told.received_at))
    return wire
