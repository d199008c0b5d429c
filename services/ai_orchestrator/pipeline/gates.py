"""The gates before a call, over rows: breaker, rate, budget.

The order is the contract's: a call that several would refuse is refused by the first. Rows are locked in another one
that is the same everywhere: holds, rates, budgets, costs, breakers; so two transactions never wait for each
other in a circle. A hold that is only being taken is nobody else's to wait for.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.breaking import (
    key_of,
    keys_of,
    remembered,
    said,
    trips,
    troubled,
)
from services.ai_orchestrator.domain.budget import (
    EVERY_STORE,
    HOLDS_SETTLE,
    Ceiling,
    Window,
    charged,
    windows_of,
)
from services.ai_orchestrator.domain.call import CallProblem, Completion, Count
from services.ai_orchestrator.domain.gating import Granted, Refusal, Refused, Wish
from services.ai_orchestrator.domain.slowing import Slowdown, struck
from services.ai_orchestrator.pipeline import token_rates
from services.ai_orchestrator.pipeline.token_rates import TokenRates
from services.ai_orchestrator.store import breakers, budgets
from services.ai_orchestrator.store.breakers import Row
from services.ai_orchestrator.store.budgets import MONTH_NAME, BudgetKey, Hold, Move, Spent
from shared.breaker import Figures, Sign, Tried, after
from shared.db.limits import Release, Request, release_many, reserve_many
from shared.limits import Limit, Wait
from shared.settings import Limits
from shared.values import value_class

_MINUTE: Final = timedelta(minutes=1)
_ALL: Final = "ai:all"
_STORE: Final = "ai:store:"
_DETAIL: Final = 300


@value_class
class GateFigures:
    """How much may leave, as the deployment says."""

    breaker: Figures
    store_per_minute: int
    per_minute: int
    each: Ceiling
    """Of a store for which nobody said anything."""
    together: Ceiling
    """Of all stores, likewise."""
    prewarm_percent: int
    tokens: TokenRates
    """A minute."""

    @classmethod
    def of(cls, limits: Limits) -> GateFigures:
        """From the settings."""
        return cls(
            Figures(limits.ai_breaker_failures, limits.ai_breaker_open, limits.ai_breaker_open_most),
            limits.ai_store_per_minute,
            limits.ai_per_minute,
            Ceiling(limits.ai_store_tokens_per_day, limits.ai_store_tokens_per_month),
            Ceiling(limits.ai_tokens_per_day, limits.ai_tokens_per_month),
            limits.ai_prewarm_percent,
            TokenRates(
                limits.ai_store_tokens_per_minute, limits.ai_tokens_per_minute, limits.ai_prewarm_percent
            ),
        )

    def share(self, most: int, *, interactive: bool) -> int:
        """How much of *most* a call may use."""
        return most if interactive else most * self.prewarm_percent // 100

    def limits_of(self, key: str) -> Sequence[Limit]:
        """The limits behind a key of the rate table."""
        calls, tokens = (
            (self.per_minute, self.tokens.together)
            if key == _ALL
            else (self.store_per_minute, self.tokens.each)
        )
        return (*_per_minute(calls), token_rates.per_minute(tokens))


def _per_minute(most: int) -> tuple[Limit, ...]:
    return (Limit("minute", max(1, most), _MINUTE, exact=False),)


class _Shut(Exception):  # nothing went wrong: it unwinds what the gates before had taken
    def __init__(self, refusal: Refusal, detail: str, until: datetime) -> None:
        super().__init__(refusal)
        self.refused = Refused(refusal, detail, until)


class SqlGates:
    """See ``pipeline.ports.Gates``."""

    def __init__(
        self, figures: GateFigures, zone: ZoneInfo, *, jitter: Callable[[], float] = random.random
    ) -> None:
        """Days and months are those of *zone*."""
        self._figures = figures
        self._zone = zone
        self._jitter = jitter

    async def guess(self, conn: AsyncConnection, app_type: str, prompt_bytes: int) -> int:
        """The tokens that a call would be held for now; for plans, which take nothing."""
        return (await budgets.cost(conn, app_type)).guess(prompt_bytes)

    async def pass_(self, conn: AsyncConnection, wish: Wish, now: datetime) -> Granted | Refused:
        """The verdict of the first gate that refuses, with nothing taken; or all were passed and the tokens are held.

        At most once in a transaction: the rows of rates are locked in one go.
        """
        try:
            known = await breakers.of(conn, keys_of(wish.app_type))
            probes = _probes(wish, known, now)
            slowed = _slowed(known, now)
            # What one gate took is given back when the next one refuses, or when another is the probe after all.
            async with conn.begin_nested():
                tokens = await self.guess(conn, wish.app_type, wish.prompt_bytes)
                await self._rate(conn, wish, tokens, slowed, now)
                await self._budget(conn, wish, tokens, now)
                await self._seize(conn, probes, wish, now)
        except _Shut as shut:
            return shut.refused
        return Granted(wish.attempt_id, tokens)

    async def settle(
        self, conn: AsyncConnection, wish: Wish, outcome: Completion | CallProblem, now: datetime
    ) -> int:
        """Charge what it cost and count it for the breaker; the tokens that were charged. A second time changes nothing."""
        hold = await budgets.held(conn, wish.attempt_id)
        if hold is None:
            return 0
        if hold.charged is not None:
            return hold.charged
        tokens = charged(outcome, hold.tokens)
        await self._give_back(conn, wish, hold, outcome, tokens, now)
        await budgets.settle(conn, {hold: tokens}, now)
        if isinstance(outcome, Completion) and outcome.usage is not None:
            await budgets.learn(conn, wish.app_type, wish.prompt_bytes, tokens, now)
        await self._count(conn, wish, hold, outcome, now)
        return tokens

    async def expire(self, conn: AsyncConnection, now: datetime, limit: int) -> int:
        """Charge holds in full that nobody settled in time: their calls may have run. How many there were."""
        lapsed = await budgets.lapsed(conn, now, limit)
        await budgets.settle(conn, {one: one.tokens for one in lapsed}, now)
        return len(lapsed)

    # --- breaker

    async def _seize(self, conn: AsyncConnection, keys: Sequence[str], wish: Wish, now: datetime) -> None:
        for key in sorted(keys):
            if not await breakers.seize(conn, key, wish.attempt_id, wish.until, now):
                raise _Shut(Refusal.CIRCUIT_OPEN, f"breaker {key}: another call tries it", now + HOLDS_SETTLE)

    async def _count(
        self,
        conn: AsyncConnection,
        wish: Wish,
        hold: Hold,
        outcome: Completion | CallProblem,
        now: datetime,
    ) -> None:
        """Count a call for the breakers it says something about, and slow down what was throttled."""
        known = await breakers.of(conn, keys_of(wish.app_type))
        slow, saying = _slowed_by(outcome, wish), {}
        for key in keys_of(wish.app_type):
            one, row = said(outcome, key, wish.app_type), known.get(key)
            # A success of what works writes nothing, and nobody waits for anybody's row.
            unclean = row is not None and (not row.breaker.clean or troubled(row.recent))
            if one.sign is Sign.FAILS or unclean or key == slow:
                saying[key] = one
        if not saying:
            return
        rows = await breakers.locked(conn, saying, now)
        for key, one in sorted(saying.items()):
            before, recent = rows[key].breaker, remembered(rows[key].recent, one)
            opens = one.opens or (one.sign is Sign.FAILS and trips(recent, self._figures.breaker.threshold))
            tried = _tried(one.sign, outcome, wish, hold, opens=opens)
            standing = after(before, tried, now=now, figures=self._figures.breaker, jitter=self._jitter())
            if standing.holds or before.holds:
                recent = ""  # an opening is judged by its probes, and what follows it begins anew
            slowdown = rows[key].slowdown
            if isinstance(outcome, CallProblem) and key == slow:
                slowdown = struck(
                    slowdown,
                    began=hold.taken_at,
                    retry_at=outcome.retry_at,
                    now=now,
                    jitter=self._jitter(),
                )
            await breakers.write(conn, Row(key, standing, recent, slowdown, ""), now)

    # --- rate

    async def _rate(
        self, conn: AsyncConnection, wish: Wish, tokens: int, slowed: Sequence[Slowdown], now: datetime
    ) -> None:
        figures, interactive = self._figures, wish.interactive
        left = min((one.of(figures.per_minute, now) for one in slowed), default=figures.per_minute)
        for_all = figures.share(left, interactive=interactive)
        for_store = figures.share(figures.store_per_minute, interactive=interactive)
        asked = Request(
            _STORE + wish.store_id, _per_minute(for_store), beside=((_ALL, _per_minute(for_all)),)
        )
        requests = {"calls": asked, "tokens": figures.tokens.request(wish, tokens, _rate_keys(wish))}
        verdicts = await reserve_many(conn, [*requests.values()], now)
        waits = [
            (what, requests[what], one)
            for what, one in zip(requests, verdicts, strict=True)
            if isinstance(one, Wait)
        ]
        if waits:
            what, request, first = waits[0]
            whose = "all stores together" if first.key == _ALL else f"store {wish.store_id}"
            (limit,) = request.beside[0][1] if first.key == _ALL else request.limits
            until = max(one.until for _, _, one in waits)
            raise _Shut(Refusal.RATE_LIMITED, f"{whose}: {limit.max} {what} a minute are used", until)

    async def _give_back(
        self,
        conn: AsyncConnection,
        wish: Wish,
        hold: Hold,
        outcome: Completion | CallProblem,
        tokens: int,
        now: datetime,
    ) -> None:
        """The tokens that a call has not cost, and the place of one of which not a byte left."""
        keys = _rate_keys(wish)
        releases = [*self._figures.tokens.releases(wish, hold, tokens, keys, now)]
        if isinstance(outcome, CallProblem) and not outcome.sent:
            releases += [Release(key, _per_minute(1), hold.taken_at) for key in keys]
        await release_many(conn, releases, now)

    # --- budget

    async def _budget(self, conn: AsyncConnection, wish: Wish, tokens: int, now: datetime) -> None:
        windows = windows_of(now, self._zone)
        day, month = (one.name for one in windows)
        spent = await budgets.lock(conn, budgets.budget_keys(wish.store_id, (day, month)), now)
        most = {key: self._most(key, one, wish) for key, one in spent.items()}
        moves = {key: Move(held=tokens, most=limit) for key, limit in most.items()}
        if not await budgets.move(conn, moves, now):
            raise _over(spent, most, windows, tokens, now)
        await budgets.take(
            conn, Hold(wish.attempt_id, wish.store_id, wish.app_type, day, month, tokens, now, wish.until)
        )

    def _most(self, key: BudgetKey, spent: Spent, wish: Wish) -> int:
        """What a budget may reach by this call."""
        store, window = key
        default = self._figures.together if store == EVERY_STORE else self._figures.each
        figure = default.month if len(window) == MONTH_NAME else default.day
        return self._figures.share(figure if spent.most is None else spent.most, interactive=wish.interactive)


def _rate_keys(wish: Wish) -> tuple[str, str]:
    """The rates that a call counts for: its store's and everybody's."""
    return _STORE + wish.store_id, _ALL


def _probes(wish: Wish, known: Mapping[str, Row], now: datetime) -> Sequence[str]:
    """The breakers that this call would probe; raises when one is shut."""
    holding = [known[key] for key in keys_of(wish.app_type) if key in known and known[key].breaker.holds]
    shut = [row for row in holding if not row.breaker.may_probe(now)]
    if shut:
        one = shut[0].breaker
        detail = f"breaker {shut[0].key} is {one.state}: {one.reason} {one.detail}".rstrip()
        raise _Shut(Refusal.CIRCUIT_OPEN, detail, max(row.breaker.held_until(now) for row in shut))
    return [row.key for row in holding]


def _slowed(known: Mapping[str, Row], now: datetime) -> Sequence[Slowdown]:
    """How far the platform has slowed this call; raises while it rests altogether."""
    slowed = [row.slowdown for row in known.values()]
    if resting := [until for one in slowed if (until := one.rests_until(now)) is not None]:
        until = max(resting)
        text = f"DashScope throttles; rests until {until.isoformat(' ', 'seconds')}"
        raise _Shut(Refusal.RATE_LIMITED, text, until)
    return slowed


def _slowed_by(outcome: Completion | CallProblem, wish: Wish) -> str | None:
    """What a throttled call slows down."""
    if isinstance(outcome, CallProblem) and outcome.count is Count.SLOW:
        return key_of(outcome.scope, wish.app_type)
    return None


def _over(
    spent: Mapping[BudgetKey, Spent],
    most: Mapping[BudgetKey, int],
    windows: Sequence[Window],
    tokens: int,
    now: datetime,
) -> _Shut:
    """Why there is no room, and when there may be: in the next window, or when calls under way cost less than held."""
    ends = {one.name: one.ends_at for one in windows}
    full = [key for key, limit in most.items() if spent[key].used + spent[key].held + tokens > limit]
    # The rows are locked, so these are the figures that the update found.
    until = max(ends[key[1]] if spent[key].used + tokens > most[key] else now + HOLDS_SETTLE for key in full)
    named = [
        f"{f'store {store}' if store != EVERY_STORE else 'all stores together'} {window}: "
        f"{spent[store, window].used} used, {spent[store, window].held} held, {tokens} wanted of {most[store, window]}"
        for store, window in full
    ]
    return _Shut(Refusal.BUDGET_EXCEEDED, "; ".join(named), until)


def _tried(sign: Sign, outcome: Completion | CallProblem, wish: Wish, hold: Hold, *, opens: bool) -> Tried:
    if isinstance(outcome, Completion) or sign is not Sign.FAILS:
        return Tried(sign, hold.taken_at, wish.attempt_id, wish.store_id)
    detail = f"{outcome.code}: {outcome.message}" if outcome.code else outcome.message
    return Tried(
        sign,
        hold.taken_at,
        wish.attempt_id,
        wish.store_id,
        outcome.reason,
        detail=detail[:_DETAIL],
        opens=opens,
    )
