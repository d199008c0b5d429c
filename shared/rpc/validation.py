"""Requests against the rules in their contract; what is wrong is named by field, never by value."""

from __future__ import annotations

import protovalidate
from google.protobuf.message import Message

from shared.errors import Invalid, Violation

_validator = protovalidate.Validator()


def prepare(request: type[Message]) -> None:
    """Compile the rules of *request* now: a mistake in a contract shows at start, not in a call."""
    _validator.collect_violations(request(), fail_fast=True)


def check(request: Message) -> None:
    """Raise ``Invalid`` (FIELD_INVALID) naming every field that breaks a rule."""
    found = _validator.collect_violations(request)
    if found:
        violations = [Violation(path_of(item), item.proto.message or item.proto.rule_id) for item in found]
        first = violations[0]
        more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        raise Invalid("FIELD_INVALID", f"{first.field}: {first.description}{more}", violations=violations)


def path_of(violation: protovalidate.Violation) -> str:
    """The field as a caller would write it: ``targets[2].userid``, ``labels["zone"]``.

    Empty for a rule about the message as a whole.
    """
    field = violation.proto.field
    if field is None:
        return ""
    return ".".join(_step(element) for element in field.elements)


def _step(element: protovalidate.FieldPathElementPb) -> str:
    subscript = element.subscript
    if subscript is None:
        return element.field_name
    key = subscript.value
    return f'{element.field_name}["{key}"]' if isinstance(key, str) else f"{element.field_name}[{key}]"
