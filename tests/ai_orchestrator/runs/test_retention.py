"""What of runs leaves, and when: the words first, the records later, what is open never."""

from __future__ import annotations

from datetime import timedelta

from services.ai_orchestrator.domain.gating import Refusal
from services.ai_orchestrator.store.run_tables import attempt, chain_run, run_event, step_run
from shared.clock import ManualClock
from shared.ops.retention import BATCH
from tests.ai_orchestrator.runs.bench import Replica, World, shut

DAY = timedelta(days=1)


async def _tidy(replica: Replica) -> None:
    while await replica.database.transact(replica.side._retention.tidy):
        pass


async def _counts(replica: Replica) -> dict[str, int]:
    tables = (chain_run, step_run, run_event, attempt)
    return {table.name: len(await replica.rows(table)) for table in tables}


async def test_words_leave_after_a_month_and_records_after_three(
    replica: Replica, world: World, clock: ManualClock
) -> None:
    run_id = (await replica.trigger()).run_id
    await replica.until_idle()
    before = await _counts(replica)
    assert before == {"chain_run": 1, "step_run": 3, "run_event": 1, "attempt": 3}
    assert all(row.prompt and row.response for row in await replica.rows(attempt))

    clock.advance(29 * DAY)
    await _tidy(replica)
    assert all(row.prompt and row.response for row in await replica.rows(attempt))
    clock.advance(2 * DAY)
    await _tidy(replica)
    words = [(row.prompt, row.response) for row in await replica.rows(attempt)]
    assert words == [("", "")] * 3
    assert await _counts(replica) == before
    assert [row.tokens for row in await replica.rows(step_run)] == [30, 30, 30]

    clock.advance(58 * DAY)
    await _tidy(replica)
    assert await _counts(replica) == before
    assert (await replica.run(run_id))["status"] == "completed"
    clock.advance(2 * DAY)
    await _tidy(replica)
    assert await _counts(replica) == dict.fromkeys(before, 0)


async def test_a_run_that_is_open_stays_however_old_it_is_and_goes_when_it_has_ended(
    replica: Replica, world: World, clock: ManualClock
) -> None:
    world.shut.append(shut(Refusal.BUDGET_EXCEEDED, 60, clock.now()))
    run_id = (await replica.trigger()).run_id
    await replica.turn()
    clock.advance(100 * DAY)  # nobody was there to end it
    await _tidy(replica)
    assert (await replica.run(run_id))["status"] == "running"
    await replica.side.engine.sweep_once()
    assert (await replica.run(run_id))["status"] == "failed"
    await _tidy(replica)
    assert len(await replica.rows(chain_run)) == 1  # it has only just ended
    clock.advance(91 * DAY)
    await _tidy(replica)
    assert await _counts(replica) == {"chain_run": 0, "step_run": 0, "run_event": 0, "attempt": 0}


async def test_many_leave_in_batches_and_what_is_newer_stays(
    replica: Replica, world: World, clock: ManualClock
) -> None:
    for number in range(BATCH // 100 + 2):
        await replica.trigger(member=f"m{number}")
    await replica.until_idle()
    clock.advance(31 * DAY)
    late = (await replica.trigger(member="late")).run_id
    await replica.until_idle()

    async def tidy_few() -> int:
        purge = replica.side.old_runs.purge
        return await replica.database.transact(lambda conn: purge(conn, clock.now(), 4))

    rounds = 0
    while await tidy_few() == 4:
        rounds += 1
    assert rounds == 5  # 21 requests, four at a time
    kept = [row for row in await replica.rows(attempt) if row.prompt]
    assert {row.run_id for row in kept} == {late}
