"""Experiments, and what is known of their customers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.effects import Kind
from services.kf_session.domain.experiment import Seen, Variant, label, labels
from services.kf_session.store.learning_tables import RUNNING, effect, experiment, experiment_variant
from services.kf_session.store.tables import push
from shared.db.rows import insert_into
from shared.db.types import DialectName
from shared.values import value_class

STOPPED = "stopped"


@value_class
class Experiment:
    """Versions of a template against each other."""

    id: str
    store_id: str
    template_id: str
    status: str
    variants: tuple[Variant, ...]
    alpha: float
    adopt: bool
    started_at: datetime
    ends_at: datetime
    created_by: str
    reason: str = ""
    winner: str | None = None
    stopped_at: datetime | None = None
    reasons: Mapping[str, str] | None = None
    """Why variants were stopped."""

    @property
    def running(self) -> bool:
        """Whether it assigns customers."""
        return self.status == RUNNING


async def add(conn: AsyncConnection, dialect: DialectName, new: Experiment) -> bool:
    """Insert a running experiment; False where one runs for that template."""
    values = {
        "id": new.id,
        "store_id": new.store_id,
        "template_id": new.template_id,
        "status": RUNNING,
        "reason": "",
        "adopt": new.adopt,
        "alpha": new.alpha,
        "started_at": new.started_at,
        "ends_at": new.ends_at,
        "created_by": new.created_by,
    }
    insert = insert_into(dialect, experiment).values(**values).on_conflict_do_nothing()
    if await conn.scalar(insert.returning(experiment.c.id)) is None:
        return False
    for position, one in enumerate(new.variants):
        await conn.execute(
            sa.insert(experiment_variant).values(
                experiment_id=new.id,
                name=one.name,
                position=position,
                version=one.version,
                share=one.share,
                reason="",
            )
        )
    return True


async def of_template(
    conn: AsyncConnection, store_id: str, template_id: str, *, lock: bool = False
) -> Experiment | None:
    """The one that runs."""
    query = sa.select(experiment).where(
        experiment.c.store_id == store_id,
        experiment.c.template_id == template_id,
        experiment.c.status == RUNNING,
    )
    return await _first(conn, query, lock=lock)


async def of_id(conn: AsyncConnection, ident: str, *, lock: bool = False) -> Experiment | None:
    """One experiment."""
    return await _first(conn, sa.select(experiment).where(experiment.c.id == ident), lock=lock)


async def latest(conn: AsyncConnection, store_id: str, template_id: str) -> Experiment | None:
    """The last that was started for a template."""
    query = sa.select(experiment).where(
        experiment.c.store_id == store_id, experiment.c.template_id == template_id
    )
    return await _first(conn, query.order_by(experiment.c.started_at.desc(), experiment.c.id.desc()).limit(1))


async def running(conn: AsyncConnection) -> Sequence[str]:
    """Ids of those that run."""
    query = sa.select(experiment.c.id).where(experiment.c.status == RUNNING).order_by(experiment.c.id)
    return (await conn.execute(query)).scalars().all()


async def stop_variants(conn: AsyncConnection, ident: str, reasons: Mapping[str, str], now: datetime) -> None:
    """Hand the customers of variants to the control."""
    for name, reason in reasons.items():
        same = (experiment_variant.c.experiment_id == ident) & (experiment_variant.c.name == name)
        await conn.execute(sa.update(experiment_variant).where(same).values(stopped_at=now, reason=reason))


async def stop(conn: AsyncConnection, ident: str, reason: str, winner: str | None, now: datetime) -> None:
    """End an experiment."""
    await conn.execute(
        sa.update(experiment)
        .where(experiment.c.id == ident)
        .values(status=STOPPED, reason=reason, winner=winner, stopped_at=now)
    )


async def seen(conn: AsyncConnection, one: Experiment) -> dict[str, Seen]:
    """What is known of each variant's customers, by the first push of the experiment that the platform accepted."""
    low, high = labels(one.id)
    order = sa.func.row_number().over(
        partition_by=push.c.external_userid, order_by=(push.c.accepted_at, push.c.id)
    )
    mine = sa.and_(push.c.variant >= low, push.c.variant < high, push.c.accepted_at.is_not(None))
    first = (
        sa.select(push.c.id, push.c.variant, push.c.fail_type, order.label("place")).where(mine).subquery()
    )
    arrived = first.c.fail_type.is_(None)

    def did(*kinds: Kind) -> sa.ColumnElement[bool]:
        wanted = [kind.value for kind in kinds]
        return sa.exists().where(effect.c.push_id == first.c.id, effect.c.kind.in_(wanted))

    engaging = [kind for kind in Kind if kind is not Kind.UNSUBSCRIBED]
    figures = (
        sa.func.count(),
        _how_many(sa.and_(arrived, did(*engaging))),
        _how_many(sa.and_(arrived, did(Kind.UNSUBSCRIBED))),
        _how_many(sa.not_(arrived)),
    )
    query = sa.select(first.c.variant, *figures).where(first.c.place == 1).group_by(first.c.variant)
    found = {
        row[0]: Seen(*(int(value or 0) for value in row[1:])) for row in (await conn.execute(query)).all()
    }
    return {each.name: found.get(label(one.id, each.name), Seen()) for each in one.variants}


def _how_many(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[Any]:
    return sa.func.sum(sa.case((condition, 1), else_=0))


async def _first(conn: AsyncConnection, query: sa.Select[Any], *, lock: bool = False) -> Experiment | None:
    row = (await conn.execute(query.with_for_update() if lock else query)).first()
    if row is None:
        return None
    variants = (
        await conn.execute(
            sa.select(experiment_variant)
            .where(experiment_variant.c.experiment_id == row.id)
            .order_by(experiment_variant.c.position)
        )
    ).all()
    return Experiment(
        row.id,
        row.store_id,
        row.template_id,
        row.status,
        tuple(Variant(one.name, one.version, one.share, one.stopped_at is not None) for one in variants),
        row.alpha,
        bool(row.adopt),
        row.started_at,
        row.ends_at,
        row.created_by,
        row.reason,
        row.winner,
        row.stopped_at,
        {one.name: one.reason for one in variants if one.stopped_at is not None},
    )
