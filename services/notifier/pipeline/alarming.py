"""Somebody is told when a breaker opens, by another way than the one that fails, and again when it works.

The row says that it is due, in the transaction that opened it. The alert is an event of our own whose id is made of
the credential and the number of its opening, so that however many replicas see it, and however often one dies on the
way, there is one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

import structlog

from services.notifier.domain import alerts
from services.notifier.domain.alerts import Told
from services.notifier.domain.content import Content, Format
from services.notifier.domain.decision import Decision, RoleOutcome, RuleOutcome, RuleResult
from services.notifier.domain.planning import Assignment, Recipient, plan
from services.notifier.domain.rules import Priority
from services.notifier.pipeline.admission import Admitted, Arrival, Plan
from services.notifier.pipeline.books import Book
from services.notifier.pipeline.breakers import Breakers
from services.notifier.pipeline.planning import PlannedPart
from services.notifier.pipeline.recording import ALERTS
from services.notifier.store import breakers as store
from services.notifier.store.breakers import ALERT_OVER, ALERT_SENT, ALERT_UNDELIVERABLE, Row
from shared.clock import Clock
from shared.db.engine import Database
from shared.events.envelope import make_event
from shared.events.kinds import Event
from shared.supervise import Turn
from shared.telemetry import metrics
from shared.telemetry.metrics import Metrics
from shared.wecom.errcodes import classify

ALERT: Final = "alert"
"""What stands where an event's type would."""

_IDLE = 5.0
_UNREACHABLE = "请检查网络与企业微信接口是否可达（reach doctor）"
_log = structlog.get_logger("reach.notifier.breakers")


class Alarm:
    """Tells of breakers."""

    def __init__(
        self,
        database: Database,
        breakers: Breakers,
        admit: Callable[[Arrival], Awaitable[Admitted]],
        clock: Clock,
        numbers: Metrics,
    ) -> None:
        self._database = database
        self._breakers = breakers
        self._admit = admit
        self._clock = clock
        self._numbers = numbers

    async def run(self, turn: Turn) -> None:
        """Tell until cancelled."""
        signal = self._database.wakeups.listen(ALERTS)
        woken = True
        while True:
            if woken or self._breakers.alerts_due:
                await self.tell()
            turn()
            woken = await signal.wait(_IDLE)

    async def tell(self) -> None:
        """Tell of everything that is due now."""
        async with self._database.read() as conn:
            due = await store.alerts_due(conn)
            waiting = {row.key: await store.waiting(conn, self._breakers.channels([row.key])) for row in due}
            held = {key for key, row in (await store.unclean(conn)).items() if row.breaker.holds}
            failing = self._breakers.failing(held)
        for row in due:
            told = await self._tell(row, failing | {row.key}, waiting[row.key])
            over = row.alert == ALERT_OVER
            became = "" if over else ALERT_SENT if told.targets else ALERT_UNDELIVERABLE
            async with self._database.write() as conn:
                first = await store.note_alert(conn, row, became, self._clock.now())
            if first and not over:
                self._note(row, told)
        self._breakers.note_alerts_told()

    async def _tell(self, row: Row, failing: set[str], waiting: int) -> Told:
        over = row.alert == ALERT_OVER
        event = make_event(
            ALERT,
            {"credential": row.key, "opening": row.breaker.opening, "over": over},
            id=f"{ALERT}-{row.key}-{row.breaker.opening}{'-over' if over else ''}",
            store_id=row.breaker.store_id,
            now=self._clock.now(),
            source="reach",
            door="internal",
        )
        # It is over for the one that works again; that may be the best way there is.
        avoided = failing - {row.key} if over else failing
        chosen: list[Told] = []

        def decide(book: Book, now: datetime) -> Plan:
            told = alerts.whom(book.bindings, event.store_id, avoided)
            chosen[:] = [told]
            text = _closed(row) if over else _opened(row, waiting, book)
            return _plan(event, told, text, Priority.NORMAL if over else Priority.URGENT, book)

        await self._admit(Arrival(event, decide))
        return chosen[0]

    def _note(self, row: Row, told: Told) -> None:
        outcome = ALERT_SENT if told.targets else ALERT_UNDELIVERABLE
        self._numbers.add(metrics.BREAKER_ALERTS, service="notifier", outcome=outcome)
        if not told.targets:
            _log.error(
                "nobody could be told that a breaker opened",
                credential=row.key,
                reason="alert_undeliverable",
                fix="give tech_support a target that another app or robot reaches: reach roles set tech_support",
            )


def _opened(row: Row, waiting: int, book: Book) -> str:
    return alerts.opened(row.key, row.breaker, waiting=waiting, advice=_advice(row), zone=book.zone)


def _closed(row: Row) -> str:
    return alerts.closed(row.key)


def _advice(row: Row) -> str:
    if row.breaker.errcode is None:
        return _UNREACHABLE
    entry = classify(row.breaker.errcode)
    return entry.advice_zh or entry.advice or entry.meaning


def _plan(event: Event, told: Told, text: str, priority: Priority, book: Book) -> Plan:
    content = Content(Format.TEXT, text)
    calls = plan(Assignment(Recipient(one, role=told.role), content, priority) for one in told.targets)
    outcome = RuleOutcome(
        "",
        0,
        "",
        RuleResult.PLANNED if told.targets else RuleResult.NO_RECIPIENT,
        priority,
        roles=(RoleOutcome(told.role, len(told.targets), told.inherited),),
    )
    decision = Decision(event.id, event.type, event.store_id, book.version, (outcome,), calls, ())
    return Plan(decision, tuple(PlannedPart(call) for call in calls))
