"""Every line is one JSON object that says who, when and what, and nothing it should not."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.trace import NonRecordingSpan, use_span

from shared.telemetry import logs, traces

log = structlog.get_logger("tests")


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    root = logging.getLogger()
    handlers, level, kept = root.handlers[:], root.level, structlog.get_config()
    logs.configure(service="notifier", level="info", format="json", stream=stream)
    yield stream
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**kept)


def line(out: io.StringIO) -> dict[str, Any]:
    (text,) = out.getvalue().splitlines()
    fields: dict[str, Any] = json.loads(text)
    return fields


def test_a_line_says_when_who_and_what_in_unescaped_chinese(out: io.StringIO) -> None:
    log.info("已送达", delivery_id="d1", ms=12)
    fields = line(out)
    assert fields.pop("time").endswith("Z")
    assert fields == {
        "level": "info",
        "event": "已送达",
        "service": "notifier",
        "delivery_id": "d1",
        "ms": 12,
    }
    assert "已送达" in out.getvalue()


def test_what_a_library_logs_takes_the_same_way(out: io.StringIO) -> None:
    logging.getLogger("some.library").warning("GET %s", "https://h/x?access_token=abc123def")
    fields = line(out)
    assert fields["event"] == "GET https://h/x?access_token=***"
    assert (fields["logger"], fields["level"], fields["service"]) == ("some.library", "warning", "notifier")


def test_libraries_that_log_every_request_are_quiet(out: io.StringIO) -> None:
    for name in (
        "httpx",
        "aio_pika.robust_connection",
        "aiormq.connection",
        "aiohttp.access",
        "uvicorn.access",
    ):
        logging.getLogger(name).info("one more request")
    assert out.getvalue() == ""


def test_secrets_are_masked_by_shape_by_field_name_and_in_tracebacks(out: io.StringIO) -> None:
    try:
        raise ConnectionError("GET https://h/gettoken?corpsecret=s3cr3t-one refused")
    except ConnectionError:
        log.exception(
            "failed key=s3cr3t-two",
            url="https://h/?access_token=s3cr3t-three",
            corp_secret="s3cr3t-four",
            nested={"deep": [{"Authorization": "s3cr3t-five"}]},
            phone="13800138000",
        )
    text = out.getvalue()
    assert "s3cr3t" not in text
    assert "13800138000" not in text
    assert "ConnectionError" in line(out)["exception"]


def test_the_current_trace_is_on_the_line_unmasked(out: io.StringIO) -> None:
    parent = traces.parse("00-13800138000d4da6a3ce929d0e0e4736-00f067aa0ba902b7-00")
    assert parent is not None
    with use_span(NonRecordingSpan(parent)):
        log.info("attempt")
    assert line(out)["trace_id"] == "13800138000d4da6a3ce929d0e0e4736"
    assert line(out)["span_id"] == "00f067aa0ba902b7"


def test_bound_context_is_on_every_line(out: io.StringIO) -> None:
    with structlog.contextvars.bound_contextvars(event_id="e1"):
        log.info("accepted")
    assert line(out)["event_id"] == "e1"


def test_an_unknown_payload_is_logged_as_size_and_hash(out: io.StringIO) -> None:
    log.info("parked", body=b"13800138000")
    assert line(out)["body"].startswith("<11 bytes, sha256 ")


def test_a_field_is_bounded_in_bytes_and_says_how_long_it_was(out: io.StringIO) -> None:
    log.info("long", text="长" * 5000, items=list(range(5000)))
    fields = line(out)
    for key in ("text", "items"):
        assert len(fields[key].encode()) <= logs.FIELD_MAX
        assert fields[key].endswith("bytes)")


def test_a_traceback_keeps_both_ends(out: io.StringIO) -> None:
    def fall(depth: int) -> None:
        if depth == 0:
            raise ValueError("the end " + "x" * 20_000 + " of it")
        fall(depth - 1)

    try:
        fall(3)
    except ValueError:
        log.exception("fell")
    text = line(out)["exception"]
    assert len(text.encode()) <= logs.TRACEBACK_MAX
    assert text.startswith("Traceback")
    assert text.rstrip().endswith("of it")


@given(st.text(st.characters(exclude_categories=[]), max_size=200))
def test_no_text_can_forge_a_line_or_hide_in_one(text: str) -> None:
    shown = logs.clean("note", text)
    assert json.loads(json.dumps(shown)) == shown
    assert not any(
        ord(char) < 32 or 127 <= ord(char) < 160 or char in "\u202e\u2066\u200f\u2028" for char in shown
    )
    shown.encode()


@given(
    st.recursive(st.none() | st.floats() | st.integers() | st.text() | st.binary(), st.lists, max_leaves=20)
)
def test_any_value_can_be_logged(value: object) -> None:
    json.dumps(logs.clean("anything", value))


def test_logging_something_that_cannot_be_shown_does_not_fail_its_caller(out: io.StringIO) -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("no words")

    log.info("still here", thing=Broken())
    assert line(out)["event"] == "still here"
    assert "Broken" in line(out)["thing"]


def test_console_lines_are_for_people_and_masked_all_the_same(out: io.StringIO) -> None:
    logs.configure(service="notifier", format="console", stream=out)
    try:
        raise ValueError("access_token=abc123def")
    except ValueError:
        log.exception("attempt failed", url="https://h/?key=abc123def")
    text = out.getvalue()
    assert "attempt failed" in text
    assert "Traceback" in text
    assert "abc123def" not in text
