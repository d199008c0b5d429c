"""Tasks against the platform's truth: whatever is answered, lost, killed, paused and resolved, and in whatever order.

No group is ever in two tasks, nothing is made while nobody may, and in the end every group has an outcome that agrees
with what the platform has.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain.campaign import Canary
from services.campaign.domain.lifecycle import Status
from services.campaign.domain.window import is_open
from services.campaign.pipeline.deciding import Decider, Job, Look
from services.campaign.pipeline.looking_up import Looker
from services.campaign.pipeline.moving import Moving
from services.campaign.pipeline.pacing import Pacer
from services.campaign.pipeline.planning import Starter
from services.campaign.pipeline.sending import Sender
from services.campaign.pipeline.settling import Settler
from services.campaign.store import campaigns, tasks
from services.campaign.store.campaign_tables import campaign, campaign_target, owner_task
from services.campaign.store.tables import metadata
from services.campaign.unknowns import TaskDesk
from services.campaign.way import DryWay
from shared.audit import AuditLog
from shared.clock import ManualClock
from shared.db.engine import Database
from shared.db.once import Once
from shared.db.tables import audit_entry, audit_head, shared_metadata
from shared.ops.part import Verdict
from shared.rpc.principal import LOCAL_OPERATOR, acting_as
from shared.telemetry.metrics import Metrics
from shared.wecom.errcodes import classify
from shared.wecom.mass_send import Created, Listed, ListPage, Member, MemberPage
from shared.wecom.outcome import Outcome, State
from tests.campaign.sending.sending_support import (
    KEY,
    NOON,
    STORE,
    HashPermit,
    KnownGroups,
    MemoryFollow,
    MemoryMaterials,
    prepare,
    start,
)

T = TypeVar("T")
METHOD = "reach.ops.v1.OpsService/ResolveUnknown"
OWNERS = {"li": 7, "wu": 3, "xu": 1, "yu": 2, "zu": 2}
"""Groups of each; two go into a task."""
ANSWERS = ("lost_made", "dies_made", "lost", "dies", "made", "-1", "45009", "41064", "42001", "48002")
"""Of a request: it makes a task and says so; the answer is lost; the process dies in it; an errcode."""
SAID = st.lists(st.sampled_from(ANSWERS), min_size=2, max_size=2)
LASTING = ("made", "lost_made", "dies_made")
OK = Outcome(State.ACCEPTED, errcode=0)
LOST = Outcome(State.UNKNOWN, "timeout", "no answer")


@dataclass
class Platform:
    """What the platform has, and how it answers next."""

    clock: ManualClock
    may: Callable[[], bool]
    answers: list[str] = field(default_factory=list)
    blind: bool = False
    """Whether its lists cannot be read."""
    made: list[tuple[Listed, str, tuple[str, ...]]] = field(default_factory=list)
    dead: set[str] = field(default_factory=set)
    """The replicas that have died in a request."""

    async def ready(self, deadline: float) -> None:
        """It always is."""

    async def make(self, replica: str, job: Job, still: Callable[[], bool]) -> Created:
        """One request."""
        assert self.may(), "nothing leaves while nobody may send"
        if not still():
            return Created(Outcome(State.NOT_SENT, "too_late"))
        answer = self.answers.pop(0) if self.answers else "made"
        msgid = f"m{len(self.made)}"
        if answer in LASTING:
            body: Any = job.body
            listed = Listed(msgid, "", self.clock.now(), body["text"]["content"], ())
            self.made.append((listed, job.task.owner, tuple(body["chat_id_list"])))
        if answer.startswith("dies"):
            self.dead.add(replica)
            await asyncio.Event().wait()
        if answer == "made":
            return Created(OK, msgid)
        if answer.startswith("lost"):
            return Created(LOST)
        entry = classify(int(answer))
        state = State.REJECTED_RETRYABLE if entry.retryable else State.REJECTED_PERMANENT
        return Created(Outcome(state, errcode=int(answer), retry_class=entry.retry_class))

    async def listed(self, look: Look, cursor: str, deadline: float) -> ListPage:
        """All at once."""
        return ListPage(LOST) if self.blind else ListPage(OK, tuple(one for one, _, _ in self.made))

    async def members(self, look: Look, msgid: str, cursor: str, deadline: float) -> MemberPage:
        """The one."""
        return MemberPage(OK, tuple(Member(owner, 0) for one, owner, _ in self.made if one.msgid == msgid))


class Mortal:
    """The way of one replica, which may die on it."""

    def __init__(self, platform: Platform, name: str) -> None:
        self._platform, self._name = platform, name

    async def ready(self, deadline: float) -> None:
        await self._platform.ready(deadline)

    async def make(self, job: Job, still: Callable[[], bool], deadline: float) -> Created:
        return await self._platform.make(self._name, job, still)


class Bench:
    """One database for many histories, emptied between them."""

    def __init__(self, url: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.database = Database.open(url, schema="public")
        self.run(lambda: prepare(self.database))

    async def empty(self) -> None:
        """As it was at the start; but for the audit log, of which nothing can be deleted."""
        async with self.database.write() as conn:
            for table in (*metadata.sorted_tables, *shared_metadata.sorted_tables):
                if table.name not in (audit_entry.name, audit_head.name):
                    await conn.execute(sa.delete(table))

    def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Wait for *work*."""

        async def awaited() -> T:
            return await work()

        return self.loop.run_until_complete(awaited())

    def close(self) -> None:
        """Leave nothing behind."""
        self.run(self.database.close)
        self.loop.close()


@dataclass
class Side:
    """What ``start`` needs of a replica."""

    start: Starter


class Life(RuleBasedStateMachine):
    """A campaign, two replicas, a platform, and a person who pauses, resumes, cancels and resolves."""

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self.bench, self.run, self.database = bench, bench.run, bench.database
        self.run(bench.empty)
        self.clock = ManualClock(NOON)
        self.status, self.window = Status.RUNNING, None
        self.platform = Platform(self.clock, self.may)
        self.groups = KnownGroups(
            {f"wr-{owner}-{at}": owner for owner, count in OWNERS.items() for at in range(count)}
        )
        self.moving, self.follow = Moving(self.database), MemoryFollow()
        self.start = Starter(self.database, tasks.queue(self.database.dialect), groups_a_task=2)
        self.side = Side(self.start)
        self.desk = TaskDesk(
            self.database, AuditLog(self.database.dialect, KEY), self.clock, self.moving, self.follow
        )
        self.replicas = [self.replica("a"), self.replica("b")]
        self.resolved = 0

    def replica(self, name: str) -> Sender:
        queue, clock = tasks.queue(self.database.dialect), self.clock
        pacer, permit, numbers = Pacer(self.database, clock, 50), HashPermit(self.database), Metrics()
        return Sender(
            self.database,
            queue,
            Decider(queue, self.groups, permit, pacer, clock, name),
            Settler(
                *(self.database, queue, self.moving, permit, self.follow, pacer, clock, numbers), retry_max=3
            ),
            Looker(self.database, self.platform, pacer, clock),
            Mortal(self.platform, name),
            DryWay(),
            MemoryMaterials(),
            pacer,
            clock,
            numbers,
            name,
        )

    def may(self) -> bool:
        """Whether a task may be made, as a person would say."""
        assert self.window is not None
        return self.status is Status.RUNNING and is_open(self.window, self.clock.now())

    def rows(self, table: sa.Table) -> list[Any]:
        async def read() -> list[Any]:
            async with self.database.read() as conn:
                return list((await conn.execute(sa.select(table))).all())

        return self.run(read)

    @initialize(canary=st.sampled_from([Canary(), Canary(1, timedelta(minutes=5))]))
    def begin(self, canary: Canary) -> None:
        self.run(lambda: start(self, self.clock.now(), canary=canary))  # type: ignore[arg-type]  # all it needs
        self.window = self.run(self._held).spec.window

    async def _held(self) -> Any:
        async with self.database.read() as conn:
            found = await campaigns.get(conn, await conn.scalar(sa.select(campaign.c.id)) or "")
        assert found is not None
        return found

    # --- What happens ---------------------------------------------------------------------------------

    @rule(at=st.integers(0, 1), count=st.integers(1, 2), answers=SAID)
    def turn(self, at: int, count: int, answers: Sequence[str]) -> None:
        """Claim some, call and settle; a replica that dies in a request leaves all it had in hand."""
        self.platform.answers = list(answers)
        self.run(lambda: self._turn(at, count))
        self.status = self.run(self._held).status

    async def _turn(self, at: int, count: int) -> None:
        name, sender = "ab"[at], self.replicas[at]
        await sender.once(count)
        while sender._calls and name not in self.platform.dead:
            await asyncio.wait(sender._calls, timeout=0.005)
        if name in self.platform.dead:
            left = list(sender._calls)
            for call in left:
                call.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            self.platform.dead.discard(name)
            self.replicas[at] = self.replica(name)

    @rule(at=st.integers(0, 1), count=st.integers(1, 3))
    def claim_and_die(self, at: int, count: int) -> None:
        """It is gone before it has done anything with them."""
        self.run(lambda: self.database.transact(lambda conn: self.replicas[at]._claim(conn, count)))
        self.replicas[at] = self.replica("ab"[at])

    @rule(seconds=st.sampled_from([61, 301, 21_600, 86_400]))
    def time_passes(self, seconds: int) -> None:
        self.clock.advance(timedelta(seconds=seconds))

    @rule(at=st.integers(0, 1))
    def take_over(self, at: int) -> None:
        self.run(lambda: self.replicas[at]._take_over(self.clock.now()))
        self.status = self.run(self._held).status

    @rule(seconds=st.sampled_from([2, 6, 16, 61]), at=st.integers(0, 1), answers=SAID)
    def go_on(self, seconds: int, at: int, answers: Sequence[str]) -> None:
        self.time_passes(seconds)
        self.take_over(at)
        self.turn(at, 2, answers)

    @rule(
        at=st.integers(0, 1),
        answer=st.sampled_from(["lost_made", "lost", "dies_made", "dies", "45009", "48002"]),
        after=st.sampled_from([Status.PAUSED, Status.CANCELLED, Status.RUNNING]),
    )
    def person_moves_it_after_trouble(self, at: int, answer: str, after: Status) -> None:
        self.turn(at, 2, ["made", answer])
        self.person_moves_it(after)

    @rule(blind=st.booleans())
    def lists_come_and_go(self, blind: bool) -> None:
        self.platform.blind = blind

    @rule(gone=st.sampled_from(["wr-li-0", "wr-xu-0"]))
    def a_group_is_dismissed(self, gone: str) -> None:
        self.groups.said[gone] = "dismissed"

    @rule(
        after=st.sampled_from(
            [Status.PAUSED, Status.RUNNING, Status.PAUSED, Status.RUNNING, Status.CANCELLED]
        )
    )
    def person_moves_it(self, after: Status) -> None:
        self.run(lambda: self.database.transact(lambda conn: self._move(conn, after)))
        self.status = self.run(self._held).status

    async def _move(self, conn: AsyncConnection, after: Status) -> None:
        campaign_id, now = await conn.scalar(sa.select(campaign.c.id)) or "", self.clock.now()
        held = await campaigns.hold(conn, campaign_id)
        assert held is not None
        if held.status not in (Status.RUNNING, Status.PAUSED) or held.status is after:
            return
        await self.moving.move(conn, held, after, now, by="op", reason="by_hand")
        if after is Status.CANCELLED:
            await self.start.stop(conn, campaign_id, now)
        if after is Status.RUNNING:
            await self.start.resumed(conn, campaign_id, now)

    @rule(lies=st.sampled_from([None, Verdict.NOT_SENT]))
    def person_looks(self, lies: Verdict | None) -> None:
        """Says of the unknown tasks what the platform's page shows; of one that is not there, either that or to go on."""
        for row in self.rows(owner_task):
            if row.status != "unknown":
                continue
            theirs = {one.chat_id for one in self.rows(campaign_target) if one.task_id == row.id}
            there = any(theirs & set(chat_ids) for _, _, chat_ids in self.platform.made)
            verdict = Verdict.SENT if there else lies or Verdict.RESEND
            self.resolved += 1
            once = Once(STORE, METHOD, f"k{self.resolved}", "h")
            with acting_as(LOCAL_OPERATOR):
                self.run(
                    partial(self.desk.resolve, row.id, verdict, stores=None, by="op", comment="", once=once)
                )
        self.status = self.run(self._held).status

    # --- What must hold -------------------------------------------------------------------------------

    @invariant()
    def no_group_is_in_two_tasks(self) -> None:
        asked = Counter(chat_id for _, _, chat_ids in self.platform.made for chat_id in chat_ids)
        assert set(asked.values()) <= {1}, asked

    @invariant()
    def what_we_call_made_is_made(self) -> None:
        there = {one.msgid: set(chat_ids) for one, _, chat_ids in self.platform.made}
        named = {row.id: row.msgid for row in self.rows(owner_task) if row.status == "created"}
        for row in self.rows(campaign_target):
            if row.status == "awaiting_owner":
                assert row.chat_id in there[named[row.task_id]]
        assert len(set(named.values())) == len(named)
        assert sorted(one.msgid for one in self.follow.tasks) == sorted(named.values())

    def teardown(self) -> None:
        if sys.exc_info()[0] is None and self.window is not None:
            self.all_ends()

    def all_ends(self) -> None:
        """Left to itself, with a platform that is well and a person who lets it go on, nothing stays open."""
        self.platform.blind = False
        for _ in range(60):
            self.person_looks(None)
            self.person_moves_it(Status.RUNNING)
            if not any(row.status in tasks.OPEN for row in self.rows(owner_task)):
                break
            waits = [row.due_at for row in self.rows(owner_task) if row.status == "deferred"]
            self.clock.advance(
                max(timedelta(seconds=61), min(waits, default=self.clock.now()) - self.clock.now())
            )
            self.take_over(0)
            self.turn(1, 16, [])
        self.no_group_is_in_two_tasks()
        self.what_we_call_made_is_made()
        assert self.status in (Status.RECONCILING, Status.CANCELLED)
        asked = {chat_id for _, _, chat_ids in self.platform.made for chat_id in chat_ids}
        found = {row.chat_id: row.status for row in self.rows(campaign_target)}
        assert found.keys() == self.groups.owners.keys()
        assert not {"planned", "unknown"} & set(found.values()), found
        assert {chat_id for chat_id, status in found.items() if status == "awaiting_owner"} == asked


@pytest.mark.timeout(400)
def test_no_history_has_a_group_in_two_tasks_or_leaves_one_out(database_url: str) -> None:
    bench = Bench(database_url)
    examples, steps = (30, 25) if database_url.startswith("sqlite") else (10, 25)
    try:
        run_state_machine_as_test(
            partial(Life, bench),
            settings=settings(
                max_examples=examples, stateful_step_count=steps, deadline=None, derandomize=True
            ),
        )
    finally:
        bench.close()
