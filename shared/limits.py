"""Sliding windows: at most so many in any stretch of time, decided from a small JSON value.

Pure: the state comes in, the new state goes out; `shared.db.limits` keeps it in rows. A state is a
plain dict, one entry per limit's name:

* exact: the stamps of the grants still inside the window; for small limits (19 per minute),
* otherwise counts in sixtieths of the window, each counted until the whole of it has left: never more
  than the limit in any window, at the price of up to a sixtieth of waiting too long.

Clocks may jump: a stamp from the future is taken to be now, which holds the window a little longer
than needed and never lets more through.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import field
from datetime import UTC, datetime, timedelta

from shared.values import value_class

State = dict[str, list[list[int]]]
"""Limit name → [[stamp in microseconds since 1970, count], …], the oldest first."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_BUCKETS = 60


@value_class
class Limit:
    """At most *max* in any rolling *per*."""

    name: str
    """Unique among the limits of one key; it names the entry of the state."""
    max: int
    """At least 1."""
    per: timedelta
    """At least a millisecond."""
    exact: bool = True
    """Keep every stamp (up to *max* of them), or counts in sixtieths of *per*."""
    width: int = field(init=False)
    """Microseconds that are counted under one stamp."""
    stay: int = field(init=False)
    """Microseconds after which what was counted under a stamp has left the window altogether."""

    def __post_init__(self) -> None:
        if self.max < 1 or self.per < timedelta(milliseconds=1):
            raise ValueError(f"limit {self.name}: max must be positive, per at least a millisecond")
        per = self.per // _MICROSECOND
        width = 1 if self.exact else max(1, per // _BUCKETS)
        object.__setattr__(self, "width", width)
        # The last instant of a slot is width - 1 after its first; it has left one window later.
        object.__setattr__(self, "stay", width - 1 + per)


@value_class
class Granted:
    """Taken; store the state."""

    state: State


@value_class
class Wait:
    """Nothing was taken; at *until* the same request is granted if nobody else came in between.

    Store the state all the same: it has forgotten what has left and what claimed to be in the future.
    """

    until: datetime
    limit_name: str
    """The limit that takes longest."""
    state: State
    key: str = ""
    """Of the first window that has no room, where several were asked at once (`shared.db.limits`)."""
    refused: tuple[tuple[str, datetime], ...] = ()
    """Then, every window that has no room, and when each has it again."""


def reserve(state: State, limits: Sequence[Limit], now: datetime, n: int = 1) -> Granted | Wait:
    """Take *n* from every limit, or from none. Raises ``ValueError`` if *n* exceeds a limit's max."""
    at = _micros(now)
    until, slowest = at, ""
    current: State = {}
    for limit in limits:
        entries = current[limit.name] = _current(state.get(limit.name, ()), limit, at)
        free_at = _free_at(entries, limit, n)
        if free_at > until:
            until, slowest = free_at, limit.name
    if until > at:
        return Wait(_EPOCH + until * _MICROSECOND, slowest, current)
    for limit in limits:
        _add(current[limit.name], at - at % limit.width, n)
    return Granted(current)


def release(state: State, limits: Sequence[Limit], granted_at: datetime, n: int = 1) -> State:
    """Give back *n* that were granted at *granted_at* and certainly not used.

    What is no longer there under that instant stays taken.
    """
    at = _micros(granted_at)
    kept: State = dict(state)
    for limit in limits:
        slot = at - at % limit.width
        kept[limit.name] = [
            [stamp, left]
            for stamp, count in state.get(limit.name, [])
            if (left := count - n if stamp == slot else count) > 0
        ]
    return kept


def used(state: State, limit: Limit, now: datetime) -> int:
    """How many count against *limit* now."""
    return sum(count for _, count in _current(state.get(limit.name, ()), limit, _micros(now)))


def _micros(instant: datetime) -> int:
    return (instant - _EPOCH) // _MICROSECOND


def _current(entries: Iterable[list[int]], limit: Limit, at: int) -> list[list[int]]:
    """A copy without what has left, and without a future; its entries are not to be changed."""
    gone = at - limit.stay
    kept = [entry for entry in entries if entry[0] > gone]
    latest = at - at % limit.width
    if kept and kept[-1][0] > latest:
        present: list[list[int]] = []
        for stamp, count in kept:
            _add(present, min(stamp, latest), count)
        return present
    return kept


def _add(entries: list[list[int]], stamp: int, count: int) -> None:
    if entries and entries[-1][0] == stamp:
        entries[-1] = [stamp, entries[-1][1] + count]
    else:
        entries.append([stamp, count])


def _free_at(entries: list[list[int]], limit: Limit, n: int) -> int:
    """The first instant at which *n* more fit, 0 for now."""
    if n > limit.max:
        raise ValueError(f"limit {limit.name}: {n} never fit into {limit.max}")
    too_many = n - limit.max
    for entry in entries:
        too_many += entry[1]
    if too_many <= 0:
        return 0
    for stamp, count in entries:
        too_many -= count
        if too_many <= 0:
            return stamp + limit.stay
    return 0
