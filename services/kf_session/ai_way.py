"""The way to ai_orchestrator: a question becomes one RunApp by gRPC, and what it answers one Answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import grpc
from reach.ai_orchestrator.v1 import ai_orchestrator_service_pb2_grpc
from reach.ai_orchestrator.v1 import run_pb2 as pb

from services.kf_session.domain.asking import NOT_CONFIGURED, Answer, Kind
from shared.errors import Throttled, Unavailable
from shared.rpc.fields import from_struct, to_struct
from shared.rpc.status import from_call

_HAS_RESULT: Final = (pb.STEP_STATUS_COMPLETED, pb.STEP_STATUS_CACHED)
_FINAL: Final = ("CIRCUIT_OPEN", "RATE_LIMITED", "BUDGET_EXCEEDED")
"""Gates that are shut: the run has ended refused, and its key gets no other answer."""


class AiWay:
    """Asks through ai_orchestrator."""

    def __init__(self, open_channel: Callable[[], grpc.aio.Channel | None]) -> None:
        """*open_channel* is called with the first question, and until it gives one."""
        self._open_channel = open_channel
        self._stub: Any = None

    async def ask(
        self, kind: Kind, store_id: str, given: Mapping[str, Any], key: str, deadline: float
    ) -> Answer:
        """See ``Model``."""
        if (stub := self._open()) is None:
            return Answer(reason=NOT_CONFIGURED)
        request = pb.RunAppRequest(
            store_id=store_id, app_type=kind.value, given=to_struct(given), idempotency_key=key
        )
        try:
            answered: pb.RunAppResponse = await stub.RunApp(request, timeout=deadline)
        except grpc.RpcError as error:
            return _refused(error)
        return _answer(answered.run)

    def _open(self) -> Any:
        if self._stub is None and (opened := self._open_channel()) is not None:
            self._stub = ai_orchestrator_service_pb2_grpc.AiOrchestratorServiceStub(opened)
        return self._stub


def _refused(error: grpc.RpcError) -> Answer:
    call: grpc.Call = error  # type: ignore[assignment]  # every RpcError of the library is one
    if call.code() is grpc.StatusCode.UNIMPLEMENTED:
        return Answer(reason=NOT_CONFIGURED)
    failure = from_call(error)
    passing = isinstance(failure, Unavailable | Throttled) and failure.reason not in _FINAL
    return Answer(reason=failure.reason.lower(), again=passing)


def _answer(run: pb.Run) -> Answer:
    if not run.steps:
        return Answer(reason="internal")
    (step,) = run.steps
    if step.status in _HAS_RESULT:
        return Answer(from_struct(step.result))
    if run.HasField("finish_time"):
        return Answer(reason=step.reason or "failed")
    return Answer(reason="still_running", again=True)
