"""Reading what people and tests send to `/sandbox/…`, strictly: a misspelt field is an error, not a surprise."""

from collections.abc import Mapping

import orjson
from starlette.requests import Request

Document = Mapping[str, object]


async def json_of(request: Request) -> object:
    """The body's JSON; an empty object without one."""
    body = await request.body()
    return orjson.loads(body) if body.strip() else {}


async def document_of(request: Request) -> dict[str, object]:
    """The body's object; ValueError when it is none."""
    return object_of(await json_of(request))


def object_of(document: object) -> dict[str, object]:
    """*document*, which is an object."""
    if not isinstance(document, dict):
        raise ValueError("the body is a JSON object")
    return document


def fields_of(document: object, allowed: set[str]) -> dict[str, object]:
    """The object's fields, of which each is allowed."""
    fields = object_of(document)
    only(fields, allowed)
    return fields


def only(document: Document, allowed: set[str]) -> None:
    """ValueError names the first field that is not allowed."""
    unknown = sorted(set(document) - allowed)
    if unknown:
        raise ValueError(f"no field is called {unknown[0]!r}")


def text(document: Document, name: str, default: str | None = None) -> str:
    """A text; without a default it is required, and not empty."""
    value = document.get(name, default)
    if not isinstance(value, str) or (default is None and not value):
        raise ValueError(f"{name} is a text" + (", and required" if default is None else ""))
    return value


def texts(document: Document, name: str) -> list[str]:
    """A list of texts, empty without one."""
    value = document.get(name, [])
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        raise ValueError(f"{name} is a list of texts")
    return value


def flag(document: Document, name: str, default: bool) -> bool:
    """True or false."""
    value = document.get(name, default)
    if not isinstance(value, bool):
        raise ValueError(f"{name} is true or false")
    return value


def number(document: Document, name: str, default: int, least: int) -> int:
    """A whole number of at least *least*."""
    value = document.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} is a whole number, at least {least}")
    return value


def queried(value: str | None, default: int, most: int) -> int:
    """A whole number in a query string, *most* at most."""
    if value is None or value == "":
        return default
    if not value.isascii() or not value.isdecimal():
        raise ValueError(f"{value!r} is not a whole number")
    return min(int(value), most)
