"""What else an evening holds: reviews that become one message, a monitor's report in the group, an alarm that climbs.

Each scene knows its messages again, by a word that it leaves in them; it plays, and judges what arrived.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, ClassVar, Final

from reach.notifier.v1 import monitor_report_pb2, policy_pb2, rule_pb2, target_pb2
from reach.notifier.v1 import notifier_service_pb2 as pb

from cli.demo.cast import REVIEWS, ROBOT, STAFF, STORE
from cli.demo.show import Show
from cli.demo.stage import Stage
from cli.demo.verdict import Arrival
from cli.demo_credentials import ROBOT_KEY
from shared.rpc.fields import to_duration, to_struct

WINDOW: Final = timedelta(seconds=60)
"""How long reviews gather; the sandbox's clock jumps it."""

PATIENCE: Final = 12.0
"""Seconds that anything gets to happen."""


class Scene(ABC):
    """Something that is played and judged."""

    MARK: ClassVar[str] = ""
    """Stands in each of its messages and in nobody else's."""

    def __init__(self, stage: Stage, show: Show) -> None:
        self._stage, self._show = stage, show

    def owns(self, arrival: Arrival) -> bool:
        """Whether a message is of this scene."""
        return self.MARK in arrival.text

    @abstractmethod
    async def play(self) -> int:
        """Let it happen; how many messages are due."""

    @abstractmethod
    async def judge(self, arrivals: Sequence[Arrival]) -> list[str]:
        """What was wrong with the messages that arrived; empty when all is well."""


class Reviews(Scene):
    """A dozen reviews within a minute: the manager gets one message."""

    MARK = "新点评"
    TYPE: Final = "review.posted"

    async def play(self) -> int:
        """The messages that are due: one."""
        text = rule_pb2.VARIABLE_KIND_TEXT
        spec = rule_pb2.RuleSpec(
            event_type=self.TYPE,
            display_name=self.MARK,
            roles=["manager"],
            template=self.MARK + "：{dish}\n{words}",
            variables=[rule_pb2.Variable(name=name, kind=text) for name in ("dish", "words")],
            merging=policy_pb2.Merging(
                mode=policy_pb2.MERGE_MODE_WINDOW, length=to_duration(WINDOW), line="{dish}：{words}"
            ),
        )
        await self._stage.notifier.CreateRule(pb.CreateRuleRequest(rule_id="reviews", spec=spec))
        for at, (dish, words) in enumerate(REVIEWS):
            data = to_struct({"dish": dish, "words": words})
            await self._stage.notifier.TriggerPush(
                pb.TriggerPushRequest(
                    event_type=self.TYPE, event_id=f"review-{at}", store_id=STORE, event_data=data
                )
            )
        await self._stage.sandbox.post("clock", {"advance_seconds": WINDOW.total_seconds() + 1})
        return 1

    async def judge(self, arrivals: Sequence[Arrival]) -> list[str]:
        """What was wrong."""
        manager = STAFF["manager"][0].userid
        whole = [one for one in arrivals if one.to == manager and f"共 {len(REVIEWS)} 条" in one.text]
        if len(whole) != 1 or len(arrivals) != 1:
            return [f"{len(REVIEWS)} reviews were to be one message and were {len(arrivals)}"]
        answer = await self._stage.notifier.Explain(pb.ExplainRequest(id="review-7", store_id=STORE))
        story = answer.explanations[0]
        why = [step for step in story.steps if step.code == "merging"]
        if not why or len(story.deliveries) != 1:
            return ["review-7: Explain does not say which message it is in"]
        self._show.good(f"{len(REVIEWS)} reviews in a minute: one message. Explain of the eighth says:")
        self._show.line(f"    {why[0].text_en}")
        self._show.line(f"    at once if: {why[0].change_en}")
        return []


class Monitoring(Scene):
    """A monitor's report in the group, with its people mentioned, as its preview said."""

    MARK = "收银接口巡检"

    def __init__(self, stage: Stage, show: Show) -> None:
        super().__init__(stage, show)
        self._planned: list[Any] = []

    async def play(self) -> int:
        """The messages that are due: as many as the preview has."""
        slow, failed = monitor_report_pb2.CHECK_STATUS_SLOW, monitor_report_pb2.CHECK_STATUS_FAILED
        items = [
            monitor_report_pb2.MonitorItem(
                name=f"POST /terminals/{at:02}/orders",
                status=failed if at % 9 == 0 else slow,
                latency=to_duration(timedelta(milliseconds=900 + 37 * at)),
                http_status=503 if at % 9 == 0 else 200,
                error="后厨打印机无响应" if at % 9 == 0 else "",
            )
            for at in range(60)
        ]
        report = monitor_report_pb2.MonitorReport(
            title=self.MARK,
            totals=monitor_report_pb2.MonitorTotals(total_count=60, success_count=53, failure_count=7),
            items=items,
            footer="下一次巡检在 30 分钟后",
        )
        request = pb.SendReportRequest(
            store_id=STORE,
            targets=[target_pb2.Target(kind=target_pb2.TARGET_KIND_ROBOT, id=ROBOT)],
            report=report,
            mentions=pb.Mentions(userids=[STAFF["tech_support"][0].userid], mobiles=["13800138000"]),
            preview_only=True,
        )
        self._planned = list((await self._stage.notifier.SendReport(request)).calls)
        request.preview_only = False
        await self._stage.notifier.SendReport(request)
        return len(self._planned)

    async def judge(self, arrivals: Sequence[Arrival]) -> list[str]:
        """What was wrong."""
        texts = [one.text for one in arrivals]
        if texts != [call.text for call in self._planned] or any(one.to != ROBOT_KEY for one in arrivals):
            return ["the monitor's report did not arrive as its preview said"]
        pages = sum("(" in text.split("\n")[0] for text in texts)
        self._show.good(
            f"the monitor's report of 60 checks is in the group, {pages} pages and a mention, as previewed"
        )
        return []


class Alarm(Scene):
    """An urgent card that nobody answers climbs to the deputy and to the manager, whose 收到 shows on all copies."""

    MARK = "燃气报警"
    TYPE: Final = "gas.leaked"
    EVENT: Final = "gas-1"
    AFTER: Final = timedelta(minutes=1)
    DEPUTY: Final = "zhaolei"

    async def play(self) -> int:
        """The messages that are due: one for each level."""
        people = {role: [_user(one.userid) for one in STAFF[role]] for role in ("tech_support", "manager")}
        await self._stage.notifier.SetRoleTargets(
            pb.SetRoleTargetsRequest(
                role="tech_support",
                store_id=STORE,
                targets=people["tech_support"],
                deputies=[_user(self.DEPUTY)],
            )
        )
        spec = rule_pb2.RuleSpec(
            event_type=self.TYPE,
            display_name=self.MARK,
            priority=rule_pb2.PRIORITY_URGENT,
            roles=["tech_support"],
            template=self.MARK + "：{place} 浓度 {percent}%",
            variables=[
                rule_pb2.Variable(name="place", kind=rule_pb2.VARIABLE_KIND_TEXT),
                rule_pb2.Variable(name="percent", kind=rule_pb2.VARIABLE_KIND_COUNT),
            ],
            escalation=rule_pb2.Escalation(after=to_duration(self.AFTER)),
        )
        await self._stage.notifier.CreateRule(pb.CreateRuleRequest(rule_id="gas", spec=spec))
        data = to_struct({"place": "后厨", "percent": 12})
        await self._stage.notifier.TriggerPush(
            pb.TriggerPushRequest(event_type=self.TYPE, event_id=self.EVENT, store_id=STORE, event_data=data)
        )
        manager = STAFF["manager"][0].userid
        await self._has_card(STAFF["tech_support"][0].userid)
        for next_one in (self.DEPUTY, manager):
            await self._stage.sandbox.post("clock", {"advance_seconds": self.AFTER.total_seconds() + 1})
            card = await self._has_card(next_one)
        if card is not None:  # else there is nothing to press, and the judge says so
            click = {"userid": manager, "msgid": card["msgid"], "key": "acknowledge"}
            await self._stage.sandbox.post("clicks", click)
            await until(self._all_show)
        return 3

    async def _cards(self) -> list[Any]:
        seen = await self._stage.sandbox.get("messages", limit="10000")
        titled = [one for one in seen["messages"] if "card_type" in one["content"]]
        return [one for one in titled if one["content"]["main_title"]["title"] == self.MARK]

    async def _has_card(self, userid: str) -> Any:
        found: list[Any] = []

        async def look() -> bool:
            found[:] = [one for one in await self._cards() if one["to"] == userid]
            return bool(found)

        await until(look)
        return found[0] if found else None

    async def _all_show(self) -> bool:
        name = STAFF["manager"][0].name
        return all(
            [button["text"] for button in card["content"]["button_list"]] == [f"{name} 已确认"]
            for card in await self._cards()
        )

    async def judge(self, arrivals: Sequence[Arrival]) -> list[str]:
        """What was wrong."""
        told = [STAFF["tech_support"][0].userid, self.DEPUTY, STAFF["manager"][0].userid]
        if [one.to for one in arrivals] != told:
            return [f"the alarm was to climb by {told} and went to {[one.to for one in arrivals]}"]
        if not all(f"{STAFF['manager'][0].name} 已确认" in one.text for one in arrivals):
            return ["the manager's answer does not show on all copies of the alarm"]
        answer = await self._stage.notifier.Explain(pb.ExplainRequest(id=self.EVENT, store_id=STORE))
        codes = [step.code for step in answer.explanations[0].steps]
        if "escalation_acknowledged" not in codes:
            return [f"{self.EVENT}: Explain does not say who answered"]
        self._show.good("an alarm nobody answered climbed to the deputy and to the manager; Explain says:")
        for step in answer.explanations[0].steps:
            if step.code.startswith("escalation"):
                self._show.line(f"    {step.text_en}")
        return []


async def until(
    look: Callable[[], Awaitable[bool]], patience: float | None = None, every: float = 0.05
) -> bool:
    """Wait for *look*, as long as patience lasts; what is missing then is a complaint of ``judge``."""
    end = time.monotonic() + (PATIENCE if patience is None else patience)
    while time.monotonic() < end:
        if await look():
            return True
        await asyncio.sleep(every)
    return False


def _user(userid: str) -> target_pb2.Target:
    return target_pb2.Target(kind=target_pb2.TARGET_KIND_USER, id=userid)
