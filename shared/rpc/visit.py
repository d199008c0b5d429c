"""One call being served: what is known of it, and how it ended."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping
from typing import Any

import grpc
import structlog
from opentelemetry.trace import Span

from shared.errors import ReachError
from shared.rpc import tracing
from shared.rpc.calls import CallClass
from shared.rpc.principal import Principal
from shared.rpc.status import DeadlineExceeded, Defect, code_of
from shared.telemetry.metrics import RPC_SECONDS, RPCS, Metrics
from shared.values import value_class

_log = structlog.get_logger("reach.rpc")
_TIMER_SLACK = 0.01
"""Seconds by which the library's clock may be ahead of the loop's."""

_BY_NUMBER = {code.value[0]: code for code in grpc.StatusCode}


@value_class
class Method:
    """What the guard must know of a method, found out once."""

    path: str
    """``package.Service/Method``."""

    access: str | None
    """The scope it needs, or one of the guard's words; None: nobody may call it."""

    time: CallClass
    attributes: Mapping[str, str]
    endless: bool = False
    single_request: bool = False
    has_store: bool = False
    has_key: bool = False
    is_known: bool = True
    """False for a path somebody made up, which must not become a metric's label or a span's name."""

    @property
    def label(self) -> str:
        """The path, or one word for all unknown ones."""
        return self.path if self.is_known else "unknown"


class Visit:
    """A call in flight."""

    __slots__ = (
        "_code",
        "_cut",
        "_due",
        "_failure",
        "_incident",
        "_reason",
        "_span",
        "_started",
        "_task",
        "_timer",
        "method",
        "principal",
        "store_id",
        "token",
    )

    def __init__(self, method: Method) -> None:
        self.method = method
        self.principal: Principal | None = None
        self.store_id = ""
        self.token: str | None = None
        self._started = time.perf_counter()
        self._task = asyncio.current_task()
        self._timer: asyncio.TimerHandle | None = None
        self._span: Span | None = None
        self._cut: ReachError | None = None
        self._due: float | None = None
        self._failure: BaseException | None = None
        self._incident: str | None = None
        self._code = grpc.StatusCode.OK
        self._reason = "OK"

    def begin_span(self, carrier: Mapping[str, str]) -> None:
        """Open the span; calls without one (health) are not logged either."""
        self._span = tracing.begin_server(self.method.label, self.method.attributes, carrier)

    def limit(self, left: float | None) -> float:
        """Note the client's deadline, *left* seconds away, or set the server's; the seconds there are."""
        cap, loop = self.method.time.cap, asyncio.get_running_loop()
        if left is not None and left <= cap:
            self._due = loop.time() + left
            return left
        self._timer = loop.call_later(cap, self._expire, cap)
        return cap

    def _expire(self, seconds: float) -> None:
        self.cut(
            DeadlineExceeded(
                "DEADLINE_EXCEEDED",
                "the server's time limit was over before the work was",
                limit_ms=int(seconds * 1000),
            )
        )

    def cut(self, error: ReachError) -> None:
        """Cancel the work; the caller is answered with *error*."""
        if self._cut is None and self._task is not None:
            self._cut = error
            self._task.cancel()

    def explain(self, failure: BaseException, context: Any) -> ReachError | None:
        """Remember how the call failed; what to answer, or None when it must pass through."""
        if isinstance(failure, asyncio.CancelledError) and self._cut is not None and self._task is not None:
            self._task.uncancel()
            return self._fail(self._cut)
        if isinstance(failure, ReachError):
            return self._fail(failure)
        if isinstance(failure, grpc.aio.AbortError):
            self._code = _as_code(context.code())
            self._reason = self._code.name
        elif isinstance(failure, Exception):
            self._failure, self._incident = failure, secrets.token_hex(6)
            return self._fail(
                Defect("INTERNAL", f"internal error, incident {self._incident}", incident=self._incident)
            )
        else:
            self._code = self._why_cancelled()
            self._reason = self._code.name
        return None

    def _why_cancelled(self) -> grpc.StatusCode:
        """The library cancels alike when the client leaves and when its deadline passes."""
        if self._due is not None and asyncio.get_running_loop().time() >= self._due - _TIMER_SLACK:
            return grpc.StatusCode.DEADLINE_EXCEEDED
        return grpc.StatusCode.CANCELLED

    def _fail(self, error: ReachError) -> ReachError:
        self._code, self._reason = code_of(error), error.reason
        return error

    def end(self, metrics: Metrics | None) -> None:
        """Write the one log line, the measurement and the span."""
        if self._timer is not None:
            self._timer.cancel()
        if self._span is None:
            if self._failure is not None:
                _log.error("rpc", method=self.method.path, incident=self._incident, exc_info=self._failure)
            return
        seconds = time.perf_counter() - self._started
        self._write(seconds)
        if metrics is not None:
            metrics.add(RPCS, method=self.method.label, outcome=self._reason)
            metrics.observe(RPC_SECONDS, seconds, method=self.method.label)
        tracing.finish(self._span, self._code, self._reason, server=True, failure=self._failure)

    def _write(self, seconds: float) -> None:
        facts = {
            "method": self.method.path,
            "code": self._code.name,
            "reason": self._reason,
            "ms": round(seconds * 1000, 2),
            "subject": self.principal.subject if self.principal is not None else None,
        }
        if self.store_id:
            facts["store_id"] = self.store_id[:64]
        if self._failure is not None:
            _log.error("rpc", incident=self._incident, exc_info=self._failure, **facts)
        elif self._code is grpc.StatusCode.UNAVAILABLE:
            _log.warning("rpc", **facts)
        else:
            _log.info("rpc", **facts)


def _as_code(code: Any) -> grpc.StatusCode:
    """What ``context.code()`` holds, which may be the enum or its number."""
    return code if isinstance(code, grpc.StatusCode) else _BY_NUMBER.get(code, grpc.StatusCode.UNKNOWN)
