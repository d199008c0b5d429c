"""The rulebook in memory, taken apart and ready to decide with; read again when its version moved."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

from services.notifier.domain.decide import decide
from services.notifier.domain.decision import Decision
from services.notifier.domain.policy import Policies
from services.notifier.domain.routing import Bindings, Role
from services.notifier.domain.rules import Rule, RuleBook
from services.notifier.store.rulebook import EVERY_STORE, BookContents, Switch, read_book
from shared.db.engine import Database
from shared.events.catalogue import EVENT_TYPES
from shared.events.kinds import Event
from shared.values import value_class


@value_class
class Book:
    """What operators decided, as of one version."""

    version: int
    contents: BookContents
    rules: RuleBook
    bindings: Bindings
    policies: Policies
    zone: ZoneInfo
    deputies: Bindings
    """Who stands in for the holders of a role."""
    cards: bool = True
    """Whether somebody would hear the buttons of a card: the app's callback is configured."""

    def decide(self, event: Event, now: datetime) -> Decision:
        """What *event* causes at *now*."""
        return decide(
            event,
            self.rules,
            self.bindings,
            zone=self.zone,
            now=now,
            policies=self.policies,
            cards=self.cards,
        )

    def rule(self, rule_id: str, event_type: str, store_id: str) -> Rule | None:
        """The rule of that id as it acts in the store; None where none does."""
        entries = self.rules.entries(event_type, store_id)
        return next((entry.rule for entry in entries if entry.rule.id == rule_id), None)


class BookMoved(Exception):
    """The rulebook changed since it was read."""


class Books:
    """Holds the latest book. Admission checks its version inside its transaction, so an old one does no harm."""

    def __init__(self, database: Database, zone: ZoneInfo, *, cards: bool = True) -> None:
        self._database = database
        self._cards = cards
        self.zone = zone
        """That of every store, on whose clocks times are shown."""
        self._book: Book | None = None
        self._reading = asyncio.Lock()

    async def current(self) -> Book:
        """The book in memory; read when there is none yet."""
        return self._book or await self.newer_than(None)

    async def newer_than(self, old: Book | None) -> Book:
        """Another book than *old*: the one in memory if somebody has read it meanwhile, else as stored now."""
        async with self._reading:
            if self._book is None or self._book is old:
                self._book = await self.fresh()
        return self._book

    async def fresh(self) -> Book:
        """The book as stored now; for those who look at it rather than decide with it."""
        async with self._database.read() as conn:
            contents = await read_book(conn)
        if self._book is not None and self._book.version == contents.version:
            return self._book
        return open_book(contents, self.zone, cards=self._cards)


def open_book(contents: BookContents, zone: ZoneInfo, *, cards: bool = True) -> Book:
    """Take the stored rules and bindings apart."""
    bindings = {(binding.store_id, Role(binding.role)): binding.targets for binding in contents.bindings}
    deputies = {(binding.store_id, Role(binding.role)): binding.deputies for binding in contents.bindings}
    rules = RuleBook(acting_rules(contents), EVENT_TYPES, version=contents.version)
    policies = Policies((row.policy for row in contents.policies), zone)
    return Book(contents.version, contents, rules, bindings, policies, zone, deputies, cards)


def acting_rules(contents: BookContents) -> Iterable[Rule]:
    """Every rule as it acts for all stores, and once more for each store with a switch of its own."""
    switches: dict[tuple[str, str], Switch] = {(s.rule_id, s.store_id): s for s in contents.switches}
    own = {rule.id: [] for rule in contents.rules}  # type: dict[str, list[Switch]]
    for switch in contents.switches:
        if switch.store_id != EVERY_STORE and switch.rule_id in own:
            own[switch.rule_id].append(switch)
    for stored in contents.rules:
        yield as_acting(stored, switches.get((stored.id, EVERY_STORE)), EVERY_STORE)
        for switch in own[stored.id]:
            yield as_acting(stored, switch, switch.store_id)


def as_acting(stored: Rule, switch: Switch | None, store_id: str) -> Rule:
    """A published rule under a switch."""
    if switch is None or switch.enabled:
        return replace(stored, store_id=store_id)
    return replace(
        stored,
        store_id=store_id,
        enabled=False,
        disabled_until=switch.disabled_until,
        disabled_by=switch.updated_by,
        disabled_at=switch.updated_at,
    )
