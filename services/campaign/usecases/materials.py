"""Materials: stored part by part, listed, and taken away where no campaign shows them."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.lifecycle import Status
from services.campaign.domain.material import MaterialKind, check_begin, check_size
from services.campaign.store import campaigns
from services.campaign.store import materials as store
from services.campaign.store.materials import KeptMaterial
from shared.audit import AuditLog, NewEntry
from shared.clock import Clock
from shared.db.engine import Database
from shared.db.once import Once
from shared.errors import Conflict, Invalid, NotFound
from shared.ids import new_id
from shared.rpc.principal import current
from shared.values import value_class

_OPEN: Final = tuple(status for status in Status if not status.over)
_LOOKED_AT: Final = 200


@value_class
class Part:
    """One part of a material, and what the whole will be."""

    store_id: str
    name: str
    kind: MaterialKind
    filename: str
    size: int
    start: int
    content: bytes


class Materials:
    """What callers may do with them."""

    def __init__(self, database: Database, audit: AuditLog, clock: Clock) -> None:
        self._database = database
        self._audit = audit
        self._clock = clock

    async def upload(self, part: Part) -> KeptMaterial:
        """Store one part; the material as it then stands. Raises Invalid, and Conflict where the name is taken."""
        check_size(part.kind, part.size, "size_bytes")
        if part.start + len(part.content) > part.size:
            raise Invalid.field("content", f"goes beyond the {part.size} bytes that there are")
        if part.start == 0:
            check_begin(part.kind, part.content[:12], "content")

        async def write(conn: AsyncConnection) -> KeptMaterial:
            now = self._clock.now()
            held = await self._begun(conn, part, now)
            if not await self._is_new(conn, held, part):
                return held
            digest = ""
            if part.start + len(part.content) == part.size:
                whole = await store.content(conn, held.id) + part.content
                digest = hashlib.sha256(whole).hexdigest()
            await store.add_part(conn, held, part.start, part.content, digest, now)
            if digest:
                told = {"bytes": part.size, "digest": digest}
                done = NewEntry("UploadMaterial", part.name, part.store_id, detail=told)
                await self._audit.record(conn, done, now)
            return await self._there(conn, part.store_id, part.name)

        return await self._database.transact(write)

    async def _begun(self, conn: AsyncConnection, part: Part, now: datetime) -> KeptMaterial:
        """The row of it, made or begun anew where this is its first part."""
        held = await store.hold(conn, part.store_id, part.name)
        if (
            held is not None
            and not held.digest
            and part.start == 0
            and not await self._same(conn, held, part)
        ):
            await store.drop(conn, held.id)
            held = None
        if held is not None:
            return held
        if part.start:
            raise Invalid.field("offset", "nothing of this material is here; begin with 0")
        new = KeptMaterial(
            new_id(),
            part.store_id,
            part.name,
            part.kind,
            part.filename,
            part.size,
            received=0,
            digest="",
            created_by=current().subject,
            created_at=now,
            updated_at=now,
        )
        await store.begin(conn, new)
        return await self._there(conn, part.store_id, part.name, hold=True)

    async def _is_new(self, conn: AsyncConnection, held: KeptMaterial, part: Part) -> bool:
        """Whether the part is the next one; False for one that is here. Raises what it is refused with."""
        same = _like(held, part)
        if same and part.start == held.received and not held.digest:
            return True
        if same and await self._same(conn, held, part):
            return False
        if held.digest or not same:
            text = f"there is another material {part.name}; take another name, or delete it"
            raise Conflict("STATE_INVALID", text, state="taken")
        raise Invalid.field("offset", f"the next part begins at {held.received}")

    async def _same(self, conn: AsyncConnection, held: KeptMaterial, part: Part) -> bool:
        return await store.part(conn, held.id, part.start) == part.content

    async def page(
        self, stores: Collection[str] | None, after: tuple[str, str] | None, limit: int
    ) -> list[KeptMaterial]:
        """By store and name, those after *after*."""
        async with self._database.read() as conn:
            return await store.page(conn, stores, after, limit)

    async def delete(self, store_id: str, name: str, *, once: Once) -> None:
        """Take it away. Raises NotFound, and Conflict where a campaign that is not over shows it."""

        async def write(conn: AsyncConnection) -> None:
            now = self._clock.now()
            if not await once.is_first(conn, now):
                return
            # Whoever saves a campaign with it holds it too: after this lock every such campaign is seen.
            held = await store.hold(conn, store_id, name)
            if held is None:
                raise _absent()
            if used := await _shown_by(conn, store_id, name):
                text = f"campaign {used} shows it and is not over"
                raise Conflict("STATE_INVALID", text, state="in_use", campaign_id=used)
            await store.drop(conn, held.id)
            await self._audit.record(conn, NewEntry(once.name, name, store_id), now)

        await self._database.transact(write)

    async def _there(
        self, conn: AsyncConnection, store_id: str, name: str, *, hold: bool = False
    ) -> KeptMaterial:
        found = await (store.hold if hold else store.get)(conn, store_id, name)
        if found is None:
            raise _absent()
        return found


async def _shown_by(conn: AsyncConnection, store_id: str, name: str) -> str:
    """The id of a campaign that is not over and shows the material; '' where there is none."""
    before = None
    while True:
        found = await campaigns.page(conn, {store_id}, statuses=_OPEN, before=before, limit=_LOOKED_AT)
        for one in found:
            if any(shown.material == name for shown in one.spec.content.attachments):
                return one.id
        if len(found) < _LOOKED_AT:
            return ""
        before = (found[-1].created_at, found[-1].id)


def _like(held: KeptMaterial, part: Part) -> bool:
    return (held.kind, held.filename, held.size) == (part.kind, part.filename, part.size)


def _absent() -> NotFound:
    return NotFound("NOT_FOUND", "there is no such material", resource="material")
