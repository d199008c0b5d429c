"""Templates and their versions."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.templates import TemplateSpec
from services.kf_session.store.learning_tables import template, template_version
from shared.db.rows import insert_into
from shared.db.types import DialectName
from shared.values import value_class

EVERY_STORE = ""


@value_class
class Head:
    """Where a template stands."""

    store_id: str
    template_id: str
    acting: int
    """0 where none does: it was deleted."""
    latest: int


@value_class
class Version:
    """One version; none is ever changed."""

    store_id: str
    template_id: str
    version: int
    spec: TemplateSpec
    comment: str
    created_at: datetime
    created_by: str
    acting: bool = False


_VERSIONS = sa.select(template_version, template.c.acting).join_from(
    template_version,
    template,
    (template.c.store_id == template_version.c.store_id)
    & (template.c.template_id == template_version.c.template_id),
)


async def hold(
    conn: AsyncConnection, dialect: DialectName, store_id: str, template_id: str, now: datetime
) -> Head:
    """Where a template stands, made where there is none; nobody else changes it until the transaction is over."""
    first = insert_into(dialect, template).values(
        store_id=store_id, template_id=template_id, acting=0, latest=0, created_at=now, updated_at=now
    )
    # The conflict's update takes the lock on the row that is there.
    taken = first.on_conflict_do_update(
        index_elements=["store_id", "template_id"], set_={"updated_at": template.c.updated_at}
    ).returning(template.c.acting, template.c.latest)
    acting, latest = (await conn.execute(taken)).one()
    return Head(store_id, template_id, acting, latest)


async def add(conn: AsyncConnection, new: Version) -> None:
    """Insert the version after the latest; after ``hold``."""
    await conn.execute(
        sa.insert(template_version).values(
            store_id=new.store_id,
            template_id=new.template_id,
            version=new.version,
            spec=new.spec.to_json(),
            comment=new.comment,
            created_at=new.created_at,
            created_by=new.created_by,
        )
    )
    await _set(conn, new.store_id, new.template_id, latest=new.version, updated_at=new.created_at)


async def act(conn: AsyncConnection, store_id: str, template_id: str, version: int, now: datetime) -> None:
    """Let another version act, or (0) none; after ``hold``."""
    await _set(conn, store_id, template_id, acting=version, updated_at=now)


async def _set(conn: AsyncConnection, store_id: str, template_id: str, **values: Any) -> None:
    same = (template.c.store_id == store_id) & (template.c.template_id == template_id)
    await conn.execute(sa.update(template).where(same).values(**values))


async def acting(conn: AsyncConnection, store_id: str, template_id: str) -> Version | None:
    """What acts in a store: its own template of that id, else the one for every store; None where neither does."""
    query = _VERSIONS.where(
        template.c.store_id.in_({store_id, EVERY_STORE}),
        template.c.template_id == template_id,
        template_version.c.version == template.c.acting,
    ).order_by(template.c.store_id.desc())
    row = (await conn.execute(query.limit(1))).first()
    return None if row is None else _version(row)


async def version(conn: AsyncConnection, store_id: str, template_id: str, number: int) -> Version | None:
    """One version."""
    query = _VERSIONS.where(
        template_version.c.store_id == store_id,
        template_version.c.template_id == template_id,
        template_version.c.version == number,
    )
    row = (await conn.execute(query)).first()
    return None if row is None else _version(row)


async def listed(
    conn: AsyncConnection,
    stores: Collection[str] | None,
    template_id: str,
    *,
    every_version: bool,
    after: tuple[str, str, int] | None,
    limit: int,
) -> list[Version]:
    """By store and id, the newest version first; without *every_version* those that act. None is every store."""
    t = template_version.c
    query = _VERSIONS.order_by(t.store_id, t.template_id, t.version.desc()).limit(limit)
    if stores is not None:
        query = query.where(t.store_id.in_(stores))
    if template_id:
        query = query.where(t.template_id == template_id)
    if not every_version:
        query = query.where(t.version == template.c.acting)
    if after is not None:
        store_id, ident, number = after
        query = query.where(
            sa.or_(
                t.store_id > store_id,
                sa.and_(t.store_id == store_id, t.template_id > ident),
                sa.and_(t.store_id == store_id, t.template_id == ident, t.version < number),
            )
        )
    return [_version(row) for row in (await conn.execute(query)).all()]


def _version(row: sa.Row[Any]) -> Version:
    return Version(
        row.store_id,
        row.template_id,
        row.version,
        TemplateSpec.from_json(row.spec),
        row.comment,
        row.created_at,
        row.created_by,
        row.version == row.acting,
    )
