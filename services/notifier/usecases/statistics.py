"""What became of a period's deliveries, in figures."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from services.notifier.domain.statistics import (
    MOST_ROWS,
    Bucket,
    Group,
    Slot,
    period,
    slots,
    stretches,
)
from services.notifier.store import statistics as store
from services.notifier.store.statistics import Counts, Latencies, Selection
from shared.clock import Clock
from shared.db.engine import Database
from shared.errors import Invalid
from shared.values import value_class


@value_class
class Question:
    """What is asked; None and empty mean what the contract says of them."""

    stores: Collection[str] | None
    start_at: datetime | None = None
    end_at: datetime | None = None
    bucket: Bucket = Bucket.NONE
    zone: ZoneInfo | None = None
    groups: tuple[Group, ...] = ()
    event_types: tuple[str, ...] = ()
    rule_ids: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    priorities: tuple[int, ...] = ()
    channels: tuple[str, ...] = ()


@value_class
class Row:
    """The figures of one bucket and group."""

    slot: Slot
    told_apart: Mapping[Group, Any]
    counts: Counts
    latencies: Latencies | None


@value_class
class Figures:
    """An answer."""

    start_at: datetime
    end_at: datetime
    zone: ZoneInfo
    rows: Sequence[Row]


class Statistics:
    """Counts what was recorded."""

    def __init__(self, database: Database, clock: Clock, zone: ZoneInfo) -> None:
        self._database = database
        self._clock = clock
        self._zone = zone

    async def of(self, asked: Question) -> Figures:
        """The figures. Raises Invalid for a period that is none or too long, and for more rows than an answer has."""
        start, end = period(asked.start_at, asked.end_at, self._clock.now())
        zone = asked.zone or self._zone
        parts = stretches(start, end, zone)
        wanted = Selection(
            stores=asked.stores,
            start_at=start,
            end_at=end,
            bucket=asked.bucket,
            parts=parts,
            groups=asked.groups,
            event_types=asked.event_types,
            rule_ids=asked.rule_ids,
            roles=asked.roles,
            priorities=asked.priorities,
            channels=asked.channels,
        )
        by_key = {slot.key: slot for slot in slots(start, end, asked.bucket, parts)}
        async with self._database.read() as conn:  # one snapshot: what is counted is what is measured
            counts = await store.count(conn, wanted, MOST_ROWS + 1)
            if len(counts) > MOST_ROWS:
                raise _too_many(asked)
            took = await store.latencies(conn, wanted)
        if not asked.groups:
            counts = {(key,): counts.get((key,), Counts()) for key in by_key}
        rows = [
            Row(by_key[key[0]], dict(zip(asked.groups, key[1:], strict=True)), found, took.get(key))
            for key, found in counts.items()
        ]
        return Figures(start, end, zone, rows)


def _too_many(asked: Question) -> Invalid:
    fewer = "fewer groups or more filters"
    fix = fewer if asked.bucket is Bucket.NONE else f"a shorter period, longer buckets, {fewer}"
    return Invalid.field("group_by", f"comes to more than {MOST_ROWS:,} rows; ask for {fix}")
