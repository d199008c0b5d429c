"""Rules, their switches and the roles' targets: what operators decide, under one version.

Admission reads the version inside its transaction, under a shared lock, and decides with the book of that
version; a change takes the same row exclusively. So an event recorded after a change was answered can only
have been decided by the book after the change, on any replica.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.domain.routing import Target, TargetKind
from services.notifier.store.tables import role_binding, rule, rule_switch, rulebook
from shared.db.rows import insert_into
from shared.db.types import DialectName
from shared.values import value_class

_ONLY = 1
"""Id of the one rulebook row."""

EVERY_STORE = ""


@value_class
class StoredRule:
    """A rule as stored, without its switches."""

    rule_id: str
    version: int
    event_type: str
    name: str
    priority: int
    roles: tuple[str, ...]
    format: str
    template: str
    missing: str
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


@value_class
class BookContents:
    """Everything decided by operators, as of one version."""

    version: int
    rules: tuple[StoredRule, ...]
    switches: tuple[Switch, ...]
    bindings: tuple[Binding, ...]


def lock_version(dialect: DialectName) -> sa.Select[Any]:
    """The statement that reads the version and holds it for the rest of the transaction."""
    query = sa.select(rulebook.c.version).where(rulebook.c.id == _ONLY)
    return query.with_for_update(read=True) if dialect == "postgresql" else query


async def read_book(conn: AsyncConnection) -> BookContents:
    """The whole book. A few hundred rows at most, read only when its version moved."""
    version = (await conn.execute(sa.select(rulebook.c.version))).scalar_one()
    rules = (await conn.execute(sa.select(rule).order_by(rule.c.rule_id))).all()
    switches = (await conn.execute(sa.select(rule_switch))).all()
    bindings = (await conn.execute(sa.select(role_binding))).all()
    return BookContents(
        version=version,
        rules=tuple(
            StoredRule(
                r.rule_id,
                r.version,
                r.event_type,
                r.name,
                r.priority,
                tuple(r.roles),
                r.format,
                r.template,
                r.missing,
                r.preset,
            )
            for r in rules
        ),
        switches=tuple(Switch(**r._mapping) for r in switches),
        bindings=tuple(
            Binding(r.store_id, r.role, _targets(r.targets), r.updated_at, r.updated_by) for r in bindings
        ),
    )


async def add_missing_rules(
    conn: AsyncConnection, dialect: DialectName, rules: Sequence[StoredRule], now: datetime
) -> int:
    """Insert those of *rules* whose id is not there yet; returns how many. Existing ones stay as they are."""
    if not rules:
        return 0
    statement = insert_into(dialect, rule).values(
        [
            {
                "rule_id": r.rule_id,
                "version": r.version,
                "event_type": r.event_type,
                "name": r.name,
                "priority": r.priority,
                "roles": list(r.roles),
                "format": r.format,
                "template": r.template,
                "missing": r.missing,
                "preset": r.preset,
                "created_at": now,
            }
            for r in rules
        ]
    )
    result = await conn.execute(statement.on_conflict_do_nothing(index_elements=["rule_id"]))
    if result.rowcount:
        await _turn_page(conn, dialect)
    return result.rowcount


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
            targets=[{"kind": t.kind.value, "id": t.id, "account": t.account} for t in binding.targets],
            updated_at=binding.updated_at,
            updated_by=binding.updated_by,
        )
    )


async def _turn_page(conn: AsyncConnection, dialect: DialectName) -> None:
    # The update comes first in a change's transaction: it waits for admissions that hold the version,
    # and admissions that come later wait for it.
    await conn.execute(
        sa.update(rulebook).where(rulebook.c.id == _ONLY).values(version=rulebook.c.version + 1)
    )


def _targets(stored: Sequence[dict[str, str]]) -> tuple[Target, ...]:
    return tuple(Target(TargetKind(t["kind"]), t["id"], t["account"]) for t in stored)
