"""Groups as people and programs ask for them, label them and have them synchronised."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.eligibility import Verdict
from services.campaign.domain.groups import SyncPhase
from services.campaign.pipeline.customer_calls import api_of
from services.campaign.pipeline.selecting import StoredGroups
from services.campaign.store import group_lists, group_syncs, groups
from services.campaign.store.group_lists import Day, GroupFilter, GroupView, PastChange, Wish
from services.campaign.store.group_syncs import Sync
from shared.audit import AuditLog, NewEntry
from shared.clock import Clock
from shared.credentials import Credentials
from shared.db.engine import Database
from shared.db.once import Once
from shared.errors import Invalid, NotFound
from shared.rpc.principal import current
from shared.values import value_class
from shared.wecom.client import WeComClient

MOST_LABELS: Final = 50
"""Labels that one group may bear."""
HISTORY: Final = 50
"""Changes that are told of one group."""
_WHOLE: Final = Wish(labels=True, states=True, sent=True)


@value_class
class Judged:
    """A group, and whether a campaign may go to it now."""

    view: GroupView
    verdict: Verdict


@value_class
class Told:
    """All there is to tell of one group."""

    judged: Judged
    changes: tuple[PastChange, ...]
    days: tuple[Day, ...]


class CustomerGroups:
    """See the module."""

    def __init__(
        self,
        database: Database,
        selecting: StoredGroups,
        credentials: Credentials,
        wecom: WeComClient,
        audit: AuditLog,
        clock: Clock,
        zone: ZoneInfo,
    ) -> None:
        self._database = database
        self._selecting = selecting
        self._credentials = credentials
        self._wecom = wecom
        self._audit = audit
        self._clock = clock
        self._zone = zone

    async def list(self, wanted: GroupFilter, after: str, limit: int) -> Sequence[Judged]:
        """Groups by chat id, those behind *after*."""
        now = self._clock.now()
        async with self._database.read() as conn:
            views = await group_lists.page(conn, wanted, after=after, limit=limit)
            judged: dict[str, Verdict] = {}
            for store_id in sorted({one.store_id for one in views}):
                mine = [one for one in views if one.store_id == store_id]
                verdicts = await self._selecting.verdicts(conn, store_id, mine, now)
                judged.update(zip((one.facts.chat_id for one in mine), verdicts, strict=True))
        return [Judged(one, judged[one.facts.chat_id]) for one in views]

    async def get(self, chat_id: str, stores: Collection[str] | None, days: int) -> Told:
        """One group with its history, and its joins and departures of the last *days*. Raises NotFound."""
        now = self._clock.now()
        since = (now - timedelta(days=days)).astimezone(self._zone).date()
        async with self._database.read() as conn:
            view = (await group_lists.some(conn, [chat_id], wish=_WHOLE)).get(chat_id)
            if view is None or (stores is not None and view.store_id not in stores):
                raise _missing()
            return Told(
                Judged(view, await self._selecting.verdict(conn, view, now)),
                tuple(await group_lists.history(conn, chat_id, HISTORY)),
                tuple(await group_lists.days(conn, chat_id, since)) if days else (),
            )

    async def label(
        self,
        chat_ids: Sequence[str],
        add: Sequence[str],
        remove: Sequence[str],
        comment: str,
        stores: Collection[str] | None,
        *,
        once: Once,
    ) -> int:
        """Put labels on groups and take others off, all or none; how many groups it was. Raises Invalid, NotFound."""
        if not add and not remove:
            raise Invalid.field("add", "add or remove at least one label")
        if both := sorted(set(add) & set(remove)):
            raise Invalid.field("remove", f"{both[0]} is to be added as well")

        async def work(conn: AsyncConnection) -> int:
            now = self._clock.now()
            held = await group_lists.lock(conn, chat_ids, stores)
            if len(held) < len(set(chat_ids)):
                raise _missing()
            by_store = sorted(set(held.values()))
            if len(by_store) > 1:
                raise Invalid.field("chat_ids", "belong to more than one store; label them store by store")
            keyed = replace(once, store_id=by_store[0])
            if not await keyed.is_first(conn, now):
                return len(held)
            await group_lists.label(conn, list(held), add, remove, by=current().subject, now=now)
            if await group_lists.most_labels(conn, list(held)) > MOST_LABELS:
                raise Invalid.field("add", f"a group bears at most {MOST_LABELS} labels")
            detail = {"add": list(add), "remove": list(remove), "groups": len(held), "comment": comment}
            content = sorted(held)
            await self._audit.record(
                conn, NewEntry(once.name, "", by_store[0], content=content, detail=detail), now
            )
            return len(held)

        return await self._database.transact(work)

    async def sync(self, whole: bool, *, once: Once) -> Sync:
        """Begin a sync, or attach to the one under way, which then waits for nothing. Raises Conflict where no secret is
        stored."""
        await api_of(self._credentials, self._wecom)

        async def work(conn: AsyncConnection) -> Sync:
            now = self._clock.now()
            if (earlier := await once.begin(conn, now)) is not None:
                known = await group_syncs.get(conn, earlier.decode())
                if known is not None:
                    return known
            found = await group_syncs.begin(conn, now, by=current().subject, whole=whole)
            await group_syncs.hurry(conn, found.id, now)
            if whole and not found.whole:
                await group_syncs.change(conn, found.id, now, whole=True)
                if found.phase is SyncPhase.READING:
                    await groups.owe_all(conn, found.id, found.started_at, now)
            if earlier is None:
                await once.finish(conn, found.id.encode())
                self._database.wakeups.notify(conn, groups.WAKEUP)
                entry = NewEntry(once.name, found.id, detail={"whole": whole})
                await self._audit.record(conn, entry, now)
            return replace(found, whole=found.whole or whole)

        return await self._database.transact(work)

    async def get_sync(self, sync_id: str) -> Sync:
        """One sync; an empty id is the one that was begun last. Raises NotFound."""
        async with self._database.read() as conn:
            found = await (group_syncs.get(conn, sync_id) if sync_id else group_syncs.last(conn))
        if found is None:
            raise NotFound("NOT_FOUND", "there is no such sync", resource="group_sync")
        return found

    async def syncs(self, before: tuple[datetime, str] | None, limit: int) -> Sequence[Sync]:
        """Syncs, the newest first."""
        async with self._database.read() as conn:
            return await group_syncs.page(conn, before, limit)


def _missing() -> NotFound:
    return NotFound("NOT_FOUND", "there is no such group", resource="group")
