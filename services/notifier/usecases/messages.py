"""Send what somebody wrote: a message, or a long report in pages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from services.notifier.domain.content import Content, Format, room
from services.notifier.domain.decision import Decision, RoleOutcome, RuleOutcome, RuleResult
from services.notifier.domain.paging import paginate
from services.notifier.domain.planning import Assignment, PlannedCall, Recipient, plan
from services.notifier.domain.routing import EVERYONE, Channel, Role, Target, TargetKind, resolve
from services.notifier.domain.rules import Priority
from services.notifier.pipeline.admission import Arrival, Plan
from services.notifier.pipeline.books import Book
from services.notifier.pipeline.planning import PlannedPart
from services.notifier.usecases.pushes import Pushes, Taken, keyed_id
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

PAGES_MOST = 100
"""Pages of one report and channel; a robot sends 19 a minute."""

CALLS_MOST = 2000
"""Calls of one report: its pages to all its receivers are planned in one transaction."""


@value_class
class Request:
    """What somebody wants sent."""

    store_id: str
    targets: tuple[Target, ...]
    roles: tuple[Role, ...]
    content: Content
    priority: Priority
    key: str
    wait: timedelta


class Messages:
    """Messages and reports that people write."""

    def __init__(self, pushes: Pushes, clock: Clock) -> None:
        self._pushes = pushes
        self._clock = clock

    async def send(self, request: Request) -> Taken:
        """Send one message. Raises Denied (SCOPE_MISSING) for a party, tag or ``@all`` without the scope,
        Invalid for content that the channel of a target cannot carry."""
        _check(request)
        for target in request.targets:
            room(target.channel, request.content.format)
        event = self._event(MESSAGE, request)

        def decide(book: Book, now: datetime) -> Plan:
            outcome, recipients = _recipients(request, book)
            calls = plan(Assignment(one, request.content, request.priority) for one in recipients)
            return Plan(_decision(event, book, outcome, calls), tuple(PlannedPart(call) for call in calls))

        return await self._pushes.take(Arrival(event, decide), request.wait, keyed=bool(request.key))

    async def report(self, request: Request, title: str) -> Taken:
        """Send a text in numbered pages, which arrive in order on every channel."""
        _check(request)
        event = self._event(REPORT, request, {"title": title})

        def decide(book: Book, now: datetime) -> Plan:
            outcome, recipients = _recipients(request, book)
            parts = tuple(_parts(event, request, title, recipients))
            if len(parts) > CALLS_MOST:
                raise Invalid.field(
                    "targets",
                    f"{len(parts)} calls for all pages; at most {CALLS_MOST}: name fewer or shorten it",
                )
            calls = tuple(part.call for part in parts)
            return Plan(_decision(event, book, outcome, calls), parts)

        for channel in {target.channel for target in request.targets} or {Channel.APP}:
            if len(pages_for(request.content, channel, title)) > PAGES_MOST:
                raise Invalid.field("body", f"needs more than {PAGES_MOST} pages; shorten or split it")
        return await self._pushes.take(Arrival(event, decide), request.wait, keyed=bool(request.key))

    def _event(self, kind: str, request: Request, more: Mapping[str, object] | None = None) -> Event:
        """The request as what it is remembered by: the same key with other content is a conflict."""
        data = {
            **request.content.to_json(),
            **(more or {}),
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


def pages_for(content: Content, channel: Channel, title: str) -> Sequence[str]:
    """The pages of a report on one channel."""
    markdown = content.format is Format.MARKDOWN
    pages = paginate(content.text, room(channel, content.format), markdown=markdown, title=title)
    return [page.text for page in pages]


def _parts(
    event: Event, request: Request, title: str, recipients: Sequence[Recipient]
) -> Iterator[PlannedPart]:
    by_channel: dict[Channel, list[Recipient]] = {}
    for one in recipients:
        by_channel.setdefault(one.target.channel, []).append(one)
    for channel, members in by_channel.items():
        for number, text in enumerate(pages_for(request.content, channel, title), start=1):
            page = Content(request.content.format, text)
            for at, call in enumerate(plan(Assignment(one, page, request.priority) for one in members)):
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


def _decision(event: Event, book: Book, outcome: RuleOutcome, calls: tuple[PlannedCall, ...]) -> Decision:
    return Decision(event.id, event.type, event.store_id, book.version, (outcome,), calls, ())
