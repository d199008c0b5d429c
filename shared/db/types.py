"""Column types that store and compare alike on SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

import orjson
from sqlalchemy import DateTime, String, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

from shared.errors import Invalid
from shared.text.instants import instant_text

DialectName = Literal["sqlite", "postgresql"]

_DATETIMES_ARE_OURS = orjson.OPT_PASSTHROUGH_DATETIME

Id = String().with_variant(Text(collation="C"), "postgresql")
"""Text that is a key: compared byte by byte, so that both databases sort and page it alike."""


class Instant(TypeDecorator[datetime]):
    """An aware UTC datetime with microseconds: timestamptz, or fixed-width text on SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Text on SQLite, whose own datetimes lose the zone."""
        return dialect.type_descriptor(String(27) if dialect.name == "sqlite" else DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Refuse naive values on both databases."""
        if value is None:
            return None
        text = instant_text(value)
        return text if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Always ``datetime.UTC``, whatever the session's zone is called."""
        if value is None:
            return None
        parsed = datetime.fromisoformat(value) if isinstance(value, str) else value
        return parsed if parsed.tzinfo is UTC else parsed.astimezone(UTC)


class Json(TypeDecorator[Any]):
    """A JSON value: jsonb on PostgreSQL, text on SQLite. None is SQL NULL."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The engine hands PostgreSQL's own type the same orjson functions."""
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else JSONB(none_as_null=True))

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Check and write the value; raises ``Invalid`` for what neither database keeps."""
        if value is None:
            return None
        text = json_text(value, "json")
        return text if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """The value as plain Python objects."""
        return orjson.loads(value) if dialect.name == "sqlite" and value is not None else value


def json_text(value: object, name: str) -> str:
    """*value* as JSON text; raises ``Invalid`` naming *name* when it cannot be stored.

    Datetimes become instants as `instant_text` writes them. NUL characters are refused, because
    PostgreSQL has none in text; so are lone surrogates, integers beyond 64 bits, and bytes.
    """
    try:
        text = orjson.dumps(value, _plain, _DATETIMES_ARE_OURS).decode()
    except (orjson.JSONEncodeError, ValueError) as error:
        raise Invalid.field(name, f"cannot be stored as JSON ({error})") from error
    if "\\u0000" in text and _has_nul(value):
        raise Invalid.field(name, "contains a NUL character")
    return text


def json_dumps(value: object) -> str:
    """The serialiser given to the engine; values were checked on their way in."""
    return orjson.dumps(value, _plain, _DATETIMES_ARE_OURS).decode()


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return instant_text(value)
    if hasattr(value, "keys"):  # a Mapping that is not a dict
        return {key: value[key] for key in value.keys()}  # type: ignore[index]  # noqa: SIM118
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _has_nul(value: object) -> bool:
    # The six characters backslash-u-0-0-0-0 may also be honest text (an escaped backslash before
    # them), so look at the values themselves; they rarely get here.
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(_has_nul(key) or _has_nul(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return any(_has_nul(item) for item in value)
    return "\0" in str(orjson.loads(orjson.dumps(value, _plain, _DATETIMES_ARE_OURS)))
