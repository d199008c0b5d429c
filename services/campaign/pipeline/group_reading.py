"""Reads groups one by one, as fast as the rate allows, and writes what they have become.

A batch is asked for at once and written in one transaction; a crash in between costs reading it again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.groups import GoneReason, compared, joined_by_ways
from services.campaign.store import group_readings, group_syncs, groups
from services.campaign.store.group_readings import Known, Written
from services.campaign.store.groups import Due
from shared.telemetry import metrics
from shared.telemetry.metrics import Metrics
from shared.values import value_class
from shared.wecom.customer import DISSOLVED, NO_PERMISSION, NOT_A_GROUP, CustomerApi, GroupRead
from shared.wecom.customer_groups import GroupDetail
from shared.wecom.errcodes import RetryClass
from shared.wecom.outcome import Outcome, State

ABREAST: Final = 20
"""Groups asked for at once."""
TRIES: Final = 8
"""Readings of one group in a row that came to nothing, after which a sync reports it as failed."""
_log = structlog.get_logger("reach.campaign.groups")


@value_class
class Ruling:
    """What an answer means for the group, and whether it is about more than that one."""

    word: str
    """``read``, ``dismissed``, ``not_in_range``, ``denied``, ``again``."""
    everything: bool = False
    """Whether the next group would fare alike."""


def ruling(outcome: Outcome, *, listed: bool) -> Ruling:
    """What an answer to groupchat/get means; *listed*: the list had the group a moment ago."""
    if outcome.state is State.ACCEPTED:
        return Ruling("read")
    code = outcome.errcode
    if outcome.state is State.REJECTED_PERMANENT and code is not None:
        if code == DISSOLVED:
            return Ruling("dismissed")
        if code in NOT_A_GROUP or code in NO_PERMISSION:
            return Ruling("denied" if listed else "not_in_range")
        if outcome.retry_class is RetryClass.PERM_CONFIG:
            return Ruling("again", everything=True)
        return Ruling("denied")
    return Ruling("again", everything=outcome.retry_class is RetryClass.REST or outcome.http_status is None)


def word_of(outcome: Outcome) -> str:
    """The outcome in a word that is one of few."""
    if outcome.state is State.ACCEPTED:
        return "accepted"
    if outcome.state in (State.REJECTED_RETRYABLE, State.REJECTED_PERMANENT):
        return outcome.retry_class.value
    return outcome.state.value


class _Report:
    """What a batch adds to the reports of the syncs that wait for it."""

    def __init__(self) -> None:
        self.by_sync: dict[str, Counter[str]] = {}

    def add(self, due: Due, **more: int) -> None:
        if due.sync_id:
            self.by_sync.setdefault(due.sync_id, Counter()).update(more)


class Reader:
    """Reads what is due. *store_of* names the store of an owner, '' where there is none."""

    def __init__(self, store_of: Callable[[str], str], key: bytes, zone: ZoneInfo, numbers: Metrics) -> None:
        self.store_of = store_of
        self._key = key
        self._zone = zone
        self._numbers = numbers

    async def ask(self, api: CustomerApi, batch: Sequence[Due]) -> list[GroupRead]:
        """Ask for all of them at once; once more where the token was refused."""

        async def one(due: Due) -> GroupRead:
            found = await api.group(due.chat_id)
            if found.outcome.retry_class is RetryClass.REFRESH:
                found = await api.group(due.chat_id)
            self._numbers.add(metrics.GROUP_READS, api="groupchat/get", outcome=word_of(found.outcome))
            return found

        return list(await asyncio.gather(*[one(due) for due in batch]))

    async def take(
        self, conn: AsyncConnection, batch: Sequence[Due], reads: Sequence[GroupRead], now: datetime
    ) -> Outcome | None:
        """Write what was answered; the outcome that speaks for all groups, where there is one."""
        known = await group_readings.known(conn, [due.chat_id for due in batch])
        report, written, trouble = _Report(), list[Written](), None
        for due, read in zip(batch, reads, strict=True):
            one = known[due.chat_id]
            rules = ruling(read.outcome, listed=bool(due.sync_id) and one.seen_in == due.sync_id)
            trouble = read.outcome if rules.everything else trouble
            if read.detail is not None:
                written.append(self._compared(due, one, read.detail, now, report))
                continue
            _tell(due, read.outcome, rules.word)
            if rules.word in (GoneReason.DISMISSED, GoneReason.NOT_IN_RANGE):
                await self._gone(conn, due, one, GoneReason(rules.word), now, report)
            elif rules.word == "denied":
                await groups.settle(conn, due, now, error="denied", errcode=read.outcome.errcode)
                report.add(due, denied=1)
            else:
                await self._again(conn, due, read.outcome, now, report)
        await group_readings.write(conn, written, now, self._zone)
        for sync_id, more in report.by_sync.items():
            await group_syncs.count(conn, sync_id, now, **more)
        return trouble

    def _compared(self, due: Due, one: Known, detail: GroupDetail, now: datetime, report: _Report) -> Written:
        store_id = self.store_of(detail.owner)
        reading = compared(one.before, detail, store_id, now)
        first = bool(due.sync_id) and one.counted_in != due.sync_id
        report.add(due, read=1, changed=int(first and reading.differs))
        return Written(
            due,
            detail,
            reading,
            store_id,
            due.sync_id if first and reading.differs else one.counted_in,
            tuple(joined_by_ways(detail.members, self._key, now)),
        )

    async def _gone(
        self,
        conn: AsyncConnection,
        due: Due,
        one: Known,
        reason: GoneReason,
        now: datetime,
        report: _Report,
    ) -> None:
        await groups.mark_gone(conn, due.chat_id, reason, now)
        await groups.settle(conn, due, now)
        if reason is GoneReason.DISMISSED:
            await group_readings.leave_all(conn, due.chat_id, now)
        report.add(due, gone=int(not one.before.gone_reason))

    async def _again(
        self, conn: AsyncConnection, due: Due, outcome: Outcome, now: datetime, report: _Report
    ) -> None:
        if due.attempts + 1 >= TRIES:
            await groups.settle(conn, due, now, error="failed", errcode=outcome.errcode)
            report.add(due, failed=1)
            return
        wait = max(groups.backoff(due.attempts), outcome.retry_after or timedelta())
        await groups.put_off(conn, due, now + wait, outcome.errcode)


def _tell(due: Due, outcome: Outcome, word: str) -> None:
    _log.warning(
        "a group could not be read",
        chat_id=due.chat_id,
        api="groupchat/get",
        ruling=word,
        errcode=outcome.errcode,
        errmsg=outcome.errmsg,
        detail=outcome.detail,
        attempt=due.attempts + 1,
    )
