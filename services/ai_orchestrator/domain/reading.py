"""From a reply to a result: the one JSON object in it, if it came whole and meets the app's schema.

Nothing is mended: what is cut off, written twice differently or of another form is refused with what is wrong, which
the application is told once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from jsonschema.exceptions import ValidationError as SchemaViolation
from referencing import Registry

from services.ai_orchestrator.domain.definitions import AppDefinition
from shared.errors import Invalid
from shared.strict_json import BadJson, load_object
from shared.values import value_class

LARGEST: Final = 64 * 1024
"""Bytes of a reply that is still read."""
DETAIL_LONGEST: Final = 500
WHOLE: Final = "stop"
"""The finish reason of a reply that its application had finished."""

_SHOWN = 5
_BEGINNING = re.compile(r"\{|\[(?=\s*[{\[])")
"""An object, or an array whose members must not be taken for the object that was asked for."""
_MARK = re.compile(r'"(?:[^"\\]|\\.)*+"|["{}\[\]]', re.DOTALL)
_LIKE_JSON = re.compile(r'[{\[]\s*["{\[}]')


@value_class
class Bad:
    """A reply that is refused."""

    reason: str
    """not_json, truncated, too_long, wrong_schema or empty."""
    detail: str
    """What is wrong, with its path and without the reply's own words, for the one asking-again."""


def read(app: AppDefinition, text: str, finish_reason: str) -> Mapping[str, Any] | Bad:
    """The result in *text*: alone, in a fence or with words around it."""
    if finish_reason != WHOLE:
        return Bad(
            "truncated", f"the reply ended with {finish_reason[:40] or 'no reason'}; answer in fewer words"
        )
    if len(text.encode("utf-8", "replace")) > LARGEST:
        return Bad("too_long", f"the reply is longer than {LARGEST} bytes; answer in fewer words")
    if not text.strip():
        return Bad("empty", "the reply has no words; answer with one JSON object")
    found = _only_object(text)
    if isinstance(found, Bad):
        return found
    problems = sorted(validator(app).iter_errors(found), key=lambda one: one.json_path)
    if problems:
        return Bad("wrong_schema", "; ".join(map(_told, problems[:_SHOWN]))[:DETAIL_LONGEST])
    if not _says_anything(found):
        return Bad("empty", "the object holds nothing but empty values; fill in what the facts say")
    return found


def _only_object(text: str) -> Mapping[str, Any] | Bad:
    found: Mapping[str, Any] | None = None
    for piece in _pieces(text):
        if piece is None:
            return Bad("truncated", "the JSON begins and does not end; answer in fewer words")
        if _LIKE_JSON.match(piece) is None:
            continue  # words in braces
        try:
            value = load_object(piece.encode("utf-8", "surrogatepass"))
        except (BadJson, UnicodeError) as problem:
            return Bad("not_json", f"it is not JSON as we read it: {str(problem)[:200]}")
        if found is not None and found != value:
            return Bad("not_json", "the reply holds several different objects; answer with one")
        found = value
    return Bad("not_json", "the reply holds no JSON object; answer with one") if found is None else found


def _pieces(text: str) -> Iterator[str | None]:
    """What stands in outermost brackets, whole; None for brackets that never close, and nothing after them."""
    at = 0
    while begin := _BEGINNING.search(text, at):
        depth = 0
        for mark in _MARK.finditer(text, begin.start()):
            if mark[0] in "{[":
                depth += 1
            elif mark[0] in "}]":
                depth -= 1
            elif mark[0] == '"':
                yield None  # a string that never ends
                return
            if not depth:
                at = mark.end()
                yield text[begin.start() : at]
                break
        else:
            yield None
            return


@lru_cache(maxsize=64)
def validator(app: AppDefinition) -> Draft202012Validator:
    """What holds results to the app's schema; to be asked for when a definition is loaded.

    Raises Invalid for a schema that is none, or that refers to anything but its own ``$defs``.
    """
    schema = dict(app.schema)
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise Invalid.field(
            "schema", f"{app.app_type}: {error.message[:200]} at {error.json_path}"
        ) from error
    known = {f"#/$defs/{name}" for name in schema.get("$defs", {})}
    for place in _references(schema):
        if place not in known:
            raise Invalid.field("schema", f"{app.app_type}: {place!s:.100} is none of its $defs")
    # An empty registry: nothing is ever fetched.
    return Draft202012Validator(schema, registry=Registry())


def _references(schema: object) -> Iterator[object]:
    if isinstance(schema, Mapping):
        for name, value in schema.items():
            if name in ("$ref", "$dynamicRef"):
                yield value
            yield from _references(value)
    elif isinstance(schema, list):
        for one in schema:
            yield from _references(one)


def _told(problem: SchemaViolation) -> str:
    # Never the value: it is the application's, and goes into the next prompt.
    return f"{problem.json_path}: {problem.validator} {problem.validator_value!r}"[:DETAIL_LONGEST]


def _says_anything(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(map(_says_anything, value.values()))
    if isinstance(value, list):
        return any(map(_says_anything, value))
    return bool(value.strip()) if isinstance(value, str) else value is not None
