"""Send what somebody wrote: a message, or a long text or a monitor's report in pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo

from services.notifier.domain.content import Content, Format, room
from services.notifier.domain.decision import Decision, RoleOutcome, RuleOutcome, RuleResult, Verdict
from services.notifier.domain.gates import OPEN, GateNote, Message, Passage, gathered, judge
from services.notifier.domain.planning import Assignment, PlannedCall, Recipient, plan
from services.notifier.domain.policy import Policies
from services.notifier.domain.report.monitor import MonitorReport
from services.notifier.domain.report.planner import Mentions, ReportPlan, choose
from services.notifier.domain.report.render import Draft, drafts
from services.notifier.domain.routing import EVERYONE, Channel, Role, Target, TargetKind, resolve
from services.notifier.domain.rules import Priority
from services.notifier.pipeline.admission import Arrival, Plan
from services.notifier.pipeline.books import Book, Books
from services.notifier.pipeline.by_hand import ByHand
from services.notifier.pipeline.limits import Rates
from services.notifier.pipeline.planning import PlannedPart
from services.notifier.usecases.mentioning import Mentioning
from services.notifier.usecases.pushes import Pushes, Rehearsed, Taken, keyed_id
from shared.audit import AuditLog, NewEntry
from shared.clock import Clock
from shared.errors import Denied, Invalid
from shared.events.envelope import make_event
from shared.events.kinds import Event
from shared.ids import new_id
from shared.rpc.principal import current
from shared.telemetry.traces import current_traceparent, traceparent_or_new
from shared.values import value_class

MESSAGE, REPORT = "message", "report"
"""What stands where an event's type would."""

CALLS_MOST = 2000
"""Calls of one report: its pages to all its receivers are planned in one transaction."""


@value_class
class Request:
    """To whom somebody wants something sent, and how."""

    store_id: str
    targets: tuple[Target, ...]
    roles: tuple[Role, ...]
    priority: Priority
    key: str
    wait: timedelta


@value_class
class Report:
    """What is to be sent in pages."""

    what: Draft | MonitorReport
    """Words that somebody wrote, or facts that are put into words here."""
    form: Format | None
    """Of a monitor's report: the form it must have; None lets the planner choose."""
    mentions: Mentions
    record: Mapping[str, object]
    """The same as plain JSON: what it is remembered by."""

    @property
    def field(self) -> str:
        """Its name in the contract."""
        return "body" if isinstance(self.what, Draft) else "report"

    def plan(self, channel: Channel, zone: tzinfo) -> ReportPlan:
        """What one receiver on *channel* gets, times on the clocks of *zone*. Raises Invalid where it cannot be sent."""
        what = self.what
        made = (what,) if isinstance(what, Draft) else drafts(what, zone, self.form)
        return choose(made, channel, self.mentions, field=self.field)


@value_class
class Rehearsal:
    """The calls that a message or report would make."""

    verdict: Verdict
    page_count: int
    calls: Sequence[Rehearsed]
    warnings: Sequence[str] = ()
    """What may not come out as it was meant."""


class Messages:
    """Messages and reports that people write."""

    def __init__(
        self,
        pushes: Pushes,
        books: Books,
        mentioning: Mentioning,
        rates: Rates,
        audit: AuditLog,
        clock: Clock,
    ) -> None:
        self._pushes = pushes
        self._books = books
        self._mentioning = mentioning
        self._rates = rates
        self._audit = audit
        self._clock = clock

    async def send(self, request: Request, content: Content) -> Taken:
        """Send one message. Raises Denied (SCOPE_MISSING) for a party, tag or ``@all`` without the scope,
        Invalid for content that the channel of a target cannot carry, Throttled (RATE_LIMITED) past the caller's
        limit."""
        event, decide = self._compose(request, content)
        arrival = self._arrival("SendMessage", event, decide, request, content.to_json())
        return await self._pushes.take(arrival, request.wait, keyed=bool(request.key))

    async def rehearse(self, request: Request, content: Content) -> Rehearsal:
        """What ``send`` would send now; records and sends nothing, and takes nothing from the caller's limit.

        Raises what it would raise; Invalid also for what the channel of a role's holder cannot carry.
        """
        _, decide = self._compose(request, content)
        return await self._rehearsed(decide)

    def _compose(self, request: Request, content: Content) -> tuple[Event, Callable[[Book, datetime], Plan]]:
        _check(request)
        for target in request.targets:
            room(target.channel, content.format)
        event = self._event(MESSAGE, request, content.to_json())

        def decide(book: Book, now: datetime) -> Plan:
            outcome, recipients = _recipients(request, book)
            told, notes = _gated(request, content.format, recipients, book.policies, now)
            calls = plan(Assignment(one, content, request.priority, passage=way) for one, way in told)
            decision = _decision(event, book, outcome, calls, notes)
            return Plan(decision, tuple(PlannedPart(call) for call in calls))

        return event, decide

    async def report(self, request: Request, report: Report) -> Taken:
        """Send a report in numbered pages, which arrive in order on every channel, and mention people behind it.

        Raises Denied (SCOPE_MISSING) as ``send`` does, also for mentioning everybody; Invalid for what no plan can
        carry.
        """
        event, decide, _ = await self._prepare(request, report)
        arrival = self._arrival("SendReport", event, decide, request, report.record)
        return await self._pushes.take(arrival, request.wait, keyed=bool(request.key))

    async def rehearse_report(self, request: Request, report: Report) -> Rehearsal:
        """What ``report`` would send now; raises what it would raise, records and sends nothing."""
        _, decide, warnings = await self._prepare(request, report)
        strangers = await self._mentioning.strangers(report.mentions.userids)
        return replace(await self._rehearsed(decide), warnings=(*warnings, *strangers))

    async def _rehearsed(self, decide: Callable[[Book, datetime], Plan]) -> Rehearsal:
        made = decide(await self._books.fresh(), self._clock.now())
        calls = await self._pushes.rehearse(made.decision.store_id, made.decision.calls, made.decision.notes)
        return Rehearsal(made.decision.verdict, max((part.part for part in made.parts), default=0), calls)

    async def _prepare(
        self, request: Request, report: Report
    ) -> tuple[Event, Callable[[Book, datetime], Plan], Sequence[str]]:
        _check(request)
        _check_mentions(request, report.mentions)
        zone = (await self._books.current()).zone
        # Remembered by what was asked for: who has a number today must not make a repeat another request.
        record = report.record
        report, warnings = await self._with_userids(report, zone)
        # Worked out here, so that the transaction does not wait for it; only roles may bring in another channel.
        plans = {channel: report.plan(channel, zone) for channel in {one.channel for one in request.targets}}
        event = self._event(REPORT, request, record)

        def decide(book: Book, now: datetime) -> Plan:
            outcome, recipients = _recipients(request, book)
            for channel in {one.target.channel for one in recipients} - plans.keys():
                plans[channel] = report.plan(channel, book.zone)
            told, notes = _gated(request, Format.TEXT, recipients, book.policies, now)
            parts = tuple(_parts(event, request.priority, plans, told))
            if len(parts) > CALLS_MOST:
                raise Invalid.field(
                    "targets",
                    f"{len(parts)} calls for all pages; at most {CALLS_MOST}: name fewer or shorten it",
                )
            calls = tuple(part.call for part in parts)
            return Plan(_decision(event, book, outcome, calls, notes), parts)

        return event, decide, warnings

    async def _with_userids(self, report: Report, zone: tzinfo) -> tuple[Report, Sequence[str]]:
        """*report* with userids in place of mobile numbers where that spares it a text of its own, and warnings."""
        mentions = report.mentions
        if not mentions.mobiles or mentions.everyone:
            return report, ()
        named = replace(report, mentions=mentions.known({mobile: mobile for mobile in mentions.mobiles}))
        try:
            spared = report.plan(Channel.ROBOT, zone).calls > named.plan(Channel.ROBOT, zone).calls
        except Invalid:
            return report, ()  # it is refused for what it is, where it is planned
        if not spared:
            return report, ()
        looked = await self._mentioning.userids(mentions.mobiles)
        return replace(report, mentions=mentions.known(looked.userids)), looked.warnings

    def _arrival(
        self,
        method: str,
        event: Event,
        decide: Callable[[Book, datetime], Plan],
        request: Request,
        content: Mapping[str, object],
    ) -> Arrival:
        detail: dict[str, object] = {
            "targets": [str(target) for target in request.targets],
            "roles": [role.value for role in request.roles],
            "priority": request.priority.word,
        }
        note = NewEntry(method, event.id, event.store_id, content, detail)
        return Arrival(event, decide, beside=ByHand(self._rates, self._audit, note))

    def _event(self, kind: str, request: Request, content: Mapping[str, object]) -> Event:
        """The request as what it is remembered by: the same key with other content is a conflict."""
        data = {
            **content,
            "targets": [str(target) + "@" + target.account for target in request.targets],
            "roles": [role.value for role in request.roles],
            "priority": request.priority.word,
            "by": current().subject,
        }
        return make_event(
            kind,
            data,
            id=keyed_id(kind, request.key) or new_id(),
            store_id=request.store_id,
            now=self._clock.now(),
            source="grpc",
            traceparent=traceparent_or_new(current_traceparent()),
            door="grpc",
        )


def _parts(
    event: Event,
    priority: Priority,
    plans: Mapping[Channel, ReportPlan],
    told: Sequence[tuple[Recipient, Passage]],
) -> Iterator[PlannedPart]:
    by_channel: dict[Channel, list[tuple[Recipient, Passage]]] = {}
    for one, way in told:
        by_channel.setdefault(one.target.channel, []).append((one, way))
    for channel, members in by_channel.items():
        for number, content in plans[channel].parts():
            meant = (Assignment(one, content, priority, passage=way) for one, way in members)
            for at, call in enumerate(plan(meant)):
                # An app's pages are sent one after the other; robots have a lane of their own in any case.
                lane = f"{call.address}#{event.id}#{at}" if channel is Channel.APP else None
                yield PlannedPart(call, number, lane)


def _check(request: Request) -> None:
    if not request.targets and not request.roles:
        raise Invalid.field("targets", "name at least one target or role")
    wide = [
        target
        for target in request.targets
        if target.kind in (TargetKind.PARTY, TargetKind.TAG) or target.id.lower() == EVERYONE
    ]
    if wide and "notify.send_all" not in current().scopes:
        raise Denied(
            "SCOPE_MISSING",
            f"sending to {wide[0]} needs scope notify.send_all",
            scope="notify.send_all",
        )


def _check_mentions(request: Request, mentions: Mentions) -> None:
    if not mentions:
        return
    if not request.roles and all(target.channel is not Channel.ROBOT for target in request.targets):
        raise Invalid.field(
            "mentions", "people are mentioned in a robot's group; name a robot or leave them out"
        )
    if mentions.everyone and "notify.send_all" not in current().scopes:
        raise Denied(
            "SCOPE_MISSING", "mentioning everybody needs scope notify.send_all", scope="notify.send_all"
        )


def _recipients(request: Request, book: Book) -> tuple[RuleOutcome, list[Recipient]]:
    """Everybody meant, once; and how each role was resolved."""
    found: dict[tuple[str, str, str], Recipient] = {
        target.key: Recipient(target) for target in request.targets
    }
    roles: list[RoleOutcome] = []
    for role in request.roles:
        resolved = resolve(role, request.store_id, book.bindings)
        roles.append(RoleOutcome(role, len(resolved.targets), resolved.inherited))
        for target in resolved.targets:
            found.setdefault(target.key, Recipient(target, role=role))
    result = RuleResult.PLANNED if found else RuleResult.NO_RECIPIENT
    outcome = RuleOutcome("", 0, "", result, request.priority, roles=tuple(roles))
    return outcome, list(found.values())


def _gated(
    request: Request, form: Format, recipients: Sequence[Recipient], policies: Policies, now: datetime
) -> tuple[list[tuple[Recipient, Passage]], tuple[GateNote, ...]]:
    """When each may be told: quiet hours hold what people write as well, and nothing of it is merged."""
    if policies.empty:
        return [(one, OPEN) for one in recipients], ()
    message = Message(request.store_id, request.priority, form)
    told: list[tuple[Recipient, Passage]] = []
    notes: list[GateNote] = []
    for one in recipients:
        passage, found = judge(message, one.target, one.role, policies, now)
        told.append((one, passage))
        notes += found
    return told, gathered(notes)


def _decision(
    event: Event,
    book: Book,
    outcome: RuleOutcome,
    calls: tuple[PlannedCall, ...],
    notes: tuple[GateNote, ...],
) -> Decision:
    return Decision(event.id, event.type, event.store_id, book.version, (outcome,), calls, (), notes)
