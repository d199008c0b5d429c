"""Plays the evening, reads back from the phones what arrived, and judges it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from reach.events.v1 import event_service_pb2 as events_pb
from reach.notifier.v1 import delivery_pb2, explain_pb2, rule_pb2, target_pb2
from reach.notifier.v1 import notifier_service_pb2 as pb

from cli.common import FAILED
from cli.demo.campaign import Campaign
from cli.demo.cast import (
    BUSY,
    EVENING,
    MUTED,
    MUTED_AGAIN,
    POST,
    POST_MARK,
    REPORT,
    REPORT_TITLE,
    ROBOT,
    STAFF,
    STORE,
    Moment,
)
from cli.demo.club import Club
from cli.demo.customer import Customer
from cli.demo.scenes import Alarm, Monitoring, Reviews, Scene
from cli.demo.show import Show
from cli.demo.stage import Stage, open_stage
from cli.demo.verdict import Arrival, Duty, attribute, complaints
from cli.demo_credentials import ROBOT_KEY
from services.notifier.assembly import presets
from shared.process import Stop, run
from shared.rpc.fields import to_struct

SCENES: Final[Sequence[type[Scene]]] = (Reviews, Monitoring, Alarm, Customer, Club, Campaign)
"""In the order in which they are played."""

PATIENCE: Final = 12.0
"""Seconds that messages get to arrive."""

_OPEN: Final = (
    delivery_pb2.DELIVERY_STATUS_PENDING,
    delivery_pb2.DELIVERY_STATUS_DEFERRED,
    delivery_pb2.DELIVERY_STATUS_SENDING,
)


def run_demo() -> int:
    """Play it; the exit code: 0 when everything arrived as it should, 1 when not."""
    verdict: list[list[str]] = []

    async def main(stop: Stop) -> None:
        show = Show()
        show.title()
        play = asyncio.create_task(_play(show))
        asked = asyncio.create_task(stop.wait())
        await asyncio.wait({play, asked}, return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        if not play.done():
            play.cancel()
            await asyncio.wait({play})
            verdict.append(["interrupted"])
            return
        verdict.append(await play)

    code = run(main)
    return code or (FAILED if verdict[0] else 0)


async def _play(show: Show) -> list[str]:
    """The whole evening; what was wrong with it."""
    began = time.monotonic()
    async with open_stage() as stage:
        show.line(f"suite on {stage.grpc}, sandbox on {stage.sandbox.url}: embedded, in this process")
        problems = await Evening(stage, show).play()
    if problems:
        show.failure(problems)
    else:
        took = time.monotonic() - began
        show.heading(f"Everything arrived where it should and nowhere else ({took:.1f} s).")
    return problems


class Evening:
    """One evening on one stage."""

    def __init__(self, stage: Stage, show: Show) -> None:
        self._notifier, self._events, self._sandbox = stage.notifier, stage.events, stage.sandbox
        self._show = show
        self._scenes: Sequence[Scene] = [scene(stage, show) for scene in SCENES]
        self._presets = {preset.rule.event_type: preset for preset in presets()}
        self._fired: dict[str, datetime] = {}
        self._problems: list[str] = []

    async def play(self) -> list[str]:
        """Everything in order; the complaints."""
        rules = await self._prepare()
        duties = {kind: self._duty(kind, rule) for kind, rule in rules.items()}
        self._show.heading("The evening")
        await self._sandbox.post("faults", {"body": duties[BUSY].says[:6], "count": 1, "errcode": -1})
        for moment in EVENING:
            await self._fire(moment)
            self._show.moment(moment)
        await self._arrived(sum(len(duty.people) for duty in duties.values()))

        self._show.heading("And besides")
        await self._busy()
        await self._twice()
        await self._muted()
        wanted = sum(len(duty.people) for duty in duties.values())
        wanted += await self._post() + await self._report()
        await self._arrived(wanted)
        for scene in self._scenes:
            wanted += await scene.play()
            await self._arrived(wanted)

        found = await self._judge(await self._read(), duties)
        roles = {kind: list(rule.roles) for kind, rule in rules.items()}
        names = {kind: rule.display_name for kind, rule in rules.items()}
        self._show.table(EVENING, duties, names, roles, found, self._fired)
        return self._problems

    async def _prepare(self) -> dict[str, rule_pb2.Rule]:
        """Give every role its people; the rules by event type, as the service tells them."""
        for role, people in STAFF.items():
            targets = [target_pb2.Target(kind=target_pb2.TARGET_KIND_USER, id=one.userid) for one in people]
            await self._notifier.SetRoleTargets(
                pb.SetRoleTargetsRequest(role=role, store_id=STORE, targets=targets)
            )
        staff = sum(map(len, STAFF.values()))
        self._show.line(f"{len(STAFF)} roles given to {staff} people")
        listed = await self._notifier.ListRules(pb.ListRulesRequest(store_id=STORE, page_size=200))
        rules = {rule.event_type: rule for rule in listed.rules if rule.enabled}
        silent = {moment.event_type for moment in EVENING} - rules.keys()
        if silent:
            raise RuntimeError(f"no rule acts on {', '.join(sorted(silent))}")
        return {moment.event_type: rules[moment.event_type] for moment in EVENING}

    def _duty(self, kind: str, rule: rule_pb2.Rule) -> Duty:
        people = [person.userid for role in rule.roles for person in STAFF[role]]
        return Duty(kind, self._presets[kind].says, people)

    async def _fire(self, moment: Moment) -> None:
        self._fired[moment.event_type] = datetime.now(UTC)
        await self._give(moment.event_type, moment.event_id, by_bus=moment.door == "bus")

    async def _give(self, kind: str, event_id: str, *, by_bus: bool) -> Any:
        data = to_struct(self._presets[kind].example)
        if by_bus:
            request = events_pb.PublishEventRequest(
                type=kind, id=event_id, store_id=STORE, source="till", json=data
            )
            return await self._events.PublishEvent(request)
        return await self._notifier.TriggerPush(
            pb.TriggerPushRequest(event_type=kind, event_id=event_id, store_id=STORE, event_data=data)
        )

    async def _busy(self) -> None:
        """WeCom was busy once; the message went out all the same, on the second try."""
        (fault,) = (await self._sandbox.get("faults"))["faults"]
        story = await self._explain(f"evening-{BUSY}")
        tries = [attempt for one in story.deliveries for attempt in one.attempts]
        if fault["applied"] != 1 or len(tries) != 2:
            self._problems.append(f"{BUSY}: one busy answer and two tries were due, not {len(tries)} tries")
            return
        pause = tries[1].start_time.ToDatetime() - tries[0].finish_time.ToDatetime()
        seconds = pause.total_seconds()
        self._show.good(f"WeCom was busy (−1) at {BUSY}: sent again after {seconds:.1f} s, and it arrived")

    async def _twice(self) -> None:
        """The same event again, by both doors, changes nothing."""
        first = EVENING[3]
        by_rpc = await self._give(first.event_type, first.event_id, by_bus=False)
        by_bus = await self._give(first.event_type, first.event_id, by_bus=True)
        if by_rpc.duplicate and by_bus.deduplicated:
            self._show.good(f"{first.event_type} came again by both doors: recognised, nothing sent twice")
        else:
            self._problems.append(f"{first.event_type}: its copies were not recognised")

    async def _muted(self) -> None:
        """A rule that somebody switched off says nothing, and Explain says who did it."""
        await self._notifier.ToggleRule(
            pb.ToggleRuleRequest(rule_id=MUTED, store_id=STORE, enabled=False, comment="盘点期间静音")
        )
        await self._give(MUTED, MUTED_AGAIN, by_bus=False)
        story = await self._explain(MUTED_AGAIN)
        why = [step for step in story.steps if step.code == "rule_disabled"]
        if story.verdict != explain_pb2.VERDICT_RULE_DISABLED or story.deliveries or not why:
            self._problems.append(f"{MUTED}: its rule is off, and Explain does not say so")
            return
        self._show.good(f"{MUTED} with its rule switched off: nothing went out. Explain says:")
        self._show.line(f"    {why[0].text_en}")
        self._show.line(f"    {why[0].text_zh}")

    async def _post(self) -> int:
        """A post in the group, by its robot; how many messages that is."""
        target = target_pb2.Target(kind=target_pb2.TARGET_KIND_ROBOT, id=ROBOT)
        await self._notifier.SendMessage(
            pb.SendMessageRequest(store_id=STORE, targets=[target], markdown=POST)
        )
        return 1

    async def _report(self) -> int:
        """A long report to the manager; how many pages it has."""
        request = pb.SendReportRequest(store_id=STORE, roles=["manager"], title=REPORT_TITLE, body=REPORT)
        pages: int = (await self._notifier.SendReport(request)).page_count
        return pages * len(STAFF["manager"])

    async def _explain(self, event_id: str) -> explain_pb2.Explanation:
        answer = await self._notifier.Explain(pb.ExplainRequest(id=event_id, store_id=STORE))
        story: explain_pb2.Explanation = answer.explanations[0]
        return story

    async def _arrived(self, wanted: int) -> None:
        """Wait until so many messages arrived and nothing is on its way, as long as patience lasts."""
        with self._show.waiting(f"waiting for {wanted} messages"):
            until = time.monotonic() + PATIENCE
            while time.monotonic() < until:
                if len(await self._read()) >= wanted and not await self._on_their_way():
                    return
                await asyncio.sleep(0.05)

    async def _on_their_way(self) -> bool:
        request = pb.ListDeliveriesRequest(store_id=STORE, statuses=_OPEN, page_size=1)
        return bool((await self._notifier.ListDeliveries(request)).deliveries)

    async def _read(self) -> list[Arrival]:
        """What is on the phones and in the group, in order."""
        seen = await self._sandbox.get("messages", limit="10000")
        return [
            Arrival(one["to"], _text(one["content"]), datetime.fromisoformat(one["received_at"]))
            for one in seen["messages"]
        ]

    async def _judge(self, arrivals: list[Arrival], duties: Mapping[str, Duty]) -> dict[str, list[Arrival]]:
        """Compare; the arrivals of the evening's events by type."""
        found, others = attribute(arrivals, duties.values())
        self._problems += complaints(duties.values(), found)
        for scene in self._scenes:
            mine = [one for one in others if scene.owns(one)]
            others = [one for one in others if one not in mine]
            self._problems += await scene.judge(mine)
        posts = [one for one in others if POST_MARK in one.text]
        pages = [one for one in others if REPORT_TITLE in one.text]
        self._problems += [
            f"nobody was to get this: {one.to}: {one.text[:40]}"
            for one in others
            if one not in posts and one not in pages
        ]
        self._judge_post(posts)
        self._judge_report(pages)
        return found

    def _judge_post(self, posts: list[Arrival]) -> None:
        if [one.to for one in posts] == [ROBOT_KEY]:
            self._show.good("the closing note is in the group, once")
        else:
            self._problems.append(f"the group was to get one post and got {len(posts)}")

    def _judge_report(self, pages: list[Arrival]) -> None:
        manager = STAFF["manager"][0].userid
        marks = [f"({at}/{len(pages)})" for at in range(1, len(pages) + 1)]
        whole = len(pages) > 1 and all(one.to == manager for one in pages)
        if whole and all(mark in one.text for mark, one in zip(marks, pages, strict=True)):
            self._show.good(f"the report is with the manager, {len(pages)} pages in order")
        else:
            self._problems.append(f"the report was to come in pages, in order; {len(pages)} came")


def _text(content: Mapping[str, Any]) -> str:
    """The words of a message; of a card, what it says and what stands on its buttons."""
    if "card_type" not in content:
        return str(content.get("content", content.get("text", "")))
    buttons = " ".join(one["text"] for one in content.get("button_list", ()))
    return f"{content['main_title']['title']}\n{content.get('sub_title_text', '')}\n[{buttons}]"
