"""JSON as strictly as a store of record needs it: what two readers could understand differently is refused."""

from __future__ import annotations

import json
import math

import orjson

MAX_DEPTH = 32
_RANGE = 2**63


class BadJson(ValueError):
    """Why a text is not JSON that we take; says nothing of its values."""


def load_object(body: bytes) -> dict[str, object]:
    """Read one JSON object.

    UTF-8 without a mark at its front, no key twice in one object, no NaN or infinity, no NUL, numbers within ±2^63,
    at most 32 levels deep. Raises ``BadJson``, and nothing else for any bytes.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadJson(str(error)) from None
    if type(value) is not dict:
        raise BadJson("not a JSON object")
    check_values(value)
    refuse_twins(body, value)
    return value


def refuse_twins(body: bytes, value: object) -> None:
    """Raise ``BadJson`` when an object of *body*, of which *value* was read, has the same key twice."""
    # Each pair has one colon. If no string hides one behind an escape, then the counts before and after reading are
    # equal exactly when no pair was dropped; only otherwise is the slow look worth its while.
    if b"\\u003" in body or body.count(b":") != orjson.dumps(value).count(b":"):
        json.loads(body, object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise BadJson("an object has the same key twice")
    return result


def check_values(value: object) -> None:
    """Raise ``BadJson`` unless *value* is made of JSON values within the limits of ``load_object``."""
    level: list[object] = [value]
    for _ in range(MAX_DEPTH + 1):
        if not level:
            return
        below: list[object] = []
        for one in level:
            kind = type(one)
            if kind is str:
                if "\0" in one:  # type: ignore[operator]  # kind says it is a str
                    raise BadJson("a string holds a NUL")
            elif kind is dict:
                if any("\0" in key for key in one):  # type: ignore[attr-defined]
                    raise BadJson("a key holds a NUL")
                below.extend(one.values())  # type: ignore[attr-defined]
            elif kind is list:
                below.extend(one)  # type: ignore[arg-type]
            elif kind is int:
                if not -_RANGE <= one < _RANGE:  # type: ignore[operator]
                    raise BadJson("a number is beyond 2^63")
            elif kind is float:
                if not math.isfinite(one) or abs(one) >= _RANGE:  # type: ignore[arg-type]
                    raise BadJson("a number is beyond 2^63 or not finite")
            elif one is not None and kind is not bool:
                raise BadJson("a value is not JSON")
        level = below
    if level:
        raise BadJson(f"nested more than {MAX_DEPTH} deep")
