"""From the bytes of an answer to an outcome; anything odd is *unknown*, never a guess."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import structlog

from shared.http import HttpFailure, NotSent, Reply
from shared.wecom.errcodes import RetryClass, classify
from shared.wecom.outcome import Outcome, State

_log = structlog.get_logger("reach.wecom")

_DEPTH = 32
_NUMBER = re.compile(r"-?[0-9]{1,9}\Z", re.ASCII)
_ERRMSG_CHARS = 300
_MASKED = re.compile(
    r"(?i)((?:access_token|corpsecret|secret|token|key)[\"']?\s*[=:]\s*[\"']?)[^\s&,;\"'\]}]+"
)
# Controls, and the marks that turn text around in a terminal.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_MIN_REST = timedelta(seconds=5)
_MAX_REST = timedelta(hours=1)


class Garbage(Exception):
    """The answer says nothing that can be relied on; the text is a stable word."""


def parsed(body: bytes) -> dict[str, object]:
    """*body* as a JSON object: strict UTF-8, no NaN, no key twice, depth at most 32.

    Raises :class:`Garbage`.
    """
    try:
        value = _DECODER.decode(body.decode("utf-8"))
    except UnicodeDecodeError:
        raise Garbage("not_utf8") from None
    except (ValueError, RecursionError):
        raise Garbage("not_json") from None
    if not isinstance(value, dict):
        raise Garbage("not_an_object")
    if body.count(b"{") + body.count(b"[") > _DEPTH and _depth(value) > _DEPTH:
        raise Garbage("too_deep")
    return value


def errcode_of(answer: dict[str, object]) -> int:
    """The answer's errcode; a numeric string is tolerated and logged. Raises :class:`Garbage`."""
    code = answer.get("errcode")
    if isinstance(code, str) and _NUMBER.match(code):
        _log.warning("wecom.errcode_is_text", errcode=code)
        return int(code)
    if isinstance(code, bool) or not isinstance(code, int):
        raise Garbage("no_errcode" if code is None else "errcode_not_a_number")
    return code


def outcome_of_reply(reply: Reply, secrets: Collection[str] = (), now: datetime | None = None) -> Outcome:
    """What a reply means for the send. *secrets* are masked wherever the platform echoes them."""
    if reply.status != 200:
        return _by_status(reply, now or datetime.now(UTC))
    try:
        answer = parsed(reply.body)
        code = errcode_of(answer)
        return _by_errcode(code, answer, masked(answer.get("errmsg"), secrets))
    except Garbage as garbage:
        detail = f"the answer cannot be understood ({garbage})"
        return Outcome(State.UNKNOWN, str(garbage), detail, http_status=200)


def outcome_of_failure(failure: HttpFailure) -> Outcome:
    """What a call without an answer means for the send."""
    state = State.NOT_SENT if isinstance(failure, NotSent) else State.UNKNOWN
    return Outcome(state, failure.kind.value, str(failure), retry_class=RetryClass.RETRY)


def masked(text: object, secrets: Collection[str] = ()) -> str:
    """The platform's text, safe to store and show: credentials masked, controls gone, 300 characters."""
    if not isinstance(text, str):
        return ""
    if text == "ok":
        return text
    text = _UNSAFE.sub(" ", text[: 4 * _ERRMSG_CHARS])
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return _MASKED.sub(r"\1***", text).strip()[:_ERRMSG_CHARS]


def _by_status(reply: Reply, now: datetime) -> Outcome:
    status = reply.status
    detail = f"answered with HTTP status {status}"
    if status == 429:
        wait = _retry_after(reply.headers.get("Retry-After", ""), now)
        return Outcome(
            State.REJECTED_RETRYABLE,
            "http_429",
            detail,
            http_status=429,
            retry_class=RetryClass.REST,
            retry_after=wait,
        )
    if 300 <= status < 500:
        return Outcome(
            State.REJECTED_PERMANENT,
            f"http_{status}",
            detail,
            http_status=status,
            retry_class=RetryClass.PERM_CONFIG,
        )
    # 5xx may follow the work; another 2xx is nothing the platform is known to say.
    return Outcome(State.UNKNOWN, f"http_{status}", detail, http_status=status, retry_class=RetryClass.RETRY)


def _by_errcode(code: int, answer: dict[str, object], errmsg: str) -> Outcome:
    entry = classify(code)
    outcome = Outcome(
        State.REJECTED_RETRYABLE if entry.retryable else State.REJECTED_PERMANENT,
        errcode=code,
        errmsg=errmsg,
        http_status=200,
        retry_class=entry.retry_class,
        retry_after=entry.retry_after,
    )
    try:
        outcome = replace(
            outcome,
            msgid=_text(answer, "msgid"),
            invalid_users=_listed(answer, "invaliduser"),
            invalid_parties=_listed(answer, "invalidparty"),
            invalid_tags=_listed(answer, "invalidtag"),
            unlicensed_users=_listed(answer, "unlicenseduser"),
        )
    except Garbage:
        if code == 0:
            raise  # who was reached is then anybody's guess
        return outcome
    if code != 0:
        return outcome
    missed = (
        outcome.invalid_users or outcome.invalid_parties or outcome.invalid_tags or outcome.unlicensed_users
    )
    return replace(outcome, state=State.ACCEPTED_PARTIAL if missed else State.ACCEPTED)


def _text(answer: dict[str, object], name: str) -> str | None:
    value = answer.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > 256 or _UNSAFE.search(value):
        raise Garbage(f"{name}_malformed")
    return value


def _listed(answer: dict[str, object], name: str) -> tuple[str, ...]:
    """Names joined with a bar, as sends answer; an array, as card updates do, is read too."""
    value = answer.get(name)
    if value is None:
        return ()
    parts = value.split("|") if isinstance(value, str) else value
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        raise Garbage(f"{name}_malformed")
    return tuple(part for part in parts if part)


def _retry_after(text: str, now: datetime) -> timedelta:
    """Seconds or an HTTP date, within five seconds and an hour."""
    wait = _MIN_REST
    if re.fullmatch(r"[0-9]{1,9}", text.strip(), re.ASCII):
        wait = timedelta(seconds=int(text))
    elif text:
        try:
            until = parsedate_to_datetime(text)
        except ValueError:
            until = now
        wait = (until if until.tzinfo else until.replace(tzinfo=UTC)) - now
    return min(max(wait, _MIN_REST), _MAX_REST)


def _no_twins(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key stands twice")
    return made


def _no_constant(name: str) -> object:
    raise ValueError(name)


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(text)
    return value


def _depth(value: object) -> int:
    """How deep *value* nests, without recursion."""
    deepest, left = 0, [(value, 1)]
    while left:
        item, depth = left.pop()
        if isinstance(item, dict | list):
            deepest = max(deepest, depth)
            left.extend((child, depth + 1) for child in (item.values() if isinstance(item, dict) else item))
    return deepest


# Made once: json.loads with hooks would make one for every answer.
_DECODER = json.JSONDecoder(object_pairs_hook=_no_twins, parse_constant=_no_constant, parse_float=_finite)
