"""Why did this go out, or not: the story of an event, a message, a delivery, or of what one person was sent."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, tzinfo

from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.domain.content import Content
from services.notifier.domain.decision import Decision
from services.notifier.domain.escalation import Level
from services.notifier.domain.explain import AttemptTold, DeliveryTold, RecipientTold, Step, Story, explain
from services.notifier.domain.explain_escalation import EscalationTold, Happened, escalation_steps
from services.notifier.domain.lifecycle import AttemptState, DeliveryStatus
from services.notifier.domain.planning import PlannedCall, Recipient
from services.notifier.domain.routing import Role, Target
from services.notifier.domain.rules import Priority
from services.notifier.store import escalation_stories
from services.notifier.store.escalations import Escalated, Note
from services.notifier.store.reading import (
    DeliveryView,
    deliveries_of_events,
    events_of_target,
    get_deliveries,
)
from shared.db import inbox
from shared.db.dead import DeadLetter
from shared.db.engine import Database
from shared.ops.letters import of_event
from shared.values import value_class

MOST_EVENTS = 100
"""Events told for one person and period."""


@value_class
class Told:
    """One story."""

    event_id: str
    store_id: str
    event_type: str
    verdict: str
    """A ``Verdict``, or ``parked`` or ``not_found``."""

    steps: Sequence[Step]
    deliveries: Sequence[DeliveryView]
    duplicates: int = 0
    received_at: datetime | None = None
    traceparent: str | None = None
    derived_id: bool = False


class Stories:
    """Tells stories from what was recorded."""

    def __init__(self, database: Database, zone: tzinfo = UTC) -> None:
        self._database = database
        self.zone = zone
        """On whose clocks sentences give times."""

    async def of_id(self, wanted: str, stores: Collection[str] | None) -> list[Told]:
        """The stories of an event, message or delivery id in *stores* (None: every store).

        Never empty: an id that nobody knows has a story that says so.
        """
        async with self._database.read() as conn:
            rows = await inbox.find(conn, wanted, stores)
            if not rows:
                owners = await get_deliveries(conn, [wanted], stores)
                rows = await _rows(conn, [(view.store_id, view.event_id) for view in owners])
            told = await _told(conn, rows, self.zone)
            told += [_parked(wanted, letter) for letter in await of_event(conn, wanted, stores)]
        return told or [_not_found(wanted)]

    async def of_target(
        self, target: Target, start_at: datetime, end_at: datetime, stores: Collection[str] | None
    ) -> list[Told]:
        """The stories of what one address was sent in a period, the newest first; at most 100."""
        async with self._database.read() as conn:
            found = await events_of_target(conn, target, start_at, end_at, stores, MOST_EVENTS)
            return await _told(conn, await _rows(conn, found), self.zone)


async def _rows(conn: AsyncConnection, keys: Sequence[inbox.Key]) -> list[RowMapping]:
    """The events of *keys* that are still there, in that order."""
    found = await inbox.get_many(conn, keys) if keys else {}
    return [found[key] for key in keys if key in found]


async def _told(conn: AsyncConnection, rows: Sequence[RowMapping], zone: tzinfo) -> list[Told]:
    """The stories of *rows*, in that order; as many queries for a hundred of them as for one."""
    keys = [(row["store_id"], row["event_id"]) for row in rows]
    views = await deliveries_of_events(conn, keys)
    opened = await escalation_stories.of_events(conn, keys)
    return [_story(row, views[key], opened.get(key, []), zone) for key, row in zip(keys, rows, strict=True)]


def _story(
    row: RowMapping,
    views: Sequence[DeliveryView],
    opened: Sequence[tuple[Escalated, Sequence[Note]]],
    zone: tzinfo,
) -> Told:
    planned = [_call(view) for view in views if not view.fallback_of]
    decision = Decision.from_json(row["decision"], planned)
    story = Story(
        received_at=row["received_at"],
        door=row["door"],
        decision=decision,
        deliveries=[_delivery(view) for view in views],
        duplicates=row["duplicates"],
        derived_id=row["derived_id"],
        zone=zone,
    )
    return Told(
        event_id=row["event_id"],
        store_id=row["store_id"],
        event_type=row["event_type"],
        verdict=row["decision"]["verdict"],
        steps=[
            *explain(story),
            *(step for one, notes in opened for step in escalation_steps(_escalation(one, notes))),
        ],
        deliveries=views,
        duplicates=row["duplicates"],
        received_at=row["received_at"],
        traceparent=row["traceparent"],
        derived_id=row["derived_id"],
    )


def _escalation(one: Escalated, notes: Sequence[Note]) -> EscalationTold:
    happened = [
        Happened(
            note.kind,
            Level(note.level),
            note.at,
            note.who,
            note.action,
            note.via == "card",
            note.counted,
            note.comment,
            note.told,
        )
        for note in notes
    ]
    return EscalationTold(one.rule_id, one.opening.title, one.opening.after, one.opened_at, happened)


def _call(view: DeliveryView) -> PlannedCall:
    """What was planned, told from what became of it."""
    recipients = tuple(
        Recipient(one.target, view.rule_id, Role(one.role) if one.role else None) for one in view.recipients
    )
    content = Content.from_json(view.content)
    return PlannedCall(
        view.channel, Priority(view.priority), content, recipients, view.rule_id, view.rule_version
    )


def _delivery(view: DeliveryView) -> DeliveryTold:
    return DeliveryTold(
        id=view.id,
        address=view.channel,
        status=DeliveryStatus(view.status),
        recipients=len(view.recipients),
        created_at=view.created_at,
        updated_at=view.updated_at,
        reason=view.reason,
        hold_reason=view.hold_reason or "",
        due_at=view.due_at,
        fallback_of=view.fallback_of or "",
        exceptions=[
            RecipientTold(one.target, one.reason) for one in view.recipients if one.status is not None
        ],
        attempts=[
            AttemptTold(
                one.attempt_no,
                AttemptState(one.state),
                one.started_at,
                one.finished_at,
                one.errcode,
                one.http_status,
                one.detail,
                one.member,
            )
            for one in view.attempts
        ],
    )


def _parked(event_id: str, letter: DeadLetter) -> Told:
    facts = {"dead_letter_id": letter.id, "reason": letter.reason, "state": letter.state}
    step = Step(
        "parked",
        f"事件无法处理，已作为死信保存（{letter.reason}）：{letter.detail}",
        f"could not be taken and is a dead letter ({letter.reason}): {letter.detail}",
        letter.parked_at,
        facts,
    )
    return Told(event_id, letter.store_id or "", letter.event_type or "", "parked", [step], [])


def _not_found(event_id: str) -> Told:
    step = Step(
        "not_found",
        f"没有关于 {event_id} 的记录；请核对编号和门店，或查看死信",
        f"nothing is recorded under {event_id}; check the id and the store, or look at the dead letters",
    )
    return Told(event_id, "", "", "not_found", [step], [])
