"""Page sizes and page tokens (AIP-158).

A token is opaque to clients: where to go on, sealed with a MAC over the method's filters, so that it can
be neither altered nor used for another list.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

import orjson
from google.protobuf.message import Message

from shared.errors import Invalid
from shared.rpc.fields import fingerprint

DEFAULT_SIZE: Final = 50
LARGEST_SIZE: Final = 200
_MAC_BYTES: Final = 16
_LONGEST: Final = 2048
_NOT_FILTERS: Final = ("page_size", "page_token")

Cursor = Sequence[str | int | None]
"""The sort key of the last row shown."""


def page_size(asked: int, *, default: int = DEFAULT_SIZE, largest: int = LARGEST_SIZE) -> int:
    """Rows to return: *default* for 0, at most *largest*; ``Invalid`` when negative."""
    if asked < 0:
        raise Invalid.field("page_size", "must not be negative")
    return min(asked or default, largest)


class PageTokens:
    """Issues and reads page tokens; *key* must be the same in every replica."""

    def __init__(self, key: bytes) -> None:
        if len(key) < 16:
            raise ValueError("a page token key has at least 16 bytes")
        self._key = key

    def issue(self, request: Message, cursor: Cursor) -> str:
        """The token that continues *request* after *cursor*."""
        body = orjson.dumps(list(cursor))
        return base64.urlsafe_b64encode(self._mac(request, body) + body).rstrip(b"=").decode()

    def read(self, request: Message) -> list[str | int | None] | None:
        """The cursor in ``request.page_token``, None for the first page.

        ``Invalid`` (PAGE_TOKEN_INVALID) when the token is not ours or the filters of *request* differ
        from those it was issued for.
        """
        token: str = request.page_token  # type: ignore[attr-defined]  # every List request has one
        if not token:
            return None
        raw = _decode(token)
        mac, body = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(request, body)):
            raise _refused()
        cursor: list[str | int | None] = orjson.loads(body)
        return cursor

    def _mac(self, request: Message, body: bytes) -> bytes:
        filters = fingerprint(request, without=_NOT_FILTERS)
        return hmac.new(self._key, filters.encode() + b"\0" + body, hashlib.sha256).digest()[:_MAC_BYTES]


def _decode(token: str) -> bytes:
    if len(token) > _LONGEST or not token.isascii():
        raise _refused()
    try:
        return base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise _refused() from error


def _refused() -> Invalid:
    return Invalid.field("page_token", "was not issued for this list", reason="PAGE_TOKEN_INVALID")
