"""The way out: a job becomes one call to WeCom, with the credential its channel names."""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind

from services.notifier.domain.content import app_payload, payload_bytes, robot_payload
from services.notifier.pipeline.job import Job
from shared.credentials import Credentials
from shared.errors import Invalid, ReachError
from shared.telemetry import traces
from shared.wecom.client import WeComClient
from shared.wecom.errcodes import RetryClass
from shared.wecom.outcome import Outcome, State

_tracer = trace.get_tracer("reach.notifier")


class WeComChannels:
    """Sends jobs as app messages and robot posts."""

    def __init__(self, credentials: Credentials, wecom: WeComClient) -> None:
        self._credentials = credentials
        self._wecom = wecom

    async def send(self, job: Job, deadline: float) -> Outcome:
        """One attempt of *job*, over within *deadline* seconds; at most one request."""
        if not traces.should_record(job.traceparent):
            return await self._send(job, deadline, None)
        with _tracer.start_as_current_span(
            "notifier send",
            context=traces.continue_trace(job.traceparent),
            kind=SpanKind.INTERNAL,
            attributes={
                "reach.delivery_id": job.delivery_id,
                "reach.attempt_no": job.attempt_no,
                "reach.channel": job.channel,
            },
        ) as span:
            outcome = await self._send(job, deadline, span)
            span.set_attribute("reach.outcome", outcome.state.value)
            return outcome

    async def _send(self, job: Job, deadline: float, span: Span | None) -> Outcome:
        channel, _, name = job.credential.partition(":")
        send = self._post if channel == "robot" else self._message
        try:
            return await send(job, name, deadline, span)
        except Invalid as refusal:
            return _unsuitable(refusal)
        except ReachError as failure:
            # The client reports what it meets as outcomes; what is raised was met before it was asked.
            return Outcome(State.NOT_SENT, cause="own_database", detail=failure.message)

    async def _post(self, job: Job, name: str, deadline: float, span: Span | None) -> Outcome:
        robot = await self._credentials.robot(name)
        if robot is None:
            pooled = name in await self._credentials.pools()
            return _UNCHOSEN if pooled else _missing("robot", name)
        payload = payload_bytes(robot_payload(job.content, resend=job.resend_mark))
        return await self._wecom.send_robot(
            robot, payload, traceparent=job.traceparent, parent=span, deadline=deadline
        )

    async def _message(self, job: Job, name: str, deadline: float, span: Span | None) -> Outcome:
        app = await self._credentials.app(name)
        if app is None:
            return _missing("app", name)
        body = app_payload(job.content, job.targets, agent_id=app.agent_id, delivery_id=job.delivery_id)
        return await self._wecom.send_app(
            app, payload_bytes(body), traceparent=job.traceparent, parent=span, deadline=deadline
        )


_UNCHOSEN = Outcome(
    State.NOT_SENT,
    cause="pool_unknown",
    detail="the robots of this group were added a moment ago",
    retry_class=RetryClass.RETRY,
)


def _unsuitable(refusal: Invalid) -> Outcome:
    return Outcome(
        State.REJECTED_PERMANENT,
        cause="content_unsuitable",
        detail=refusal.message,
        retry_class=RetryClass.PERM_INPUT,
    )


def _missing(kind: str, name: str) -> Outcome:
    return Outcome(
        State.REJECTED_PERMANENT,
        cause="credential_missing",
        detail=f"no {kind} is registered as {name}; add it with `reach credentials add {kind} {name}`",
        retry_class=RetryClass.PERM_CONFIG,
    )
