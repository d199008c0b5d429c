"""Our words for failure ↔ google.rpc.Status: one table, both directions.

Servicers raise ``ReachError`` and mention no status code; clients catch ``grpc.RpcError`` and ask
``from_call`` for the word. Unforeseen exceptions become INTERNAL with an incident id and say nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message
from google.rpc import error_details_pb2 as details_pb2
from google.rpc import status_pb2
from grpc_status import rpc_status

from shared import errors
from shared.errors import ReachError, Violation

DOMAIN = "reach"
"""The domain of every ErrorInfo of ours."""

MAX_TEXT = 200
"""Characters of one text: the message, a description, a fact."""

MAX_FACTS = 1024
MAX_VIOLATIONS = 2 * 1024
MAX_DETAILS = 3584
"""Bytes of all facts, of all violations, of all details.

They travel in metadata, of which a peer reads 8 KiB and refuses more at random. Base64 makes four bytes of
three, and the message goes beside it with every byte of Chinese as three characters: 7.5 KiB in the worst case.
"""

_DETAILS_KEY = "grpc-status-details-bin"


class DeadlineExceeded(errors.Unavailable):
    """The time was over, before the work began or while it went on; ``reason`` tells which."""


class Defect(ReachError):
    """A mistake in our own code; ``facts["incident"]`` finds it in the log."""


CODES: dict[type[ReachError], grpc.StatusCode] = {
    errors.Invalid: grpc.StatusCode.INVALID_ARGUMENT,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.Denied: grpc.StatusCode.PERMISSION_DENIED,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.Conflict: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Unsupported: grpc.StatusCode.UNIMPLEMENTED,
    errors.Overtaken: grpc.StatusCode.ABORTED,
    errors.Throttled: grpc.StatusCode.RESOURCE_EXHAUSTED,
    DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    Defect: grpc.StatusCode.INTERNAL,
}
"""Word → code, each code once. A subclass that is not listed takes its parent's."""

_WORDS = {code: word for word, code in CODES.items()}

_BARE_REASONS = {
    grpc.StatusCode.INVALID_ARGUMENT: "FIELD_INVALID",
    grpc.StatusCode.UNAUTHENTICATED: "TOKEN_INVALID",
    grpc.StatusCode.PERMISSION_DENIED: "SCOPE_MISSING",
    grpc.StatusCode.NOT_FOUND: "NOT_FOUND",
    grpc.StatusCode.FAILED_PRECONDITION: "STATE_INVALID",
    grpc.StatusCode.UNIMPLEMENTED: "METHOD_UNKNOWN",
    grpc.StatusCode.ABORTED: "VERSION_CONFLICT",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "OVERLOADED",
    grpc.StatusCode.DEADLINE_EXCEEDED: "DEADLINE_EXCEEDED",
    grpc.StatusCode.UNAVAILABLE: "DEPENDENCY_DOWN",
    grpc.StatusCode.CANCELLED: "DEPENDENCY_DOWN",
    grpc.StatusCode.INTERNAL: "INTERNAL",
}
"""What a status means that carries no ErrorInfo, because the library or a proxy made it."""

_RETRY_AFTER = timedelta(seconds=1)
_WITH_RETRY = (errors.Throttled, errors.Unavailable)
_OWN_RETRY = {"IDEMPOTENCY_IN_PROGRESS"}
_NEVER_RETRY = {"MESSAGE_TOO_LARGE"}


def code_of(error: ReachError) -> grpc.StatusCode:
    """The status code for *error*: its class's, or that of the nearest listed parent."""
    for word in type(error).__mro__:
        if word in CODES:
            return CODES[word]
    return grpc.StatusCode.INTERNAL


def to_proto(error: ReachError) -> status_pb2.Status:
    """*error* as google.rpc.Status, small enough for trailing metadata whatever the error holds."""
    code: int = code_of(error).value[0]
    status = status_pb2.Status(code=code, message=_cut(error.message, MAX_TEXT))
    room = MAX_DETAILS
    for detail in _details(error):
        packed = Any()
        packed.Pack(detail)
        room -= packed.ByteSize()
        if room < 0:
            break
        status.details.append(packed)
    return status


def to_status(error: ReachError) -> grpc.Status:
    """*error* as what ``context.abort_with_status`` takes."""
    return rpc_status.to_status(to_proto(error))


def from_call(error: grpc.RpcError) -> ReachError:
    """The word for a failed call, sync or async, with reason, violations and facts as they were raised.

    A status that carries no details (a dead target, a limit of the library) gets the reason that fits
    its code. An unknown code becomes ``Defect``.
    """
    call: grpc.Call = error  # type: ignore[assignment]  # every RpcError of the library is one
    code, message = call.code(), call.details() or ""
    for key, value in call.trailing_metadata() or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            return _from_status(status_pb2.Status.FromString(value), code)
    word = errors.Unavailable if code is grpc.StatusCode.CANCELLED else _WORDS.get(code, Defect)
    reason = _BARE_REASONS.get(code, "INTERNAL")
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "message larger than max" in message:
        reason = "MESSAGE_TOO_LARGE"
    return word(reason, message or code.name)


def _from_status(status: status_pb2.Status, code: grpc.StatusCode) -> ReachError:
    info, bad, retry = details_pb2.ErrorInfo(), details_pb2.BadRequest(), details_pb2.RetryInfo()
    has_retry = False
    for detail in status.details:
        has_retry = detail.Unpack(retry) or has_retry
        detail.Unpack(info)
        detail.Unpack(bad)
    error = _WORDS.get(code, Defect)(
        info.reason or _BARE_REASONS.get(code, "INTERNAL"),
        status.message,
        violations=[Violation(v.field, v.description) for v in bad.field_violations],
        retry_after=retry.retry_delay.ToTimedelta() if has_retry else None,
    )
    error.facts = dict(info.metadata)
    return error


def _details(error: ReachError) -> Iterator[Message]:
    """The details of *error*, the indispensable ones first."""
    facts = _facts(error)
    yield details_pb2.ErrorInfo(domain=DOMAIN, reason=error.reason, metadata=facts)
    if (after := retry_after(error)) is not None:
        retry = details_pb2.RetryInfo()
        retry.retry_delay.FromTimedelta(after)
        yield retry
    if isinstance(error, errors.NotFound):
        yield details_pb2.ResourceInfo(resource_type=facts.get("resource", ""))
    elif isinstance(error, errors.Throttled):
        yield _quota(error, facts)
    elif isinstance(error, errors.Conflict):
        yield _precondition(error, facts)
    if error.violations:
        yield _bad_request(error)


def retry_after(error: ReachError) -> timedelta | None:
    """How long a client should wait before the same request, or None when repeating cannot help."""
    if error.reason in _NEVER_RETRY:
        return None
    if error.retry_after is not None:
        return error.retry_after
    waits = isinstance(error, _WITH_RETRY) and not isinstance(error, DeadlineExceeded)
    return _RETRY_AFTER if waits or error.reason in _OWN_RETRY else None


def _facts(error: ReachError) -> dict[str, str]:
    """The facts, in their order, as far as there is room."""
    facts, room = {}, MAX_FACTS
    for key, value in error.facts.items():
        text = _cut(value, MAX_TEXT)
        room -= len(key.encode()) + len(text.encode()) + 8
        if room < 0:
            break
        facts[key] = text
    return facts


def _quota(error: ReachError, facts: dict[str, str]) -> details_pb2.QuotaFailure:
    violation = details_pb2.QuotaFailure.Violation(
        subject=facts.get("limit", error.reason), description=_cut(error.message, MAX_TEXT)
    )
    return details_pb2.QuotaFailure(violations=[violation])


def _precondition(error: ReachError, facts: dict[str, str]) -> details_pb2.PreconditionFailure:
    violation = details_pb2.PreconditionFailure.Violation(
        type=error.reason, subject=facts.get("state", ""), description=_cut(error.message, MAX_TEXT)
    )
    return details_pb2.PreconditionFailure(violations=[violation])


def _bad_request(error: ReachError) -> details_pb2.BadRequest:
    """As many violations as there is room for: a request can be wrong in thousands of places."""
    bad, room = details_pb2.BadRequest(), MAX_VIOLATIONS
    for violation in error.violations:
        field = _cut(violation.field, MAX_TEXT)
        description = _cut(violation.description, MAX_TEXT)
        entry = details_pb2.BadRequest.FieldViolation(
            field=field, description=description, reason=error.reason
        )
        room -= entry.ByteSize()
        if room < 0:
            break
        bad.field_violations.append(entry)
    return bad


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
