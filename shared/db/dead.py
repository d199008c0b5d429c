"""Dead letters: what could not be handled, kept with its reason until somebody replays or discards it (I9)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Literal

from sqlalchemy import Integer, RowMapping, Select, String, bindparam, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Text

from shared.db.frozen import frozen
from shared.db.payload import decode_body, encode_body
from shared.db.rows import insert_rows, pack, rows
from shared.db.tables import dead_letter
from shared.db.types import DialectName, Id, Instant, json_text
from shared.errors import Invalid
from shared.values import value_class

State = Literal["parked", "replayed", "discarded"]

PAGE_LIMIT = 500
_OPEN = ["state", "closed_at", "closed_by", "note"]


@value_class
class DeadLetter:
    """Something parked. Its body is kept byte for byte, whatever it is."""

    id: str
    """Sorts by time (UUIDv7): pages go by it."""
    reason: str
    detail: str
    body: bytes
    content_type: str
    headers: Mapping[str, object]
    door: str
    routing_key: str
    received_at: datetime
    parked_at: datetime
    event_id: str | None = None
    event_type: str | None = None
    store_id: str | None = None
    state: State = "parked"
    closed_at: datetime | None = None
    closed_by: str | None = None
    note: str | None = None


@value_class
class Filter:
    """Which letters; None means any."""

    state: State | None = "parked"
    reason: str | None = None
    store_id: str | None = None
    stores: Collection[str] | None = None
    """Only what names one of these; what names no store is then left out."""
    event_type: str | None = None
    parked_from: datetime | None = None
    parked_before: datetime | None = None


class _Statements:
    def __init__(self, dialect: DialectName) -> None:
        t = dead_letter
        new = [column.name for column in t.c if column.name not in _OPEN]
        insert = insert_rows(dialect, t, "letters", new).on_conflict_do_nothing()
        self.park = frozen(dialect, insert.returning(t.c.id))
        chosen = rows(dialect, "chosen", id=Id)
        closed = (
            update(t)
            .where(t.c.id == chosen.c.id, t.c.state == "parked")
            .values(
                state=bindparam("new_state", type_=String()),
                closed_at=bindparam("now", type_=Instant()),
                closed_by=bindparam("who", type_=String()),
                note=bindparam("why", type_=Text()),
            )
        )
        self.close = frozen(dialect, closed.returning(t.c.id))


_statements = cache(_Statements)
_GET = select(dead_letter).where(dead_letter.c.id == bindparam("letter"))
_COUNTS = (
    select(dead_letter.c.reason, func.count().label("letters"))
    .where(dead_letter.c.state == "parked")
    .group_by(dead_letter.c.reason)
)
_OLD = (
    select(dead_letter.c.id)
    .where(dead_letter.c.closed_at < bindparam("before", type_=Instant()))
    .order_by(dead_letter.c.closed_at)
    .limit(bindparam("size", type_=Integer()))
)
_PURGE = delete(dead_letter).where(dead_letter.c.id.in_(_OLD))


async def park(connection: AsyncConnection, letters: Sequence[DeadLetter]) -> set[str]:
    """Keep the letters, in the caller's transaction; the ids that were new.

    Takes anything that can arrive: characters a database has no room for are replaced in texts and
    headers, never in the body.
    """
    if not letters:
        return set()
    document = pack([_columns(letter) for letter in letters])
    return set(
        (await connection.execute(_statements(connection.dialect.name).park, {"letters": document})).scalars()
    )


def _columns(letter: DeadLetter) -> dict[str, object]:
    body, encoding = encode_body(letter.body)
    return {
        "id": letter.id,
        "reason": letter.reason,
        "detail": _clean(letter.detail),
        "event_id": _clean(letter.event_id),
        "event_type": _clean(letter.event_type),
        "store_id": _clean(letter.store_id),
        "body": body,
        "body_encoding": encoding,
        "content_type": _clean(letter.content_type),
        "headers": {_clean(str(key)): _storable(value) for key, value in letter.headers.items()},
        "door": letter.door,
        "routing_key": _clean(letter.routing_key),
        "received_at": letter.received_at,
        "parked_at": letter.parked_at,
    }


def _clean(text: str | None) -> str | None:
    """*text* without NUL and lone surrogates, which PostgreSQL and UTF-8 have no place for."""
    if text is None:
        return None
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


def _storable(value: object) -> object:
    if isinstance(value, str):
        return _clean(value)
    try:
        json_text(value, "header")
    except Invalid:
        return _clean(repr(value))
    return value


async def page(
    connection: AsyncConnection, wanted: Filter, *, after: str | None = None, limit: int = 50
) -> list[DeadLetter]:
    """The newest letters first; *after* is the last id of the page before. At most 500."""
    found = await connection.execute(_page(wanted, after, min(limit, PAGE_LIMIT)))
    return [_letter(row) for row in found.mappings()]


def _page(wanted: Filter, after: str | None, limit: int) -> Select[Any]:
    t = dead_letter
    chosen = select(t).order_by(t.c.id.desc()).limit(limit)
    if after is not None:
        chosen = chosen.where(t.c.id < after)
    for name in ("state", "reason", "store_id", "event_type"):
        if (value := getattr(wanted, name)) is not None:
            chosen = chosen.where(t.c[name] == value)
    if wanted.stores is not None:
        chosen = chosen.where(t.c.store_id.in_(sorted(wanted.stores)))
    if wanted.parked_from is not None:
        chosen = chosen.where(t.c.parked_at >= wanted.parked_from)
    if wanted.parked_before is not None:
        chosen = chosen.where(t.c.parked_at < wanted.parked_before)
    return chosen


async def get(connection: AsyncConnection, letter_id: str) -> DeadLetter | None:
    """One letter, or None."""
    row = (await connection.execute(_GET, {"letter": letter_id})).mappings().one_or_none()
    return None if row is None else _letter(row)


def _letter(row: RowMapping) -> DeadLetter:
    values = {key: value for key, value in row.items() if key not in ("body", "body_encoding")}
    return DeadLetter(body=decode_body(row["body"], row["body_encoding"]), **values)


async def close(
    connection: AsyncConnection,
    ids: Sequence[str],
    state: Literal["replayed", "discarded"],
    *,
    by: str,
    now: datetime,
    note: str = "",
) -> set[str]:
    """Mark parked letters as replayed or discarded; the ids that still were parked: each is closed once."""
    parameters = {
        "chosen": pack([{"id": key} for key in sorted(ids)]),
        "new_state": state,
        "now": now,
        "who": by,
        "why": note,
    }
    closed = await connection.execute(_statements(connection.dialect.name).close, parameters)
    return set(closed.scalars())


async def counts(connection: AsyncConnection) -> dict[str, int]:
    """How many are parked, by reason."""
    return {row.reason: row.letters for row in await connection.execute(_COUNTS)}


async def purge(connection: AsyncConnection, before: datetime, limit: int = 1000) -> int:
    """Delete up to *limit* letters closed before *before*; parked ones stay until somebody decides."""
    return (await connection.execute(_PURGE, {"before": before, "size": limit})).rowcount
