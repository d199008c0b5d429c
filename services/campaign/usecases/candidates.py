"""Words by an application: asked for, shown, and made a campaign's own."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.campaign import AttachmentKind, Content, Spec
from services.campaign.domain.candidates import Form, SetStatus, asked_of, has_card
from services.campaign.store import campaigns, tones
from services.campaign.store import candidates as store
from services.campaign.store.campaigns import Kept
from services.campaign.store.candidates import WAKEUP, KeptCandidate, KeptSet
from services.campaign.usecases.campaigns import AI_TEXT, Campaigns, View, absent, check_editable
from shared.audit import AuditLog, NewEntry
from shared.clock import Clock
from shared.db.engine import Database
from shared.db.once import Once
from shared.errors import Conflict, Invalid, NotFound
from shared.ids import new_id
from shared.rpc.principal import current
from shared.values import value_class


@value_class
class Wish:
    """What a caller asks for."""

    campaign_id: str
    form: Form
    count: int
    max_chars: int
    audience: str
    language_rules: tuple[str, ...]


class Candidates:
    """What callers may do with them."""

    def __init__(
        self,
        database: Database,
        writing: Campaigns,
        block_words: Sequence[str],
        audit: AuditLog,
        clock: Clock,
    ) -> None:
        self._database = database
        self._writing = writing
        self._block_words = block_words
        self._audit = audit
        self._clock = clock

    async def ask(self, wish: Wish, stores: Collection[str] | None, *, once: Once) -> KeptSet:
        """Have words be written; the set, to begin with without any. Raises NotFound, Conflict, Invalid."""

        async def write(conn: AsyncConnection) -> KeptSet:
            now = self._clock.now()
            answered = await once.begin(conn, now)
            if answered is not None:
                return await _there(conn, answered.decode(), stores)
            held = await campaigns.share(conn, wish.campaign_id)
            if held is None or (stores is not None and held.store_id not in stores):
                raise absent()
            set_id = new_id()
            await self.add(conn, set_id, held, wish, current().subject, now)
            await once.finish(conn, set_id.encode())
            told = {"candidate_set_id": set_id, "version": held.version}
            await self._audit.record(conn, NewEntry(once.name, held.id, held.store_id, detail=told), now)
            return await _there(conn, set_id, stores)

        return await self._database.transact(write)

    async def add(
        self, conn: AsyncConnection, set_id: str, held: Kept, wish: Wish, by: str, now: datetime
    ) -> None:
        """Have words be written for a campaign that is held, as *by* wants. Raises Conflict, Invalid."""
        check_editable(held)
        if not held.spec.theme.strip():
            raise Invalid.field("campaign_id", "the campaign has no theme to write about; set spec.theme")
        if wish.form is Form.CARD and not has_card(held.spec):
            raise Invalid.field("form", "the campaign has no link whose card could be written")
        tone = await tones.find(conn, held.store_id, held.spec.tone) if held.spec.tone else None
        asked = asked_of(
            held.spec,
            tone,
            self._block_words,
            form=wish.form,
            audience=wish.audience,
            count=wish.count,
            max_chars=wish.max_chars,
            language_rules=wish.language_rules,
        )
        await store.add(conn, set_id, held.store_id, held.id, held.version, asked, by, now)
        self._database.wakeups.notify(conn, WAKEUP)

    async def get(self, set_id: str, stores: Collection[str] | None) -> KeptSet:
        """One set. Raises NotFound."""
        async with self._database.read() as conn:
            return await _there(conn, set_id, stores)

    async def page(
        self,
        campaign_id: str,
        stores: Collection[str] | None,
        before: tuple[datetime, str] | None,
        limit: int,
    ) -> list[KeptSet]:
        """Those of a campaign, the newest first. Raises NotFound."""
        await self._writing.get(campaign_id, stores)
        async with self._database.read() as conn:
            return await store.page(conn, campaign_id, before, limit)

    async def use(
        self, set_id: str, number: int, stores: Collection[str] | None, *, expected: int, once: Once
    ) -> View:
        """Make a candidate the words of its campaign, an edit of whoever asked for it and of whoever uses it.

        Raises NotFound, Conflict, Overtaken, and Invalid where it may not be said (any more).
        """
        found = await self.get(set_id, stores)
        chosen = next((one for one in found.candidates if one.number == number), None)
        if found.status != SetStatus.READY:
            text = "there are no candidates yet" if found.status != SetStatus.FAILED else "there are none"
            raise Conflict("STATE_INVALID", text, state=found.status)
        if chosen is None:
            raise NotFound("NOT_FOUND", f"the set has no candidate {number}", resource="candidate")
        words = chosen

        async def write(conn: AsyncConnection) -> None:
            now = self._clock.now()
            if not await once.is_first(conn, now):
                return
            held = await campaigns.hold(conn, found.campaign_id)
            if held is None:
                raise absent()

            async def mark(version: int) -> None:
                await store.used(conn, set_id, number, version)

            await self._writing.edit(
                conn,
                held,
                lambda before: _with_words(before, found.asked.form, words),
                expected,
                now,
                name=once.name,
                how=AI_TEXT,
                editors=[found.asked_by],
                on_version=mark,
            )

        await self._database.transact(write)
        return await self._writing.get(found.campaign_id, stores)


def _with_words(before: Spec, form: Form, words: KeptCandidate) -> Spec:
    if form is Form.TEXT:
        return replace(before, content=replace(before.content, text=words.text))
    attachments = list(before.content.attachments)
    for at, one in enumerate(attachments):
        if one.kind is AttachmentKind.LINK:
            attachments[at] = replace(one, title=words.title, description=words.text)
            return replace(before, content=Content(before.content.text, tuple(attachments)))
    raise Invalid.field("candidate_set_id", "the campaign has no link any more whose card this could be")


async def _there(conn: AsyncConnection, set_id: str, stores: Collection[str] | None) -> KeptSet:
    found = await store.get(conn, set_id)
    if found is None or (stores is not None and found.store_id not in stores):
        raise NotFound("NOT_FOUND", "there is no such candidate set", resource="candidate_set")
    return found
