"""What was done by hand, in an order that cannot be changed unseen: a chain of sealed rows, one for each service.

An entry is written in the transaction of what it tells of, so there is one exactly where something was done. Its seal
is an HMAC over all it says and over the seal before it; the key is derived from the deployment's secret key, which is
not in the database. Whoever writes locks the head of the chain until the end of the transaction, so ``record`` comes
last in it, behind every other lock; and nothing on the way of events calls it.

No entry is ever deleted: the retention of other rows does not touch this table, and the database refuses.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import orjson
import sqlalchemy as sa
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.rows import insert_into
from shared.db.tables import audit_entry, audit_head
from shared.db.types import DialectName
from shared.rpc.principal import current
from shared.secrets import SecretKey
from shared.telemetry.traces import current_traceparent
from shared.text.instants import instant_text
from shared.values import value_class

GRPC: Final = "grpc"
"""The door that what people do comes by."""

VERIFIED_MOST: Final = 20_000
"""Entries that one look at a chain takes."""

_ONLY = 1
_CHUNK = 500


@value_class
class NewEntry:
    """What is to be kept of something done by hand."""

    method: str
    """``SendMessage``."""
    object_id: str = ""
    store_id: str = ""
    """Empty where it concerns every store, or several."""
    content: object = None
    """What was sent or set, as plain JSON; only its hash and size are kept."""
    detail: Mapping[str, object] | None = None
    """What may be kept as it is: plain JSON, no words of a message, no secrets."""


@value_class
class Entry:
    """One entry as it is stored."""

    seq: int
    at: datetime
    subject: str
    subject_kind: str
    token_id: str
    door: str
    method: str
    store_id: str
    object_id: str
    content_hash: str
    content_bytes: int
    detail: Mapping[str, Any]
    trace_id: str
    hash: str


@value_class
class Wanted:
    """Which entries a list shows; what is empty or None does not narrow it."""

    stores: Collection[str] | None = None
    """None is every store, and what concerns them all."""
    subject: str = ""
    method: str = ""
    object_id: str = ""
    start_at: datetime | None = None
    end_at: datetime | None = None


@value_class
class Examined:
    """What a look at a chain found."""

    checked: int
    head: int
    head_hash: str
    broken: int = 0
    """The first entry that is not as it was written; 0 when all looked at are."""
    problem: str = ""
    """``altered``, ``missing`` or ``head_differs``."""
    next: int = 0
    """Where to go on; 0 when the end was reached."""


class AuditLog:
    """Writes and examines the chain of one service."""

    def __init__(self, dialect: DialectName, key: SecretKey) -> None:
        self._key = key.derive("audit")
        # One statement that makes the head where there is none, takes the next number and locks it for us.
        first = insert_into(dialect, audit_head).values(id=_ONLY, seq=1, hash="")
        self._next = first.on_conflict_do_update(
            index_elements=["id"], set_={"seq": audit_head.c.seq + 1}
        ).returning(audit_head.c.seq, audit_head.c.hash)

    async def record(self, conn: AsyncConnection, note: NewEntry, now: datetime) -> None:
        """Add what the present caller did; the last thing of its transaction."""
        who = current()
        seq, before = (await conn.execute(self._next)).one()
        content = b"" if note.content is None else _bytes(note.content)
        trace = current_traceparent()
        values: dict[str, Any] = {
            "seq": seq,
            "at": now,
            "subject": who.subject,
            "subject_kind": who.kind,
            "token_id": who.token_id or "",
            "door": GRPC,
            "method": note.method,
            "store_id": note.store_id,
            "object_id": note.object_id,
            "content_hash": hashlib.sha256(content).hexdigest() if content else "",
            "content_bytes": len(content),
            "detail": dict(note.detail or {}),
            "trace_id": trace.split("-")[1] if trace else "",
        }
        values["hash"] = self._seal(values, before)
        await conn.execute(sa.insert(audit_entry).values(values))
        await conn.execute(sa.update(audit_head).values(hash=values["hash"]))

    async def page(
        self, conn: AsyncConnection, wanted: Wanted, *, before: int | None, limit: int
    ) -> list[Entry]:
        """Entries, the newest first, those ahead of the number *before*."""
        query = sa.select(audit_entry).order_by(audit_entry.c.seq.desc()).limit(limit)
        if wanted.stores is not None:
            query = query.where(audit_entry.c.store_id.in_(list(wanted.stores)))
        for column in ("subject", "method", "object_id"):
            if value := getattr(wanted, column):
                query = query.where(audit_entry.c[column] == value)
        if wanted.start_at is not None:
            query = query.where(audit_entry.c.at >= wanted.start_at)
        if wanted.end_at is not None:
            query = query.where(audit_entry.c.at < wanted.end_at)
        if before is not None:
            query = query.where(audit_entry.c.seq < before)
        return [Entry(**row._mapping) for row in await conn.execute(query)]

    async def hash_at(self, conn: AsyncConnection, seq: int) -> str:
        """The stored seal of entry *seq*; empty when there is none."""
        query = sa.select(audit_entry.c.hash).where(audit_entry.c.seq == seq)
        return (await conn.execute(query)).scalar_one_or_none() or ""

    async def examine(self, conn: AsyncConnection, after: int = 0, limit: int = VERIFIED_MOST) -> Examined:
        """Look at up to *limit* entries behind number *after*, each against its seal and the one before."""
        found = (await conn.execute(sa.select(audit_head.c.seq, audit_head.c.hash))).one_or_none()
        head, head_hash = (found.seq, found.hash) if found is not None else (0, "")
        before, at, checked = await self.hash_at(conn, after), after, 0
        if after and not before:
            return Examined(0, head, head_hash, after, "missing")
        while checked < limit:
            rows = await self._chunk(conn, at, min(_CHUNK, limit - checked))
            for row in rows:
                if row["seq"] != at + 1:
                    return Examined(checked, head, head_hash, at + 1, "missing")
                checked, at = checked + 1, row["seq"]
                if not hmac.compare_digest(row["hash"].encode(), self._seal(row, before).encode()):
                    return Examined(checked, head, head_hash, at, "altered")
                before = row["hash"]
            if not rows:
                # The head was written with the last entry: where they differ, entries behind this one are gone.
                whole = (at, before) == (head, head_hash)
                return Examined(
                    checked, head, head_hash, 0 if whole else at + 1, "" if whole else "head_differs"
                )
        return Examined(checked, head, head_hash, next=at)

    @staticmethod
    async def _chunk(conn: AsyncConnection, after: int, size: int) -> Sequence[RowMapping]:
        query = sa.select(audit_entry).where(audit_entry.c.seq > after).order_by(audit_entry.c.seq)
        return [row._mapping for row in await conn.execute(query.limit(size))]

    def _seal(self, values: Mapping[str, Any] | RowMapping, before: str) -> str:
        plain = {name: values[name] for name in _SEALED}
        plain["at"] = instant_text(values["at"])
        return hmac.digest(self._key, before.encode() + b"\0" + _bytes(plain), "sha256").hex()


_SEALED = (
    "seq", "at", "subject", "subject_kind", "token_id", "door", "method", "store_id", "object_id",
    "content_hash", "content_bytes", "detail", "trace_id",
)  # fmt: skip
"""What a seal covers, written out: a column that is added later must not break the seals there are."""


def _bytes(value: object) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
