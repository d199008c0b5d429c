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
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

State = dict[str, list[list[int]]]
"""Limit name → [[stamp in microseconds since 1970, count], …], the oldest first."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_BUCKETS = 60


@dataclass(frozen=True, slots=True)
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

    def __post_init__(self) -> None:
        if self.max < 1 or self.per < timedelta(milliseconds=1):
            raise ValueError(f"limit {self.name}: max must be positive, per at least a millisecond")


@dataclass(frozen=True, slots=True)
class Granted:
    """Taken; store the state."""

    state: State


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing was taken; at *until* the same request is granted if nobody else came in between.

    Store the state all the same: it has forgotten what has left and what claimed to be in the future.
    """

    until: datetime
    limit_name: str
    """The limit that takes longest."""
    state: State


def reserve(state: State, limits: Sequence[Limit], now: datetime, n: int = 1) -> Granted | Wait:
    """Take *n* from every limit, or from none. Raises ``ValueError`` if *n* exceeds a limit's max."""
    at = _micros(now)
    current = {limit.name: _current(state.get(limit.name, ()), limit, at) for limit in limits}
    waits = [(_free_at(current[limit.name], limit, n), limit.name) for limit in limits]
    until, slowest = max(waits, default=(at, ""))
    if until > at:
        return Wait(_EPOCH + until * _MICROSECOND, slowest, current)
    for limit in limits:
        _add(current[limit.name], _slot(at, limit), n)
    return Granted(current)


def release(state: State, limits: Sequence[Limit], granted_at: datetime, n: int = 1) -> State:
    """Give back *n* that were granted at *granted_at* and certainly not used.

    What is no longer there under that instant stays taken.
    """
    at = _micros(granted_at)
    kept: State = dict(state)
    for limit in limits:
        slot = _slot(at, limit)
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


def _width(limit: Limit) -> int:
    return 1 if limit.exact else max(1, limit.per // _MICROSECOND // _BUCKETS)


def _slot(at: int, limit: Limit) -> int:
    return at - at % _width(limit)


def _leaves_at(stamp: int, limit: Limit) -> int:
    """When what was counted under *stamp* has left the window altogether."""
    # The last instant of the slot is width - 1 after its first; it has left one window later.
    return stamp + _width(limit) - 1 + limit.per // _MICROSECOND


def _current(entries: Iterable[Sequence[int]], limit: Limit, at: int) -> list[list[int]]:
    """A copy without what has left, and without a future."""
    kept: list[list[int]] = []
    latest = _slot(at, limit)
    for stamp, count in entries:
        if _leaves_at(stamp, limit) > at:
            _add(kept, min(stamp, latest), count)
    return kept


def _add(entries: list[list[int]], stamp: int, count: int) -> None:
    if entries and entries[-1][0] == stamp:
        entries[-1][1] += count
    else:
        entries.append([stamp, count])


def _free_at(entries: list[list[int]], limit: Limit, n: int) -> int:
    """The first instant at which *n* more fit, 0 for now."""
    if n > limit.max:
        raise ValueError(f"limit {limit.name}: {n} never fit into {limit.max}")
    too_many = sum(count for _, count in entries) + n - limit.max
    for stamp, count in entries:
        if too_many <= 0:
            break
        too_many -= count
        leaves = _leaves_at(stamp, limit)
        if too_many <= 0:
            return leaves
    return 0
