"""Rules and roles: look at them, switch rules, set who holds a role."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.domain.content import Format, room, shown_on_card
from services.notifier.domain.decide import decide
from services.notifier.domain.decision import Decision
from services.notifier.domain.personal import sample
from services.notifier.domain.routing import ROLE_NAMES, Channel, Role, Target
from services.notifier.domain.rules import Preset, Rule, RuleBook, check
from services.notifier.pipeline.books import Book, Books, acting_rules
from services.notifier.store import rulebook
from services.notifier.store.rulebook import (
    EVERY_STORE,
    Binding,
    Head,
    RuleVersion,
    Switch,
    drop_store_switches,
    set_binding,
    set_switch,
)
from shared.audit import AuditLog, NewEntry
from shared.clock import Clock
from shared.db.engine import Database
from shared.db.once import Once
from shared.errors import Conflict, Invalid, NotFound, Overtaken
from shared.events.canonical import normalise
from shared.events.catalogue import EVENT_TYPES
from shared.events.envelope import make_event
from shared.ids import new_id
from shared.rpc.principal import current, visible_stores
from shared.text.cutting import size
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
    deputies: tuple[Target, ...] = ()


@value_class
class Saved:
    """A rule that may be stored, and how its words come out."""

    rule: Rule
    example: str
    """The words for the example of its event type; empty where there is none."""
    bytes: int
    limit: int
    """Bytes that an app message leaves for the words; longer ones are cut."""


Bind = Callable[[Sequence[str]], Awaitable[None]]


class Rules:
    """What operators may look at and change."""

    def __init__(
        self,
        database: Database,
        books: Books,
        audit: AuditLog,
        clock: Clock,
        presets: Sequence[Preset],
        bind: Bind,
    ) -> None:
        """*bind* has this service hear further event types; it lasts."""
        self._database = database
        self._books = books
        self._audit = audit
        self._clock = clock
        self._presets = {preset.rule.id: preset for preset in presets}
        self._bind = bind

    async def add_presets(self) -> int:
        """Bring in the rules that ship with Reach and were never there; how many there were."""
        shipped = [preset.rule for preset in self._presets.values()]
        now = self._clock.now()
        return await self._database.transact(
            lambda conn: rulebook.add_missing_presets(conn, self._database.dialect, shipped, now)
        )

    async def custom_types(self) -> list[str]:
        """Event types that published rules listen to and the contract does not know."""
        book = await self._books.fresh()
        return sorted({rule.event_type for rule in book.contents.rules} - EVENT_TYPES.keys())

    async def create(self, rule: Rule, *, draft: bool, comment: str, once: Once) -> Saved:
        """Add a rule of that id. Raises Conflict (STATE_INVALID) where there is one, Invalid for what it says."""

        def first(head: Head | None) -> int:
            if head is not None:
                raise Conflict(
                    "STATE_INVALID", f"there is a rule {rule.id} already; update it", rule_id=rule.id
                )
            return 1

        return await self._save(rule, first, draft=draft, comment=comment, once=once)

    async def update(self, rule: Rule, *, expected: int, draft: bool, comment: str, once: Once) -> Saved:
        """Add a version of a rule. *expected* is the latest version the caller has seen; 0 does not ask.

        Raises NotFound, Overtaken (VERSION_CONFLICT), Invalid.
        """

        def following(head: Head | None) -> int:
            if head is None:
                raise _absent(rule.id)
            if expected and expected != head.latest:
                raise Overtaken(
                    "VERSION_CONFLICT",
                    f"the latest version of {rule.id} is {head.latest}; read it and decide again",
                    version=head.latest,
                )
            return head.latest + 1

        return await self._save(rule, following, draft=draft, comment=comment, once=once)

    async def publish(self, rule_id: str, version: int, *, once: Once) -> Rule:
        """Let *version* act (0: the latest), be it a draft or an earlier one; the rule as it then acts.

        Raises NotFound, and Invalid if what it says no longer fits the contract.
        """
        return await self._let_act(rule_id, lambda head: version or head.latest, once)

    async def roll_back(self, rule_id: str, version: int, *, once: Once) -> Rule:
        """Let an earlier version act; 0 is the one that acted before. See ``publish``."""

        def earlier(head: Head) -> int:
            if not version and not head.before:
                raise Invalid.field("version", f"no other version of {rule_id} has acted; name one")
            return version or head.before

        return await self._let_act(rule_id, earlier, once)

    async def _let_act(self, rule_id: str, choose: Callable[[Head], int], once: Once) -> Rule:
        now = self._clock.now()

        async def write(conn: AsyncConnection) -> None:
            if not await once.is_first(conn, now):
                return
            head = await rulebook.hold(conn, self._database.dialect, rule_id)
            if head is None:
                raise _absent(rule_id)
            version = choose(head)
            versions = {one.rule.version: one.rule for one in await rulebook.read_versions(conn, rule_id)}
            if version not in versions:
                raise Invalid.field("version", f"rule {rule_id} has versions 1 to {head.latest}")
            check(versions[version], EVENT_TYPES)
            await rulebook.set_acting(conn, rule_id, version)
            await self._note(conn, once, versions[version], now)

        await self._database.transact(write)
        rule = await self.get_rule(rule_id, EVERY_STORE)
        # Also for a repeat: whoever wrote it may have died before it was heard.
        await self._hear(rule)
        return rule

    async def acting(self, rule_id: str) -> int:
        """The version of a rule that acts; 0 when none does."""
        book = await self._books.fresh()
        return next((rule.version for rule in book.contents.rules if rule.id == rule_id), 0)

    async def latest(self, rule_id: str) -> Rule:
        """A rule as of its latest version, drafts included. Raises NotFound."""
        return (await self.versions(rule_id))[0].rule

    async def delete(self, rule_id: str, *, once: Once) -> None:
        """Let a rule act no more; its versions stay to be read and published again. Raises NotFound."""
        now = self._clock.now()

        async def write(conn: AsyncConnection) -> None:
            if await once.is_first(conn, now):
                if await rulebook.hold(conn, self._database.dialect, rule_id) is None:
                    raise _absent(rule_id)
                latest = (await rulebook.read_versions(conn, rule_id))[0].rule
                await rulebook.drop_rule(conn, rule_id)
                await self._note(conn, once, latest, now)

        await self._database.transact(write)

    async def versions(self, rule_id: str) -> list[RuleVersion]:
        """Every version of a rule, the newest first. Raises NotFound."""
        async with self._database.read() as conn:
            found = await rulebook.read_versions(conn, rule_id)
        if not found or not any(_visible(one.rule) for one in found):
            raise _absent(rule_id)
        return found

    async def restore_presets(self, rule_ids: Sequence[str], *, once: Once) -> list[Rule]:
        """Publish presets (all, when none is named) as they ship, as a version of their own; those that changed."""
        if unknown := [one for one in rule_ids if one not in self._presets]:
            raise Invalid.field("rule_ids", f"no preset is called {', '.join(unknown)}")
        wanted = [self._presets[one].rule for one in rule_ids or self._presets]
        now, by = self._clock.now(), current().subject
        acting = {rule.id: rule.to_json() for rule in (await self._books.fresh()).contents.rules}
        changed = [rule for rule in wanted if acting.get(rule.id) != rule.to_json()]

        async def write(conn: AsyncConnection) -> None:
            if not await once.is_first(conn, now):
                return
            for rule in changed:
                head = await rulebook.hold(conn, self._database.dialect, rule.id)
                assert head is not None  # every preset is brought in at the start
                again = RuleVersion(replace(rule, version=head.latest + 1), "restored", now, by)
                await rulebook.add_version(conn, again, publish=True)
                await self._note(conn, once, again.rule, now)

        await self._database.transact(write)
        return [await self.get_rule(rule.id, EVERY_STORE) for rule in changed]

    async def test(self, rule: Rule, data: Mapping[str, object], store_id: str) -> tuple[Saved, Decision]:
        """What ``create`` would say of *rule*, and what an event would cause if it were the only one.

        Without *data*, the example of its type serves. Nothing is stored. Raises Invalid.
        """
        saved, now = self._saved(rule), self._clock.now()
        event = make_event(
            rule.event_type,
            data or self._example(rule.event_type) or {},
            id=f"test-{new_id()}",
            store_id=store_id,
            now=now,
            door="grpc",
        )
        book = await self._books.fresh()
        alone = RuleBook([rule], EVENT_TYPES, version=book.version)
        return saved, decide(event, alone, book.bindings, zone=book.zone, now=now, cards=book.cards)

    async def _save(
        self, rule: Rule, number: Callable[[Head | None], int], *, draft: bool, comment: str, once: Once
    ) -> Saved:
        saved = self._saved(rule)
        now, by = self._clock.now(), current().subject

        async def write(conn: AsyncConnection) -> None:
            if not await once.is_first(conn, now):
                return
            head = await rulebook.hold(conn, self._database.dialect, rule.id)
            version = number(head)
            new = RuleVersion(
                replace(rule, version=version, preset=head is not None and head.preset), comment, now, by
            )
            if head is None:
                await rulebook.add_rule(conn, new, publish=not draft)
            else:
                await rulebook.add_version(conn, new, publish=not draft)
            await self._note(conn, once, new.rule, now, draft=draft)

        await self._database.transact(write)
        if not draft:
            await self._hear(rule)
        return replace(saved, rule=await self.latest(rule.id))

    async def _note(
        self, conn: AsyncConnection, once: Once, rule: Rule, now: datetime, **more: object
    ) -> None:
        """Write into the audit log what was done to *rule*; of one for a single store, as that store's."""
        told = {"version": rule.version, "stores": list(rule.stores), **more}
        store = rule.stores[0] if len(rule.stores) == 1 else EVERY_STORE
        await self._audit.record(conn, NewEntry(once.name, rule.id, store, rule.to_json(), told), now)

    def _example(self, event_type: str) -> Mapping[str, object] | None:
        found = (one.example for one in self._presets.values() if one.rule.event_type == event_type)
        return next(found, None)

    async def _hear(self, rule: Rule) -> None:
        if rule.event_type not in EVENT_TYPES:
            await self._bind([rule.event_type])

    def _saved(self, rule: Rule) -> Saved:
        """Check *rule*, and say how its words come out for the example of its type, if there is one."""
        template = check(rule, EVENT_TYPES)
        example = self._example(rule.event_type)
        if example is None:
            return Saved(rule, "", 0, _room(rule, ""))
        known = EVENT_TYPES[rule.event_type]
        data = {**normalise(known, example), **sample(template, rule.roles)}
        rendered = template.render(data, self._books.zone, rule.format.dialect, rule.missing)
        return Saved(rule, rendered.text, size(rendered.text), _room(rule, rendered.text))

    async def list_rules(self, store_id: str, event_type: str) -> list[Rule]:
        """The rules as they act in the store (all stores when empty), by id."""
        book = await self._books.fresh()
        found = [
            rule
            for rule in _in_store(book, store_id)
            if _visible(rule) and (not event_type or rule.event_type == event_type)
        ]
        return sorted(found, key=lambda rule: rule.id)

    async def get_rule(self, rule_id: str, store_id: str) -> Rule:
        """One rule as it acts in the store; NotFound when there is none."""
        book = await self._books.fresh()
        for rule in _in_store(book, store_id):
            if rule.id == rule_id and _visible(rule):
                return rule
        raise _absent(rule_id)

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
                told = {"enabled": enabled, "until": until.isoformat() if until else "", "comment": comment}
                await self._audit.record(conn, NewEntry(once.name, rule_id, store_id, detail=told), now)

        await self._database.transact(write)
        return await self.get_rule(rule_id, store_id)

    async def list_roles(self, store_id: str) -> list[RoleHolders]:
        """All roles and who holds them in the store (by default, when empty)."""
        book = await self._books.fresh()
        return [_holders(book, role, store_id) for role in Role]

    async def set_targets(
        self,
        role: Role,
        store_id: str,
        targets: tuple[Target, ...],
        deputies: tuple[Target, ...] = (),
        *,
        once: Once,
    ) -> RoleHolders:
        """Replace the holders of a role, and who stands in for them, in one store or by default."""
        if deputies and not targets:
            raise Invalid.field("deputies", "a deputy stands in for somebody; name targets beside them")
        now = self._clock.now()
        binding = Binding(store_id, role.value, targets, now, current().subject, deputies)

        async def write(conn: AsyncConnection) -> None:
            if await once.is_first(conn, now):
                await set_binding(conn, self._database.dialect, binding)
                told = {"targets": [str(one) for one in targets]}
                if deputies:
                    told["deputies"] = [str(one) for one in deputies]
                done = NewEntry(once.name, role.value, store_id, binding.to_json(), told)
                await self._audit.record(conn, done, now)

        await self._database.transact(write)
        return _holders(await self._books.fresh(), role, store_id)


def _room(rule: Rule, text: str) -> int:
    """Bytes that an app message leaves for *text*; a card, which counts characters, for as many as it shows."""
    if rule.escalation is None:
        return room(Channel.APP, rule.format)
    shown = shown_on_card(text)
    return size(shown) if shown != text else room(Channel.APP, Format.TEMPLATE_CARD)


def _visible(rule: Rule) -> bool:
    """Whether the caller may see *rule*: it acts in a store that is theirs."""
    stores = visible_stores()
    return stores is None or not rule.stores or not stores.isdisjoint(rule.stores)


def _in_store(book: Book, store_id: str) -> list[Rule]:
    """Each rule that acts in the store once: the store's own setting where it has one."""
    chosen: dict[str, Rule] = {}
    for rule in acting_rules(book.contents):
        if store_id and rule.stores and store_id not in rule.stores:
            continue
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
        deputies=binding.deputies if binding is not None else (),
    )


def _absent(rule_id: str) -> NotFound:
    return NotFound("NOT_FOUND", f"there is no rule {rule_id}", resource="rule")
