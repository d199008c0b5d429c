"""Between the contract's messages about runs and our words."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp
from reach.ai_orchestrator.v1 import run_pb2 as pb

from services.ai_orchestrator.domain.definitions import Subject
from services.ai_orchestrator.domain.lifecycle import StepStatus
from services.ai_orchestrator.domain.story import Told
from services.ai_orchestrator.store.run_reading import RunView
from services.ai_orchestrator.usecases.runs import Projection
from shared.rpc.fields import to_duration, to_struct, to_timestamp

_RUN: Final = "RUN_STATUS_"
_STEP: Final = "STEP_STATUS_"
_ATTEMPT: Final = "ATTEMPT_STATUS_"

Row = Mapping[Any, Any]


def from_subject(store_id: str, subject: pb.Subject) -> Subject:
    """Whom it is about."""
    return Subject(store_id, subject.member_id, subject.assistant_id, subject.time_dimension, subject.area)


def to_subject(subject: Subject) -> pb.Subject:
    """The same, the other way."""
    return pb.Subject(**subject.parts)


def from_run_status(number: int) -> str:
    """The stored word; empty where none is asked for."""
    return pb.RunStatus.Name(pb.RunStatus.ValueType(number)).removeprefix(_RUN).lower() if number else ""


def from_attempt_status(number: int) -> str:
    """Likewise."""
    if not number:
        return ""
    return pb.AttemptStatus.Name(pb.AttemptStatus.ValueType(number)).removeprefix(_ATTEMPT).lower()


def to_run(row: Row) -> pb.Run:
    """A run as a list shows it."""
    return pb.Run(
        run_id=row["id"],
        store_id=row["store_id"],
        chain=row["chain"],
        chain_version=row["chain_version"],
        event_type=row["event_type"],
        event_id=row["event_id"],
        trigger=row["trigger"],
        subject=pb.Subject(member_id=row["member_id"], assistant_id=row["assistant_id"]),
        day=row["day"],
        status=pb.RunStatus.Value(f"{_RUN}{row['status'].upper()}"),
        reason=row["reason"],
        error=row["error"],
        prewarm=row["prewarm"],
        follows_run_id=row["follows"] or "",
        rerun_of=row["rerun_of"] or "",
        create_time=_stamp(row["created_at"]),
        start_time=_stamp(row["started_at"]),
        finish_time=_stamp(row["finished_at"]),
        deadline_time=_stamp(row["deadline_at"]),
    )


def to_view(view: RunView) -> pb.Run:
    """A run with its steps."""
    run = to_run(view.run)
    run.steps.extend(to_step(row) for row in view.steps)
    run.chain_text = chain_text(view.steps)
    return run


def chain_text(steps: tuple[Row, ...]) -> str:
    """The chain in words: branches apart, each step behind what it awaits."""
    if len(steps) > 12:
        return f"{len(steps)} steps"
    lines: list[list[str]] = []
    for step in steps:
        line = next((one for one in lines if one[-1] in step["after"]), None)
        if line is None:
            lines.append([step["name"]])
        else:
            line.append(step["name"])
    return "; ".join(" > ".join(line) for line in lines)


def to_step(row: Row) -> pb.Step:
    """One step."""
    deferred = row["status"] == StepStatus.DEFERRED
    result = row["result"]
    return pb.Step(
        step_id=row["id"],
        name=row["name"],
        app_type=row["app_type"],
        app_version=row["app_version"],
        subject=pb.Subject(
            member_id=row["member_id"],
            assistant_id=row["assistant_id"],
            time_dimension=row["time_dimension"],
            area=row["area"],
        ),
        after=row["after"],
        status=pb.StepStatus.Value(f"{_STEP}{row['status'].upper()}"),
        reason=row["reason"],
        error=row["error"],
        hold_reason=(row["hold_reason"] or "") if deferred else "",
        due_time=_stamp(row["due_at"]) if deferred else None,
        missing=row["missing"],
        refusals=[
            pb.GateRefusal(
                refusal=one["refusal"], detail=one["detail"], time=_stamp(datetime.fromisoformat(one["at"]))
            )
            for one in row["refusals"]
        ],
        result=None if result is None else to_struct(result),
        tokens=row["tokens"],
        attempts=row["attempt_no"],
        start_time=_stamp(row["started_at"]),
        finish_time=_stamp(row["finished_at"]),
    )


def to_attempt(row: Row) -> pb.Attempt:
    """One request."""
    return pb.Attempt(
        attempt_id=row["id"],
        run_id=row["run_id"],
        step_id=row["step_id"],
        store_id=row["store_id"],
        app_type=row["app_type"],
        subject=pb.Subject(
            member_id=row["member_id"],
            assistant_id=row["assistant_id"],
            time_dimension=row["time_dimension"],
            area=row["area"],
        ),
        attempt_no=row["attempt_no"],
        status=pb.AttemptStatus.Value(f"{_ATTEMPT}{row['status'].upper()}"),
        reason=row["reason"],
        code=row["code"],
        http_status=row["http_status"] or 0,
        error=row["error"],
        prompt=row["prompt"],
        response=row["response"],
        input_tokens=row["input_tokens"],
        output_tokens=row["output_tokens"],
        charged_tokens=row["charged_tokens"],
        request_id=row["request_id"],
        finish_reason=row["finish_reason"],
        latency=to_duration(timedelta(milliseconds=row["took_ms"])),
        trace_id=row["trace_id"],
        start_time=_stamp(row["started_at"]),
        finish_time=_stamp(row["finished_at"]),
        prompt_hash=row["prompt_hash"],
        models=row["models"],
    )


def to_plan(projection: Projection) -> pb.PlanTriggerResponse:
    """What a trigger would do."""
    asking = [one for one in projection.steps if one.verdict in ("ask", "depends")]
    return pb.PlanTriggerResponse(
        chain=projection.chain,
        steps=[
            pb.PlannedStep(
                name=one.name,
                app_type=one.app_type,
                subject=to_subject(one.subject),
                after=one.after,
                verdict=one.verdict,
                estimated_tokens=one.tokens,
            )
            for one in projection.steps
        ],
        requests=len(asking),
        estimated_tokens=sum(one.tokens for one in asking),
        deduplicated_run_id=projection.run_id,
    )


def to_told(told: Told) -> pb.ExplainStep:
    """One thing that happened."""
    return pb.ExplainStep(
        time=to_timestamp(told.at),
        what=told.what,
        reason=told.reason,
        text_zh=told.zh,
        text_en=told.en,
        run_id=told.run_id,
    )


def _stamp(at: datetime | None) -> Timestamp | None:
    return None if at is None else to_timestamp(at)
