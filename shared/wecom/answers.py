"""From the bytes of an answer to an outcome; anything odd is *unknown*, never a guess."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import orjson
import structlog

from shared.http import HttpFailure, NotSent, Reply
from shared.strict_json import refuse_twins
from shared.telemetry.redaction import redact
from shared.wecom.errcodes import RetryClass, classify
from shared.wecom.outcome import Outcome, State

_log = structlog.get_logger("reach.wecom")

_DEPTH = 32
_NUMBER = re.compile(r"-?[0-9]{1,9}\Z", re.ASCII)
_ERRMSG_CHARS = 300
_CODE_CHARS = 1024
_MASKED = re.compile(
    r"(?i)((?:access_token|corpsecret|secret|token|key)[\"']?\s*[=:]\s*[\"']?)[^\s&,;\"'\]}]+"
)
# Controls, and the marks that turn text around in a terminal.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
# What an answer names as not reached, in the order of Outcome's fields.
_MISSED = ("invaliduser", "invalidparty", "invalidtag", "unlicenseduser")
_MIN_REST = timedelta(seconds=5)
_MAX_REST = timedelta(hours=1)


class Garbage(Exception):
    """The answer says nothing that can be relied on; the text is a stable word."""


def parsed(body: bytes) -> dict[str, object]:
    """*body* as a JSON object: strict UTF-8, no NaN, no key twice, depth at most 32.

    Raises :class:`Garbage`.
    """
    try:
        value = orjson.loads(body)
        refuse_twins(body, value)
    except ValueError:
        raise Garbage("not_json" if _is_utf8(body) else "not_utf8") from None
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


def outcome_of_reply(
    reply: Reply,
    secrets: Collection[str] = (),
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    generation: int | None = None,
) -> Outcome:
    """What a reply means for the send. *secrets* are masked wherever the platform echoes them.

    *generation* is that of the access token used; *now* is asked where the answer names an instant.
    """
    if reply.status != 200:
        return _by_status(reply, now, generation)
    try:
        answer = parsed(reply.body)
        code = errcode_of(answer)
        return _by_errcode(code, answer, masked(answer.get("errmsg"), secrets), generation)
    except Garbage as garbage:
        detail = f"the answer cannot be understood ({garbage})"
        return Outcome(State.UNKNOWN, str(garbage), detail, http_status=200, token_generation=generation)


def outcome_of_failure(failure: HttpFailure, generation: int | None = None) -> Outcome:
    """What a call without an answer means for the send; *generation* as in ``outcome_of_reply``."""
    state = State.NOT_SENT if isinstance(failure, NotSent) else State.UNKNOWN
    cause = failure.kind.value
    return Outcome(state, cause, str(failure), retry_class=RetryClass.RETRY, token_generation=generation)


def masked(text: object, secrets: Collection[str] = ()) -> str:
    """The platform's text, safe to store and show: secrets and phone numbers masked, controls gone, 300 characters."""
    if not isinstance(text, str):
        return ""
    if text == "ok":
        return text
    text = _UNSAFE.sub(" ", text[: 4 * _ERRMSG_CHARS])
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return redact(_MASKED.sub(r"\1***", text)).strip()[:_ERRMSG_CHARS]


def _by_status(reply: Reply, now: Callable[[], datetime], generation: int | None) -> Outcome:
    status, wait = reply.status, None
    if status == 429:
        state, retry_class = State.REJECTED_RETRYABLE, RetryClass.REST
        wait = _retry_after(reply.headers.get("Retry-After", ""), now())
    elif 300 <= status < 500:
        state, retry_class = State.REJECTED_PERMANENT, RetryClass.PERM_CONFIG
    else:
        # 5xx may follow the work; another 2xx is nothing the platform is known to say.
        state, retry_class = State.UNKNOWN, RetryClass.RETRY
    return Outcome(
        state,
        f"http_{status}",
        f"answered with HTTP status {status}",
        http_status=status,
        retry_class=retry_class,
        retry_after=wait,
        token_generation=generation,
    )


def _by_errcode(code: int, answer: dict[str, object], errmsg: str, generation: int | None) -> Outcome:
    entry = classify(code)
    msgid: str | None = None
    missed: list[tuple[str, ...]] = [()] * len(_MISSED)
    try:
        msgid = _text(answer, "msgid")
        missed = [_listed(answer, name) for name in _MISSED]
    except Garbage:
        if code == 0:
            raise  # who was reached is then anybody's guess
    if code == 0:
        state = State.ACCEPTED_PARTIAL if any(missed) else State.ACCEPTED
    else:
        state = State.REJECTED_RETRYABLE if entry.retryable else State.REJECTED_PERMANENT
    return Outcome(
        state,
        errcode=code,
        errmsg=errmsg,
        http_status=200,
        msgid=msgid,
        invalid_users=missed[0],
        invalid_parties=missed[1],
        invalid_tags=missed[2],
        unlicensed_users=missed[3],
        retry_class=entry.retry_class,
        retry_after=entry.retry_after,
        response_code=_code(answer),
        token_generation=generation,
    )


def _code(answer: dict[str, object]) -> str | None:
    """The code of a card; one that nobody could use is as good as none, and says nothing about the send."""
    code = answer.get("response_code")
    usable = isinstance(code, str) and 0 < len(code) <= _CODE_CHARS and not _UNSAFE.search(code)
    return str(code) if usable else None


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


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _depth(value: object) -> int:
    """How deep *value* nests, without recursion."""
    deepest, left = 0, [(value, 1)]
    while left:
        item, depth = left.pop()
        if isinstance(item, dict | list):
            deepest = max(deepest, depth)
            left.extend((child, depth + 1) for child in (item.values() if isinstance(item, dict) else item))
    return deepest
