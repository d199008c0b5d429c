"""What the notifier checks when somebody asks whether all is well, with the fix for each failure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from services.notifier.domain.routing import ROLE_NAMES
from services.notifier.pipeline.books import Books
from shared.bus import Bus
from shared.clock import Clock
from shared.credentials import Card, Credentials, Kind
from shared.db import dead, outbox
from shared.db.engine import Database
from shared.errors import ReachError
from shared.hosting.resources import Resources
from shared.ops.part import Check, CheckStatus, Finding
from shared.wecom.client import WeComClient
from shared.wecom.errcodes import classify
from shared.wecom.outcome import Outcome, State

CLOCK_SLACK = 5.0
"""Seconds the host's clock may be off before tokens and windows suffer."""

OLD_OUTBOX = 60.0


class Doctor:
    """The notifier's checks."""

    def __init__(
        self,
        resources: Resources,
        database: Database,
        credentials: Credentials,
        wecom: WeComClient,
        books: Books,
    ) -> None:
        self._resources = resources
        self._database = database
        self._credentials = credentials
        self._wecom = wecom
        self._books = books

    @property
    def checks(self) -> Sequence[Check]:
        """In the order they are told."""
        return (self.database, self.broker, self.clock, self.wecom, self.roles, self.backlog)

    async def database(self) -> Sequence[Finding]:
        """Does the database answer?"""
        try:
            await self._database.ping()
        except ReachError as error:
            return [
                Finding(
                    "database",
                    CheckStatus.FAILED,
                    error.message,
                    "start the database, or correct REACH_DATABASE_URL",
                )
            ]
        return [Finding("database", CheckStatus.OK, f"{self._database.place} answers")]

    async def broker(self) -> Sequence[Finding]:
        """Are events coming in and going out?"""
        bus: Bus | None = self._resources.bus
        if bus is None:
            return [Finding("broker", CheckStatus.SKIPPED, "the process is still starting")]
        if self._resources.settings.embedded:
            return [Finding("broker", CheckStatus.OK, "embedded: events stay in this process")]
        status = bus.status()
        if not (status.connected and status.consuming):
            return [
                Finding(
                    "broker",
                    CheckStatus.FAILED,
                    status.last_error or "not connected",
                    "start RabbitMQ, or correct REACH_AMQP_URL; this process comes back by itself",
                )
            ]
        if status.blocked:
            return [
                Finding(
                    "broker",
                    CheckStatus.WARNING,
                    "RabbitMQ refuses publishers because of an alarm; events wait in the outbox",
                    "free memory or disk on the broker (rabbitmqctl status shows the alarm)",
                )
            ]
        return [Finding("broker", CheckStatus.OK, "connected, consuming")]

    async def clock(self) -> Sequence[Finding]:
        """Does this host agree with the shared time?"""
        if self._resources.settings.clock == "sandbox":
            return [Finding("clock", CheckStatus.OK, "follows the sandbox")]
        clock: Clock = self._resources.clock
        off = abs((clock.now() - datetime.now(UTC)).total_seconds())
        if off > CLOCK_SLACK:
            return [
                Finding(
                    "clock",
                    CheckStatus.WARNING,
                    f"this host is {off:.0f} s off the database's time",
                    "synchronise the hosts' clocks (NTP)",
                )
            ]
        return [Finding("clock", CheckStatus.OK, f"within {off:.1f} s of the database")]

    async def wecom(self) -> Sequence[Finding]:
        """Does WeCom let each app in?"""
        cards = await self._credentials.cards()
        apps = [card for card in cards if card.kind is Kind.APP]
        robots = [card for card in cards if card.kind is Kind.ROBOT]
        findings = [await self._app(card) for card in apps]
        if not apps:
            findings.append(
                Finding(
                    "wecom_app",
                    CheckStatus.FAILED,
                    "no app is registered",
                    "set WECOM_CORP_ID, WECOM_AGENT_ID and WECOM_SECRET, or run `reach credentials add app`",
                )
            )
        # A robot's key can only be tried by posting to its group, which a check must not do.
        findings.append(
            Finding(
                "wecom_robots",
                CheckStatus.OK if robots else CheckStatus.SKIPPED,
                f"{len(robots)} registered: {', '.join(card.name for card in robots)}"
                if robots
                else "none registered",
            )
        )
        return findings

    async def _app(self, card: Card) -> Finding:
        name = f"wecom_app:{card.name}"
        app = await self._credentials.app(card.name)
        if app is None:
            return Finding(name, CheckStatus.SKIPPED, "removed just now")
        answer = await self._wecom.get(
            app, "/cgi-bin/agent/get", {"agentid": str(app.agent_id)}, deadline=6.0
        )
        outcome = answer.outcome
        if outcome.state is State.ACCEPTED:
            return Finding(
                name, CheckStatus.OK, f"agent {app.agent_id} of {app.corp_id}: token and address accepted"
            )
        return Finding(name, CheckStatus.FAILED, _words(outcome), _fix(outcome))

    async def roles(self) -> Sequence[Finding]:
        """Does every role have somebody, at least by default?"""
        book = await self._books.fresh()
        held = {role for (_, role), targets in book.bindings.items() if targets}
        empty = [f"{name} ({role.value})" for role, name in ROLE_NAMES.items() if role not in held]
        if empty:
            return [
                Finding(
                    "roles",
                    CheckStatus.WARNING,
                    f"nobody holds {', '.join(empty)}: what is meant for them goes nowhere",
                    "set them with `reach roles set` or SetRoleTargets",
                )
            ]
        return [Finding("roles", CheckStatus.OK, "every role has a target")]

    async def backlog(self) -> Sequence[Finding]:
        """Does anything pile up?"""
        now = self._resources.clock.now()
        async with self._database.read() as conn:
            waiting = await outbox.backlog(conn)
            letters = sum((await dead.counts(conn)).values())
        findings = []
        oldest = waiting.oldest_created_at
        if oldest is not None and (now - oldest).total_seconds() > OLD_OUTBOX:
            findings.append(
                Finding(
                    "outbox",
                    CheckStatus.WARNING,
                    f"{waiting.pending} events wait to be published, the oldest since {oldest.isoformat()}",
                    "see the broker's check",
                )
            )
        else:
            findings.append(Finding("outbox", CheckStatus.OK, f"{waiting.pending} waiting"))
        if letters:
            findings.append(
                Finding(
                    "dead_letters",
                    CheckStatus.WARNING,
                    f"{letters} parked",
                    "look at them with `reach dead list`, replay them with `reach dead replay`",
                )
            )
        else:
            findings.append(Finding("dead_letters", CheckStatus.OK, "none parked"))
        return findings


def _words(outcome: Outcome) -> str:
    if outcome.errcode is not None:
        return f"errcode {outcome.errcode}: {outcome.errmsg}"
    return f"{outcome.cause}: {outcome.detail}"


def _fix(outcome: Outcome) -> str:
    if outcome.errcode is not None:
        entry = classify(outcome.errcode)
        return entry.advice or entry.meaning
    if outcome.state in (State.NOT_SENT, State.UNKNOWN):
        return "check the network and REACH_WECOM_BASE_URL"
    return "see the error"
