"""One contender does the job once: a backlog as fast as it can, or a steady trickle."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import psycopg

from bench.contenders import Contender
from bench.job import depth, orders, publish, publish_paced
from bench.meter import Meter, peak_bytes
from bench.stage import Stage, on_stage
from tests.support.process import Program

PATIENCE = 120.0
"""Seconds without any progress after which a contender is given up."""
WARM_UP = 1.0
"""Seconds of the trickle that are not counted: pools fill, code is compiled."""
QUIET = 0.5
"""Seconds without a POST after which no repeat is on its way any more."""


class Incomplete(RuntimeError):
    """A contender ended early or stood still; the text ends with what it printed."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """A backlog worked off. The clock runs from the sink's first POST to the last row."""

    contender: str
    events: int
    seconds: float
    afterwards: float
    """Seconds from the last row until what follows it was done too (announcements on the broker)."""
    cpu: Mapping[str, float]
    """CPU seconds by group, from the first POST until all was done."""
    peak_bytes: int
    posts: int
    distinct: int
    left_in_queue: int
    rows: Mapping[str, int]
    spans: int
    problems: tuple[str, ...]

    @property
    def rate(self) -> float:
        """Events a second."""
        return self.events / self.seconds


@dataclass(frozen=True, slots=True)
class Trickle:
    """Milliseconds from just before the publish to the arrival at the sink, sorted."""

    contender: str
    rate: float
    latencies: tuple[float, ...]

    def percentile(self, share: float) -> float:
        """The smallest latency that *share* (0–1) of all do not exceed."""
        return self.latencies[max(0, math.ceil(share * len(self.latencies)) - 1)]


def run_backlog(stage: Stage, contender: Contender, events: int) -> Backlog:
    """Lay the backlog while nobody consumes, start the contender, watch until its last row."""
    contender.reset()
    stage.sink.reset()
    asyncio.run(publish(contender.amqp, [contender.message(order) for order in orders(events)]))
    stage.calm()
    stage.collector.take()
    with (
        psycopg.connect(contender.database, autocommit=True) as conn,
        on_stage(contender.program()) as program,
    ):
        meter = Meter({**stage.groups(), contender.name: program.process.pid})
        watch = _Watch(program, meter)
        watch.until(lambda: stage.sink.count().distinct, events, 0.025)
        watch.until(lambda: contender.recorded(conn), events, 0.005)
        recorded_at = time.monotonic()
        watch.until(lambda: contender.settled(conn), 1, 0.02)
        settled_at = time.monotonic()
        meter.sample_now()
        peak = peak_bytes(program.process.pid)
        _rest(stage, program)
        rows = contender.rows(conn)
    arrived = stage.sink.count()
    left = asyncio.run(depth(contender.amqp, contender.queue))
    assert arrived.first_at is not None
    return Backlog(
        contender=contender.name,
        events=events,
        seconds=recorded_at - arrived.first_at,
        afterwards=settled_at - recorded_at,
        cpu=meter.between(arrived.first_at, settled_at),
        peak_bytes=peak,
        posts=arrived.posts,
        distinct=arrived.distinct,
        left_in_queue=left,
        rows=rows,
        spans=stage.collector.take(),
        problems=shortfalls(
            events, distinct=arrived.distinct, unreadable=arrived.unreadable, left=left, rows=rows
        ),
    )


def _rest(stage: Stage, program: Program) -> None:
    """Wait until nothing has come for a while, so that the count of repeats is whole."""
    posts, since = stage.sink.count().posts, time.monotonic()
    while time.monotonic() - since < QUIET and program.process.poll() is None:
        time.sleep(0.05)
        if (now := stage.sink.count().posts) != posts:
            posts, since = now, time.monotonic()


def shortfalls(
    events: int, *, distinct: int, unreadable: int, left: int, rows: Mapping[str, int]
) -> tuple[str, ...]:
    """What of the job was not done, in words."""
    found = [f"rows of {table}: {count} of {events}" for table, count in rows.items() if count != events]
    if distinct != events:
        found.append(f"orders at the sink: {distinct} of {events}")
    if unreadable:
        found.append(f"POSTs without an order: {unreadable}")
    if left:
        found.append(f"not acknowledged: {left}")
    return tuple(found)


def trickle_events(rate: float, seconds: float) -> int:
    """How many events a trickle publishes, its warm-up included."""
    return int(rate * (WARM_UP + seconds))


def run_trickle(stage: Stage, contender: Contender, rate: float, seconds: float) -> Trickle:
    """Publish *rate* events a second for *seconds* (after a warm-up) to the running contender."""
    contender.reset()
    stage.sink.reset()
    stage.calm()
    events = orders(trickle_events(rate, seconds))
    messages = [contender.message(order) for order in events]
    with on_stage(contender.program()) as program:
        program.ready(60)
        stamps = asyncio.run(publish_paced(contender.amqp, messages, rate))
        _Watch(program).until(lambda: stage.sink.count().distinct, len(events), 0.05)
    arrivals = stage.sink.arrivals()
    counted = list(zip(events, stamps, strict=True))[int(rate * WARM_UP) :]
    latencies = sorted(1000 * (arrivals[order.number] - at) for order, at in counted)
    return Trickle(contender.name, rate, tuple(latencies))


class _Watch:
    """Looks at a run without getting in its way."""

    def __init__(self, program: Program, meter: Meter | None = None) -> None:
        self._program = program
        self._meter = meter

    def until(self, progress: Callable[[], int], target: int, every: float) -> None:
        """Poll until *progress* reaches *target*; raises ``Incomplete`` when it stands still or the process ends."""
        best, moved_at = -1, time.monotonic()
        while (reached := progress()) < target:
            if reached > best:
                best, moved_at = reached, time.monotonic()
            if self._program.process.poll() is not None:
                raise Incomplete(f"{self._program.name} ended:\n{_tail(self._program)}")
            if time.monotonic() - moved_at > PATIENCE:
                raise Incomplete(
                    f"{self._program.name} stands still at {reached} of {target}:\n{_tail(self._program)}"
                )
            if self._meter is not None:
                self._meter.sample()
            time.sleep(every)


def _tail(program: Program) -> str:
    return "\n".join(program.lines[-30:])
