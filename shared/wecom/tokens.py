"""Access tokens: one per secret, shared by all replicas, fetched by one of them at a time.

A token is replaced in the background when 90 % of its life is over (or 300 s before its end,
whichever is earlier), while sends go on with the old one. Only a call that has no usable token waits.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from shared.clock import Clock
from shared.errors import ReachError
from shared.http import Caller
from shared.values import value_class
from shared.wecom.credentials import App
from shared.wecom.errcodes import RetryClass
from shared.wecom.gettoken import Fetched, TokenUnavailable, fetch
from shared.wecom.token_rows import StoredToken, TokenStore

_log = structlog.get_logger("reach.wecom")

_FETCH_DEADLINE = 5.0
_LEASE = timedelta(seconds=10)  # longer than a fetch may take
_POLL = 0.1
_WAIT_FOR_OTHERS = 12.0  # outlives a lease whose owner died
_MARGIN = timedelta(seconds=300)
_COOL, _LONGEST_COOL = timedelta(seconds=1), timedelta(seconds=5)
_BREAK, _LONGEST_BREAK = timedelta(seconds=60), timedelta(minutes=15)
# Shown again and again, a wrong secret gets the source address banned for an hour.
_WRONG_SECRET = frozenset({40001, 40013, 40091})


@value_class
class Token:
    """A token to send with."""

    value: str = field(repr=False)
    generation: int
    """Give it back to :meth:`TokenAuthority.invalidate` when the platform refuses the token."""


@dataclass(slots=True)
class _Known:
    """What this process knows of one secret."""

    row: StoredToken | None = None
    dead: int = 0
    """Newest generation the platform has refused."""

    flight: asyncio.Task[StoredToken] | None = None
    failure: TokenUnavailable | None = None
    failed_at: datetime | None = None

    def usable(self) -> StoredToken | None:
        row = self.row
        return row if row is not None and row.token is not None and row.generation > self.dead else None

    def cooling(self, now: datetime) -> TokenUnavailable | None:
        """The last failure, to be raised again while it is too early to ask again.

        Short even for a secret that was refused for long: the row is what keeps us from asking
        then, and looking at it again lets a person's ``reopen`` reach every process.
        """
        if self.failure is None or self.failed_at is None:
            return None
        gone, wait = now - self.failed_at, self.failure.retry_after or _COOL
        if gone >= min(wait, _LONGEST_COOL):
            return None
        return _again(self.failure, wait - gone)


class TokenAuthority:
    """Hands out tokens. One per process and destination; close it before its caller and store.

    At most one gettoken is under way per secret, over all processes that share the store.
    """

    def __init__(self, caller: Caller, store: TokenStore, clock: Clock, *, owner: str) -> None:
        """*owner* names this process among all replicas."""
        self._caller = caller
        self._store = store
        self._clock = clock
        self._owner = owner
        self._known: dict[str, _Known] = {}

    async def token(self, app: App, *, deadline: float) -> Token:
        """A token for *app*, within *deadline* seconds.

        Costs no I/O while the known token is fresh. An old one is used until the platform refuses it
        if no newer can be had. Raises :class:`TokenUnavailable`.
        """
        known = self._known.setdefault(app.token_key, _Known())
        now = self._clock.now()
        row = known.usable()
        if row is None or row.refresh_at is None or now >= row.refresh_at:
            row = await self._renewed(app, known, row, now, deadline)
        assert row.token is not None
        return Token(row.token, row.generation)

    async def invalidate(self, app: App, generation: int) -> None:
        """The platform refused the token of *generation*: never use it again, here or elsewhere.

        Without effect when a newer one is known. A store that is down does not matter here: this
        process has forgotten the token, and the others will be refused themselves.
        """
        known = self._known.setdefault(app.token_key, _Known())
        if generation <= known.dead or (known.row is not None and known.row.generation > generation):
            return
        known.dead = generation
        try:
            await self._store.drop(app.token_key, generation)
        except ReachError as error:
            _log.warning("wecom.token_not_dropped", app=app.name, reason=error.reason)

    async def reopen(self, app: App) -> None:
        """Forget that the secret was refused, after a person has put it right."""
        known = self._known.setdefault(app.token_key, _Known())
        known.failure = None
        await self._store.reopen(app.token_key)

    async def close(self) -> None:
        """Stop refreshing; a lease held now is given back."""
        flights = [known.flight for known in self._known.values() if known.flight is not None]
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    async def _renewed(
        self, app: App, known: _Known, old: StoredToken | None, now: datetime, deadline: float
    ) -> StoredToken:
        """A newer row, or the old one where that will do."""
        failure = known.cooling(now)
        if failure is None and known.flight is None:
            known.flight = asyncio.create_task(self._fly(app, known))
        if old is not None and (failure is not None or (old.expires_at is not None and now < old.expires_at)):
            return old
        if failure is not None:
            raise failure
        assert known.flight is not None
        # The flight belongs to all who wait: one who gives up does not end it.
        done, _ = await asyncio.wait([known.flight], timeout=max(deadline, 0))
        row = known.usable()  # the new one, or an old one the store still held
        if row is not None:
            return row
        for flight in done:
            if not flight.cancelled() and (error := flight.exception()) is not None:
                raise _again(error) if isinstance(error, TokenUnavailable) else error
        raise TokenUnavailable("token_deadline", "no token was had in time")

    async def _fly(self, app: App, known: _Known) -> StoredToken:
        """One refresh for all who wait; remembers how it ended."""
        try:
            row = await self._refreshed(app, known)
        except TokenUnavailable as failure:
            known.failure, known.failed_at = failure, self._clock.now()
            _log.warning(
                "wecom.token_unavailable", app=app.name, cause=failure.cause, errcode=failure.errcode
            )
            raise
        else:
            known.row, known.failure = row, None
            return row
        finally:
            known.flight = None
            if (task := asyncio.current_task()) is not None:
                task.add_done_callback(_seen)

    async def _refreshed(self, app: App, known: _Known) -> StoredToken:
        """Another's new token if there is one, else our own, fetched under the lease."""
        try:
            async with asyncio.timeout(_WAIT_FOR_OTHERS):
                while True:
                    row = await self._store.load(app.token_key)
                    now = self._clock.now()
                    known.row = row or known.row
                    if row is not None and self._fresh(row, known, now):
                        return row
                    _check_breaker(row, now)
                    generation = row.generation if row else 0
                    if await self._store.try_lease(app.token_key, self._owner, generation, now, now + _LEASE):
                        fetched = await self._fetched_under_lease(app, generation, row)
                        if fetched is not None:
                            return fetched
                    else:
                        await asyncio.sleep(_POLL)
        except TimeoutError:
            raise TokenUnavailable("token_busy", "another process is fetching the token") from None
        except ReachError as error:
            raise TokenUnavailable("token_store", error.message) from None

    @staticmethod
    def _fresh(row: StoredToken, known: _Known, now: datetime) -> bool:
        alive = row.token is not None and row.generation > known.dead
        return alive and row.refresh_at is not None and now < row.refresh_at

    async def _fetched_under_lease(
        self, app: App, generation: int, row: StoredToken | None
    ) -> StoredToken | None:
        """The new row; None when the lease was lost meanwhile, and the other's token is to be taken."""
        key = app.token_key
        asked_at = self._clock.now()
        try:
            fetched = await fetch(self._caller, app, _FETCH_DEADLINE)
        except TokenUnavailable as failure:
            raise await self._given_up(key, failure, row) from None
        except BaseException:
            with suppress(ReachError):  # the lease ends by itself
                await self._store.release(key, self._owner)
            raise
        new = _row(fetched, asked_at, generation + 1)
        assert new.token is not None
        assert new.refresh_at is not None
        assert new.expires_at is not None
        saved = await self._store.save(
            key, new.token, new.refresh_at, new.expires_at, generation, self._owner
        )
        return new if saved else None

    async def _given_up(
        self, key: str, failure: TokenUnavailable, row: StoredToken | None
    ) -> TokenUnavailable:
        """End the lease; for a refusal, keep every replica from asking again too soon."""
        pause = _pause(failure, row.refused_count if row else 0)
        if pause is None or failure.errcode is None:
            await self._store.release(key, self._owner)
            return failure
        count = (row.refused_count if row else 0) + 1
        until = self._clock.now() + pause
        await self._store.refuse(key, self._owner, until, failure.errcode, count)
        return _refusal(failure.errcode, failure.detail, failure.retry_class, pause)


def _row(fetched: Fetched, asked_at: datetime, generation: int) -> StoredToken:
    """When to replace a token, never before half its life: a short one would be fetched for ever."""
    early = max(min(fetched.life * 0.9, fetched.life - _MARGIN), fetched.life * 0.5)
    return StoredToken(fetched.token, asked_at + fetched.life, asked_at + early, generation)


def _pause(failure: TokenUnavailable, refusals: int) -> timedelta | None:
    """How long nobody may ask again; None where only this process waits a moment."""
    if failure.errcode in _WRONG_SECRET:
        return min(_BREAK * (1 << min(refusals, 10)), _LONGEST_BREAK)
    if failure.retry_class in (RetryClass.PERM_CONFIG, RetryClass.REST):
        return _BREAK
    return None


def _check_breaker(row: StoredToken | None, now: datetime) -> None:
    if row is None or row.refused_until is None or row.refused_errcode is None or now >= row.refused_until:
        return
    from_row = (
        f"errcode {row.refused_errcode} a while ago; not asked again before {row.refused_until:%H:%M:%S} UTC"
    )
    rest = RetryClass.REST if row.refused_errcode in (45009, 45033) else RetryClass.PERM_CONFIG
    raise _refusal(row.refused_errcode, from_row, rest, row.refused_until - now)


def _refusal(errcode: int, detail: str, retry_class: RetryClass, pause: timedelta) -> TokenUnavailable:
    return TokenUnavailable(
        "token_denied", detail, errcode=errcode, retry_class=retry_class, retry_after=pause
    )


def _again(failure: TokenUnavailable, retry_after: timedelta | None = None) -> TokenUnavailable:
    """A copy to raise: one exception raised by many tasks would collect all their tracebacks."""
    return TokenUnavailable(
        failure.cause,
        failure.detail,
        errcode=failure.errcode,
        retry_class=failure.retry_class,
        retry_after=retry_after or failure.retry_after,
    )


def _seen(task: asyncio.Task[object]) -> None:
    """A background refresh that failed has been logged; asyncio need not complain as well."""
    if not task.cancelled():
        task.exception()
