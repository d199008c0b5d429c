"""Whom a report mentions, made sure of beforehand: userids for mobile numbers, and a word on who may not be reached.

Markdown can mention a userid among its words and no number, which would need a text of its own behind the report. What
cannot be found out changes nothing: the number then goes out as it always did.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from services.notifier.members import Found, Members
from services.notifier.pipeline.limits import LOOKUPS, Rates
from services.notifier.store.mobiles import Mobiles
from shared.clock import Clock
from shared.db.engine import Database
from shared.db.limits import Request, reserve_many
from shared.errors import ReachError
from shared.limits import Granted
from shared.values import value_class

ASKED_MOST = 20
"""Members that are asked about for one report; what is beyond them is taken as it is."""

ASK_SECONDS = 3.0
"""For all questions of one report."""

_AT_ONCE = 5
_log = structlog.get_logger("reach.notifier.mentioning")


@value_class
class Looked:
    """What was found out about some numbers."""

    userids: dict[str, str]
    """By number; those that are somebody's."""
    warnings: tuple[str, ...]
    """Of each that is not, by its place in the request and never the number itself."""


class Mentioning:
    """Finds out about the people that reports mention."""

    def __init__(self, database: Database, members: Members, mobiles: Mobiles, clock: Clock) -> None:
        self._database = database
        self._members = members
        self._mobiles = mobiles
        self._clock = clock

    async def userids(self, mobiles: Sequence[str]) -> Looked:
        """Whose numbers these are, from what is known or else asked for. Never raises for what cannot be found out."""
        try:
            async with self._database.read() as conn:
                known = await self._mobiles.read(conn, mobiles, self._clock.now())
            new = [mobile for mobile in mobiles if mobile not in known]
            found = await _ask(await self._granted(new[:ASKED_MOST]), self._members.by_mobile)
            learnt = {mobile: one.userid for mobile, one in found.items() if not one.problem}
            if learnt:
                now = self._clock.now()
                await self._database.transact(lambda conn: self._mobiles.write(conn, learnt, now))
        except ReachError as error:
            _log.warning("mobile numbers were not looked up", detail=error.message)
            return Looked({}, ("mentions.mobiles: could not be looked up; they are mentioned as numbers",))
        known |= learnt
        return Looked(
            {mobile: userid for mobile, userid in known.items() if userid},
            tuple(
                f"mentions.mobiles[{at}]: {_why(mobile, known, found)}; it is mentioned as a number"
                for at, mobile in enumerate(mobiles)
                if not known.get(mobile)
            ),
        )

    async def _granted(self, mobiles: Sequence[str]) -> list[str]:
        """Those of *mobiles* that may be asked about today."""
        if not mobiles:
            return []
        wish = Request(Rates.lookup_key(self._members.account), LOOKUPS)
        now = self._clock.now()
        verdicts = await self._database.transact(lambda conn: reserve_many(conn, [wish] * len(mobiles), now))
        return [
            mobile for mobile, verdict in zip(mobiles, verdicts, strict=True) if isinstance(verdict, Granted)
        ]

    async def strangers(self, userids: Sequence[str]) -> list[str]:
        """A warning for each of *userids* that is no member this app can see, and for what nobody can tell."""
        found = await _ask(userids[:ASKED_MOST], self._members.by_userid)
        warnings = [
            f"mentions.userids[{at}]: "
            + (one.problem or "no such member, or none that the app can see; nobody will be called")
            for at, userid in enumerate(userids)
            if (one := found.get(userid)) is not None and not one.userid
        ]
        if len(userids) > ASKED_MOST:
            warnings.append(f"mentions.userids: only the first {ASKED_MOST} were looked up")
        return warnings


def _why(mobile: str, known: dict[str, str], found: dict[str, Found]) -> str:
    if mobile in known:
        return "no member that the app can see has this number"
    return (
        found[mobile].problem
        if mobile in found
        else f"only {ASKED_MOST} are looked up at once, {LOOKUPS[0].max} a day"
    )


async def _ask(wanted: Sequence[str], question: Callable[[str, float], Awaitable[Found]]) -> dict[str, Found]:
    """The answer about each of *wanted*, within the time there is for all of them."""
    room = asyncio.Semaphore(_AT_ONCE)
    clock = asyncio.get_running_loop().time
    until = clock() + ASK_SECONDS

    async def one(value: str) -> Found:
        async with room:
            left = until - clock()
            return await question(value, left) if left > 0 else Found(problem="WeCom answers too slowly")

    answers = await asyncio.gather(*(one(value) for value in wanted))
    return dict(zip(wanted, answers, strict=True))
