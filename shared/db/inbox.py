"""What came in: one row per (store, event id), whichever door it came by and however often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from functools import cache

from sqlalchemy import Integer, RowMapping, bindparam, delete, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.frozen import frozen
from shared.db.rows import insert_rows, pack, rows
from shared.db.tables import inbox
from shared.db.types import DialectName, Id, Instant, Json

Key = tuple[str, str]
"""(store_id, event_id)."""


class _Statements:
    def __init__(self, dialect: DialectName) -> None:
        t = inbox
        keys = rows(dialect, "keys", store_id=Id, event_id=Id)
        same = (t.c.store_id == keys.c.store_id, t.c.event_id == keys.c.event_id)
        known = (
            t.c.store_id,
            t.c.event_id,
            t.c.event_type,
            t.c.content_hash,
            t.c.received_at,
            t.c.derived_id,
        )
        new = [column.name for column in t.c if column.name != "duplicates"]
        insert = insert_rows(dialect, t, "arriving", new).on_conflict_do_nothing()
        self.record = frozen(dialect, insert.returning(t.c.store_id, t.c.event_id))
        there = keys.join(t, same[0] & same[1])
        self.lookup = frozen(dialect, select(*known).select_from(there))
        self.whole = frozen(dialect, select(t).select_from(there))
        more = rows(dialect, "more", store_id=Id, event_id=Id, copies=Integer())
        copied = (t.c.store_id == more.c.store_id, t.c.event_id == more.c.event_id)
        again = t.c.duplicates + more.c.copies
        self.duplicate = frozen(dialect, update(t).where(*copied).values(duplicates=again))
        made = rows(dialect, "made", store_id=Id, event_id=Id, decision=Json())
        row = (t.c.store_id == made.c.store_id) & (t.c.event_id == made.c.event_id)
        self.decide = frozen(dialect, update(t).where(row).values(decision=made.c.decision))


_statements = cache(_Statements)

_GET = select(inbox).where(
    inbox.c.store_id == bindparam("store"),
    inbox.c.event_id == bindparam("event"),
)
_OLD = (
    select(inbox.c.store_id, inbox.c.event_id)
    .where(inbox.c.received_at < bindparam("before", type_=Instant()))
    .order_by(inbox.c.received_at)
    .limit(bindparam("size", type_=Integer()))
)
_PURGE = delete(inbox).where(tuple_(inbox.c.store_id, inbox.c.event_id).in_(_OLD))


def _sql(connection: AsyncConnection) -> _Statements:
    return _statements(connection.dialect.name)


async def record(connection: AsyncConnection, events: Iterable[Mapping[str, object]]) -> set[Key]:
    """Insert the events (the table's columns; ``decision`` may be missing); the keys that were new.

    A key that is not in the answer was there before, or came twice in *events* (the first one
    counts): see `lookup`. Concurrent calls with the same keys wait for each other.
    """
    # In one order everywhere, so that two replicas waiting for each other's keys cannot deadlock.
    ordered = sorted(events, key=_key)
    if not ordered:
        return set()
    new = await connection.execute(_sql(connection).record, {"arriving": pack(ordered)})
    return {(store_id, event_id) for store_id, event_id in new}


async def lookup(connection: AsyncConnection, keys: Iterable[Key]) -> dict[Key, RowMapping]:
    """Type, content hash, received_at and derived_id of the events that are there: a duplicate or a conflict?"""
    found = await connection.execute(_sql(connection).lookup, {"keys": _pack_keys(keys)})
    return {(row["store_id"], row["event_id"]): row for row in found.mappings()}


async def count_duplicates(connection: AsyncConnection, keys: Iterable[Key]) -> None:
    """Note that one more copy of each event came; of one that is listed n times, n more."""
    listed = [
        {"store_id": store, "event_id": event, "copies": copies}
        for (store, event), copies in sorted(Counter(keys).items())
    ]
    if listed:
        await connection.execute(_sql(connection).duplicate, {"more": pack(listed)})


async def find(
    connection: AsyncConnection, event_id: str, stores: Collection[str] | None
) -> list[RowMapping]:
    """The events of one id, by store; *stores* None means every store."""
    chosen = select(inbox).where(inbox.c.event_id == event_id).order_by(inbox.c.store_id)
    if stores is not None:
        chosen = chosen.where(inbox.c.store_id.in_(sorted(stores)))
    return list((await connection.execute(chosen)).mappings())


async def get(connection: AsyncConnection, store_id: str, event_id: str) -> RowMapping | None:
    """The whole row, or None."""
    found = await connection.execute(_GET, {"store": store_id, "event": event_id})
    return found.mappings().one_or_none()


async def get_many(connection: AsyncConnection, keys: Iterable[Key]) -> dict[Key, RowMapping]:
    """The whole rows of the events that are there, in one query."""
    found = await connection.execute(_sql(connection).whole, {"keys": _pack_keys(keys)})
    return {(row["store_id"], row["event_id"]): row for row in found.mappings()}


async def decide(connection: AsyncConnection, decisions: Mapping[Key, object]) -> None:
    """Write what was decided about events that are there (JSON values)."""
    if not decisions:
        return
    made = [
        {"store_id": store, "event_id": event, "decision": decision}
        for (store, event), decision in sorted(decisions.items(), key=lambda item: item[0])
    ]
    await connection.execute(_sql(connection).decide, {"made": pack(made)})


async def purge(connection: AsyncConnection, before: datetime, limit: int = 1000) -> int:
    """Delete up to *limit* events received before *before*, the oldest first; how many there were."""
    gone = await connection.execute(_PURGE, {"before": before, "size": limit})
    return gone.rowcount


def _pack_keys(keys: Iterable[Key]) -> str:
    return pack([{"store_id": store, "event_id": event} for store, event in keys])


def _key(event: Mapping[str, object]) -> Key:
    return (str(event["store_id"]), str(event["event_id"]))
