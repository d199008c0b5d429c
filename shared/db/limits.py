"""Rates that hold across replicas and restarts (I17): sliding windows kept in rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Integer, bindparam, delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from shared import limits as windows
from shared.db.frozen import frozen
from shared.db.rows import insert_rows, pack, rows
from shared.db.tables import rate_window
from shared.db.types import DialectName, Id, Instant, Json
from shared.limits import Granted, Limit, Wait
from shared.values import value_class

USAGE_LIMIT = 1000


@value_class
class Request:
    """A wish to use *n* of everything that limits *key*."""

    key: str
    limits: Sequence[Limit]
    n: int = 1
    beside: tuple[tuple[str, Sequence[Limit]], ...] = ()
    """Further (key, limits) that must have room as well; else nothing is taken of any."""


@value_class
class Release:
    """What was granted at *granted_at* and certainly not used."""

    key: str
    limits: Sequence[Limit]
    granted_at: datetime
    n: int = 1


@value_class
class Usage:
    """The window of one key, as it was at *updated_at*; see `shared.limits.used`."""

    key: str
    state: windows.State
    updated_at: datetime


class _Statements:
    def __init__(self, dialect: DialectName) -> None:
        t = rate_window
        insert = insert_rows(dialect, t, "missing").on_conflict_do_nothing()
        self.insert = frozen(dialect, insert.returning(t.c.key))
        wanted = rows(dialect, "wanted", key=Id)
        found = select(t.c.key, t.c.state).where(t.c.key == wanted.c.key).order_by(t.c.key)
        self.look = frozen(dialect, found)
        self.lock = frozen(dialect, found.with_for_update(of=t) if dialect == "postgresql" else found)
        new = rows(dialect, "new", key=Id, state=Json())
        values = {"state": new.c.state, "updated_at": bindparam("now", type_=Instant())}
        self.write = frozen(dialect, update(t).where(t.c.key == new.c.key).values(values))


_statements = cache(_Statements)
_OLD = (
    select(rate_window.c.key)
    .where(rate_window.c.updated_at < bindparam("before", type_=Instant()))
    .order_by(rate_window.c.updated_at)
    .limit(bindparam("size", type_=Integer()))
)
_PURGE = delete(rate_window).where(rate_window.c.key.in_(_OLD))


async def reserve_many(
    connection: AsyncConnection, requests: Sequence[Request], now: datetime
) -> list[Granted | Wait]:
    """The verdict on each request, in order; requests on one key see each other.

    Take part in the caller's transaction: what is granted is taken when it commits. The rows stay
    locked until then, in one order everywhere; call it once a transaction, or two may deadlock.
    """
    if not requests:
        return []
    keys = {request.key for request in requests} | {key for request in requests for key, _ in request.beside}
    states = await _locked(connection, keys, now)
    verdicts: list[Granted | Wait] = []
    changed: dict[str, windows.State] = {}
    for request in requests:
        if request.beside:
            verdicts.append(_reserve_all(request, states, changed, now))
            continue
        verdict = windows.reserve(states[request.key], request.limits, now, request.n)
        before = states[request.key]
        after = {**before, **verdict.state}  # keeps other limits under the same key
        # A refusal is written too: a stamp from the future, taken to be now, has to age from now on.
        if isinstance(verdict, Granted) or after != before:
            changed[request.key] = states[request.key] = after
        verdicts.append(verdict)
    await _write(connection, changed, now)
    return verdicts


def _reserve_all(
    request: Request, states: dict[str, windows.State], changed: dict[str, windows.State], now: datetime
) -> Granted | Wait:
    """The verdict on a request for several windows: granted by all, or the first that is not, until all may be."""
    found = [
        (key, windows.reserve(states[key], limits, now, request.n))
        for key, limits in ((request.key, request.limits), *request.beside)
    ]
    waits = [(key, one) for key, one in found if isinstance(one, Wait)]
    for key, verdict in found:
        before = states[key]
        after = {**before, **verdict.state}
        # What one of them would have granted is not taken where another refuses.
        if not waits or (isinstance(verdict, Wait) and after != before):
            changed[key] = states[key] = after
    if not waits:
        return Granted({})
    key, first = waits[0]
    refused = tuple((key, one.until) for key, one in waits)
    return replace(first, until=max(until for _, until in refused), key=key, refused=refused)


async def hold(connection: AsyncConnection, keys: Collection[str], now: datetime) -> None:
    """Lock the windows of *keys* until the end of the transaction.

    For whoever acts on the very instant of a grant: read the clock after this and then reserve, and no wait for others
    lies between the two.
    """
    await _locked(connection, keys, now)


async def peek_many(
    connection: AsyncConnection, wishes: Sequence[tuple[str, Sequence[Limit]]], now: datetime
) -> list[Granted | Wait]:
    """What `reserve_many` would say to one of each (key, limits) now, in order; nothing is taken or locked."""
    wanted = pack([{"key": key} for key in sorted({key for key, _ in wishes})])
    found = await connection.execute(_statements(connection.dialect.name).look, {"wanted": wanted})
    states: dict[str, windows.State] = {row.key: row.state for row in found}
    verdicts: list[Granted | Wait] = []
    for key, limits in wishes:
        before = states.get(key, {})
        verdicts.append(verdict := windows.reserve(before, limits, now))
        states[key] = {**before, **verdict.state}
    return verdicts


async def release_many(connection: AsyncConnection, releases: Sequence[Release], now: datetime) -> None:
    """Give back what was granted and certainly not used; the rules of `reserve_many` apply."""
    if not releases:
        return
    states = await _locked(connection, {item.key for item in releases}, now)
    for item in releases:
        states[item.key] = windows.release(states[item.key], item.limits, item.granted_at, item.n)
    await _write(connection, states, now)


async def _locked(connection: AsyncConnection, keys: Collection[str], now: datetime) -> dict[str, Any]:
    states = await _lock(connection, sorted(keys))
    # A row that is missing cannot be locked, and two replicas would both begin with an empty window.
    if missing := sorted(set(keys) - states.keys()):
        fresh = pack([{"key": key, "state": {}, "updated_at": now} for key in missing])
        await connection.execute(_statements(connection.dialect.name).insert, {"missing": fresh})
        states |= await _lock(connection, missing)
    return states


async def _lock(connection: AsyncConnection, ordered: Sequence[str]) -> dict[str, Any]:
    wanted = pack([{"key": key} for key in ordered])
    found = await connection.execute(_statements(connection.dialect.name).lock, {"wanted": wanted})
    return dict(found.tuples().all())


async def _write(connection: AsyncConnection, states: Mapping[str, windows.State], now: datetime) -> None:
    if states:
        document = pack([{"key": key, "state": state} for key, state in states.items()])
        await connection.execute(_statements(connection.dialect.name).write, {"new": document, "now": now})


async def usage(connection: AsyncConnection, prefix: str, after: str = "") -> list[Usage]:
    """The windows whose key begins with *prefix*, by key, those behind *after*; at most 1,000."""
    chosen = (
        select(rate_window)
        .where(rate_window.c.key >= prefix, rate_window.c.key > after)
        .where(rate_window.c.key.startswith(prefix, autoescape=True))
        .order_by(rate_window.c.key)
        .limit(USAGE_LIMIT)
    )
    return [Usage(row.key, row.state, row.updated_at) for row in await connection.execute(chosen)]


async def purge(connection: AsyncConnection, before: datetime, limit: int = 1000) -> int:
    """Delete up to *limit* windows unused since *before*, which must be older than the longest limit."""
    return (await connection.execute(_PURGE, {"before": before, "size": limit})).rowcount
