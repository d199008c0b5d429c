"""What the platform calls materials now: uploaded when it is needed, by one replica, for all.

A task names a picture by the ``media_id`` of a temporary file, which the platform forgets after three days. Whoever makes a
task asks here; what is about to be forgotten is uploaded anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import field
from datetime import timedelta
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.campaign import Attachment
from services.campaign.domain.material import IN_TIME, LIVES
from services.campaign.store import materials as store
from services.campaign.store.materials import KeptMaterial
from shared.clock import Clock
from shared.db.engine import Database
from shared.telemetry import metrics
from shared.telemetry.metrics import Metrics
from shared.values import value_class
from shared.wecom.client import WeComClient
from shared.wecom.credentials import App
from shared.wecom.outcome import Outcome, State

GONE: Final = "material_gone"
"""There is none of this name any more."""
CHANGED: Final = "material_changed"
"""What has this name now is not what was approved."""
PENDING: Final = "material_pending"
"""Another replica uploads it."""
FAILED: Final = "material_failed"
"""It could not be uploaded."""
NO_SECRET: Final = "customer_secret_missing"

LEASE: Final = timedelta(seconds=90)
DEADLINE: Final = 60.0
"""Bound on one upload, in seconds: twenty megabytes take their time."""
_WAIT: Final = 5.0
"""Seconds for which an upload by another replica is waited for."""
_LOOK: Final = 0.5
WAKEUP: Final = "materials"
"""Given when an upload has ended."""
_log = structlog.get_logger("reach.campaign.materials")


@value_class
class MediaIds:
    """What the platform calls materials, or why there is no saying."""

    ids: Mapping[str, str] = field(default_factory=dict)
    """By the material's name; empty where a reason is given."""
    reason: str = ""
    """Stable: material_gone, material_changed, material_pending, material_failed, customer_secret_missing."""
    again: bool = False
    """Whether the same question may have another answer later."""
    detail: str = ""
    """For people: which one, and the platform's word."""


class MediaDesk:
    """Knows, and finds out, what the platform calls materials."""

    def __init__(
        self,
        database: Database,
        app: Callable[[], Awaitable[App | None]],
        wecom: WeComClient,
        clock: Clock,
        numbers: Metrics,
    ) -> None:
        """*app* is customer contact's; None where no secret of it is stored."""
        self._database = database
        self._app = app
        self._wecom = wecom
        self._clock = clock
        self._numbers = numbers

    async def media_ids(self, store_id: str, attachments: Sequence[Attachment]) -> MediaIds:
        """What tasks may name the materials of *attachments* by, in the next hours; uploads what has to be.

        Makes at most one request for each material. Not within a transaction.
        """
        wanted = {one.material: one.digest for one in attachments if one.material}
        ids: dict[str, str] = {}
        for name, digest in sorted(wanted.items()):
            found = await self._media_id(store_id, name, digest)
            if found.reason:
                return found
            ids |= found.ids
        return MediaIds(ids)

    async def forget(self, store_id: str, media_ids: Collection[str]) -> None:
        """The platform said that it does not know one of these (40007): they are uploaded when next asked for."""
        await self._database.transact(lambda conn: store.forget_media(conn, store_id, media_ids))

    async def _media_id(self, store_id: str, name: str, digest: str) -> MediaIds:
        signal = self._database.wakeups.listen(WAKEUP)
        ends_at = asyncio.get_running_loop().time() + _WAIT
        while True:
            taken = await self._database.transact(lambda conn: self._take(conn, store_id, name, digest))
            if not isinstance(taken, MediaIds):
                return await self._upload(*taken)
            if taken.reason != PENDING or asyncio.get_running_loop().time() >= ends_at:
                return taken
            await signal.wait(_LOOK)

    async def _take(
        self, conn: AsyncConnection, store_id: str, name: str, digest: str
    ) -> MediaIds | tuple[KeptMaterial, int, bytes]:
        """What it is called, or the upload of it, which is ours then."""
        now = self._clock.now()
        held = await store.hold(conn, store_id, name)
        if held is None or not held.digest:
            return MediaIds(reason=GONE, detail=name)
        if held.digest != digest:
            return MediaIds(reason=CHANGED, detail=name)
        if held.media_id and held.expires_at is not None and held.expires_at > now + IN_TIME:
            return MediaIds({name: held.media_id})
        if held.upload_until is not None and held.upload_until > now:
            return MediaIds(reason=PENDING, again=True, detail=name)
        epoch = await store.take_upload(conn, held, now + LEASE)
        return held, epoch, await store.content(conn, held.id)

    async def _upload(self, held: KeptMaterial, epoch: int, content: bytes) -> MediaIds:
        app = await self._app()
        if app is None:
            await self._settle(held, epoch, failure=NO_SECRET)
            return MediaIds(reason=NO_SECRET, again=True)
        # The file's three days begin after this, whenever the answer comes.
        began = self._clock.now()
        answer = await self._wecom.upload_media(
            app, held.kind.value, held.filename, content, deadline=DEADLINE
        )
        media_id = str(answer.data.get("media_id") or "")
        if media_id:
            await self._settle(held, epoch, failure="", media_id=media_id, expires_at=began + LIVES)
            return MediaIds({held.name: media_id})
        word = _word(answer.outcome)
        await self._settle(held, epoch, failure=word)
        told = answer.outcome.errmsg or answer.outcome.detail
        _log.error(
            "material not uploaded",
            name=held.name,
            store_id=held.store_id,
            api="media/upload",
            errcode=answer.outcome.errcode,
            reason=word,
            detail=told,
        )
        again = answer.outcome.state is not State.REJECTED_PERMANENT
        return MediaIds(reason=FAILED, again=again, detail=f"{held.name}: {word} {told}".strip())

    async def _settle(self, held: KeptMaterial, epoch: int, **values: object) -> None:
        async def write(conn: AsyncConnection) -> bool:
            self._database.wakeups.notify(conn, WAKEUP)
            return await store.settle_upload(conn, held.id, epoch, **values)

        if not await self._database.transact(write):
            self._numbers.add(metrics.WRITES_FENCED, service="campaign")


def _word(outcome: Outcome) -> str:
    """A stable word, with the platform's errcode where there is one."""
    if outcome.errcode:
        return f"refused:{outcome.errcode}"
    return "no_media_id" if outcome.state is State.ACCEPTED else outcome.cause or outcome.state.value
