"""The gates before a call, over rows: breaker, rate, budget.

The order is the contract's: a call that several would refuse is refused by the first. Rows are locked in another one
that is the same everywhere: holds, rates, budgets, costs, breakers; so two transactions never wait for each
other in a circle. A hold that is only being taken is nobody else's to wait for.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.breaking import keys_of
from services.ai_orchestrator.domain.budget import (
    EVERY_STORE,
    HOLDS_SETTLE,
    Ceiling,
    Window,
    charged,
    windows_of,
)
from services.ai_orchestrator.domain.call import CallProblem, Outcome
from services.ai_orchestrator.domain.gating import Granted, Refusal, Refused, Wish
from services.ai_orchestrator.domain.slowing import Slowdown
from services.ai_orchestrator.pipeline import token_rates
from services.ai_orchestrator.pipeline.ended import Ended, counted
from services.ai_orchestrator.pipeline.token_rates import TokenRates
from services.ai_orchestrator.store import breakers, budgets
from services.ai_orchestrator.store.breakers import Row
from services.ai_orchestrator.store.budgets import MONTH_NAME, BudgetKey, Hold, Move, Spent
from shared.breaker import Figures
from shared.db.limits import Release, Request, release_many, reserve_many
from shared.limits import Limit, Wait
from shared.settings import Limits
from shared.values import value_class

_MINUTE: Final = timedelta(minutes=1)
_ALL: Final = "ai:all"
_STORE: Final = "ai:store:"


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
        return (await budgets.costs(conn, [app_type]))[app_type].guess(prompt_bytes)

    async def pass_(
        self, conn: AsyncConnection, wishes: Sequence[Wish], now: datetime
    ) -> Sequence[Granted] | Refused:
        """All of them passed and their tokens are held; or the verdict of the first gate that refuses one of them, with
        nothing taken.

        At most once in a transaction: the rows of rates are locked in one go.
        """
        try:
            known = await breakers.of(conn, _keys(wishes))
            probes = [(wish, _probes(wish, known, now)) for wish in wishes]
            slowed = [_slowed(wish, known, now) for wish in wishes]
            # What one gate took is given back when the next one refuses, or when another is the probe after all.
            async with conn.begin_nested():
                costs = await budgets.costs(conn, {wish.app_type for wish in wishes})
                asking = [_Asking(wish, costs[wish.app_type].guess(wish.prompt_bytes)) for wish in wishes]
                await self._rate(conn, asking, slowed, now)
                await self._budget(conn, asking, now)
                for wish, keys in probes:
                    await self._seize(conn, keys, wish, now)
        except _Shut as shut:
            return shut.refused
        return [Granted(one.wish.attempt_id, one.tokens) for one in asking]

    async def settle(
        self, conn: AsyncConnection, ends: Sequence[tuple[Wish, Outcome]], now: datetime
    ) -> list[int]:
        """Charge what they cost and count them for the breakers; the tokens that were charged for each. A second time
        changes nothing."""
        held = await budgets.held(conn, {wish.attempt_id for wish, _ in ends})
        over = [
            Ended(wish, hold, outcome, charged(outcome, hold.tokens))
            for wish, outcome in ends
            if (hold := held.get(wish.attempt_id)) is not None and hold.charged is None
        ]
        if over:
            await self._give_back(conn, over, now)
            await budgets.settle(conn, {one.hold: one.tokens for one in over}, now)
            await budgets.learn(conn, [one.called for one in over if one.told], now)
            await self._count(conn, over, now)
        tokens = {key: hold.charged or 0 for key, hold in held.items()}
        tokens |= {one.wish.attempt_id: one.tokens for one in over}
        return [tokens.get(wish.attempt_id, 0) for wish, _ in ends]

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

    async def _count(self, conn: AsyncConnection, over: Sequence[Ended], now: datetime) -> None:
        """Count calls for the breakers they say something about, and slow down what was throttled."""
        known = await breakers.of(conn, _keys(one.wish for one in over))
        telling = {key for one in over for key in one.keys if one.tells(key, known.get(key))}
        if not telling:
            return
        rows = await breakers.locked(conn, telling, now)
        for key in sorted(telling):
            row = rows[key]
            for one in over:
                if key in one.keys and one.tells(key, row):
                    row = counted(row, one, now, self._figures.breaker, self._jitter)
            await breakers.write(conn, row, now)

    # --- rate

    async def _rate(
        self,
        conn: AsyncConnection,
        asking: Sequence[_Asking],
        slowed: Sequence[Sequence[Slowdown]],
        now: datetime,
    ) -> None:
        wanted = [
            wanted
            for one, slow in zip(asking, slowed, strict=True)
            for wanted in self._wanted(one, slow, now)
        ]
        verdicts = await reserve_many(conn, [request for _, _, request in wanted], now)
        waits = [(one, said) for one, said in zip(wanted, verdicts, strict=True) if isinstance(said, Wait)]
        if waits:
            (wish, what, request), first = waits[0]
            whose = "all stores together" if first.key == _ALL else f"store {wish.store_id}"
            (limit,) = request.beside[0][1] if first.key == _ALL else request.limits
            until = max(said.until for _, said in waits)
            raise _Shut(Refusal.RATE_LIMITED, f"{whose}: {limit.max} {what} a minute are used", until)

    def _wanted(
        self, one: _Asking, slowed: Sequence[Slowdown], now: datetime
    ) -> Sequence[tuple[Wish, str, Request]]:
        """The room that a call needs, of calls and of tokens."""
        figures, wish = self._figures, one.wish
        left = min((slow.of(figures.per_minute, now) for slow in slowed), default=figures.per_minute)
        for_all = figures.share(left, interactive=wish.interactive)
        for_store = figures.share(figures.store_per_minute, interactive=wish.interactive)
        mine, everybodys = keys = _rate_keys(wish)
        call = Request(mine, _per_minute(for_store), beside=((everybodys, _per_minute(for_all)),))
        return (wish, "calls", call), (wish, "tokens", figures.tokens.request(wish, one.tokens, keys))

    async def _give_back(self, conn: AsyncConnection, over: Sequence[Ended], now: datetime) -> None:
        """The tokens that calls have not cost, and the places of those of which not a byte left."""
        releases: list[Release] = []
        for one in over:
            keys, hold = _rate_keys(one.wish), one.hold
            releases += self._figures.tokens.releases(one.wish, hold, one.tokens, keys, now)
            if isinstance(one.outcome, CallProblem) and not one.outcome.sent:
                releases += [Release(key, _per_minute(1), hold.taken_at) for key in keys]
        await release_many(conn, releases, now)

    # --- budget

    async def _budget(self, conn: AsyncConnection, asking: Sequence[_Asking], now: datetime) -> None:
        windows = windows_of(now, self._zone)
        day, month = (one.name for one in windows)
        holds = [
            Hold(wish.attempt_id, wish.store_id, wish.app_type, day, month, one.tokens, now, wish.until)
            for one in asking
            for wish in (one.wish,)
        ]
        spent = await budgets.lock(conn, sorted({key for hold in holds for key in hold.keys}), now)
        moves: dict[BudgetKey, Move] = {}
        for one, hold in zip(asking, holds, strict=True):
            for key in hold.keys:
                # Where one of them may reach less than the others, all of them together may.
                most, before = self._most(key, spent[key], one.wish), moves.get(key, Move())
                least = most if before.most is None else min(most, before.most)
                moves[key] = Move(held=before.held + one.tokens, most=least)
        if not await budgets.move(conn, moves, now):
            raise _over(spent, moves, windows, now)
        await budgets.take(conn, holds)

    def _most(self, key: BudgetKey, spent: Spent, wish: Wish) -> int:
        """What a budget may reach by this call."""
        store, window = key
        default = self._figures.together if store == EVERY_STORE else self._figures.each
        figure = default.month if len(window) == MONTH_NAME else default.day
        return self._figures.share(figure if spent.most is None else spent.most, interactive=wish.interactive)


@value_class
class _Asking:
    """A call that wants to leave, and what it would be held for."""

    wish: Wish
    tokens: int


def _keys(wishes: Iterable[Wish]) -> set[str]:
    """The breakers that calls go through."""
    return {key for wish in wishes for key in keys_of(wish.app_type)}


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


def _slowed(wish: Wish, known: Mapping[str, Row], now: datetime) -> Sequence[Slowdown]:
    """How far the platform has slowed this call; raises while it rests altogether."""
    slowed = [known[key].slowdown for key in keys_of(wish.app_type) if key in known]
    if resting := [until for one in slowed if (until := one.rests_until(now)) is not None]:
        until = max(resting)
        text = f"DashScope throttles; rests until {until.isoformat(' ', 'seconds')}"
        raise _Shut(Refusal.RATE_LIMITED, text, until)
    return slowed


def _over(
    spent: Mapping[BudgetKey, Spent],
    moves: Mapping[BudgetKey, Move],
    windows: Sequence[Window],
    now: datetime,
) -> _Shut:
    """Why there is no room, and when there may be: in the next window, or when calls under way cost less than held."""
    ends = {one.name: one.ends_at for one in windows}
    wanted = {key: (one.held, one.most) for key, one in moves.items() if one.most is not None}
    full = {
        key: (tokens, most)
        for key, (tokens, most) in wanted.items()
        if spent[key].used + spent[key].held + tokens > most
    }
    # The rows are locked, so these are the figures that the update found.
    until = max(
        ends[key[1]] if spent[key].used + tokens > most else now + HOLDS_SETTLE
        for key, (tokens, most) in full.items()
    )
    named = [
        f"{f'store {store}' if store != EVERY_STORE else 'all stores together'} {window}: "
        f"{spent[store, window].used} used, {spent[store, window].held} held, {tokens} wanted of {most}"
        for (store, window), (tokens, most) in full.items()
    ]
    return _Shut(Refusal.BUDGET_EXCEEDED, "; ".join(named), until)
