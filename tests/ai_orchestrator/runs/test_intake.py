"""From the bus: facts and a run once; what names nobody is parked with its reason."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from services.ai_orchestrator.store.run_tables import chain_run
from shared.bus import Incoming
from shared.db.tables import dead_letter, inbox
from tests.ai_orchestrator.runs.bench import NO_KEY, STORE, Replica, World


def message(event_id: str, event_type: str, **data: Any) -> Incoming:
    body = {"event_type": event_type, "event_data": data, "store_id": STORE}
    return Incoming(json.dumps(body).encode(), "application/json", event_type, event_id)


async def test_an_event_is_taken_once_and_one_about_nobody_is_parked(replica: Replica, world: World) -> None:
    task = message("e1", "task.assigned", member_id="m1", assistant_id="a1")
    visit = {
        "member_id": "m1",
        "has_assistant": True,
        "amount": "9.00",
        "settled_time": "2026-03-02T12:00:00Z",
    }
    nobody = message("e2", "consumption.settled", **visit)
    await replica.side.intake.take([task, task, nobody, Incoming(b"{", routing_key="note.created")])
    await replica.side.intake.take([task])
    (run,) = await replica.rows(chain_run)
    assert (run.event_id, run.trigger, run.assistant_id) == ("e1", "event", "a1")
    assert world.learned == ["e1"]
    (kept,) = await replica.rows(inbox)
    assert (kept.duplicates, kept.decision["run_id"]) == (2, run.id)
    assert {(row.event_id, row.reason) for row in await replica.rows(dead_letter)} == {
        ("e2", "subject_missing"),
        (None, "decode"),
    }
    told = await replica.runs.explain_event("e1", None)
    assert (told[0].what, told[0].reason) == ("event", "started")


async def test_what_is_told_again_under_another_id_is_no_second_fact(replica: Replica, world: World) -> None:
    visit = {
        "member_id": "m1",
        "has_assistant": False,
        "amount": "9.00",
        "settled_time": "2026-03-02T12:00:00Z",
    }
    copies = [message(f"e{number}", "consumption.settled", **visit) for number in range(3)]
    await replica.side.intake.take(copies[:2])
    await replica.side.intake.take(copies[2:])
    assert world.learned == ["e0"]
    forced = replace(world.events[0], id="by hand")
    started = await replica.runs.handle_event(forced, forced=True, connector="", once=NO_KEY)
    first, second = sorted(await replica.rows(chain_run), key=lambda row: row.id)
    assert (first.event_id, second.id) == ("e0", started.run_id)
    assert world.learned == ["e0"]
    later = message("e3", "consumption.settled", **visit | {"amount": "10.00"})
    await replica.side.intake.take([later])
    assert world.learned == ["e0", "e3"]
