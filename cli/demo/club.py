"""A club in the same evening: a member's visit, a note of the staff and the morning's figures become insights.

Every request that DashScope saw has its record, and every token it billed is charged.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from reach.ai_orchestrator.v1 import clue_pb2, fact_pb2, insight_pb2
from reach.ai_orchestrator.v1 import run_pb2 as pb
from reach.events.v1 import event_service_pb2 as events_pb

from cli.demo.cast import AREAS, ASSISTANT, CLUB, CLUB_NAME, MEMBER, NOTE, TACTIC, VISIT
from cli.demo.scenes import Scene, until
from cli.demo.show import Show, brief
from cli.demo.stage import Stage
from cli.demo.verdict import Arrival
from services.ai_orchestrator.definition_files import load_apps
from shared.rpc.fields import to_struct

ZONE: Final = ZoneInfo("Asia/Shanghai")
STEPS: Final[Mapping[str, int]] = {"visit": 5, "note": 2, "figures": 72}
"""What each event starts: App3 to App8 to App7 beside App4 to App5; App6 to App8; 8 windows of 9 areas."""
SHOWN: Final = 76
PATIENCE: Final = 60.0
"""Seconds that a run gets to end; the figures are 72 calls."""
EVERY: Final = 0.2
"""Between looks at a run, which is long."""

_ENDED: Final = frozenset({pb.STEP_STATUS_COMPLETED, pb.STEP_STATUS_CACHED, pb.STEP_STATUS_SKIPPED})
"""Ends that a step may come to where nothing is wrong."""


class Club(Scene):
    """A club whose assistants are told what to say to a member."""

    MARK = "助教话术参考"

    def __init__(self, stage: Stage, show: Show) -> None:
        super().__init__(stage, show)
        self._ai = stage.ai
        self._runs: dict[str, pb.Run] = {}
        self._took = 0.0
        self._ledger = ""

    async def play(self) -> int:
        """The message that is due: the assistant's."""
        now = datetime.fromisoformat((await self._stage.sandbox.get("clock"))["now"]).astimezone(ZONE)
        await self._prepare(now)
        await self._publish("visit", "consumption.settled", {**VISIT, "settled_time": now.isoformat()})
        await self._end("visit")
        await self._note(now)
        await self._end("note")
        began = time.monotonic()
        await self._publish("figures", "dws.completed", {})
        with self._show.waiting("the figures are prepared") as tell:
            await self._end("figures", tell)
        self._took = time.monotonic() - began
        return 1

    async def _prepare(self, now: datetime) -> None:
        """What the club knows from before, and what one application says."""
        rows = [
            {"visit_id": f"{area}-{at}", "area": area, "amount": "180.00", "settled_time": when.isoformat()}
            for area in AREAS
            for at, when in enumerate(_days(now))
        ]
        for kind, facts in (
            (fact_pb2.FACT_KIND_VISIT, rows),
            (fact_pb2.FACT_KIND_MEMBER, [{"member_id": MEMBER.userid, "name": MEMBER.name}]),
            (fact_pb2.FACT_KIND_ASSISTANT, [{"assistant_id": ASSISTANT.userid, "name": ASSISTANT.name}]),
        ):
            loading = fact_pb2.LoadFactsRequest(
                store_id=CLUB, kind=kind, rows=[to_struct(row) for row in facts]
            )
            await self._ai.LoadFacts(loading)
        for app in load_apps():  # once one is declared, there are no others
            said = {"replies": [TACTIC]} if app.app_type == "app5_tactics" else {}
            await self._stage.sandbox.post("ai/apps", {"app_id": app.app_type, **said})

    async def _publish(self, name: str, kind: str, data: Mapping[str, Any]) -> None:
        """One event by the bus."""
        request = events_pb.PublishEventRequest(
            type=kind, id=f"club-{name}", store_id=CLUB, source="till", json=to_struct(data)
        )
        await self._stage.events.PublishEvent(request)

    async def _note(self, now: datetime) -> None:
        """One by RPC."""
        data = to_struct({**NOTE, "noted_by_created_at": now.isoformat()})
        await self._ai.HandleTrigger(
            pb.HandleTriggerRequest(
                store_id=CLUB, event_type="note.created", event_id="club-note", payload=data
            )
        )

    async def _end(self, name: str, tell: Callable[[str], None] = lambda _: None) -> None:
        """Wait for the end of the run that an event started."""

        mine: list[str] = []

        async def look() -> bool:
            if not mine:
                listed = await self._ai.ListRuns(pb.ListRunsRequest(store_id=CLUB, page_size=50))
                mine.extend(one.run_id for one in listed.runs if one.event_id == f"club-{name}")
                if not mine:
                    return False
            run = (await self._ai.GetRun(pb.GetRunRequest(run_id=mine[0]))).run
            tell(f"the figures are prepared: {_done(run)} of {len(run.steps)} steps")
            self._runs[name] = run
            return bool(run.HasField("finish_time"))

        await until(look, PATIENCE, EVERY)

    async def judge(self, arrivals: Sequence[Arrival]) -> list[str]:
        """What was wrong."""
        wrong = [
            line for name, count in STEPS.items() for line in judge_run(name, self._runs.get(name), count)
        ]
        if [one.to for one in arrivals] != [ASSISTANT.userid]:
            wrong.append(
                f"{ASSISTANT.name} was to be told once, and messages went to {[one.to for one in arrivals]}"
            )
        wrong += await self._judge_ledger()
        return wrong or await self._tell()

    async def _judge_ledger(self) -> list[str]:
        """What DashScope says against what we recorded."""
        request = pb.ListAttemptsRequest(page_size=200)  # of every store: the platform's ledger is one
        attempts = (await self._ai.ListAttempts(request)).attempts
        seen = (await self._stage.sandbox.get("ai/requests", limit="10000"))["requests"]
        total = (await self._stage.sandbox.get("ai/ledger"))["total"]
        charged = sum(one.charged_tokens for one in attempts)
        billed = total["input_tokens"] + total["output_tokens"]
        self._ledger = f"{len(seen)} requests at DashScope, as many attempts on record; {billed:,} tokens"
        return judge_ledger((len(seen), billed), (len(attempts), charged))

    async def _tell(self) -> list[str]:
        target = f"{ASSISTANT.userid}_{MEMBER.userid}"
        asked = insight_pb2.GetInsightRequest(store_id=CLUB, cache_type="tactics", target=target)
        insight = (await self._ai.GetInsight(asked)).insight
        said = insight.result["tactics"][0]["script"]
        if said != TACTIC["tactics"][0]["script"]:
            return [f"the insight for {ASSISTANT.name} says {said!r}"]
        asked_clues = clue_pb2.ListCluesRequest(store_id=CLUB, member_id=MEMBER.userid)
        clues = Counter(one.source for one in (await self._ai.ListClues(asked_clues)).clues)
        if not (clues["ai_consumption"] and clues["ai_note"]):
            return [
                f"clues of {MEMBER.name} were to come from the visit and the note, and came from {dict(clues)}"
            ]
        self._show.good(
            f"{CLUB_NAME}: {MEMBER.name}'s visit and the note about it went through AI applications:"
        )
        for name in ("visit", "note"):
            self._show.line(f"    {name}: {self._runs[name].chain_text}")
        figures = self._runs["figures"]
        self._show.line(f"    figures: {_done(figures)} of {len(figures.steps)} steps in {self._took:.1f} s")
        self._show.line(f"  {ASSISTANT.name} is told once, and reads: {brief(said, SHOWN)}")
        self._show.line(f"  {self._ledger}, all charged")
        return []


def _days(now: datetime) -> Iterator[datetime]:
    """An hour in each window of time that figures are of: this and the last week, month and quarter."""
    month = now.replace(day=1)
    quarter = month.replace(month=(now.month - 1) // 3 * 3 + 1)
    yield now
    yield now - timedelta(days=7)
    yield month - timedelta(days=1)
    yield quarter - timedelta(days=1)


def _done(run: pb.Run) -> int:
    return sum(step.status in _ENDED for step in run.steps)


def judge_ledger(theirs: tuple[int, int], ours: tuple[int, int]) -> list[str]:
    """What differs between DashScope and us: requests and attempts, tokens that were billed and charged."""
    wrong = []
    if theirs[0] != ours[0]:
        wrong.append(f"DashScope saw {theirs[0]} requests, and {ours[0]} attempts are recorded")
    if theirs[1] != ours[1]:
        wrong.append(f"DashScope billed {theirs[1]} tokens, and {ours[1]} are charged")
    return wrong


def judge_run(name: str, run: pb.Run | None, count: int) -> list[str]:
    """What a run of the club's lacks: it is to have *count* steps, each with a new result."""
    if run is None:
        return [f"the club's {name}: no run was started"]
    left = [
        f"{step.name} {step.reason}".rstrip() for step in run.steps if step.status != pb.STEP_STATUS_COMPLETED
    ]
    if left or len(run.steps) != count:
        return [
            f"the club's {name}: {len(run.steps)} steps of {count}; not completed: {', '.join(left[:5]) or 'none'}"
        ]
    return []
