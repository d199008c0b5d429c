"""The breakers of all credentials, as this process knows them; reloaded by the dispatcher in every round.

The rows are the truth. What is known here decides only whether to look at them: a batch of successes with
credentials that are known to be well reads and writes nothing. So a replica that has not heard of another's failures
yet does not end their row; it hears within a round.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.pipeline.announcing import breaker_changed
from services.notifier.pipeline.job import Job
from services.notifier.pipeline.settling import Settled
from services.notifier.store import breakers as store
from services.notifier.store.breakers import ALERT_DUE, ALERT_OVER, ALERT_SENT
from shared.breaker import Breaker, BreakerState, Figures, Sign, Tried, after, probing, reset
from shared.db import outbox
from shared.settings import Limits
from shared.telemetry import metrics
from shared.telemetry.metrics import Metrics
from shared.values import value_class

_CLEAN = Breaker()
_log = structlog.get_logger("reach.notifier.breakers")


@value_class
class Change:
    """What a transaction did to one breaker."""

    key: str
    before: Breaker
    after: Breaker

    @property
    def opened(self) -> bool:
        """Whether it opened; a probe that failed opens nothing anew."""
        return self.after.opening > self.before.opening

    @property
    def closed(self) -> bool:
        """Whether deliveries waited for it and need not any more."""
        return self.before.holds and not self.after.holds


def figures_of(limits: Limits) -> Figures:
    """From the settings."""
    return Figures(limits.breaker_threshold, limits.breaker_open, limits.breaker_open_most)


class Breakers:
    """Keeps, applies and seizes them."""

    def __init__(
        self, figures: Figures, numbers: Metrics, *, jitter: Callable[[], float] = random.random
    ) -> None:
        self._figures = figures
        self._numbers = numbers
        self._jitter = jitter
        self._known: dict[str, Breaker] = {}
        self._waited_for: set[str] = set()
        """Those for which deliveries were put off here: when one closes, they need not wait any longer."""
        self._alerts_due = False
        self.pools: Mapping[str, tuple[str, ...]] = {}
        """By channel, the credentials that serve it where there are several; the dispatcher keeps it current."""

    @property
    def alerts_due(self) -> bool:
        """Whether somebody is still to be told of an opening, as far as this process knows."""
        return self._alerts_due

    def note_alerts_told(self) -> None:
        """Remember that everybody was told; what was not is found again in the rows."""
        self._alerts_due = False

    def holds(self, key: str) -> bool:
        """Whether nothing may be sent with the credential *key* but a probe."""
        known = self._known.get(key)
        return known is not None and known.holds

    def refuses(self, job: Job) -> bool:
        """Whether *job*, claimed a while ago, may not be sent after all."""
        return bool(self._known) and not job.probe and self.holds(job.credential)

    def hold(self, job: Job, now: datetime, probes: dict[str, Job]) -> datetime | None:
        """Until when *job* waits for its credential; None where it may go.

        The first one to come when it is time goes on as the probe to be, and is put into *probes*: see ``seize``.
        """
        known = self._known.get(job.credential, _CLEAN)
        if not known.holds:
            return None
        if known.may_probe(now) and job.credential not in probes:
            probes[job.credential] = job
            return None
        self._waited_for.add(job.credential)
        # While a probe is being chosen: it holds its place for as long as its lease lasts.
        return max(known.held_until(now), job.lease_until if known.may_probe(now) else now)

    async def seize(self, conn: AsyncConnection, key: str, job: Job, now: datetime) -> datetime | None:
        """Make *job* the one probe of all replicas; else until when it waits."""
        if await store.seize(conn, key, job.delivery_id, job.lease_until, now):
            job.probe = True
            self._known[key] = probing(self._known.get(key, _CLEAN), job.delivery_id, job.lease_until)
            return None
        self._waited_for.add(key)
        return job.lease_until

    def channels(self, keys: Collection[str]) -> Collection[str]:
        """The channels that send with the credentials *keys*."""
        return {*keys, *(pool for pool, members in self.pools.items() if not set(keys).isdisjoint(members))}

    def failing(self, keys: Collection[str]) -> set[str]:
        """The channels that nothing but *keys* serves."""
        return {*keys, *(pool for pool, members in self.pools.items() if set(members) <= set(keys))}

    def may_probe(self, key: str, now: datetime) -> bool:
        """Whether a delivery may go as the probe of the credential *key*."""
        return self._known.get(key, _CLEAN).may_probe(now)

    def held_until(self, key: str, now: datetime) -> datetime:
        """Until when nothing goes with the credential *key*; *now* where something may."""
        known = self._known.get(key, _CLEAN)
        return known.held_until(now) if known.holds else now

    async def load(self, conn: AsyncConnection, now: datetime) -> None:
        """Learn what other replicas recorded, and let go on what waited for those that are closed again."""
        rows = await store.unclean(conn)
        self._learn({key: row.breaker for key, row in rows.items()})
        self._alerts_due = any(row.alert in (ALERT_DUE, ALERT_OVER) for row in rows.values())
        # Also where the probe was given up: the next one may go, and one of those that wait is it.
        standing = {key: self._known.get(key, _CLEAN) for key in self._waited_for}
        free = {key for key, one in standing.items() if not one.holds or one.may_probe(now)}
        # Forgotten only when none is left: a transaction that is run again must find them again.
        if free and not await store.release_waiting(conn, self.channels(free), now):
            self._waited_for -= free

    async def record(self, conn: AsyncConnection, settled: Sequence[Settled], now: datetime) -> list[Change]:
        """Record what *settled* say about their credentials, and announce what that changes.

        The last locks that the transaction takes.
        """
        unclean = {key for key, known in self._known.items() if not known.clean}
        touched = {
            one.job.credential
            for one in settled
            if one.sign is Sign.FAILS or (unclean and one.job.credential in unclean)
        }
        if not touched:
            return []
        tried: dict[str, list[Tried]] = {key: [] for key in touched}
        for one in settled:
            if one.job.credential in touched:
                tried[one.job.credential].append(_tried(one))
        rows = await store.locked(conn, touched, now)
        changes = []
        for key in sorted(touched):
            standing = before = rows[key].breaker
            for each in tried[key]:
                standing = after(standing, each, now=now, figures=self._figures, jitter=self._jitter())
            # A row that another replica cleaned is learnt as well.
            changes.append(change := Change(key, before, standing))
            if standing != before:
                await store.write(conn, key, standing, now, updated_by="", **_alert(change, rows[key].alert))
        await self._announce(conn, changes, now)
        return changes

    async def reset(self, conn: AsyncConnection, key: str, by: str, now: datetime) -> Change:
        """Close one by hand, in the caller's transaction."""
        row = (await store.locked(conn, [key], now))[key]
        change = Change(key, row.breaker, reset(row.breaker))
        await store.write(conn, key, change.after, now, updated_by=by, **_alert(change, row.alert))
        await self._announce(conn, [change], now)
        return change

    def note(self, changes: Sequence[Change]) -> None:
        """Remember what was just committed."""
        for change in changes:
            self._known[change.key] = change.after
            self._measure(change.key, change.after)
            self._alerts_due = self._alerts_due or change.opened or change.closed
            if change.opened:
                _log.error(
                    "breaker opened",
                    credential=change.key,
                    failures=change.after.failures,
                    reason=change.after.reason,
                    errcode=change.after.errcode,
                )
            elif change.closed:
                _log.warning("breaker closed", credential=change.key)

    def _learn(self, rows: Mapping[str, Breaker]) -> None:
        for key in self._known.keys() | rows.keys():
            known = rows.get(key, _CLEAN)
            if known != self._known.get(key, _CLEAN):
                self._measure(key, known)
        self._known = dict(rows)

    def _measure(self, key: str, breaker: Breaker) -> None:
        self._numbers.set(metrics.BREAKER_OPEN, int(breaker.holds), service="notifier", breaker=key)

    async def _announce(self, conn: AsyncConnection, changes: Sequence[Change], now: datetime) -> None:
        events = [
            breaker_changed(one.key, one.after if one.opened else one.before, now, opened=one.opened)
            for one in changes
            if one.opened or one.closed
        ]
        if events:
            await outbox.add(conn, events)


def _alert(change: Change, before: str) -> dict[str, object]:
    """What is to be told of *change*; *before* is what became of the alert of its opening."""
    if change.opened:
        return {"alert": ALERT_DUE, "alerted_at": None}
    if change.closed:
        # Who was not told that it failed need not hear that it works.
        return {"alert": ALERT_OVER if before == ALERT_SENT else "", "alerted_at": None}
    return {}


def _tried(one: Settled) -> Tried:
    reason = one.attempt.state if one.errcode is None else f"errcode:{one.errcode}"
    return Tried(
        one.sign,
        one.began,
        one.job.delivery_id,
        one.job.store_id,
        reason if one.sign is Sign.FAILS else "",
        one.errcode,
        one.attempt.detail[:300],
    )


__all__ = ["BreakerState", "Breakers", "Change", "figures_of"]
