"""Rules and roles: look at them, switch rules, set who holds a role."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.domain.routing import ROLE_NAMES, Role, Target
from services.notifier.domain.rules import Rule
from services.notifier.pipeline.books import Book, Books, acting_rules
from services.notifier.store.rulebook import (
    EVERY_STORE,
    Binding,
    StoredRule,
    Switch,
    add_missing_rules,
    drop_store_switches,
    set_binding,
    set_switch,
)
from shared.clock import Clock
from shared.db.engine import Database
from shared.db.once import Once
from shared.errors import Invalid, NotFound
from shared.rpc.principal import current
from shared.values import value_class


@value_class
class RoleHolders:
    """Who holds a role in one store."""

    role: Role
    display_name: str
    store_id: str
    targets: tuple[Target, ...]
    inherited: bool
    updated_at: datetime | None
    updated_by: str


class Rules:
    """What operators may look at and change."""

    def __init__(self, database: Database, books: Books, clock: Clock) -> None:
        self._database = database
        self._books = books
        self._clock = clock

    async def add_presets(self, presets: Sequence[Rule]) -> int:
        """Bring in the rules that ship with Reach and are not there yet; how many there were."""
        stored = [_stored(rule) for rule in presets]
        now = self._clock.now()
        return await self._database.transact(
            lambda conn: add_missing_rules(conn, self._database.dialect, stored, now)
        )

    async def list_rules(self, store_id: str, event_type: str) -> list[Rule]:
        """The rules as they act in the store (all stores when empty), by id."""
        book = await self._books.fresh()
        found = [
            rule for rule in _in_store(book, store_id) if not event_type or rule.event_type == event_type
        ]
        return sorted(found, key=lambda rule: rule.id)

    async def get_rule(self, rule_id: str, store_id: str) -> Rule:
        """One rule as it acts in the store; NotFound when there is none."""
        book = await self._books.fresh()
        for rule in _in_store(book, store_id):
            if rule.id == rule_id:
                return rule
        raise NotFound("NOT_FOUND", f"there is no rule {rule_id}", resource="rule")

    async def toggle(
        self,
        rule_id: str,
        *,
        enabled: bool,
        store_id: str,
        until: datetime | None,
        comment: str,
        once: Once,
    ) -> Rule:
        """Switch a rule for one store or for all; a switch for all ends what single stores decided.

        Raises NotFound, and Invalid for a mute that ends in the past or on an enabled rule.
        """
        now = self._clock.now()
        if until is not None and (enabled or until <= now):
            raise Invalid.field(
                "disabled_until_time", "only with enabled = false, and an instant that is still to come"
            )
        await self.get_rule(rule_id, EVERY_STORE)
        switch = Switch(rule_id, store_id, enabled, until, comment, now, current().subject)

        async def write(conn: AsyncConnection) -> None:
            if await once.is_first(conn, now):
                await set_switch(conn, self._database.dialect, switch)
                if store_id == EVERY_STORE:
                    await drop_store_switches(conn, rule_id)

        await self._database.transact(write)
        return await self.get_rule(rule_id, store_id)

    async def list_roles(self, store_id: str) -> list[RoleHolders]:
        """All roles and who holds them in the store (by default, when empty)."""
        book = await self._books.fresh()
        return [_holders(book, role, store_id) for role in Role]

    async def set_targets(
        self, role: Role, store_id: str, targets: tuple[Target, ...], *, once: Once
    ) -> RoleHolders:
        """Replace the holders of a role in one store or by default."""
        now = self._clock.now()
        binding = Binding(store_id, role.value, targets, now, current().subject)

        async def write(conn: AsyncConnection) -> None:
            if await once.is_first(conn, now):
                await set_binding(conn, self._database.dialect, binding)

        await self._database.transact(write)
        return _holders(await self._books.fresh(), role, store_id)


def _in_store(book: Book, store_id: str) -> list[Rule]:
    """Each rule once: the store's own setting where it has one."""
    chosen: dict[str, Rule] = {}
    for rule in acting_rules(book.contents):
        if rule.store_id in (EVERY_STORE, store_id) and (rule.store_id or rule.id not in chosen):
            chosen[rule.id] = rule
    return list(chosen.values())


def _holders(book: Book, role: Role, store_id: str) -> RoleHolders:
    found = {b.store_id: b for b in book.contents.bindings if b.role == role.value}
    binding = found.get(store_id) or found.get(EVERY_STORE)
    return RoleHolders(
        role=role,
        display_name=ROLE_NAMES[role],
        store_id=store_id,
        targets=binding.targets if binding is not None else (),
        inherited=store_id != EVERY_STORE and store_id not in found,
        updated_at=binding.updated_at if binding is not None else None,
        updated_by=binding.updated_by if binding is not None else "",
    )


def _stored(rule: Rule) -> StoredRule:
    return StoredRule(
        rule.id,
        rule.version,
        rule.event_type,
        rule.name,
        rule.priority,
        tuple(role.value for role in rule.roles),
        rule.format.value,
        rule.template,
        rule.missing.value,
        rule.preset,
    )
