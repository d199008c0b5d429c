"""Asks WeCom about each app and robot, and posts nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from typing import Final, TypeVar

from services.notifier.domain.diagnosis.platform import (
    AppFacts,
    app_findings,
    robot_finding,
    robot_key_finding,
)
from services.notifier.domain.diagnosis.visibility import (
    Holder,
    Range,
    Sight,
    holders,
    sight,
    visibility_finding,
)
from services.notifier.domain.routing import TargetKind
from services.notifier.pipeline.books import Books
from shared.clock import Clock
from shared.credentials import Card, Credentials, Kind
from shared.errors import Conflict
from shared.ops.finding import CheckStatus, Finding
from shared.setting_types import is_robot_key
from shared.values import value_class
from shared.wecom.client import Answer, WeComClient
from shared.wecom.credentials import App
from shared.wecom.diagnosis import platform_clock_finding
from shared.wecom.errcodes import RetryClass
from shared.wecom.outcome import State

_FIRST: Final = 3.0
"""Seconds that the first answer about an app may take; all of it stays within what the doctor allows a check."""
_EACH: Final = 2.0
_LOOKS: Final = 6.0
"""Seconds for everything that is asked about one app."""
_ABREAST: Final = 8
_MOST: Final = 60
"""Robots, and holders of an app, that one examination asks about."""

_QUESTIONS: Final = {
    TargetKind.USER: ("/cgi-bin/user/get", "userid"),
    TargetKind.PARTY: ("/cgi-bin/department/list", "id"),
    TargetKind.TAG: ("/cgi-bin/tag/get", "tagid"),
}

T = TypeVar("T")
R = TypeVar("R")


@value_class
class _Timed:
    """WeCom's time, and ours before and after it was told."""

    before: datetime
    after: datetime
    date: datetime | None


class PlatformChecks:
    """Apps, whom they reach, robots, and the platform's clock."""

    def __init__(self, credentials: Credentials, wecom: WeComClient, books: Books, clock: Clock) -> None:
        self._credentials = credentials
        self._wecom = wecom
        self._books = books
        self._clock = clock

    async def wecom_apps(self) -> Sequence[Finding]:
        """Does WeCom let each app in, and does the app see those it is to tell?"""
        cards = [card for card in await self._credentials.cards() if card.kind is Kind.APP]
        if not cards:
            return [
                Finding(
                    "wecom_app",
                    CheckStatus.FAILED,
                    "no app is registered",
                    "应用管理 → 应用 → 自建 has AgentId and Secret, 我的企业 → 企业信息 the corp id: set WECOM_CORP_ID, "
                    "WECOM_AGENT_ID and WECOM_SECRET, or run `reach credentials add app default`",
                )
            ]
        examined = await _each(cards, self._app)
        timed = next((told for _, told in examined if told.date), examined[0][1])
        clock = platform_clock_finding(timed.before, timed.after, timed.date)
        return [*(one for findings, _ in examined for one in findings), clock]

    async def wecom_robots(self) -> Sequence[Finding]:
        """Are the robots' keys still good?"""
        cards = [card for card in await self._credentials.cards() if card.kind is Kind.ROBOT]
        if not cards:
            return [Finding("wecom_robots", CheckStatus.SKIPPED, "none registered")]
        findings = await _each(cards[:_MOST], self._robot)
        if len(cards) > _MOST:
            more = f"{len(cards) - _MOST} more robots were not asked about"
            findings.append(Finding("wecom_robots", CheckStatus.SKIPPED, more))
        return findings

    async def _app(self, card: Card) -> tuple[list[Finding], _Timed]:
        before = self._clock.now()
        try:
            app = await self._credentials.app(card.name)
        except Conflict:
            return [_unopened("wecom_app", card)], _Timed(before, before, None)
        if app is None:
            gone = Finding(f"wecom_app:{card.name}", CheckStatus.SKIPPED, "removed just now")
            return [gone], _Timed(before, before, None)
        until = asyncio.get_running_loop().time() + _LOOKS
        answer = await self._about(app)
        if answer.outcome.retry_class is RetryClass.REFRESH:
            # The token was ended early. It is forgotten now, and asking again repeats nothing.
            before = self._clock.now()
            answer = await self._about(app)
        timed = _Timed(before, self._clock.now(), answer.date)
        title = answer.data.get("name")
        facts = AppFacts(app.name, app.corp_id, app.agent_id, title if isinstance(title, str) else "")
        closed = answer.data.get("close") == 1
        findings = app_findings(facts, answer.outcome, closed=closed)
        if answer.outcome.state is State.ACCEPTED:
            findings.append(await self._visibility(app, facts, answer, until))
        else:
            name = f"wecom_visibility:{app.name}"
            findings.append(Finding(name, CheckStatus.SKIPPED, "not tried: the app does not answer"))
        return findings, timed

    async def _about(self, app: App) -> Answer:
        return await self._wecom.get(
            app, "/cgi-bin/agent/get", {"agentid": str(app.agent_id)}, deadline=_FIRST
        )

    async def _visibility(self, app: App, facts: AppFacts, answer: Answer, until: float) -> Finding:
        """Ask about each holder that the answer does not list: a member below a listed department is not."""
        visible, book = Range.of(answer.data), await self._books.fresh()
        seen: dict[Sight, list[Holder]] = {Sight.SEEN: []}
        asked: list[Holder] = []
        for holder in holders(book.bindings, f"app:{app.name}"):
            (seen[Sight.SEEN] if visible.lists(holder.target) else asked).append(holder)

        async def look(holder: Holder) -> Sight:
            return await self._look(app, holder, until)

        for holder, found in zip(asked, await _each(asked[:_MOST], look), strict=False):
            seen.setdefault(found, []).append(holder)
        return visibility_finding(facts, seen, left_out=max(0, len(asked) - _MOST))

    async def _look(self, app: App, holder: Holder, until: float) -> Sight:
        left = until - asyncio.get_running_loop().time()
        if left <= 0:
            return Sight.UNTRIED
        path, name = _QUESTIONS[holder.target.kind]
        answer = await self._wecom.get(app, path, {name: holder.target.id}, deadline=min(left, _EACH))
        found = sight(answer.outcome.errcode)
        # The members and departments of a tag are listed as far as the app sees them.
        worn = answer.data.get("userlist") or answer.data.get("partylist")
        if holder.target.kind is TargetKind.TAG and found is Sight.SEEN and not worn:
            return Sight.EMPTY
        return found

    async def _robot(self, card: Card) -> Finding:
        try:
            robot = await self._credentials.robot(card.name)
        except Conflict:
            return _unopened("wecom_robot", card)
        if robot is None:
            return Finding(f"wecom_robot:{card.name}", CheckStatus.SKIPPED, "removed just now")
        if not is_robot_key(robot.key):
            return robot_key_finding(robot.name)
        # An upload shows nothing in the group, whatever is answered, and a file of one byte is not kept either: it has
        # to be larger than five. 93000 and 93004 are about the key. That the key is looked at before the file is what
        # one expects and the documents do not say: any other answer means "not refused", no more.
        answer = await self._wecom.upload_media(robot, "file", "reach-doctor.txt", b"?", deadline=_FIRST)
        return robot_finding(robot.name, answer.outcome)


async def _each(things: Iterable[T], ask: Callable[[T], Awaitable[R]]) -> list[R]:
    """Ask about all of them, a few at a time."""
    gate = asyncio.Semaphore(_ABREAST)

    async def one(thing: T) -> R:
        async with gate:
            return await ask(thing)

    return await asyncio.gather(*map(one, things))


def _unopened(kind: str, card: Card) -> Finding:
    name = f"{kind}:{card.name}"
    return Finding(name, CheckStatus.SKIPPED, "not tried: a stored secret cannot be opened (see credentials)")
