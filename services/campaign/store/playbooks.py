"""The rows of playbooks that were started, and of what became of their steps."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.store.playbook_tables import (
    ACTIVE,
    WRITING,
    playbook_draft,
    playbook_occurrence,
    playbook_run,
    playbook_told,
)
from services.campaign.store.writing_tables import candidate_set
from shared.db.rows import dialect_of, insert_into
from shared.values import value_class

FINISHED: Final = "finished"
STOPPED: Final = "stopped"
SUBMITTED: Final = "submitted"
LEFT: Final = "left"
WAKEUP: Final = "playbooks"
"""Given when a playbook is started."""
_ROWS: Final = 2000


@value_class
class Run:
    """A playbook that was started."""

    id: str
    store_id: str
    playbook: str
    definition: Mapping[str, Any]
    parameters: Mapping[str, str]
    zone: str
    start_day: date
    status: str
    started_by: str
    started_at: datetime
    stopped_by: str
    comment: str
    ended_at: datetime | None
    next_day: date | None
    """Of the occurrence that is next; None where there is none."""
    next_step: int
    next_at: datetime | None


@value_class
class Happened:
    """What became of a step on its day."""

    run_id: str
    day: date
    step: int
    status: str
    """``made``, ``empty``, ``missed``, ``failed``."""
    reason: str
    detail: str
    due_at: datetime
    opens_at: datetime
    closes_at: datetime
    groups: int
    told_before: int
    excluded: Mapping[str, int]
    at: datetime


@value_class
class Draft:
    """A campaign that a step made."""

    campaign_id: str
    run_id: str
    day: date
    step: int
    part: int
    set_id: str
    status: str
    """``writing``, ``submitted``, ``left``."""
    reason: str
    detail: str
    opens_at: datetime
    updated_at: datetime


async def add(conn: AsyncConnection, run: Run) -> None:
    """Write a run."""
    values = {name: getattr(run, name) for name in Run.__dataclass_fields__}
    row = {**values, **_next(run.next_day), "start_day": str(run.start_day)}
    await conn.execute(sa.insert(playbook_run).values(row))


async def get(conn: AsyncConnection, run_id: str) -> Run | None:
    """One run."""
    row = (await conn.execute(sa.select(playbook_run).where(playbook_run.c.id == run_id))).mappings()
    return next((_run(one) for one in row), None)


async def hold(conn: AsyncConnection, run_id: str) -> Run | None:
    """One run, locked until the end of the transaction: whoever makes something of it or stops it comes by here."""
    lock = sa.select(playbook_run.c.id).where(playbook_run.c.id == run_id).with_for_update()
    if (await conn.execute(lock)).one_or_none() is None:
        return None
    return await get(conn, run_id)


async def page(
    conn: AsyncConnection,
    stores: Collection[str] | None,
    *,
    status: str = "",
    before: tuple[datetime, str] | None,
    limit: int,
) -> list[Run]:
    """Runs, the newest first, those behind *before* (started_at, id)."""
    t = playbook_run.c
    query = sa.select(playbook_run).order_by(t.started_at.desc(), t.id.desc()).limit(limit)
    if stores is not None:
        query = query.where(t.store_id.in_(sorted(stores)))
    if status:
        query = query.where(t.status == status)
    if before is not None:
        at, last = before
        query = query.where(sa.or_(t.started_at < at, sa.and_(t.started_at == at, t.id < last)))
    return [_run(row) for row in (await conn.execute(query)).mappings()]


async def due(conn: AsyncConnection, now: datetime, after: str, limit: int) -> list[str]:
    """Active runs of which something is due, by id, those behind *after*."""
    t = playbook_run.c
    query = sa.select(t.id).where(t.status == ACTIVE, t.next_at <= now, t.id > after)
    return list((await conn.execute(query.order_by(t.id).limit(limit))).scalars())


async def go_on(
    conn: AsyncConnection, run_id: str, day: date | None, step: int, due_at: datetime | None, now: datetime
) -> None:
    """Write what is next of a run that is held; nothing is, and it is finished."""
    values: dict[str, Any] = {**_next(day), "next_step": step, "next_at": due_at}
    if day is None:
        values |= {"status": FINISHED, "ended_at": now}
    await conn.execute(sa.update(playbook_run).where(playbook_run.c.id == run_id).values(values))


async def stop(conn: AsyncConnection, run_id: str, by: str, comment: str, now: datetime) -> None:
    """End a run that is held."""
    values = {
        "status": STOPPED,
        "stopped_by": by,
        "comment": comment,
        "ended_at": now,
        **_next(None),
        "next_at": None,
    }
    await conn.execute(sa.update(playbook_run).where(playbook_run.c.id == run_id).values(values))


async def begin(conn: AsyncConnection, what: Happened) -> bool:
    """Write that a step comes on its day, in the transaction of what becomes of it. False: that was seen to before."""
    insert = insert_into(dialect_of(conn), playbook_occurrence).values(_happened(what))
    new = insert.on_conflict_do_nothing().returning(playbook_occurrence.c.run_id)
    return (await conn.execute(new)).one_or_none() is not None


async def happened(conn: AsyncConnection, what: Happened) -> None:
    """Write what became of it."""
    t = playbook_occurrence.c
    mine = sa.and_(t.run_id == what.run_id, t.day == str(what.day), t.step == what.step)
    await conn.execute(sa.update(playbook_occurrence).where(mine).values(_happened(what)))


async def occurrences(
    conn: AsyncConnection, run_id: str, before: tuple[date, int] | None, limit: int
) -> list[Happened]:
    """Of a run, the newest first, those behind *before* (day, step)."""
    t = playbook_occurrence.c
    query = sa.select(playbook_occurrence).where(t.run_id == run_id)
    if before is not None:
        day, step = str(before[0]), before[1]
        query = query.where(sa.or_(t.day < day, sa.and_(t.day == day, t.step < step)))
    query = query.order_by(t.day.desc(), t.step.desc()).limit(limit)
    return [
        Happened(**{**row, "day": date.fromisoformat(row["day"])})
        for row in (await conn.execute(query)).mappings()
    ]


async def told(conn: AsyncConnection, run_id: str, step: int, until: date | None = None) -> frozenset[str]:
    """Groups that had a step, those alone that had it on *until* or before where that is given."""
    t = playbook_told.c
    query = sa.select(t.chat_id).where(t.run_id == run_id, t.step == step)
    if until is not None:
        query = query.where(t.day <= str(until))
    return frozenset((await conn.execute(query)).scalars())


async def tell(
    conn: AsyncConnection, run_id: str, step: int, day: date, campaign_id: str, chat_ids: Sequence[str]
) -> None:
    """Write that groups had a step; the database refuses a group that had it before."""
    own = {"run_id": run_id, "step": step, "day": str(day), "campaign_id": campaign_id}
    for at in range(0, len(chat_ids), _ROWS):
        rows = [{**own, "chat_id": chat_id} for chat_id in chat_ids[at : at + _ROWS]]
        await conn.execute(sa.insert(playbook_told), rows)


async def add_draft(conn: AsyncConnection, draft: Draft) -> None:
    """Write which campaign a step made."""
    values = {name: getattr(draft, name) for name in Draft.__dataclass_fields__}
    await conn.execute(sa.insert(playbook_draft).values({**values, "day": str(draft.day)}))


async def hold_draft(conn: AsyncConnection, campaign_id: str) -> Draft | None:
    """One draft, locked until the end of the transaction."""
    query = sa.select(playbook_draft).where(playbook_draft.c.campaign_id == campaign_id)
    return next((_draft(row) for row in (await conn.execute(query.with_for_update())).mappings()), None)


async def settle_draft(
    conn: AsyncConnection, campaign_id: str, status: str, reason: str, detail: str, now: datetime
) -> None:
    """Write how a draft ended that is held."""
    values = {"status": status, "reason": reason, "detail": detail, "updated_at": now}
    mine = playbook_draft.c.campaign_id == campaign_id
    await conn.execute(sa.update(playbook_draft).where(mine).values(values))


async def written(conn: AsyncConnection, after: str, limit: int) -> list[str]:
    """Campaigns whose words were asked for and are there, or will not come; by id, those behind *after*."""
    t = playbook_draft.c
    over = (candidate_set.c.id == t.set_id) & candidate_set.c.finished_at.is_not(None)
    query = sa.select(t.campaign_id).join(candidate_set, over)
    query = query.where(t.status == WRITING, t.campaign_id > after).order_by(t.campaign_id).limit(limit)
    return list((await conn.execute(query)).scalars())


async def drafts(
    conn: AsyncConnection, run_id: str, places: Collection[tuple[date, int]]
) -> Mapping[tuple[date, int], Sequence[Draft]]:
    """The drafts of occurrences of a run, by (day, step), the first part first."""
    t, found = playbook_draft.c, dict[tuple[date, int], list[Draft]]()
    wanted = sorted((str(day), step) for day, step in places)
    query = sa.select(playbook_draft).where(t.run_id == run_id, sa.tuple_(t.day, t.step).in_(wanted))
    for row in (await conn.execute(query.order_by(t.day, t.step, t.part))).mappings():
        one = _draft(row)
        found.setdefault((one.day, one.step), []).append(one)
    return found


async def counted(conn: AsyncConnection, run_ids: Collection[str]) -> Mapping[str, Mapping[str, int]]:
    """How many drafts there are by state, by run."""
    t, found = playbook_draft.c, dict[str, dict[str, int]]()
    query = sa.select(t.run_id, t.status, sa.func.count().label("n")).where(t.run_id.in_(sorted(run_ids)))
    for row in await conn.execute(query.group_by(t.run_id, t.status)):
        found.setdefault(row.run_id, {})[row.status] = row.n
    return found


async def purge(conn: AsyncConnection, before: datetime, limit: int) -> int:
    """Forget runs that ended before *before*, at most *limit* rows of a table at once; the most that went of one."""
    t = playbook_run.c
    old = sa.select(t.id).where(t.status != ACTIVE, t.ended_at < before).order_by(t.id).limit(1)
    run_id = await conn.scalar(old)
    if run_id is None:
        return 0
    for table in (playbook_told, playbook_draft, playbook_occurrence, playbook_run):
        owner = table.c.id if table is playbook_run else table.c.run_id
        keys = list(table.primary_key.columns)
        some = sa.select(*keys).where(owner == run_id).limit(limit)
        gone = await conn.execute(sa.delete(table).where(sa.tuple_(*keys).in_(some)))
        if gone.rowcount == limit:
            return limit
    return 1


def _next(day: date | None) -> dict[str, str]:
    return {"next_day": "" if day is None else str(day)}


def _run(row: Any) -> Run:
    days = {
        "start_day": date.fromisoformat(row["start_day"]),
        "next_day": date.fromisoformat(row["next_day"]) if row["next_day"] else None,
    }
    return Run(**{**row, **days})


def _happened(what: Happened) -> dict[str, Any]:
    values = {name: getattr(what, name) for name in Happened.__dataclass_fields__}
    return {**values, "day": str(what.day), "excluded": dict(what.excluded)}


def _draft(row: Any) -> Draft:
    return Draft(**{**row, "day": date.fromisoformat(row["day"])})
