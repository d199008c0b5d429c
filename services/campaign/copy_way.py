"""The way to ai_orchestrator: what is asked becomes one GenerateCopy by gRPC, and what it answers one Answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import grpc
from reach.ai_orchestrator.v1 import ai_orchestrator_service_pb2_grpc
from reach.ai_orchestrator.v1 import copy_pb2 as pb

from services.campaign.domain.candidates import NOT_CONFIGURED, REFUSED, Answer, Asked, Form, Written
from shared.errors import Throttled, Unavailable
from shared.rpc.status import from_call

_FORMS: Final = {Form.TEXT: pb.COPY_FORM_TEXT, Form.CARD: pb.COPY_FORM_CARD}


class CopyWay:
    """Has ai_orchestrator write."""

    def __init__(self, open_channel: Callable[[], grpc.aio.Channel | None]) -> None:
        """*open_channel* is called with the first question, and until it gives one."""
        self._open_channel = open_channel
        self._stub: Any = None

    async def write(self, store_id: str, asked: Asked, key: str, deadline: float) -> Answer:
        """See ``Writer``."""
        if (stub := self._open()) is None:
            return Answer(reason=NOT_CONFIGURED)
        request = pb.GenerateCopyRequest(
            store_id=store_id,
            scenario=pb.COPY_SCENARIO_CUSTOMER_CAMPAIGN,
            theme=asked.theme,
            audience=asked.audience,
            tone=asked.tone,
            banned_words=asked.banned_words,
            candidate_count=asked.count,
            max_chars=asked.max_chars,
            form=_FORMS[asked.form],
            language_rules=asked.language_rules,
            send_window=asked.send_window,
            idempotency_key=key,
        )
        try:
            return _answer(await stub.GenerateCopy(request, timeout=deadline))
        except grpc.RpcError as error:
            return _refused(error)

    def _open(self) -> Any:
        if self._stub is None and (opened := self._open_channel()) is not None:
            self._stub = ai_orchestrator_service_pb2_grpc.AiOrchestratorServiceStub(opened)
        return self._stub


def _refused(error: grpc.RpcError) -> Answer:
    call: grpc.Call = error  # type: ignore[assignment]  # every RpcError of the library is one
    if call.code() is grpc.StatusCode.UNIMPLEMENTED:
        return Answer(reason=NOT_CONFIGURED)
    failure = from_call(error)
    if failure.reason == "COPY_REFUSED":
        cause = failure.facts.get("cause", "")
        reason = f"{REFUSED}:{cause}" if cause else REFUSED
        return Answer(reason=reason, anew=True, run_id=failure.facts.get("run_id", ""))
    passing = isinstance(failure, Unavailable | Throttled)
    return Answer(reason=failure.reason.lower(), again=passing, retry_after=failure.retry_after)


def _answer(answered: pb.GenerateCopyResponse) -> Answer:
    written = [Written(one.text, one.title, one.angle, one.tokens) for one in answered.candidates]
    # Our matcher decides what may be said; what is too long has no word that it was refused for.
    written += [
        Written(one.text, one.title, "", one.tokens) for one in answered.refused_candidates if one.banned_word
    ]
    return Answer(
        candidates=tuple(written),
        reason="" if written else REFUSED,
        anew=not written,
        run_id=answered.run_id,
        app_version=answered.app_version,
        prompt_hash=answered.prompt_hash,
        models=tuple(answered.models),
        input_tokens=answered.input_tokens,
        output_tokens=answered.output_tokens,
        total_tokens=answered.total_tokens,
    )
