"""Runs on a workbench: real rows and the shipped chains; facts, gates, results and the provider as told."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.definition_files import app_of, load_chains
from services.ai_orchestrator.domain.call import Call, CallProblem, Completion, Usage
from services.ai_orchestrator.domain.definitions import AppDefinition, Subject
from services.ai_orchestrator.domain.gating import Granted, Refusal, Refused, Wish
from services.ai_orchestrator.domain.material import Input, Material, Prompt
from services.ai_orchestrator.domain.planning import Site
from services.ai_orchestrator.pipeline.book import Book
from services.ai_orchestrator.pipeline.ports import Alerts, Bad, Gates, RunEnded
from services.ai_orchestrator.runs_side import Neighbours, RunsSide
from services.ai_orchestrator.store.tables import metadata
from services.ai_orchestrator.usecases.runs import Runs
from shared.audit import AuditLog
from shared.clock import Clock
from shared.db.engine import Database
from shared.db.once import Once
from shared.db.tables import shared_metadata
from shared.events.kinds import Event
from shared.secrets import SecretKey
from shared.settings import load
from shared.telemetry.metrics import Metrics

STORE = "s1"
NOON = datetime(2026, 3, 2, 4, tzinfo=UTC)
"""In Shanghai."""

NEEDS: Mapping[str, tuple[str, ...]] = {
    "app2_finance": ("time_dimension",),
    "app2a_finance_area": ("time_dimension", "area"),
    "app3_clue": ("member_id",),
    "app4_analysis": ("assistant_id", "member_id"),
    "app5_tactics": ("assistant_id", "member_id"),
    "app6_note": ("member_id",),
    "app7_customer": ("member_id",),
    "app8_consolidation": ("member_id",),
}
INPUTS: Mapping[str, tuple[str, ...]] = {
    "app5_tactics": ("app4_analysis",),
    "app7_customer": ("app8_consolidation",),
    "app8_consolidation": ("app3_clue", "app6_note"),
}


def apps(**more: Any) -> list[AppDefinition]:
    """The apps of the shipped chains, small."""
    made = []
    for name, needs in NEEDS.items():
        spec = {
            "title": name,
            "needs": list(needs),
            "facts": ["facts"],
            "inputs": list(INPUTS.get(name, ())),
            "prompt": f"请分析 {name}",
            "schema": {"type": "object"},
            "cache_type": name,
            "target": "_".join(f"{{{part}}}" for part in needs),
            **more,
        }
        made.append(app_of(name, spec))
    given = {
        "title": "文案",
        "needs": [],
        "facts": [],
        "inputs": [],
        "prompt": "写",
        "schema": {},
        "target": "",
    }
    made.append(app_of("customer_campaign", {**given, "cache_type": "", "given": "brief"}))
    return made


def problem(reason: str, **more: Any) -> CallProblem:
    """A failure that is certain."""
    return CallProblem(reason, **{"http_status": 500, **more})


Answer = Completion | CallProblem
Script = Callable[[Call, int], Awaitable[Answer | None]]


@dataclass(slots=True)
class World:
    """What the replicas share beside the database."""

    facts: dict[str, Any] = field(default_factory=lambda: {"*": 1})
    """By app type, else ``*``; None is no facts."""
    calls: list[Call] = field(default_factory=list)
    began: list[float] = field(default_factory=list)
    cancelled: int = 0
    script: Script | None = None
    """Given the call and how many of its app came before; None answers well."""
    latency: float = 0.0
    shut: list[Refused] = field(default_factory=list)
    """The first one shuts the gate."""
    held: dict[str, Wish] = field(default_factory=dict)
    settled: dict[str, int] = field(default_factory=dict)
    outcomes: list[Answer] = field(default_factory=list)
    kept: dict[tuple[str, str, str], tuple[Mapping[str, Any], str, datetime]] = field(default_factory=dict)
    stale: list[str] = field(default_factory=list)
    confirmed: list[str] = field(default_factory=list)
    """Apps whose kept result was found to be of the present facts."""
    alerts: dict[tuple[str, str, str], str] = field(default_factory=dict)
    ended: list[RunEnded] = field(default_factory=list)
    learned: list[str] = field(default_factory=list)
    """The ids of events whose facts were to be kept."""
    events: list[Event] = field(default_factory=list)
    """The same, whole."""
    asking: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by every call."""
    over: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by every end of a run."""

    async def until_asked(self, times: int = 1) -> None:
        """Wait until there were so many calls."""
        async with asyncio.timeout(10):
            while len(self.calls) < times:
                self.asking.clear()
                await self.asking.wait()

    # --- Provider ---------------------------------------------------------------------------------------

    async def complete(self, call: Call) -> Answer:
        """See Provider."""
        before = sum(one.app_type == call.app_type for one in self.calls)
        self.calls.append(call)
        self.asking.set()
        try:
            if self.script is not None and (said := await self.script(call, before)) is not None:
                return said
            if self.latency:
                await asyncio.sleep(self.latency)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return reply({"app": call.app_type})

    def asked(self) -> Counter[str]:
        """Requests by app type."""
        return Counter(call.app_type for call in self.calls)

    # --- Gates ------------------------------------------------------------------------------------------

    async def pass_(self, conn: AsyncConnection, wish: Wish, now: datetime) -> Granted | Refused:
        """See Gates."""
        if self.shut:
            return self.shut[0]
        self.held[wish.attempt_id] = wish
        return Granted(wish.attempt_id, 100)

    async def guess(self, conn: AsyncConnection, app_type: str, prompt_bytes: int) -> int:
        """See Gates."""
        return 1000 + prompt_bytes

    async def settle(self, conn: AsyncConnection, wish: Wish, outcome: Answer, now: datetime) -> int:
        """See Gates."""
        if wish.attempt_id not in self.settled:
            usage = outcome.usage if isinstance(outcome, Completion) else None
            self.settled[wish.attempt_id] = usage.total if usage else 100
            self.outcomes.append(outcome)
        return self.settled[wish.attempt_id]

    # --- Materials --------------------------------------------------------------------------------------

    async def gather(
        self, conn: AsyncConnection, app: AppDefinition, subject: Subject, now: datetime
    ) -> Material:
        """See Materials."""
        facts = self.facts.get(app.app_type, self.facts["*"])
        return Material({"facts": facts}, (), empty=facts is None)

    def assemble(
        self,
        app: AppDefinition,
        subject: Subject,
        material: Material,
        inputs: Sequence[Input],
        *,
        correction: str = "",
    ) -> Prompt:
        """See Materials."""
        shown = {
            "views": material.views,
            "inputs": {one.app_type: one.result for one in inputs},
            "subject": subject.parts,
        }
        missing = tuple(
            f"{one.app_type}:{one.missing or one.stale}" for one in inputs if one.missing or one.stale
        )
        text = json.dumps(shown, sort_keys=True)
        return Prompt(text + correction, f"{app.version}{text}", (), missing)

    # --- Results ----------------------------------------------------------------------------------------

    def read(self, app: AppDefinition, reply: Completion) -> Mapping[str, Any] | Bad:
        """See Results."""
        try:
            read: Mapping[str, Any] = json.loads(reply.text)
        except ValueError as error:
            return Bad("not_json", str(error))
        return read

    async def fresh(
        self, conn: AsyncConnection, app: AppDefinition, subject: Subject, fingerprint: str
    ) -> Mapping[str, Any] | None:
        """See Results."""
        result, made_from, _ = self.kept.get(_key(app.app_type, app.needs, subject), ({}, "", NOON))
        return result if made_from == fingerprint else None

    async def confirm(
        self,
        conn: AsyncConnection,
        app: AppDefinition,
        subject: Subject,
        fingerprint: str,
        known_at: datetime,
    ) -> None:
        """See Results."""
        self.confirmed.append(app.app_type)

    async def inputs(
        self, conn: AsyncConnection, app: AppDefinition, subject: Subject, now: datetime
    ) -> Sequence[Input]:
        """See Results."""
        found = []
        for name in app.inputs:
            kept = self.kept.get(_key(name, NEEDS[name], subject))
            found.append(
                Input(name, None, missing="never_made") if kept is None else Input(name, kept[0], kept[2])
            )
        return found

    async def keep(
        self,
        conn: AsyncConnection,
        app: AppDefinition,
        subject: Subject,
        result: Mapping[str, Any],
        prompt: Prompt,
        *,
        run_id: str,
        triggered_by: str,
        now: datetime,
        known_at: datetime | None = None,
    ) -> None:
        """See Results."""
        if app.cache_type:
            self.kept[_key(app.app_type, app.needs, subject)] = (result, prompt.fingerprint, now)

    async def mark(
        self, conn: AsyncConnection, store_id: str, member_id: str, reason: str, now: datetime
    ) -> None:
        """See Results.stale."""
        self.stale.append(member_id)

    # --- What is told -----------------------------------------------------------------------------------

    async def tell(
        self,
        conn: AsyncConnection,
        *,
        store_id: str,
        app_type: str,
        kind: str,
        message: str,
        run_id: str,
        step: str,
        now: datetime,
    ) -> None:
        """See Alerts."""
        self.alerts.setdefault((run_id, step, kind), message)

    async def announce(self, conn: AsyncConnection, ended: RunEnded, now: datetime) -> None:
        """See Announce."""
        self.ended.append(ended)
        self.over.set()

    async def learn(self, conn: AsyncConnection, event: Event, now: datetime) -> None:
        """See Learn."""
        self.learned.append(event.id)
        self.events.append(event)


class _Kept:
    """Meets Results; a field of the world is called as one of its methods is."""

    def __init__(self, world: World) -> None:
        self.read, self.fresh, self.inputs, self.keep = world.read, world.fresh, world.inputs, world.keep
        self.stale = world.mark
        self.confirm = world.confirm


def _key(app_type: str, needs: Sequence[str], subject: Subject) -> tuple[str, str, str]:
    return subject.store_id, app_type, "|".join(subject.parts.get(part, "") for part in needs)


def reply(result: object, tokens: int = 30) -> Completion:
    """A good answer."""
    text = result if isinstance(result, str) else json.dumps(result)
    return Completion(text, "", "stop", Usage(tokens // 2, tokens - tokens // 2), "r", timedelta(0))


def shut(refusal: Refusal, seconds: float, now: datetime) -> Refused:
    """A gate that is."""
    return Refused(refusal, f"{refusal} for the test", now + timedelta(seconds=seconds))


class Replica:
    """One process's runs; it turns only when told to."""

    def __init__(
        self,
        database: Database,
        world: World,
        clock: Clock,
        owner: str = "a",
        *,
        book: Book | None = None,
        gates: Gates | None = None,
        alerts: Alerts | None = None,
        zones: Mapping[str, ZoneInfo] | None = None,
        **env: str,
    ) -> None:
        """*gates* and *alerts* instead of the world's; *zones* are the active stores'; *env* are settings."""
        self.database, self.world, self.clock = database, world, clock
        self.book = book or Book(apps(), load_chains())
        settings = load({"REACH_AI_STEP_LIMIT": "60s", **env})
        near = Neighbours(
            world, gates or world, world, _Kept(world), alerts or world, world.announce, world.learn
        )
        if zones is not None:

            async def site(conn: AsyncConnection, store_id: str) -> Site:
                return Site(zones[store_id])

            async def stores(conn: AsyncConnection, now: datetime) -> Mapping[str, ZoneInfo]:
                return zones

            near = replace(near, sites=site, stores=stores)
        audit = AuditLog(database.dialect, SecretKey(b"k" * 32))
        self.side = RunsSide(
            database, self.book, settings, audit, clock, Metrics(), owner, near, lease=timedelta(seconds=10)
        )

    @property
    def runs(self) -> Runs:
        """What callers ask."""
        return self.side.runs

    async def trigger(
        self, event_type: str = "consumption.settled", member: str = "m1", assistant: str = "", **more: Any
    ) -> Any:
        """HandleTrigger without a payload."""
        subject = Subject(more.pop("store", STORE), member, assistant)
        how = {"forced": False, "connector": "", "event_id": "", "once": NO_KEY, **more}
        return await self.runs.handle_bare(event_type, subject, **how)

    async def turn(self) -> int:
        """Claim and settle once; how many steps were claimed."""
        claimed = await self.side.engine.once()
        await self.side.engine.settled()
        return claimed

    async def until_idle(self) -> None:
        """Turn until nothing is ready."""
        while await self.turn():
            pass

    async def steps(self, run_id: str) -> dict[str, Any]:
        """A run's steps by name."""
        return {row["name"]: row for row in (await self.runs.get(run_id, None)).steps}

    async def statuses(self, run_id: str) -> dict[str, str]:
        """How they stand."""
        return {name: row["status"] for name, row in (await self.steps(run_id)).items()}

    async def run(self, run_id: str) -> Any:
        """A run's row."""
        return (await self.runs.get(run_id, None)).run

    async def rows(self, table: sa.Table) -> list[Any]:
        """All rows of a table."""
        async with self.database.read() as conn:
            return list(await conn.execute(sa.select(table).order_by(*table.primary_key.columns)))

    async def kill(self) -> None:
        """The process is gone: its tasks end where they stand, and write nothing more."""
        tasks = [held.task for held in self.side.engine._held.values() if held.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


NO_KEY = Once("", "x/Test", "", "")


async def prepare(database: Database) -> None:
    """The tables."""
    async with database.write() as conn:
        await conn.run_sync(shared_metadata.create_all)
        await conn.run_sync(metadata.create_all)
