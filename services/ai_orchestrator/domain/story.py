"""The story of a run, from its rows: what happened when, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from services.ai_orchestrator.domain.lifecycle import AttemptStatus
from shared.values import value_class

Row = Mapping[Any, Any]


@value_class
class Told:
    """One thing that happened, or did not."""

    at: datetime
    what: str
    """event, run, step, gate, attempt or end."""
    reason: str
    text: str
    run_id: str = ""


def tell_event(row: Row) -> Told:
    """What became of an event that came in."""
    decision = row["decision"] or {}
    run_id = decision.get("run_id", "")
    if decision.get("deduplicated"):
        text, reason = f"{row['event_type']}: today's run {run_id} answers it", "deduplicated"
        if later := decision.get("follow_up_run_id"):
            text += f"; what is new in it is looked at by {later}"
    elif run_id:
        text, reason = f"{row['event_type']}: started run {run_id}", "started"
    else:
        text, reason = f"{row['event_type']}: its facts were kept", decision.get("reason", "")
    if row["duplicates"]:
        text += f"; it came {row['duplicates'] + 1} times"
    return Told(row["received_at"], "event", reason, text, run_id)


def tell_run(run: Row, steps: Sequence[Row], attempts: Sequence[Row]) -> list[Told]:
    """A run from its beginning to its end, oldest first."""
    run_id = run["id"]
    about = " ".join(one for one in (run["member_id"], run["assistant_id"]) if one)
    told = [Told(run["created_at"], "run", run["trigger"], f"{run['chain']} {about}".strip(), run_id)]
    names = {step["id"]: step["name"] for step in steps}
    for one in attempts:
        if one["status"] == AttemptStatus.COMPLETED:
            text = f"{one['charged_tokens']} tokens"
        else:
            text = one["error"] or one["code"]
        line = f"{names.get(one['step_id'], '')} #{one['attempt_no']}: {one['status']} {text}".rstrip()
        told.append(Told(one["started_at"], "attempt", one["reason"], line, run_id))
    for step in steps:
        told += _tell_step(step, run_id)
    if run["finished_at"] is not None:
        told.append(
            Told(run["finished_at"], "end", run["reason"], f"{run['status']} {run['error']}".strip(), run_id)
        )
    return sorted(told, key=lambda one: one.at)


def _tell_step(step: Row, run_id: str) -> list[Told]:
    name = step["name"]
    told = [
        Told(datetime.fromisoformat(no["at"]), "gate", no["refusal"], f"{name}: {no['detail']}", run_id)
        for no in step["refusals"]
    ]
    missing = f"; without {', '.join(step['missing'])}" if step["missing"] else ""
    if step["finished_at"] is not None:
        text = f"{name}: {step['status']} {step['error']}".rstrip()
        told.append(Told(step["finished_at"], "step", step["reason"], text + missing, run_id))
    elif step["status"] == "deferred":
        text = f"{name}: waits until {step['due_at']:%Y-%m-%dT%H:%M:%SZ}"
        told.append(Told(step["started_at"] or step["rank"], "step", step["hold_reason"] or "", text, run_id))
    elif step["started_at"] is not None:
        told.append(
            Told(step["started_at"], "step", step["status"], f"{name}: {step['status']}{missing}", run_id)
        )
    return told
