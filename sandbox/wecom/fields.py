"""Reading message fields the platform's way: what is cut, what is refused, with which code."""

from collections.abc import Mapping

from sandbox.answers import Refused, missing, too_long

Fields = Mapping[str, object]


def object_of(body: Fields, name: str) -> dict[str, object]:
    """The object under `name`; 40058 when it is not there."""
    value = body.get(name)
    if not isinstance(value, dict):
        raise missing(name)
    return value


def objects_of(
    body: Fields, name: str, path: str, *, at_most: int, too_many: int = 40058
) -> list[dict[str, object]]:
    """A list of objects with at least one item; `too_many` beyond `at_most`."""
    value = body.get(name)
    if not isinstance(value, list) or not value or not all(isinstance(item, dict) for item in value):
        raise missing(path)
    if len(value) > at_most:
        raise too_long(path, at_most) if too_many == 40058 else Refused(too_many)
    return value


def text_of(body: Fields, name: str, path: str, *, absent: int | None = None) -> str:
    """A needed text; `absent` when it is missing or empty (default: 40058 names the field)."""
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise Refused(40058, f"`{path}` is not a string. invalid Request Parameter")
    if not value:
        raise missing(path) if absent is None else Refused(absent)
    return value


def optional_text(body: Fields, name: str, path: str) -> str:
    """A text that may be missing; empty then."""
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Refused(40058, f"`{path}` is not a string. invalid Request Parameter")
    return value


def cut(text: str, limit: int) -> str:
    """The text within `limit` bytes of UTF-8, whole characters only."""
    raw = text.encode("utf-8", "surrogatepass")
    return text if len(raw) <= limit else raw[:limit].decode("utf-8", "ignore")


def within(text: str, limit: int, path: str, *, code: int = 40058) -> str:
    """The text; refused when it is longer than `limit` bytes."""
    if len(text) * 4 > limit and len(text.encode("utf-8", "surrogatepass")) > limit:
        raise too_long(path, limit) if code == 40058 else Refused(code)
    return text


def chars(text: str, limit: int, path: str) -> str:
    """The text; 40058 when it has more than `limit` characters."""
    if len(text) > limit:
        raise too_long(path, limit)
    return text


def url_of(body: Fields, name: str, path: str, *, needed: bool) -> str:
    """An address of at most 2048 bytes with http:// or https:// (45034 without)."""
    value = text_of(body, name, path) if needed else optional_text(body, name, path)
    if value and not value.startswith(("http://", "https://")):
        raise Refused(45034)
    return within(value, 2048, path)
