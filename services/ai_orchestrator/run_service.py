"""The RPCs about runs: from the wire to one use case and back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from reach.ai_orchestrator.v1 import ai_orchestrator_service_pb2_grpc
from reach.ai_orchestrator.v1 import run_pb2 as pb

from services.ai_orchestrator.contract import SERVICE
from services.ai_orchestrator.domain.definitions import Subject
from services.ai_orchestrator.run_wire import (
    from_attempt_status,
    from_run_status,
    from_subject,
    to_attempt,
    to_plan,
    to_run,
    to_told,
    to_view,
)
from services.ai_orchestrator.store.run_reading import AttemptsWanted, RunsWanted
from services.ai_orchestrator.usecases.runs import Runs
from services.ai_orchestrator.usecases.single_apps import SingleApps
from shared.errors import Invalid
from shared.events.canonical import Unreadable
from shared.events.envelope import make_event
from shared.ids import new_id
from shared.rpc.calls import remaining
from shared.rpc.fields import from_struct, optional_timestamp
from shared.rpc.once import once_of
from shared.rpc.paging import PageTokens, page_size
from shared.rpc.principal import authorise_store, stores_named, visible_stores
from shared.telemetry.traces import current_traceparent

SCOPES: Final[Mapping[str, str]] = {
    f"{SERVICE}/HandleTrigger": "ai.trigger",
    f"{SERVICE}/PlanTrigger": "ai.read",
    f"{SERVICE}/GetRun": "ai.read",
    f"{SERVICE}/ListRuns": "ai.read",
    f"{SERVICE}/CancelRun": "ai.trigger",
    f"{SERVICE}/RerunRun": "ai.trigger",
    f"{SERVICE}/ListAttempts": "ai.read",
    f"{SERVICE}/RunApp": "ai.trigger",
    f"{SERVICE}/Explain": "ai.read",
}
"""The scope each method needs."""

_WAIT_MOST: Final = 180.0
_USUAL: Final = timedelta(days=2)


class RunMethods(ai_orchestrator_service_pb2_grpc.AiOrchestratorServiceServicer):
    """See ai_orchestrator_service.proto."""

    _runs: Runs
    _single: SingleApps
    _tokens: PageTokens

    async def HandleTrigger(self, request: pb.HandleTriggerRequest, context: Any) -> pb.HandleTriggerResponse:
        """Start the chain of an event."""
        authorise_store(request.store_id)
        once = once_of(SERVICE, "HandleTrigger", request, request.store_id)
        how: dict[str, Any] = {"forced": request.forced, "connector": request.connector, "once": once}
        parts = {"member_id": request.member_id, "assistant_id": request.assistant_id}
        given = {name: value for name, value in parts.items() if value}
        event_id = request.event_id or new_id()
        if not request.payload.fields:
            subject = Subject(request.store_id, **given)
            started = await self._runs.handle_bare(request.event_type, subject, event_id=event_id, **how)
        else:
            self._runs.known(request.event_type)
            data = from_struct(request.payload)
            for name, value in given.items():
                if data.setdefault(name, value) != value:
                    raise Invalid.field(name, f"differs from payload.{name}")
            try:
                event = make_event(
                    request.event_type,
                    data,
                    id=event_id,
                    store_id=request.store_id,
                    now=self._runs.now(),
                    source=request.connector or "reach",
                    traceparent=current_traceparent(),
                    door="grpc",
                )
            except Unreadable as error:
                raise Invalid("FIELD_INVALID", error.message, violations=error.violations) from None
            started = await self._runs.handle_event(event, **how)
        return pb.HandleTriggerResponse(
            run_id=started.run_id,
            deduplicated=started.deduplicated,
            follow_up_run_id=started.follow_up_run_id,
        )

    async def PlanTrigger(self, request: pb.PlanTriggerRequest, context: Any) -> pb.PlanTriggerResponse:
        """What a trigger would do."""
        authorise_store(request.store_id)
        subject = Subject(request.store_id, request.member_id, request.assistant_id)
        return to_plan(await self._runs.project(request.event_type, subject))

    async def GetRun(self, request: pb.GetRunRequest, context: Any) -> pb.GetRunResponse:
        """One run."""
        return pb.GetRunResponse(run=to_view(await self._runs.get(request.run_id, visible_stores())))

    async def ListRuns(self, request: pb.ListRunsRequest, context: Any) -> pb.ListRunsResponse:
        """Runs, newest first."""
        wanted = RunsWanted(
            stores_named(request.store_id),
            request.member_id,
            request.event_type,
            from_run_status(request.status),
        )
        size = page_size(request.page_size)
        found = await self._runs.listed(wanted, self._before(request), size + 1)
        token = self._next(request, found, size, "created_at")
        return pb.ListRunsResponse(runs=[to_run(row) for row in found[:size]], next_page_token=token)

    async def CancelRun(self, request: pb.CancelRunRequest, context: Any) -> pb.CancelRunResponse:
        """End a run."""
        once = once_of(SERVICE, "CancelRun", request)
        return pb.CancelRunResponse(
            run=to_view(await self._runs.cancel(request.run_id, visible_stores(), once=once))
        )

    async def RerunRun(self, request: pb.RerunRunRequest, context: Any) -> pb.RerunRunResponse:
        """Run a part of a run once more."""
        once = once_of(SERVICE, "RerunRun", request)
        view = await self._runs.rerun(request.run_id, request.from_step, visible_stores(), once=once)
        return pb.RerunRunResponse(run=to_view(view))

    async def ListAttempts(self, request: pb.ListAttemptsRequest, context: Any) -> pb.ListAttemptsResponse:
        """Attempts, newest first."""
        wanted = AttemptsWanted(
            stores_named(request.store_id),
            request.run_id,
            request.app_type,
            request.member_id,
            from_attempt_status(request.status),
        )
        size = page_size(request.page_size)
        found = await self._runs.attempts(wanted, self._before(request), size + 1)
        token = self._next(request, found, size, "started_at")
        return pb.ListAttemptsResponse(
            attempts=[to_attempt(row) for row in found[:size]], next_page_token=token
        )

    async def RunApp(self, request: pb.RunAppRequest, context: Any) -> pb.RunAppResponse:
        """Run one app now."""
        authorise_store(request.store_id)
        subject = from_subject(request.store_id, request.subject)
        given = from_struct(request.given)
        if request.dry_run:
            prompt = await self._single.dry_run(request.app_type, subject, given, request.user_id)
            return pb.RunAppResponse(prompt=prompt.text, missing=prompt.missing)
        view = await self._single.run(
            request.app_type,
            subject,
            refresh=request.refresh,
            arguments=given,
            user_id=request.user_id,
            once=once_of(SERVICE, "RunApp", request, request.store_id),
            wait=timedelta(seconds=remaining(_WAIT_MOST)),
        )
        return pb.RunAppResponse(run=to_view(view))

    async def Explain(self, request: pb.ExplainRequest, context: Any) -> pb.ExplainResponse:
        """The story of a run, an event or a member."""
        subject = request.WhichOneof("subject")
        if subject == "run_id":
            told = await self._runs.explain_run(request.run_id, visible_stores())
        elif subject == "event_id":
            told = await self._runs.explain_event(request.event_id, visible_stores())
        else:
            asked = request.member
            authorise_store(asked.store_id)
            until = optional_timestamp(asked, "end_time") or self._runs.now() + timedelta(seconds=1)
            since = optional_timestamp(asked, "start_time") or until - _USUAL
            told = await self._runs.explain_member(asked.store_id, asked.member_id, since, until)
        return pb.ExplainResponse(steps=[to_told(one) for one in told])

    def _before(self, request: Any) -> tuple[datetime, str] | None:
        cursor = self._tokens.read(request)
        return None if cursor is None else (datetime.fromisoformat(str(cursor[0])), str(cursor[1]))

    def _next(self, request: Any, found: Any, size: int, time: str) -> str:
        if len(found) <= size:
            return ""
        last = found[size - 1]
        return self._tokens.issue(request, [last[time].isoformat(), last["id"]])
