"""Two replicas on PostgreSQL that want opposite things of the same rows at the same moment, over connections of their own."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from services.ai_orchestrator.domain.call import Call, Count
from services.ai_orchestrator.pipeline.alerting import Alerting
from services.ai_orchestrator.pipeline.gates import SqlGates
from services.ai_orchestrator.store.gate_tables import budget, hold
from services.ai_orchestrator.store.result_tables import alert
from services.ai_orchestrator.store.run_tables import attempt, chain_run, step_run
from shared.clock import ManualClock
from shared.db.engine import Database
from shared.db.once import Once
from shared.db.tables import outbox
from shared.errors import Conflict
from shared.rpc import principal
from tests.ai_orchestrator.gates.bench import WIDE, ZONE
from tests.ai_orchestrator.runs.bench import NOON, STORE, Answer, Replica, World, prepare, problem

LEASE_OVER = timedelta(seconds=11)
LOST = problem("unknown", http_status=None, repeatable=True, count=Count.NEVER)


class Pair:
    """Two replicas, and calls that are answered when the test says so."""

    def __init__(self, databases: list[Database]) -> None:
        self.world = World()
        self.world.script = self._script
        self.clock = ManualClock(NOON)
        self.asked: asyncio.Queue[asyncio.Future[Answer | None]] = asyncio.Queue()
        self.a, self.b = (
            Replica(
                database,
                self.world,
                self.clock,
                name,
                gates=SqlGates(WIDE, ZONE, jitter=lambda: 0.0),
                alerts=Alerting(database),
            )
            for name, database in zip("ab", databases, strict=True)
        )

    async def _script(self, call: Call, before: int) -> Answer | None:
        answer: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        self.asked.put_nowait(answer)
        return await answer

    async def under_way(self, replica: Replica) -> asyncio.Future[Answer | None]:
        """Let a replica take up the one step that is due; its call, which waits for its answer."""
        assert await replica.side.engine.once() == 1
        return await asyncio.wait_for(self.asked.get(), 10)

    async def to_the_end(self) -> None:
        """Both work until nothing is due, and every call is answered well."""
        self.world.script = None
        for replica in (self.a, self.b, self.a):
            await replica.until_idle()

    async def books_agree(self) -> None:
        """Nothing is held but for calls under way, and what was charged is what was used; no end is told twice."""
        attempts = await self.a.rows(attempt)
        holds = await self.a.rows(hold)
        calling = {row.id for row in attempts if row.status == "calling"}
        assert {row.attempt_id for row in holds if row.settled_at is None} == calling == set()
        charged = sum(row.charged_tokens for row in attempts)
        assert {(row.used, row.held) for row in await self.a.rows(budget)} == {(charged, 0)}
        assert max(Counter(one.run_id for one in self.world.ended).values(), default=0) <= 1


@pytest.fixture
async def pair(postgres_database: str) -> AsyncIterator[Pair]:
    principal.enter(principal.LOCAL_OPERATOR)
    databases = [Database.open(postgres_database, schema="public") for _ in range(2)]
    await prepare(databases[0])
    yield Pair(databases)
    for one in databases:
        await one.close()


def key(value: str) -> Once:
    """An idempotency key, on every call the same request."""
    return Once(STORE, "x/RerunRun", value, "h")


async def test_a_run_is_cancelled_or_goes_on_and_never_both(pair: Pair) -> None:
    ends: Counter[str] = Counter()
    for number in range(24):
        run_id = (await pair.a.trigger("note.created", f"m{number}")).run_id
        call = await pair.under_way(pair.a)
        if number % 2:  # its last step
            call.set_result(None)
            await pair.a.side.engine.settled()
            call = await pair.under_way(pair.a)

        async def answer(call: asyncio.Future[Answer | None] = call, pauses: int = number // 2) -> None:
            for _ in range(pauses):
                await asyncio.sleep(0)
            call.set_result(None)
            await pair.a.side.engine.settled()

        cancelling = pair.b.runs.cancel(run_id, None, once=Once("", "x/CancelRun", "", ""))
        said, _ = await asyncio.gather(cancelling, answer(), return_exceptions=True)
        assert not isinstance(said, Exception) or (isinstance(said, Conflict) and number % 2), said
        run = await pair.b.run(run_id)
        assert run["status"] == ("completed" if isinstance(said, Conflict) else "cancelled")
        states = list((await pair.b.statuses(run_id)).values())
        assert not set(states) & {"blocked", "pending", "deferred", "running"}, states
        if run["status"] == "cancelled":
            assert "cancelled" in states
        ends["/".join(states)] += 1
        assert await pair.a.side.engine.once() == await pair.b.side.engine.once() == 0
        await pair.books_agree()
    print(dict(ends))


async def test_a_rerun_of_one_key_is_one_run_whoever_is_asked(pair: Pair) -> None:
    run_id = (await pair.a.trigger("note.created")).run_id
    await pair.to_the_end()
    for number in range(8):
        first, second = await asyncio.gather(
            *(one.runs.rerun(run_id, "app6_note", None, once=key(f"k{number}")) for one in (pair.a, pair.b))
        )
        assert first.run["id"] == second.run["id"]
    assert len(await pair.a.rows(chain_run)) == 9
    await pair.to_the_end()
    assert {row.status for row in await pair.a.rows(chain_run)} == {"completed"}
    # Each was to ask anew, one after the other: they write the same insight.
    assert pair.world.asked()["app6_note"] == 9
    await pair.books_agree()


async def test_copies_at_both_replicas_are_one_run_a_subject_and_day(pair: Pair) -> None:
    for number in range(6):
        copies = [(one, number) for one in (pair.a, pair.b) for _ in range(10)]
        started = await asyncio.gather(*(one.trigger("note.created", f"m{member}") for one, member in copies))
        assert len({one.run_id for one in started}) == 1
        assert [one.deduplicated for one in started].count(False) == 1
    assert len(await pair.a.rows(chain_run)) == 6
    assert len(await pair.a.rows(step_run)) == 12


@pytest.mark.parametrize("answer", [None, LOST], ids=["a good answer", "a lost one"])
async def test_who_takes_over_and_who_comes_back_late_settle_a_step_once(
    pair: Pair, answer: Answer | None
) -> None:
    for number in range(12):
        run_id = (await pair.a.trigger("note.created", f"m{number}")).run_id
        call = await pair.under_way(pair.a)
        pair.clock.advance(LEASE_OVER)

        async def late(call: asyncio.Future[Answer | None] = call, pauses: int = number) -> None:
            for _ in range(pauses * 3):
                await asyncio.sleep(0)
            if not call.done():  # it may have been broken off already
                call.set_result(answer)
            await pair.a.side.engine.settled()

        await asyncio.gather(
            late(),
            pair.a.side.engine.sweep_once(),
            pair.b.side.engine.sweep_once(),
            pair.a.side.engine.renew(),
        )
        script, pair.world.script = pair.world.script, None
        for _ in range(3):
            pair.clock.advance(timedelta(seconds=3))
            await pair.a.until_idle()
            await pair.b.until_idle()
        pair.world.script = script
        run = await pair.b.run(run_id)
        assert run["status"] == "completed", (number, await pair.b.statuses(run_id))
        tried = [
            row.status
            for row in await pair.a.rows(attempt)
            if row.run_id == run_id and row.app_type == "app6_note"
        ]
        assert tried.count("completed") == 1, tried
        assert len(tried) <= 2
        await pair.books_agree()


async def test_a_step_that_two_sweeps_find_lost_for_good_alerts_once_and_is_announced_once(
    pair: Pair,
) -> None:
    await asyncio.gather(*(one.trigger("note.created") for one in (pair.a, pair.b) for _ in range(5)))
    for _ in range(2):  # what nobody knows the end of is asked once more, and no more
        await pair.under_way(pair.a)
        await pair.a.kill()
        pair.clock.advance(LEASE_OVER)
        await asyncio.gather(*(one.side.engine.sweep_once() for one in (pair.a, pair.b) for _ in range(3)))
    (told,) = await pair.a.rows(alert)
    assert (told.step, told.kind) == ("app6_note", "failed")
    announced = [row for row in await pair.a.rows(outbox) if row.type == "ai.alert.created"]
    assert len(announced) == 1

    # The whole run's time is over, for both at once; and once more.
    pair.clock.advance(timedelta(minutes=10))
    await asyncio.gather(*(one.side.engine.sweep_once() for one in (pair.a, pair.b) for _ in range(3)))
    await asyncio.gather(*(one.trigger("note.created") for one in (pair.a, pair.b)))
    kinds = [(row.step, row.kind) for row in await pair.a.rows(alert)]
    assert sorted(kinds) == [("", "timeout"), ("app6_note", "failed")]
    await pair.books_agree()
