"""One call of gettoken and what it says."""

from __future__ import annotations

import re
from dataclasses import field
from datetime import timedelta
from urllib.parse import urlencode

from shared.http import Caller, HttpFailure
from shared.values import value_class
from shared.wecom.answers import Garbage, errcode_of, masked, outcome_of_reply, parsed
from shared.wecom.credentials import App
from shared.wecom.errcodes import RetryClass, classify

_TOKEN = re.compile(r"[!-~]{1,2048}\Z")
_LEAST, _MOST = 60, 7200


@value_class
class Fetched:
    """A new token."""

    token: str = field(repr=False)
    life: timedelta
    """Within 60 s and 7200 s, whatever the platform said."""


class TokenUnavailable(Exception):
    """There is no token to send with, and why. Nothing of the message has been sent.

    ``cause`` is a stable word; ``errcode`` and ``errmsg`` are gettoken's, where it answered.
    """

    def __init__(
        self,
        cause: str,
        detail: str,
        *,
        errcode: int | None = None,
        retry_class: RetryClass = RetryClass.RETRY,
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(f"{cause}: {detail}")
        self.cause = cause
        self.detail = detail
        self.errcode = errcode
        self.retry_class = retry_class
        self.retry_after = retry_after


async def fetch(caller: Caller, app: App, deadline: float) -> Fetched:
    """Ask for a token, once. Raises :class:`TokenUnavailable`; its text holds neither token nor secret."""
    query = urlencode({"corpid": app.corp_id, "corpsecret": app.secret})
    try:
        reply = await caller.get(f"/cgi-bin/gettoken?{query}", deadline=deadline)
    except HttpFailure as failure:
        raise TokenUnavailable(f"token_{failure.kind.value}", str(failure)) from None
    if reply.status != 200:
        odd = outcome_of_reply(reply)
        raise TokenUnavailable(
            f"token_{odd.cause}", f"gettoken answered {reply.status}", retry_after=odd.retry_after
        )
    try:
        answer = parsed(reply.body)
        code = errcode_of(answer)
        if code == 0:
            return Fetched(_token(answer.get("access_token")), _life(answer.get("expires_in")))
    except Garbage as garbage:
        raise TokenUnavailable(f"token_{garbage}", "gettoken's answer cannot be understood") from None
    entry = classify(code)
    raise TokenUnavailable(
        "token_denied",
        f"gettoken: {entry.meaning}: {masked(answer.get('errmsg'), [app.secret])}",
        errcode=code,
        retry_class=entry.retry_class,
        retry_after=entry.retry_after,
    )


def _token(value: object) -> str:
    if not isinstance(value, str) or not _TOKEN.match(value):
        raise Garbage("token_malformed")
    return value


def _life(value: object) -> timedelta:
    """What cannot be read counts as the shortest life: a call too many, not a dead token."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value, re.ASCII):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        value = _LEAST
    return timedelta(seconds=min(max(value, _LEAST), _MOST))
