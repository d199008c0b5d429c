"""``python -m bench.scale``: what a past costs. Claims, lists and figures of today, on a database that has nothing but
today, and on one with 100,000 deliveries before it.

Today is twelve hours, of which one is counted: where a question is about all there is, a database reads it from end to
end, which no index beats and no database in use ever sees again.

Both databases get the same work and are asked in turns, one question at a time; only ratios mean anything. Exit code 1 when one of them is more than a tenth worse.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.assembly import LOCATIONS
from services.notifier.domain.statistics import Bucket, Group
from services.notifier.store import reading
from services.notifier.store.reading import Filter
from services.notifier.store.tables import attempt
from services.notifier.store.work import NewWork, Work
from services.notifier.usecases.statistics import Question, Statistics
from shared.clock import ManualClock
from shared.db.engine import Database
from shared.db.migrate import migrate
from shared.db.queue import Settlement
from shared.ids import new_id
from tests.support import past
from tests.support.servers import Kind, ServerMissing, private

WORST = 1.1
_LEASE = timedelta(seconds=30)
_BATCH = 100
_TURN = 10
_HOUR = timedelta(hours=1)
_HOURS = 12
_COUNTED = 3
"""How many hours ago the hour began that is counted."""
_PLACES = ("today", "past")

Figures = dict[str, float]
"""Seconds, by place."""


class Place:
    """One database, and what is done with it."""

    def __init__(self, url: str, now: datetime) -> None:
        self._url = url
        self.database = database = Database.open(url, schema="notifier")
        self._work = Work(database.dialect)
        self._now = now
        self._statistics = Statistics(database, ManualClock(now), ZoneInfo("Asia/Shanghai"))
        self._made = 0

    async def prepare(self, rows: int, today: int) -> None:
        """*rows* of the past, and *today* of each hour of today but the last, in the order of time as ids are."""
        if rows:
            await past.fill(self.database, self._now, rows)
        before = self._now - _HOUR * _HOURS
        step = _HOUR / today
        for at in range(0, today * (_HOURS - 1), _BATCH):
            await self._add(before + step * at, step, "failed" if at % (_BATCH * 20) == 0 else "accepted")
        await self.tidy()

    async def _add(self, since: datetime, step: timedelta, status: str | None = None) -> None:
        """A batch of deliveries, from *since* on: over, or ready to go."""
        new, tried = NewWork(), list[dict[str, object]]()
        for at in range(_BATCH):
            self._made += 1
            created = since + step * at
            key, event = new_id(), f"today-{self._made}"
            due = self._work.queue.ready(at % 4, created)
            over = {"status": status, "attempt_no": 1} if status else {}
            new.deliveries.append(
                {
                    "id": key,
                    "store_id": f"s{self._made % past.STORES}",
                    "event_id": event,
                    "event_type": ("order.created", "payment.completed", "guest.arrived")[at % 3],
                    "rule_id": "order.created",
                    "rule_version": 1,
                    "channel": "app:default",
                    "part": 0,
                    "content": {"format": "text", "text": "【新订单】订单 B20260220001，请尽快安排出餐。"},
                    **due,
                    **over,
                    "retries": 0,
                    "refreshes": 0,
                    "resend_mark": False,
                    "reason": "",
                    "created_at": created,
                    "updated_at": created,
                    "go_at": created,
                }
            )
            new.recipients.append(
                {
                    "event_id": event,
                    "store_id": f"s{self._made % past.STORES}",
                    "channel": "app:default",
                    "kind": "user",
                    "target": f"u{self._made % 1000}",
                    "part": 0,
                    "delivery_id": key,
                    "role": ("manager", "kitchen_staff")[at % 2],
                }
            )
            if status:
                tried.append(
                    {
                        "delivery_id": key,
                        "attempt_no": 1,
                        "epoch": 1,
                        "state": "accepted" if status == "accepted" else "rejected_permanent",
                        "http_status": 200,
                        "detail": "",
                        "vendor_msgid": "",
                        "owner": "bench",
                        "started_at": created,
                        "finished_at": created + timedelta(milliseconds=at),
                    }
                )

        async def write(conn: AsyncConnection) -> None:
            await self._work.insert(conn, new)
            if tried:
                await conn.execute(insert(attempt), tried)  # the pipeline only ever inserts those that begin

        await self.database.transact(write)

    async def claim(self) -> float:
        """Seconds that the dispatcher needs to get a hundred deliveries that are ready; recording is not in it."""
        await self._add(
            self._now - _HOUR + timedelta(milliseconds=self._made % 3_000_000), timedelta(milliseconds=1)
        )
        began = time.perf_counter()
        async with self.database.write() as conn:
            await self._work.queue.promote(conn, self._now)
            found = await self._work.claim(conn, "bench", self._now, _LEASE, _BATCH)
            await self._work.queue.next_due(conn)
        spent = time.perf_counter() - began
        assert len(found) == _BATCH
        ended = [_ended(job.delivery_id, job.epoch, self._now) for job, _ in found]
        await self.database.transact(lambda conn: self._work.settle(conn, ended))
        return spent

    async def tidy(self) -> None:
        """Sweep up what the round left, as the server does at a time of its own, for the next one to meet the same."""
        if self.database.dialect == "postgresql":
            await asyncio.to_thread(_vacuum, self._url)

    async def _listed(self, wanted: Filter) -> None:
        async with self.database.read() as conn:
            await reading.list_deliveries(conn, wanted, before=None, limit=51)

    async def _counted(self, **asked: Any) -> None:
        since = self._now - _HOUR * _COUNTED
        await self._statistics.of(Question(None, since, since + _HOUR, **asked))

    @property
    def questions(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        """What is asked, by name."""
        since = self._now - _HOUR
        every = (Group.EVENT_TYPE, Group.PRIORITY, Group.CHANNEL)
        return {
            "list, newest": lambda: self._listed(Filter()),
            "list, one store": lambda: self._listed(Filter(("s7",), start_at=since)),
            "list, one type": lambda: self._listed(Filter(event_types=("order.created",))),
            "list, failed": lambda: self._listed(Filter(statuses=("failed",))),
            "list, cancelled (there are none)": lambda: self._listed(Filter(statuses=("cancelled",))),
            "stats, one hour": self._counted,
            "stats, by type, priority, channel": lambda: self._counted(groups=every),
            "stats, by hour and role": lambda: self._counted(bucket=Bucket.HOUR, groups=(Group.ROLE,)),
        }


def _vacuum(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute("VACUUM (ANALYZE) notifier.delivery, notifier.recipient, notifier.attempt")


def _ended(key: str, epoch: int, now: datetime) -> Settlement:
    extra = {"retries": 0, "refreshes": 0, "resend_mark": False, "reason": "", "updated_at": now}
    return Settlement(id=key, epoch=epoch, status="accepted", attempt_no=1, extra=extra)


async def _race(asks: Mapping[str, Callable[[], Awaitable[float]]], times: int) -> Figures:
    """What each needs where nobody disturbs it: one in ten took no longer. They take turns, so the weather is theirs
    alike; a turn is several askings, as a process has one database and its memory to itself."""
    spent: dict[str, list[float]] = {name: [] for name in asks}
    for number in range(times // _TURN):
        for name in list(asks) if number % 2 else list(asks)[::-1]:
            spent[name] += [await asks[name]() for _ in range(_TURN)]
    return {name: sorted(found)[len(found) // 10] for name, found in spent.items()}


def _timed(ask: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[float]]:
    async def timed() -> float:
        began = time.perf_counter()
        await ask()
        return time.perf_counter() - began

    return timed


async def measure(urls: Mapping[str, str], options: argparse.Namespace) -> dict[str, list[Figures]]:
    """The figures of every round, by place, of what is done or asked."""
    now = datetime.now(UTC)
    places = {name: Place(url, now) for name, url in urls.items()}
    try:
        for name, place in places.items():
            await place.prepare(options.rows if name == "past" else 0, options.today)
        work = {"claim 100": {name: place.claim for name, place in places.items()}} | {
            question: {name: _timed(place.questions[question]) for name, place in places.items()}
            for question in places["today"].questions
        }
        for asks in work.values():  # whatever is only slow the first time
            await _race(asks, 10)
        found: dict[str, list[Figures]] = {what: [] for what in work}
        for _ in range(options.rounds):
            for what, asks in work.items():
                found[what].append(await _race(asks, options.times))
            for place in places.values():
                await place.tidy()
            print(".", end="", flush=True)
        print()
        return found
    finally:
        for place in places.values():
            await place.database.close()


def report(kind: str, found: Mapping[str, Sequence[Figures]]) -> bool:
    """Print a table; whether nothing takes more than a tenth longer with a past."""
    print(f"\n{kind:<36}{'today':>12}{'with a past':>14}   ratio (least, most)")
    good = True
    for what, rounds in found.items():
        today, before = (median(one[place] for one in rounds) * 1000 for place in _PLACES)
        ratios = [one["past"] / one["today"] for one in rounds]
        verdict = "" if median(ratios) <= WORST else "  <- more than a tenth"
        good = good and not verdict
        spread = f"{median(ratios):.2f} ({min(ratios):.2f}, {max(ratios):.2f})"
        print(f"{what:<36}{today:>9.2f} ms{before:>11.2f} ms   {spread}{verdict}")
    return good


@contextmanager
def _sqlite() -> Iterator[Mapping[str, str]]:
    with TemporaryDirectory(prefix="reach-scale-") as home:
        yield {name: f"sqlite:///{Path(home)}/{name}.db" for name in _PLACES}


@contextmanager
def _postgresql() -> Iterator[Mapping[str, str]]:
    with private(Kind.POSTGRESQL, durable=True) as node:
        url = node.url.replace("postgresql+psycopg:", "postgresql:")
        with psycopg.connect(url, autocommit=True) as admin:
            for name in _PLACES:
                admin.execute(f'CREATE DATABASE "{name}"'.encode())
        yield {name: url.rpartition("/")[0] + "/" + name for name in _PLACES}


KINDS = {"sqlite": _sqlite, "postgresql": _postgresql}


def main(arguments: Sequence[str]) -> int:
    """Measure on each kind of database, print, and say whether a past costs no more than a tenth."""
    options = _options(arguments)
    good = True
    for kind in options.only:
        try:
            with KINDS[kind]() as urls:
                for url in urls.values():
                    migrate(url, "notifier", LOCATIONS)
                found = asyncio.run(measure(urls, options))
        except ServerMissing as problem:
            print(f"bench: {problem}", file=sys.stderr)
            return 1
        good = report(f"{kind}, {options.rows:,} before", found) and good
    return 0 if good else 1


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.scale", description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000, help="deliveries of the past")
    parser.add_argument("--today", type=int, default=2_000, help="deliveries of an hour of today")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--times", type=int, default=40, help="askings of each question in a round")
    parser.add_argument(
        "--only", choices=KINDS, action="append", help="one kind of database; repeat it. Empty: both"
    )
    options = parser.parse_args(arguments)
    options.only = options.only or list(KINDS)
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
