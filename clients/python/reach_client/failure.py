"""Why a call failed, in the words of the contract."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import grpc
from google.rpc import error_details_pb2, status_pb2

_DETAILS: Final = "grpc-status-details-bin"


class FieldViolation(NamedTuple):
    """One field of the request that does not fit."""

    field: str
    description: str


class Failure(NamedTuple):
    """What the server said of a failed call."""

    reason: str
    """A name of ``reach/errors/v1/error_reason.proto``; empty when no server of ours answered."""

    violations: tuple[FieldViolation, ...]
    """Empty unless the request itself was wrong."""


def reason(error: grpc.RpcError) -> Failure:
    """The reason and the field violations of *error*, from an async or a blocking call."""
    # Every error of a call has it; the base class does not say so.
    trailing: Iterable[tuple[str, Any]] = getattr(error, "trailing_metadata", tuple)() or ()
    raw = next((value for key, value in trailing if key == _DETAILS), b"")
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status_pb2.Status.FromString(raw).details:
        detail.Unpack(info)
        detail.Unpack(bad)
    violations = tuple(FieldViolation(one.field, one.description) for one in bad.field_violations)
    return Failure(info.reason, violations)
