"""What is told of each call: a span and figures by OpenTelemetry's conventions for generative AI.

What was asked and answered is in neither, unless the operator wants it in the span.
"""

from __future__ import annotations

import time
from typing import Final

import orjson
from opentelemetry.trace import SpanKind
from opentelemetry.util.types import AttributeValue

from services.ai_orchestrator.domain.call import Call, CallProblem, Completion
from shared.telemetry import traces
from shared.telemetry.metrics import AI_CALL_SECONDS, AI_CALL_TOKENS, Metrics

PROVIDER: Final = "dashscope"
OPERATION: Final = "invoke_agent"
"""An application of 百炼 is an agent: instructions, tools and models of its own behind an id."""


class CallTelemetry:
    """Writes them once a call is over."""

    def __init__(self, numbers: Metrics, host: str, port: int, *, content: bool) -> None:
        self._numbers = numbers
        self._server: dict[str, AttributeValue] = {"server.address": host, "server.port": port}
        self._content = content

    def told(self, call: Call, outcome: Completion | CallProblem) -> None:
        """*call* ended just now with *outcome*."""
        seconds = outcome.took.total_seconds()
        error = outcome.reason if isinstance(outcome, CallProblem) else ""
        labels = {
            "gen_ai_operation_name": OPERATION,
            "gen_ai_provider_name": PROVIDER,
            "gen_ai_agent_name": call.app_type,
        }
        self._numbers.observe(AI_CALL_SECONDS, seconds, **labels, error_type=error)
        if isinstance(outcome, Completion) and outcome.usage is not None:
            for kind, tokens in (
                ("input", outcome.usage.input_tokens),
                ("output", outcome.usage.output_tokens),
            ):
                self._numbers.observe(AI_CALL_TOKENS, tokens, **labels, gen_ai_token_type=kind)
        if not traces.should_record(call.traceparent):
            return
        end = time.time_ns()
        traces.record(
            f"{OPERATION} {call.app_type}",
            call.traceparent,
            end - int(seconds * 1e9),
            end,
            kind=SpanKind.CLIENT,
            # What the platform has not said is left out: an attribute has a value or is none.
            attributes={
                name: value
                for name, value in self._attributes(call, outcome).items()
                if value not in ("", ())
            },
            error=outcome.message or error if isinstance(outcome, CallProblem) else None,
        )

    def _attributes(self, call: Call, outcome: Completion | CallProblem) -> dict[str, AttributeValue]:
        found: dict[str, AttributeValue] = {
            "gen_ai.operation.name": OPERATION,
            "gen_ai.provider.name": PROVIDER,
            "gen_ai.agent.name": call.app_type,
            "gen_ai.agent.id": call.app_id,
            "gen_ai.response.id": outcome.request_id,
            **self._server,
        }
        if self._content:
            found["gen_ai.input.messages"] = _message("user", call.prompt)
        if isinstance(outcome, CallProblem):
            found["error.type"] = outcome.code or outcome.reason
            if outcome.http_status is not None:
                found["http.response.status_code"] = outcome.http_status
            return found
        found["gen_ai.conversation.id"] = outcome.session_id
        found["gen_ai.response.finish_reasons"] = tuple(filter(None, (outcome.finish_reason,)))
        if outcome.usage is not None:
            found["gen_ai.usage.input_tokens"] = outcome.usage.input_tokens
            found["gen_ai.usage.output_tokens"] = outcome.usage.output_tokens
            found["gen_ai.response.model"] = ",".join(outcome.usage.models)
        if self._content:
            finished = {"finish_reason": outcome.finish_reason}
            found["gen_ai.output.messages"] = _message("assistant", outcome.text, **finished)
        return found


def _message(role: str, text: str, **more: str) -> str:
    return orjson.dumps([{"role": role, "parts": [{"type": "text", "content": text}], **more}]).decode()
