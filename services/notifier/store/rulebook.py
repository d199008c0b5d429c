"""Rules, their switches and the roles' targets: what operators decide, under one version.

Admission reads the version inside its transaction, under a shared lock, and decides with the book of that
version; a change takes the same row exclusively. So an event recorded after a change was answered can only
have been decided by the book after the change, on any replica.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.domain.policy import Policy
from services.notifier.domain.routing import Target, TargetKind
from services.notifier.domain.rules import Rule
from services.notifier.store.tables import policy, role_binding, rule, rule_switch, rule_version, rulebook
from shared.db.rows import insert_into
from shared.db.types import DialectName
from shared.values import value_class

_ONLY = 1
"""Id of the one rulebook row."""

EVERY_STORE = ""

_VERSIONS = sa.select(
    rule_version.c.rule_id, rule_version.c.version, rule_version.c.spec, rule.c.preset
).order_by(rule_version.c.rule_id)


@value_class
class RuleVersion:
    """One version of a rule; none is ever changed."""

    rule: Rule
    comment: str
    created_at: datetime
    created_by: str


@value_class
class Head:
    """Where a rule stands."""

    version: int
    """The one that acts; 0 while there are only drafts, and after a deletion."""
    before: int
    """The one that acted before it; 0 when none did."""
    latest: int
    preset: bool


@value_class
class Switch:
    """Somebody's decision to switch a rule off or on, for one store or (``""``) for all."""

    rule_id: str
    store_id: str
    enabled: bool
    disabled_until: datetime | None
    comment: str
    updated_at: datetime
    updated_by: str


@value_class
class Binding:
    """The targets of a role in one store or (``""``) by default."""

    store_id: str
    role: str
    targets: tuple[Target, ...]
    updated_at: datetime
    updated_by: str
    deputies: tuple[Target, ...] = ()
    """Who stands in for them."""

    def to_json(self) -> dict[str, object]:
        """Who it is and what is known of them, as plain JSON."""
        return {"targets": _stored(self.targets), "deputies": _stored(self.deputies)}


@value_class
class PolicyRow:
    """A policy, and who set it when."""

    policy: Policy
    updated_at: datetime
    updated_by: str


@value_class
class BookContents:
    """Everything decided by operators, as of one version."""

    version: int
    rules: tuple[Rule, ...]
    """Those that are published."""
    switches: tuple[Switch, ...]
    bindings: tuple[Binding, ...]
    policies: tuple[PolicyRow, ...] = ()


def lock_version(dialect: DialectName) -> sa.Select[Any]:
    """The statement that reads the version and holds it for the rest of the transaction."""
    query = sa.select(rulebook.c.version).where(rulebook.c.id == _ONLY)
    return query.with_for_update(read=True) if dialect == "postgresql" else query


async def read_book(conn: AsyncConnection) -> BookContents:
    """The whole book. A few hundred rows at most, read only when its version moved."""
    version = (await conn.execute(sa.select(rulebook.c.version))).scalar_one()
    acting = (rule_version.c.rule_id == rule.c.rule_id) & (rule_version.c.version == rule.c.version)
    rules = (await conn.execute(_VERSIONS.join_from(rule, rule_version, acting))).all()
    switches = (await conn.execute(sa.select(rule_switch))).all()
    bindings = (await conn.execute(sa.select(role_binding))).all()
    policies = (await conn.execute(sa.select(policy).order_by(policy.c.subject, policy.c.store_id))).all()
    return BookContents(
        version=version,
        rules=tuple(_rule(row) for row in rules),
        switches=tuple(Switch(**r._mapping) for r in switches),
        bindings=tuple(
            Binding(r.store_id, r.role, _targets(r.targets), r.updated_at, r.updated_by, _targets(r.deputies))
            for r in bindings
        ),
        policies=tuple(
            PolicyRow(Policy.from_json(r.store_id, r.subject, r.spec), r.updated_at, r.updated_by)
            for r in policies
        ),
    )


async def add_missing_presets(
    conn: AsyncConnection, dialect: DialectName, presets: Sequence[Rule], now: datetime
) -> int:
    """Insert those of *presets* whose id was never there; returns how many. What people did to others stays."""
    if not presets:
        return 0
    heads = [
        {"rule_id": one.id, "version": 1, "before": 0, "latest": 1, "preset": True, "created_at": now}
        for one in presets
    ]
    insert = insert_into(dialect, rule).values(heads).on_conflict_do_nothing(index_elements=["rule_id"])
    added = set((await conn.execute(insert.returning(rule.c.rule_id))).scalars())
    if added:
        await _turn_page(conn, dialect)
        versions = [
            _version_row(replace(one, version=1), "", now, "reach") for one in presets if one.id in added
        ]
        await conn.execute(sa.insert(rule_version), versions)
    return len(added)


async def hold(conn: AsyncConnection, dialect: DialectName, rule_id: str) -> Head | None:
    """Where a rule stands; nobody else changes a rule until the transaction is over."""
    await _turn_page(conn, dialect)
    row = (await conn.execute(sa.select(rule).where(rule.c.rule_id == rule_id))).one_or_none()
    return None if row is None else Head(row.version, row.before, row.latest, row.preset)


async def add_rule(conn: AsyncConnection, new: RuleVersion, *, publish: bool) -> None:
    """Insert a rule with its first version; after ``hold``."""
    head = {"rule_id": new.rule.id, "version": int(publish), "before": 0, "latest": 1}
    await conn.execute(sa.insert(rule).values(**head, preset=new.rule.preset, created_at=new.created_at))
    await _add_version(conn, new)


async def add_version(conn: AsyncConnection, new: RuleVersion, *, publish: bool) -> None:
    """Insert a further version; after ``hold``."""
    number = new.rule.version
    await conn.execute(sa.update(rule).where(rule.c.rule_id == new.rule.id).values(latest=number))
    await _add_version(conn, new)
    if publish:
        await set_acting(conn, new.rule.id, number)


async def set_acting(conn: AsyncConnection, rule_id: str, version: int) -> None:
    """Let another version act; after ``hold``."""
    other = (rule.c.rule_id == rule_id) & (rule.c.version != version)
    await conn.execute(sa.update(rule).where(other).values(version=version, before=rule.c.version))


async def drop_rule(conn: AsyncConnection, rule_id: str) -> None:
    """Let no version act any more and forget the switches; the versions stay. After ``hold``."""
    await set_acting(conn, rule_id, 0)
    await conn.execute(sa.delete(rule_switch).where(rule_switch.c.rule_id == rule_id))


async def read_versions(conn: AsyncConnection, rule_id: str) -> list[RuleVersion]:
    """Every version of a rule, the newest first."""
    query = (
        _VERSIONS.add_columns(rule_version.c.comment, rule_version.c.created_at, rule_version.c.created_by)
        .join_from(rule, rule_version, rule_version.c.rule_id == rule.c.rule_id)
        .where(rule.c.rule_id == rule_id)
        .order_by(None)
        .order_by(rule_version.c.version.desc())
    )
    return [
        RuleVersion(_rule(row), row.comment, row.created_at, row.created_by)
        for row in await conn.execute(query)
    ]


async def _add_version(conn: AsyncConnection, new: RuleVersion) -> None:
    await conn.execute(
        sa.insert(rule_version).values(_version_row(new.rule, new.comment, new.created_at, new.created_by))
    )


def _version_row(one: Rule, comment: str, at: datetime, by: str) -> dict[str, object]:
    said = {"comment": comment, "created_at": at, "created_by": by}
    return {"rule_id": one.id, "version": one.version, "spec": one.to_json(), **said}


def _rule(row: Any) -> Rule:
    return Rule.from_json(row.spec, id=row.rule_id, version=row.version, preset=row.preset)


async def set_switch(conn: AsyncConnection, dialect: DialectName, switch: Switch) -> None:
    """Write a switch over the one before and turn the page."""
    await _turn_page(conn, dialect)
    values = asdict(switch)
    statement = insert_into(dialect, rule_switch).values(values)
    await conn.execute(
        statement.on_conflict_do_update(
            index_elements=["rule_id", "store_id"],
            set_={name: values[name] for name in values if name not in ("rule_id", "store_id")},
        )
    )


async def drop_store_switches(conn: AsyncConnection, rule_id: str) -> None:
    """Forget what single stores decided about a rule; a switch for all stores means all."""
    await conn.execute(
        sa.delete(rule_switch).where(rule_switch.c.rule_id == rule_id, rule_switch.c.store_id != EVERY_STORE)
    )


async def set_binding(conn: AsyncConnection, dialect: DialectName, binding: Binding) -> None:
    """Replace a role's targets and turn the page; with no targets left, the default of every store serves."""
    await _turn_page(conn, dialect)
    key = (role_binding.c.store_id == binding.store_id, role_binding.c.role == binding.role)
    await conn.execute(sa.delete(role_binding).where(*key))
    if not binding.targets:
        return
    await conn.execute(
        sa.insert(role_binding).values(
            store_id=binding.store_id,
            role=binding.role,
            targets=_stored(binding.targets),
            deputies=_stored(binding.deputies),
            updated_at=binding.updated_at,
            updated_by=binding.updated_by,
        )
    )


async def set_policy(conn: AsyncConnection, dialect: DialectName, row: PolicyRow) -> None:
    """Replace the policy for one subject and turn the page; one that says nothing is taken away."""
    await _turn_page(conn, dialect)
    said = row.policy
    key = (policy.c.store_id == said.store_id, policy.c.subject == said.subject)
    await conn.execute(sa.delete(policy).where(*key))
    if not said.empty:
        await conn.execute(
            sa.insert(policy).values(
                store_id=said.store_id,
                subject=said.subject,
                spec=said.to_json(),
                updated_at=row.updated_at,
                updated_by=row.updated_by,
            )
        )


async def version_now(conn: AsyncConnection) -> int:
    """The version, without holding it."""
    found: int = (await conn.execute(sa.select(rulebook.c.version))).scalar_one()
    return found


async def _turn_page(conn: AsyncConnection, dialect: DialectName) -> None:
    # The update comes first in a change's transaction: it waits for admissions that hold the version,
    # and admissions that come later wait for it.
    await conn.execute(
        sa.update(rulebook).where(rulebook.c.id == _ONLY).values(version=rulebook.c.version + 1)
    )


def _stored(targets: Sequence[Target]) -> list[dict[str, object]]:
    return [
        {"kind": one.kind.value, "id": one.id, "account": one.account}
        | ({"attributes": dict(one.attributes)} if one.attributes else {})
        for one in targets
    ]


def _targets(stored: Sequence[dict[str, Any]]) -> tuple[Target, ...]:
    return tuple(
        Target(TargetKind(t["kind"]), t["id"], t["account"], tuple(sorted(t.get("attributes", {}).items())))
        for t in stored
    )
