"""Sets of candidates as rows, and as a queue of what an application is to be asked."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.candidates import Answer, Asked, SetStatus
from services.campaign.store.writing_tables import ASKING, candidate, candidate_set
from shared.db.queue import DEFERRED, NORMAL, DueQueue, Settlement
from shared.db.rows import dialect_of
from shared.db.types import DialectName
from shared.values import value_class

WAKEUP: Final = "candidates"
"""Given when words are to be asked for."""

_TOLD: Final = (
    "reason",
    "generation",
    "run_id",
    "app_version",
    "prompt_hash",
    "models",
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "finished_at",
)


@value_class
class Held:
    """A set under our lease."""

    id: str
    epoch: int
    store_id: str
    campaign_id: str
    version: int
    asked: Asked
    generation: int
    tries: int
    created_at: datetime


@value_class
class KeptCandidate:
    """One candidate as it stands."""

    number: int
    text: str
    title: str
    angle: str
    tokens: int
    hits: Sequence[Mapping[str, Any]]
    """As ``Finding`` has them; the field is ``text`` or ``title``."""
    used_version: int = 0


@value_class
class KeptSet:
    """A set as it stands."""

    id: str
    store_id: str
    campaign_id: str
    version: int
    status: str
    """``ready``, ``failed``; anything else is under way."""
    asked: Asked
    asked_by: str
    reason: str
    run_id: str
    app_version: str
    prompt_hash: str
    models: Sequence[str]
    input_tokens: int
    output_tokens: int
    total_tokens: int
    created_at: datetime
    finished_at: datetime | None
    candidates: Sequence[KeptCandidate]


@cache
def queue(dialect: DialectName) -> DueQueue:
    """Sets that an application is to be asked for."""
    return DueQueue(dialect, candidate_set, running=ASKING, settle_columns=_TOLD)


async def add(
    conn: AsyncConnection,
    set_id: str,
    store_id: str,
    campaign_id: str,
    version: int,
    asked: Asked,
    asked_by: str,
    now: datetime,
) -> None:
    """Have it be asked for."""
    row = {
        "id": set_id,
        "store_id": store_id,
        "campaign_id": campaign_id,
        "version": version,
        "asked": asked.document(),
        "asked_by": asked_by,
        "created_at": now,
        **_outcome(Answer(), 1, None),
        **queue(dialect_of(conn)).ready(NORMAL, now),
    }
    await conn.execute(sa.insert(candidate_set).values(row))


async def claim(conn: AsyncConnection, owner: str, now: datetime, lease: timedelta, limit: int) -> list[Held]:
    """At most *limit* that are due, first those whose holder is gone."""
    line = queue(dialect_of(conn))
    await line.promote(conn, now)
    taken = list(await line.expired(conn, owner, now, lease, limit))
    if len(taken) < limit:
        taken += await line.claim(conn, owner, now, lease, limit - len(taken))
    return [_held(row) for row in taken]


async def finish(
    conn: AsyncConnection, held: Held, answer: Answer, found: Sequence[KeptCandidate], now: datetime
) -> bool:
    """It is over, with candidates or without. False: the lease is lost."""
    status = SetStatus.READY if found else SetStatus.FAILED
    extra = _outcome(answer, held.generation, now)
    end = Settlement(held.id, held.epoch, status.value, held.tries + 1, extra=extra)
    if not await queue(dialect_of(conn)).settle(conn, [end]):
        return False
    if found:
        rows = [{"set_id": held.id, **{name: getattr(one, name) for name in _CANDIDATE}} for one in found]
        await conn.execute(sa.insert(candidate), rows)
    return True


async def put_off(
    conn: AsyncConnection, held: Held, answer: Answer, generation: int, until: datetime
) -> bool:
    """It is asked once more at *until*. False: the lease is lost."""
    extra = _outcome(answer, generation, None)
    later = Settlement(held.id, held.epoch, DEFERRED, held.tries + 1, until, answer.reason, extra)
    return bool(await queue(dialect_of(conn)).settle(conn, [later]))


async def get(conn: AsyncConnection, set_id: str) -> KeptSet | None:
    """One set with its candidates."""
    rows = (await conn.execute(sa.select(candidate_set).where(candidate_set.c.id == set_id))).mappings()
    return next(iter(await _kept(conn, list(rows))), None)


async def page(
    conn: AsyncConnection, campaign_id: str, before: tuple[datetime, str] | None, limit: int
) -> list[KeptSet]:
    """Those of a campaign, the newest first, behind *before* (created_at, id)."""
    t = candidate_set.c
    query = sa.select(candidate_set).where(t.campaign_id == campaign_id)
    if before is not None:
        at, last = before
        query = query.where(sa.or_(t.created_at < at, sa.and_(t.created_at == at, t.id < last)))
    query = query.order_by(t.created_at.desc(), t.id.desc()).limit(limit)
    return await _kept(conn, list((await conn.execute(query)).mappings()))


async def used(conn: AsyncConnection, set_id: str, number: int, version: int) -> None:
    """A candidate became a version."""
    where = (candidate.c.set_id == set_id, candidate.c.number == number)
    await conn.execute(sa.update(candidate).where(*where).values(used_version=version))


async def tokens_of(conn: AsyncConnection, campaign_id: str) -> int:
    """Tokens charged for all words that were asked for a campaign."""
    query = sa.select(sa.func.coalesce(sa.func.sum(candidate_set.c.total_tokens), 0))
    return int(await conn.scalar(query.where(candidate_set.c.campaign_id == campaign_id)) or 0)


_CANDIDATE: Final = ("number", "text", "title", "angle", "tokens", "hits", "used_version")


def _outcome(answer: Answer, generation: int, finished_at: datetime | None) -> dict[str, Any]:
    told: dict[str, Any] = {
        name: getattr(answer, name) for name in _TOLD if name in Answer.__dataclass_fields__
    }
    return {**told, "models": list(answer.models), "generation": generation, "finished_at": finished_at}


def _held(row: Any) -> Held:
    return Held(
        row["id"],
        row["lease_epoch"],
        row["store_id"],
        row["campaign_id"],
        row["version"],
        Asked.read(row["asked"]),
        row["generation"],
        row["attempt_no"],
        row["created_at"],
    )


async def _kept(conn: AsyncConnection, rows: Collection[Any]) -> list[KeptSet]:
    t = candidate
    query = sa.select(t).where(t.c.set_id.in_([row["id"] for row in rows])).order_by(t.c.set_id, t.c.number)
    written: dict[str, list[KeptCandidate]] = {}
    for one in (await conn.execute(query)).mappings():
        values = {name: one[name] for name in _CANDIDATE}
        written.setdefault(one["set_id"], []).append(KeptCandidate(**values))
    plain = [name for name in KeptSet.__dataclass_fields__ if name not in ("asked", "candidates")]
    return [
        KeptSet(
            **{name: row[name] for name in plain},
            asked=Asked.read(row["asked"]),
            candidates=written.get(row["id"], ()),
        )
        for row in rows
    ]
