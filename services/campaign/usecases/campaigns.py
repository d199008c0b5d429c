"""Campaigns written: begun as drafts, changed as long as they have not begun, shown."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain import linting
from services.campaign.domain.campaign import Content, Spec
from services.campaign.domain.lifecycle import Status
from services.campaign.domain.tone import check_words
from services.campaign.pipeline.linting import Linter
from services.campaign.pipeline.moving import Moving
from services.campaign.pipeline.ports import Groups
from services.campaign.store import campaign_reading, campaigns, materials, tones
from services.campaign.store.campaign_reading import Frozen
from services.campaign.store.campaigns import Edit, Kept
from shared.audit import AuditLog, NewEntry
from shared.clock import Clock
from shared.db.engine import Database
from shared.db.once import Once
from shared.errors import Conflict, Invalid, NotFound, Overtaken
from shared.ids import new_id
from shared.rpc.principal import current
from shared.telemetry.traces import current_traceparent
from shared.values import value_class

CREATED: Final = "created"
EDITED: Final = "edited"
AI_TEXT: Final = "ai_text"
PLAYBOOK: Final = "playbook"
TOP_UP: Final = "top_up"
BANNED_WORDS: Final = 200
"""Most words of one campaign."""

Change = Callable[[Spec], Spec]
"""What a caller wants of what is written now."""
OnVersion = Callable[[int], Awaitable[None]]
"""Given the number of a new version, in its transaction."""


@value_class
class View:
    """A campaign as callers see it."""

    kept: Kept
    edits: Sequence[Edit]
    frozen: Frozen | None
    """What an approval of the present version would bind; None where it was not submitted."""


@value_class
class Origin:
    """Where a new campaign comes from."""

    how: str = CREATED
    playbook: str = ""
    editor: str = ""
    """Empty: whoever calls."""
    top_up_of: str = ""
    """The campaign whose remaining groups it is for."""
    authors: Collection[str] = ()
    """Who wrote what it was copied from: none of them can approve it either."""


class Campaigns:
    """What those who write may do."""

    def __init__(
        self,
        database: Database,
        linter: Linter,
        groups: Groups,
        moving: Moving,
        audit: AuditLog,
        clock: Clock,
    ) -> None:
        self._database = database
        self._linter = linter
        self._groups = groups
        self._moving = moving
        self._audit = audit
        self._clock = clock

    async def create(self, store_id: str, spec: Spec, *, once: Once) -> View:
        """Begin a campaign. Raises Invalid for what it says."""
        self.check(spec, None)

        async def write(conn: AsyncConnection) -> View:
            now = self._clock.now()
            answered = await once.begin(conn, now)
            if answered is not None:
                return await self._view(conn, answered.decode())
            kept = await self.add(conn, store_id, spec, Origin(), now)
            await once.finish(conn, kept.id.encode())
            done = NewEntry(once.name, kept.id, store_id, content=kept.spec.document(), detail={"version": 1})
            await self._audit.record(conn, done, now)
            return await self._view(conn, kept.id)

        return await self._database.transact(write)

    async def add(
        self, conn: AsyncConnection, store_id: str, spec: Spec, origin: Origin, now: datetime
    ) -> Kept:
        """Write a new campaign whose spec was checked (``check``), in the caller's transaction. Raises Invalid."""
        editor = origin.editor or current().subject
        others = sorted(set(origin.authors) - {editor, ""})
        kept = Kept(
            id=new_id(),
            store_id=store_id,
            status=Status.DRAFT,
            version=len(others) + 1,
            reason="",
            created_by=editor,
            top_up_of=origin.top_up_of,
            playbook=origin.playbook,
            traceparent=current_traceparent(),
            created_at=now,
            updated_at=now,
            started_at=None,
            finished_at=None,
            spec=await self.bound(conn, store_id, spec),
        )
        await campaigns.add(conn, kept, editor=editor, how=origin.how)
        for version, other in enumerate(others, 1):
            await campaigns.add_version(
                conn, kept.id, version, kept.spec, editor=other, how=origin.how, now=now
            )
        return kept

    async def update(
        self,
        campaign_id: str,
        change: Change,
        stores: Collection[str] | None,
        *,
        expected: int,
        once: Once,
        how: str = EDITED,
        editors: Sequence[str] = (),
    ) -> View:
        """Make another version of it, a draft; nothing where the change changes nothing.

        *expected* is the version the caller has seen, 0 does not ask; *editors* are those whose edit it is beside the
        caller. Raises NotFound, Conflict (STATE_INVALID) once it has begun, Overtaken (VERSION_CONFLICT), Invalid.
        """

        async def write(conn: AsyncConnection) -> View:
            now = self._clock.now()
            first = await once.is_first(conn, now)
            held = await self._held(conn, campaign_id, stores)
            if first:
                await self.edit(conn, held, change, expected, now, how=how, editors=editors, name=once.name)
            return await self._view(conn, campaign_id)

        return await self._database.transact(write)

    async def edit(
        self,
        conn: AsyncConnection,
        held: Kept,
        change: Change,
        expected: int,
        now: datetime,
        *,
        name: str,
        how: str = EDITED,
        editors: Sequence[str] = (),
        on_version: OnVersion | None = None,
    ) -> int:
        """The same, of a campaign that is held; the version it then has. *name* is the audited method's.

        *on_version* writes what belongs to the version; nothing may be written behind this, the audit record is last.
        """
        check_editable(held)
        if expected and expected != held.version:
            text = f"the campaign is at version {held.version}; read it and decide again"
            raise Overtaken("VERSION_CONFLICT", text, version=held.version)
        wanted = change(held.spec)
        self.check(wanted, held.spec)
        spec = await self.bound(conn, held.store_id, wanted)
        if spec.document() == held.spec.document():
            return held.version
        # Each of those whose edit it is writes a version: none of them can approve what comes of it.
        version = held.version
        for editor in dict.fromkeys((*editors, current().subject)):
            version += 1
            await campaigns.add_version(conn, held.id, version, spec, editor=editor, how=how, now=now)
        await self._moving.move(
            conn,
            held,
            Status.DRAFT,
            now,
            by=current().subject,
            reason="" if held.status is Status.DRAFT else "edited",
            version=version,
            name=spec.name,
            schedule_at=spec.schedule_at,
        )
        if on_version is not None:
            await on_version(version)
        told = {"version": version, "before": held.status.value, "how": how}
        done = NewEntry(name, held.id, held.store_id, content=spec.document(), detail=told)
        await self._audit.record(conn, done, now)
        return version

    async def get(self, campaign_id: str, stores: Collection[str] | None) -> View:
        """One campaign. Raises NotFound."""
        async with self._database.read() as conn:
            view = await self._view(conn, campaign_id)
        if stores is not None and view.kept.store_id not in stores:
            raise absent()
        return view

    async def page(
        self,
        stores: Collection[str] | None,
        statuses: Collection[Status],
        before: tuple[datetime, str] | None,
        limit: int,
    ) -> list[View]:
        """The newest first, those behind *before* (created_at, id)."""
        async with self._database.read() as conn:
            found = await campaigns.page(conn, stores, statuses=statuses, before=before, limit=limit)
            edits = await campaign_reading.edits_of(conn, [one.id for one in found])
            frozen = await campaign_reading.frozen_of(conn, [(one.id, one.version) for one in found])
        return [View(one, edits.get(one.id, ()), frozen.get(one.id)) for one in found]

    def check(self, spec: Spec, before: Spec | None) -> None:
        """Raises Invalid for what is wrong without looking anything up; *before* is what was written until now."""
        self._groups.check(spec.audience, "spec.audience")
        linting.check(spec.content, "spec.content")
        check_words(spec.banned_words, "spec.banned_words")
        later = before is None or before.schedule_at != spec.schedule_at
        if spec.schedule_at is not None and later and spec.schedule_at <= self._clock.now():
            raise Invalid.field("spec.schedule_time", "is over already")

    async def bound(self, conn: AsyncConnection, store_id: str, spec: Spec) -> Spec:
        """*spec* with the digests of the materials that it shows and the words of its tone.

        Raises Invalid for what it says, or names in vain.
        """
        banned = spec.banned_words
        if spec.tone:
            tone = await tones.find(conn, store_id, spec.tone)
            if tone is None:
                raise Invalid.field("spec.tone", "there is no such tone; ListTones names those there are")
            # They become the campaign's own: an approval binds them, and they count until the last group is asked.
            banned = tuple(dict.fromkeys((*banned, *tone.banned_words)))
            if len(banned) > BANNED_WORDS:
                raise Invalid.field("spec.banned_words", f"with those of the tone at most {BANNED_WORDS}")
        content = await _with_digests(conn, store_id, spec.content)
        linting.refuse(await self._linter.found(conn, store_id, content, banned), "spec.content")
        return replace(spec, content=content, banned_words=banned)

    async def _held(self, conn: AsyncConnection, campaign_id: str, stores: Collection[str] | None) -> Kept:
        held = await campaigns.hold(conn, campaign_id)
        if held is None or (stores is not None and held.store_id not in stores):
            raise absent()
        return held

    async def _view(self, conn: AsyncConnection, campaign_id: str) -> View:
        kept = await campaigns.get(conn, campaign_id)
        if kept is None:
            raise absent()
        frozen = await campaign_reading.frozen_of(conn, [(kept.id, kept.version)])
        return View(kept, await campaigns.edits(conn, campaign_id), frozen.get(kept.id))


async def _with_digests(conn: AsyncConnection, store_id: str, content: Content) -> Content:
    names = {one.material for one in content.attachments if one.material}
    found = {one.name: one for one in await materials.share(conn, store_id, names)} if names else {}
    bound = []
    for at, one in enumerate(content.attachments):
        if not one.material:
            bound.append(one)
            continue
        field = f"spec.content.{linting.field_of(one, at, 'material')}"
        kept, kind = found.get(one.material), linting.material_kind(one.kind)
        if kept is None or not kept.digest:
            raise Invalid.field(field, f"there is no material {one.material}; UploadMaterial stores one")
        if kept.kind is not kind:
            raise Invalid.field(field, f"is a material of kind {kept.kind.value}, and has to be {kind.value}")
        bound.append(replace(one, digest=kept.digest))
    return replace(content, attachments=tuple(bound))


def check_editable(held: Kept) -> None:
    """Raises Conflict (STATE_INVALID) once it has begun."""
    if not held.status.editable:
        allowed = ", ".join(status.value for status in Status if status.editable)
        raise Conflict(
            "STATE_INVALID",
            f"a campaign that is {held.status.value} cannot be edited; it can while it is: {allowed}",
            state=held.status.value,
            allowed=allowed,
        )


def absent() -> NotFound:
    """No such campaign here."""
    return NotFound("NOT_FOUND", "there is no such campaign", resource="campaign")
