"""The rows of runs and their steps, as the engine writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.definitions import Subject
from services.ai_orchestrator.domain.lifecycle import QUIET, Part, RunStatus, StepStatus
from services.ai_orchestrator.store.run_tables import RUNNING, chain_run, run_event, step_run
from shared.db.queue import HIGH, LOW, NORMAL, DueQueue
from shared.db.rows import dialect_of, insert_into
from shared.db.types import DialectName
from shared.values import value_class

QUANTUM: Final = timedelta(seconds=1)
"""What a store's next waiting step stands behind its last one: so the stores' steps alternate."""
_CLASS: Final = {HIGH: -timedelta(days=1), NORMAL: timedelta(0), LOW: timedelta(days=1)}
"""Who waits for an answer now, before events, before what nobody waits for."""

ERROR_MOST: Final = 500


def queue(dialect: DialectName) -> DueQueue:
    """The steps as a queue."""
    return DueQueue(dialect, step_run, running=RUNNING)


@value_class
class NewStep:
    """A step to be."""

    id: str
    name: str
    app_type: str
    app_version: str
    subject: Subject
    after: tuple[str, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict, hash=False)
    user_id: str = ""
    """Whose conversation it goes on with."""
    refresh: bool = False
    patient: bool = True
    lane: str | None = None
    """Steps of one lane go one at a time: those that would write the same insight, or are one conversation."""
    kept: Mapping[str, Any] | None = field(default=None, hash=False)
    """Columns of an ended step of an earlier run that this one stands for."""


@value_class
class NewRun:
    """A run to be."""

    id: str
    store_id: str
    chain: str
    chain_version: str
    event_type: str
    event_id: str
    trigger: str
    connector: str
    subject: Subject
    day: str
    dedup_key: str | None
    awaiting: str | None
    follows: str | None
    rerun_of: str | None
    prewarm: bool
    priority: int
    width: int
    traceparent: str | None
    deadline_at: datetime


@value_class
class Run:
    """A run as the engine needs it."""

    id: str
    store_id: str
    chain: str
    event_type: str
    member_id: str
    assistant_id: str
    prewarm: bool
    width: int
    status: RunStatus
    deadline_at: datetime
    trigger: str
    traceparent: str | None
    priority: int


_RUN: Final = [
    chain_run.c[name]
    for name in (
        "id", "store_id", "chain", "event_type", "member_id", "assistant_id", "prewarm", "width", "status",
        "deadline_at", "trigger", "traceparent", "priority",
    )
]  # fmt: skip


def _run(row: sa.RowMapping) -> Run:
    return Run(**{**row, "status": RunStatus(row["status"])})


async def insert(conn: AsyncConnection, new: NewRun, now: datetime) -> bool:
    """Write a run without its steps; False where one of its key, or one that awaits the same, is there."""
    row = {
        "id": new.id,
        "store_id": new.store_id,
        "chain": new.chain,
        "chain_version": new.chain_version,
        "event_type": new.event_type,
        "event_id": new.event_id,
        "trigger": new.trigger,
        "connector": new.connector,
        "member_id": new.subject.member_id,
        "assistant_id": new.subject.assistant_id,
        "day": new.day,
        "dedup_key": new.dedup_key,
        "awaiting": new.awaiting,
        "follows": new.follows,
        "rerun_of": new.rerun_of,
        "prewarm": new.prewarm,
        "priority": new.priority,
        "width": new.width,
        "status": RunStatus.PENDING.value,
        "reason": "",
        "error": "",
        "traceparent": new.traceparent,
        "deadline_at": new.deadline_at,
        "created_at": now,
    }
    statement = insert_into(dialect_of(conn), chain_run).values(row).on_conflict_do_nothing()
    return (await conn.execute(statement.returning(chain_run.c.id))).scalar() is not None


async def insert_steps(
    conn: AsyncConnection,
    run: NewRun,
    steps: Sequence[NewStep],
    now: datetime,
    *,
    due_at: datetime | None = None,
    hold_reason: str | None = None,
) -> None:
    """Write a run's steps, all blocked; `release` lets them go. *due_at* defers what is released before it."""
    due = {
        "status": StepStatus.BLOCKED.value,
        "priority": run.priority,
        "rank": now,
        "due_at": due_at or now,
        "hold_reason": hold_reason,
        "attempt_no": 0,
        "lease_epoch": 0,
    }
    rows = [
        {
            "id": step.id,
            "run_id": run.id,
            "position": position,
            "store_id": run.store_id,
            "name": step.name,
            "app_type": step.app_type,
            "app_version": step.app_version,
            **subject_columns(step.subject),
            "arguments": dict(step.arguments),
            "user_id": step.user_id,
            "after": list(step.after),
            "refresh": step.refresh,
            "patient": step.patient,
            "missing": [],
            "refusals": [],
            "correction": "",
            "reason": "",
            "error": "",
            "tokens": 0,
            "result": None,
            "finished_at": None,
            **due,
            "lane": step.lane,
            **(step.kept or {}),
        }
        for position, step in enumerate(steps)
    ]
    await conn.execute(sa.insert(step_run), rows)


def subject_columns(subject: Subject) -> dict[str, str]:
    """A subject's parts as columns."""
    return {
        "member_id": subject.member_id,
        "assistant_id": subject.assistant_id,
        "time_dimension": subject.time_dimension,
        "area": subject.area,
    }


def subject_of(row: Mapping[Any, Any]) -> Subject:
    """And back."""
    return Subject(row["store_id"], row["member_id"], row["assistant_id"], row["time_dimension"], row["area"])


async def by_key(conn: AsyncConnection, store_id: str, key: str) -> str | None:
    """The run that answers for a key."""
    found: str | None = (
        await conn.execute(
            sa.select(chain_run.c.id).where(chain_run.c.store_id == store_id, chain_run.c.dedup_key == key)
        )
    ).scalar()
    return found


async def awaiting(conn: AsyncConnection, store_id: str, key: str) -> str | None:
    """The follow-up for which later facts gather. Locked: it does not begin before what gathers is committed."""
    query = sa.select(chain_run.c.id).where(chain_run.c.store_id == store_id, chain_run.c.awaiting == key)
    found: str | None = (await conn.execute(query.with_for_update())).scalar()
    return found


async def was_refused(conn: AsyncConnection, run_id: str) -> bool:
    """Whether a run asked for nothing because a gate was shut."""
    s = step_run
    query = sa.select(s.c.id).where(s.c.run_id == run_id, s.c.status == StepStatus.REFUSED.value).limit(1)
    return (await conn.execute(query)).scalar() is not None


async def note_event(
    conn: AsyncConnection, run_id: str, event_id: str, content_hash: str, now: datetime
) -> bool:
    """Remember that a run answers this content; False where it did already."""
    statement = insert_into(dialect_of(conn), run_event).values(
        run_id=run_id, content_hash=content_hash, event_id=event_id, created_at=now
    )
    done = await conn.execute(statement.on_conflict_do_nothing().returning(run_event.c.run_id))
    return done.scalar() is not None


async def answered(conn: AsyncConnection, subject: Subject, day: str, content_hash: str) -> bool:
    """Whether a run of that day about a member answers this content."""
    r = chain_run.c
    query = (
        sa.select(r.id)
        .join(run_event, run_event.c.run_id == r.id)
        .where(
            r.store_id == subject.store_id,
            r.member_id == subject.member_id,
            r.day == day,
            run_event.c.content_hash == content_hash,
        )
    )
    return (await conn.execute(query.limit(1))).first() is not None


_GET: Final = sa.select(*_RUN).where(chain_run.c.id == sa.bindparam("run_id"))
_LOCK: Final = _GET.with_for_update()


async def get(conn: AsyncConnection, run_id: str) -> Run | None:
    """A run, unlocked."""
    row = (await conn.execute(_GET, {"run_id": run_id})).mappings().one_or_none()
    return None if row is None else _run(row)


async def lock(conn: AsyncConnection, run_id: str) -> Run | None:
    """A run, nobody else's until the transaction ends. Runs are locked before their steps."""
    row = (await conn.execute(_LOCK, {"run_id": run_id})).mappings().one_or_none()
    return None if row is None else _run(row)


async def overdue(conn: AsyncConnection, now: datetime, limit: int) -> Sequence[str]:
    """Open runs past their deadline."""
    r = chain_run
    query = (
        sa.select(r.c.id)
        .where(sa.text("status IN ('pending', 'running')"), r.c.deadline_at <= now)
        .order_by(r.c.deadline_at)
        .limit(limit)
    )
    return (await conn.execute(query)).scalars().all()


_OPEN: Final = [one.value for one in StepStatus if one.open]
_OPEN_PARTS: Final = (
    sa.select(step_run.c.id, step_run.c.name, step_run.c.status, step_run.c.after)
    .where(step_run.c.run_id == sa.bindparam("run_id"), step_run.c.status.in_(_OPEN))
    .order_by(step_run.c.position)
)


async def open_parts(conn: AsyncConnection, run_id: str) -> list[Part]:
    """The steps of a run that have not ended, in order, as far as they concern each other."""
    return [
        Part(row.id, row.name, StepStatus(row.status), tuple(row.after))
        for row in await conn.execute(_OPEN_PARTS, {"run_id": run_id})
    ]


async def ends(conn: AsyncConnection, run_id: str) -> list[StepStatus]:
    """How the steps of a run stand."""
    query = sa.select(step_run.c.status).where(step_run.c.run_id == run_id)
    return [StepStatus(status) for status in (await conn.execute(query)).scalars()]


async def begin(conn: AsyncConnection, run_id: str, now: datetime) -> None:
    """Its first step is taken up: what comes later does not gather for it any more."""
    r = chain_run
    statement = sa.update(r).where(r.c.id == run_id, r.c.status == RunStatus.PENDING.value)
    await conn.execute(statement.values(status=RunStatus.RUNNING.value, started_at=now, awaiting=None))


_LATER: Final = step_run.c.due_at > sa.bindparam("now", type_=step_run.c.due_at.type)
_RELEASE: Final = (
    sa.update(step_run)
    .where(step_run.c.id == sa.bindparam("which"), step_run.c.status == StepStatus.BLOCKED.value)
    .values(
        status=sa.case((_LATER, StepStatus.DEFERRED.value), else_=StepStatus.PENDING.value),
        hold_reason=sa.case((_LATER, step_run.c.hold_reason), else_=sa.null()),
        rank=sa.bindparam("place", type_=step_run.c.rank.type),
    )
)


async def release(conn: AsyncConnection, run: Run, ids: Sequence[str], now: datetime) -> None:
    """Let blocked steps of one run go, placed behind those of their store that wait."""
    place = await _place(conn, run.store_id, run.priority, now)
    rows = [{"which": step_id, "now": now, "place": place + at * QUANTUM} for at, step_id in enumerate(ids)]
    await conn.execute(_RELEASE, rows)


async def stand_back(conn: AsyncConnection, run: Run, due_at: datetime) -> None:
    """Let the steps of a run that wait for a quiet period's end have the place in line of those that come then.

    In a lane the first one blocks the others: what begins before that time must not wait for it.
    """
    s = step_run
    waits = (s.c.run_id == run.id, s.c.status == StepStatus.DEFERRED.value, s.c.hold_reason == QUIET)
    await conn.execute(sa.update(s).where(*waits).values(rank=due_at + _CLASS[run.priority]))


# Those that stand where somebody will come at the end of a quiet period are not in line yet.
_LAST: Final = sa.select(sa.func.max(step_run.c.rank)).where(
    sa.text("status IN ('pending', 'deferred')"),
    sa.or_(step_run.c.hold_reason.is_(None), step_run.c.hold_reason != QUIET),
    step_run.c.store_id == sa.bindparam("store_id"),
    step_run.c.priority == sa.bindparam("priority"),
)
_FRONT: Final = sa.select(sa.func.min(step_run.c.rank)).where(
    sa.text("status = 'pending'"), step_run.c.priority == sa.bindparam("priority")
)


async def _place(conn: AsyncConnection, store_id: str, priority: int, now: datetime) -> datetime:
    """Start-time fair queueing: where the line is now, or behind the last of the store's own that waits.

    The line is where its first one stands, not what time it is: after hours of waiting a newcomer stands beside the first.
    """
    last = (await conn.execute(_LAST, {"store_id": store_id, "priority": priority})).scalar()
    front = (await conn.execute(_FRONT, {"priority": priority})).scalar()
    line: datetime = front or now + _CLASS[priority]
    return line if last is None else max(line, last + QUANTUM)


async def end_open_steps(
    conn: AsyncConnection, run_id: str, status: StepStatus, reason: str, now: datetime
) -> None:
    """End what has not ended; a step that waits for a gate ends with that gate's reason, and the others with *reason*."""
    s = step_run
    # An open step has a reason only from its refusal until it is asked: also while somebody has just taken it up.
    waits = sa.and_(s.c.reason != "", sa.literal(status is StepStatus.FAILED))
    values = {
        "status": sa.case((waits, StepStatus.REFUSED.value), else_=status.value),
        "reason": sa.case((waits, s.c.reason), else_=reason),
        "hold_reason": None,
        "lease_owner": None,
        "lease_until": None,
        "finished_at": now,
    }
    await conn.execute(sa.update(s).where(s.c.run_id == run_id, s.c.status.in_(_OPEN)).values(values))


async def finish(
    conn: AsyncConnection, run_id: str, status: RunStatus, reason: str, error: str, now: datetime
) -> None:
    """End a run. Its key stays: it answers for its day."""
    values = {"status": status.value, "reason": reason, "error": error[:ERROR_MOST], "finished_at": now}
    await conn.execute(sa.update(chain_run).where(chain_run.c.id == run_id).values(**values, awaiting=None))


_STEP: Final = sa.update(step_run).where(step_run.c.id == sa.bindparam("which"))
_HELD_STEP: Final = _STEP.where(step_run.c.lease_epoch == sa.bindparam("epoch"), step_run.c.status == RUNNING)


async def update_step(conn: AsyncConnection, step_id: str, values: Mapping[str, Any]) -> None:
    """Write a step's own columns; under the run's lock, or by who holds the step."""
    await conn.execute(_STEP, {**values, "which": step_id})


async def asked(conn: AsyncConnection, step_id: str, epoch: int, values: Mapping[str, Any]) -> bool:
    """Write what is known of a step that is about to be asked for; False where it is not its holder's any more."""
    done = await conn.execute(_HELD_STEP, {**values, "which": step_id, "epoch": epoch})
    return bool(done.rowcount)


async def epoch_of(conn: AsyncConnection, step_id: str) -> int | None:
    """Under which epoch a step is held now, locked; None where nobody holds it."""
    s = step_run.c
    query = sa.select(s.lease_epoch).where(s.id == step_id, s.status == RUNNING).with_for_update()
    found: int | None = (await conn.execute(query)).scalar()
    return found


async def results(conn: AsyncConnection, run_id: str, names: Sequence[str]) -> Sequence[sa.RowMapping]:
    """What steps of a run brought: app_type, status, reason, result, finished_at."""
    s = step_run
    query = sa.select(s.c.app_type, s.c.status, s.c.reason, s.c.result, s.c.finished_at)
    query = query.where(s.c.run_id == run_id, s.c.name.in_(names))
    return (await conn.execute(query)).mappings().all()


async def first_error(conn: AsyncConnection, run_id: str) -> str:
    """What went wrong first."""
    s = step_run
    query = (
        sa.select(s.c.name, s.c.reason, s.c.error)
        .where(s.c.run_id == run_id, s.c.status.in_(["failed", "refused"]))
        .order_by(s.c.finished_at, s.c.position)
        .limit(1)
    )
    row = (await conn.execute(query)).one_or_none()
    return "" if row is None else f"{row.name}: {row.reason}" + (f" ({row.error})" if row.error else "")


async def purge(conn: AsyncConnection, before: datetime, limit: int) -> int:
    """Delete up to *limit* runs that ended before *before*, with their steps; how many."""
    r = chain_run
    old = (
        (
            await conn.execute(
                sa.select(r.c.id)
                .where(r.c.finished_at.is_not(None), r.c.created_at < before, r.c.finished_at < before)
                .order_by(r.c.created_at)
                .limit(limit)
            )
        )
        .scalars()
        .all()
    )
    if old:
        for table, column in ((step_run, step_run.c.run_id), (run_event, run_event.c.run_id), (r, r.c.id)):
            await conn.execute(sa.delete(table).where(column.in_(old)))
    return len(old)


async def waiting_for(conn: AsyncConnection, refusal: str) -> int:
    """How many steps a gate has put off."""
    s = step_run
    query = sa.select(sa.func.count()).where(sa.text("status = 'deferred'"), s.c.hold_reason == refusal)
    return (await conn.execute(query)).scalar_one()


async def due_now(conn: AsyncConnection, refusal: str, now: datetime) -> None:
    """Let the steps that a gate has put off be due at once."""
    s = step_run
    statement = sa.update(s).where(sa.text("status = 'deferred'"), s.c.hold_reason == refusal)
    await conn.execute(statement.values(due_at=now))
