"""Structured logs: one JSON object a line on stderr, safe to read in any terminal.

Every line, whoever wrote it (ours through structlog, a library's through ``logging``), passes the
same chain: context and trace ids are added, then every value is redacted, escaped and bounded.
"""

from __future__ import annotations

import hashlib
import logging
import re
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Final, Literal, TextIO, cast

import orjson
import structlog
from opentelemetry import trace

from shared.telemetry.redaction import MASK, SECRET_FIELDS, redact

FIELD_MAX: Final = 2048
"""Most bytes of UTF-8 in one field."""

TRACEBACK_MAX: Final = 8192
"""The same for a traceback, whose two ends are kept: where it began, and what was raised."""

_DEPTH_MAX = 4
_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}

# Libraries that log one line per request, frame or reconnect: our own lines say it once, in our words.
_NOISY: Final = {
    "httpx": "warning",
    "httpcore": "warning",
    "aio_pika": "error",
    "aiormq": "error",
    "aiohttp.access": "warning",
    "uvicorn": "warning",
    "uvicorn.access": "error",
    "asyncio": "warning",
    "sqlalchemy.engine": "warning",
    "aiosqlite": "warning",
    "alembic": "warning",
    "opentelemetry": "warning",
}

# Fields that are ours and random: masking a phone-like run of digits in them would only break a search.
_VERBATIM: Final = frozenset(("trace_id", "span_id", "level", "time"))

# Control characters, line separators, directional overrides, lone surrogates: what can forge or hide a line.
_UNSAFE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)
_NAMED: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}

EventDict = MutableMapping[str, Any]


def configure(
    *,
    service: str,
    level: Literal["debug", "info", "warning", "error"] = "info",
    format: Literal["auto", "json", "console"] = "auto",  # noqa: A002 - the setting's name
    stream: TextIO | None = None,
) -> None:
    """Send every log of this process through the chain to *stream* (stderr unless told otherwise).

    May be called again; the last call counts. ``auto`` writes for people when *stream* is a terminal.
    """
    out = stream or sys.stderr
    pretty = format == "console" or (format == "auto" and out.isatty())
    chain = _Chain(service, out, pretty)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            chain.write,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.ReturnLoggerFactory(),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [_Handler(chain)]
    root.setLevel(_LEVELS[level])
    for name, floor in _NOISY.items():
        logger = logging.getLogger(name)
        logger.handlers[:] = []
        logger.propagate = True
        logger.setLevel(max(_LEVELS[floor], _LEVELS[level]))
    logging.captureWarnings(True)


class _Chain:
    """Completes, cleans and writes one event."""

    def __init__(self, service: str, out: TextIO, pretty: bool) -> None:
        self._service = service
        self._out = out
        self._console = structlog.dev.ConsoleRenderer(colors=out.isatty()) if pretty else None

    def write(self, logger: object, method: str, event: EventDict) -> str:
        """The last structlog processor: nothing of a line is left to write after it."""
        exc_info = event.pop("exc_info", None)
        line: dict[str, Any] = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": event.pop("level", "info"),
            "event": clean("event", event.pop("event", "")),
            "service": self._service,
        }
        context = trace.get_current_span().get_span_context()
        if context.is_valid:
            line["trace_id"] = f"{context.trace_id:032x}"
            line["span_id"] = f"{context.span_id:016x}"
        for key, value in event.items():
            line[escape(str(key))] = clean(str(key), value)
        if error := _error(exc_info):
            line["exception"] = format_exception(error)
        self._out.write(self._render(line))
        self._out.flush()
        return ""

    def _render(self, line: dict[str, Any]) -> str:
        if self._console is None:
            return orjson.dumps(line).decode() + "\n"
        line["timestamp"] = line.pop("time")
        return f"{self._console(None, line['level'], line)}\n"


class _Handler(logging.Handler):
    """Brings what libraries log into the chain."""

    def __init__(self, chain: _Chain) -> None:
        super().__init__()
        self._chain = chain

    def emit(self, record: logging.LogRecord) -> None:
        try:
            event: EventDict = {
                "event": record.getMessage(),
                "level": record.levelname.lower(),
                "logger": record.name,
                "exc_info": record.exc_info,
            }
            self._chain.write(None, record.levelname.lower(), event)
        except Exception:
            self.handleError(record)


def clean(key: str, value: object) -> Any:
    """*value* as it may be logged under *key*: redacted, escaped, at most ``FIELD_MAX`` bytes."""
    if value is None or isinstance(value, (bool, int, float)):
        return value if not isinstance(value, int) or abs(value) < 2**63 else str(value)
    if key in _VERBATIM:
        return str(value)
    if key.lower() in SECRET_FIELDS:
        return MASK
    plain = _plain(value, 0)
    if isinstance(plain, str):
        return _bounded(plain, FIELD_MAX)
    packed = orjson.dumps(plain)
    return plain if len(packed) <= FIELD_MAX else _bounded(packed.decode(), FIELD_MAX)


def _plain(value: object, depth: int) -> Any:
    """Made of what JSON has; everything textual in it redacted and escaped."""
    if isinstance(value, str):
        return escape(redact(value[: FIELD_MAX * 4]))
    if value is None or isinstance(value, (bool, float)):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**63 else str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, (bytes, bytearray, memoryview)):
        # A payload nobody vouches for: enough to find it again, nothing of what it says.
        return f"<{len(value)} bytes, sha256 {hashlib.sha256(value).hexdigest()[:16]}>"
    if depth < _DEPTH_MAX and isinstance(value, Mapping):
        return {
            escape(str(key)): MASK if str(key).lower() in SECRET_FIELDS else _plain(item, depth + 1)
            for key, item in value.items()
        }
    if depth < _DEPTH_MAX and isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item, depth + 1) for item in value]
    return escape(redact(_shown(value)[: FIELD_MAX * 4]))


def _shown(value: object) -> str:
    try:
        return str(value)
    except Exception:  # a log line must not be what fails its caller
        return f"<{type(value).__name__} that cannot be shown>"


def escape(text: str, *, keep_lines: bool = False) -> str:
    """*text* with control, bidi and invisible characters written as escapes (``\\u202e``)."""
    if text.isascii() and text.isprintable():
        return text

    def written(match: re.Match[str]) -> str:
        char = match[0]
        if keep_lines and char in "\n\t":
            return char
        return _NAMED.get(char) or f"\\u{ord(char):04x}"

    return _UNSAFE.sub(written, text)


def _bounded(text: str, limit: int) -> str:
    if len(text) * 4 <= limit:
        return text
    raw = text.encode()
    if len(raw) <= limit:
        return text
    note = f"… ({len(raw)} bytes)"
    return raw[: limit - len(note.encode())].decode(errors="ignore") + note


def format_exception(error: BaseException) -> str:
    """The traceback of *error*, redacted and escaped, its middle left out beyond ``TRACEBACK_MAX``."""
    text = escape(redact("".join(traceback.format_exception(error))), keep_lines=True)
    raw = text.encode()
    if len(raw) <= TRACEBACK_MAX:
        return text
    half = TRACEBACK_MAX // 2 - 32
    head, tail = raw[:half].decode(errors="ignore"), raw[-half:].decode(errors="ignore")
    return f"{head}\n… {len(raw) - 2 * half} bytes …\n{tail}"


def _error(exc_info: object) -> BaseException | None:
    if isinstance(exc_info, BaseException):
        return exc_info
    if isinstance(exc_info, tuple):
        return cast("tuple[type[BaseException], BaseException | None, TracebackType | None]", exc_info)[1]
    return sys.exc_info()[1] if exc_info else None
