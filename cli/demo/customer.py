"""A customer in WeChat: asks, is told of three matches in one message, looks at the second, and unsubscribes.

Five messages go out in the window of the first thing they write, and a sixth is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

import grpc
from reach.kf_session.v1 import intent_pb2, push_pb2, session_pb2

from cli.demo.cast import CUSTOMER, KF_ACCOUNT, LOOKED_FOR, PROFILES, STORE
from cli.demo.scenes import Scene, until
from cli.demo.show import Show, brief
from cli.demo.stage import Stage
from cli.demo.verdict import Arrival
from shared.rpc.fields import to_duration
from shared.rpc.status import from_call

WINDOW_FULL: Final = "KF_WINDOW_FULL"
HELLO, VIEW, LEAVE = "在吗？想找人合伙", "查看2", "退订"
BY_HAND: Final = (
    "您好，这里是小满食堂客服。",
    "您要找的人，我们正在看。",
    "找到几位，马上发给您。",
    "想看哪一位，回复“查看”和编号。",
    "还有什么可以帮您？",
)
"""The first three leave one message for matches, the fourth is the fifth of the window, the last is one too many."""
BESIDE: Final = timedelta(seconds=30)
"""Between what went out and what the customer writes next: the new window counts nothing of the old one."""
WAIT: Final = timedelta(seconds=5)
SHOWN: Final = 76


class Customer(Scene):
    """Someone who looks for a partner, at the KF account of the restaurant."""

    def __init__(self, stage: Stage, show: Show) -> None:
        super().__init__(stage, show)
        self._kf = stage.kf
        self._refused = ""
        self._matched: Sequence[Any] = ()

    def owns(self, arrival: Arrival) -> bool:
        """Whatever is on the customer's phone."""
        return arrival.to == CUSTOMER.external_userid

    async def play(self) -> int:
        """The messages that are due: five, the details and the confirmation."""
        await self._prepare()
        await self._writes(HELLO)
        if not await until(self._is_open):
            return 0  # nobody heard them, and the judge says what is missing
        for words in BY_HAND[:3]:
            await self._push(words)
        asked = intent_pb2.PushMatchesRequest(store_id=STORE, external_userid=CUSTOMER.external_userid)
        self._matched = (await self._kf.PushMatches(asked)).matches
        await self._has(4)
        await self._push(BY_HAND[3])
        try:
            await self._push(BY_HAND[4])
        except grpc.RpcError as error:
            self._refused = from_call(error).reason
        for count, words in ((6, VIEW), (7, LEAVE)):
            await self._stage.sandbox.post("clock", {"advance_seconds": BESIDE.total_seconds()})
            await self._writes(words)
            await self._has(count)
        return 7

    async def _prepare(self) -> None:
        """No quiet hours at any time of the day; who is there, and what the customer looks for."""
        wanted = push_pb2.Preferences(enabled=True, quiet_from="", quiet_to="", daily_limit=20, reserve=1)
        await self._kf.UpdatePreferences(
            push_pb2.UpdatePreferencesRequest(
                store_id=STORE, external_userid=CUSTOMER.external_userid, preferences=wanted
            )
        )
        profiles = [
            intent_pb2.Profile(profile_id=f"p{at}", display_name=name, text=text)
            for at, (name, text) in enumerate(PROFILES, start=1)
        ]
        await self._kf.UpsertProfile(intent_pb2.UpsertProfileRequest(store_id=STORE, profiles=profiles))
        spec = intent_pb2.IntentSpec(
            display_name=LOOKED_FOR,
            conditions=[_keyword("餐饮", weight=8, required=True), _keyword("北京"), _keyword("创业")],
            external_userid=CUSTOMER.external_userid,
            manual_push=True,
        )
        await self._kf.CreateIntent(
            intent_pb2.CreateIntentRequest(store_id=STORE, intent_id="partner", spec=spec)
        )
        await until(self._is_compared)

    async def _is_compared(self) -> bool:
        request = intent_pb2.MatchIntentRequest(store_id=STORE, intent_id="partner")
        answer = await self._kf.MatchIntent(request)
        return bool(answer.complete)

    async def _is_open(self) -> bool:
        request = session_pb2.ListSessionsRequest(store_id=STORE, external_userid=CUSTOMER.external_userid)
        return any(one.window_open for one in (await self._kf.ListSessions(request)).sessions)

    async def _writes(self, text: str) -> None:
        await self._stage.sandbox.post(
            "kf/messages",
            {"external_userid": CUSTOMER.external_userid, "open_kfid": KF_ACCOUNT, "text": text},
        )

    async def _push(self, text: str) -> None:
        await self._kf.Push(
            push_pb2.PushRequest(
                store_id=STORE,
                open_kfid=KF_ACCOUNT,
                external_userid=CUSTOMER.external_userid,
                content=push_pb2.PushContent(text=push_pb2.PushText(content=text)),
                wait=to_duration(WAIT),
            )
        )

    async def _chat(self) -> list[tuple[str, str]]:
        """What the phone shows: by whom, and the words."""
        seen = await self._stage.sandbox.get("kf/messages", external_userid=CUSTOMER.external_userid)
        return [(one["by"], one["content"].get("content", "")) for one in seen["messages"]]

    async def _has(self, count: int) -> None:
        """Wait until so many messages arrived on the phone and Reach knows that they did."""

        async def look() -> bool:
            request = push_pb2.ListPushesRequest(
                store_id=STORE, status=push_pb2.PUSH_STATUS_ACCEPTED, page_size=20
            )
            known = len((await self._kf.ListPushes(request)).pushes)
            return known >= count and sum(by == "api" for by, _ in await self._chat()) >= count

        await until(look)

    async def judge(self, arrivals: Sequence[Arrival]) -> list[str]:
        """What was wrong."""
        chat = await self._chat()
        names = [name for name, _ in PROFILES]
        wanted = [
            *(("api", (words,)) for words in BY_HAND[:3]),
            ("api", tuple(f"{at}. 【{name}】" for at, name in enumerate(names, start=1))),
            ("api", (BY_HAND[3],)),
            ("customer", (VIEW,)),
            ("api", (f"【{names[1]}】", "提到“北京”")),
            ("customer", (LEAVE,)),
            ("api", ("已为您退订",)),
        ]
        wrong = compare(chat, [("customer", (HELLO,)), *wanted])
        answers = sum(by == "api" for by, _ in chat)
        if len(arrivals) != answers:
            wrong.append(f"the customer's phone shows {answers} answers, and {len(arrivals)} arrived")
        if self._refused != WINDOW_FULL:
            wrong.append(
                f"a sixth message was to be refused with {WINDOW_FULL}, not {self._refused or 'sent'}"
            )
        if wrong or len(self._matched) != len(names):
            return wrong or [f"{len(names)} profiles were to match, and {len(self._matched)} did"]
        return await self._tell(chat)

    async def _tell(self, chat: Sequence[tuple[str, str]]) -> list[str]:
        request = push_pb2.ExplainRequest(push_id=self._matched[1].push_id)
        steps = (await self._kf.Explain(request)).steps
        why = [step for step in steps if "merged into" in step.text_en]
        if not why:
            return ["Explain does not say that the second match is in the list"]
        self._show.good(f"{CUSTOMER.name} at the KF account; on the customer's phone:")
        for by, text in chat:
            side = "›" if by == "customer" else "‹"
            self._show.line(f"    {side} {brief(text, SHOWN)}")
        self._show.line(f"  a sixth message in the first window: refused with {WINDOW_FULL}, no call made")
        self._show.line("  Explain of the second match says:")
        self._show.line(f"    {why[0].text_en}")
        self._show.line(f"    {why[0].text_zh}")
        return []


def compare(chat: Sequence[tuple[str, str]], wanted: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    """What a chat lacks or has too much of: each message by whom it was to come, with all these words."""
    lines = []
    for at, (by, words) in enumerate(wanted):
        got = chat[at] if at < len(chat) else ("nobody", "")
        if got[0] != by or not all(one in got[1] for one in words):
            lines.append(
                f"the customer's phone: message {at + 1} was to be {words[0]!r} by {by}, "
                f"and is {brief(got[1], SHOWN)!r} by {got[0]}"
            )
    if len(chat) > len(wanted):
        lines.append(f"the customer's phone: {len(chat) - len(wanted)} too many")
    return lines


def _keyword(word: str, **more: Any) -> intent_pb2.Condition:
    condition = intent_pb2.KeywordCondition(keywords=[word], mode=intent_pb2.KEYWORD_MODE_ANY)
    return intent_pb2.Condition(keywords=condition, **more)
