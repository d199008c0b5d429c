"""Undoing a content coding without letting a small answer become a large one."""

from __future__ import annotations

import zlib

from shared.http.failures import Kind

_ZLIB_OR_GZIP = 32 + zlib.MAX_WBITS


class Undecodable(Exception):
    """The body cannot be had; ``kind`` says why."""

    detail = ""

    def __init__(self, kind: Kind) -> None:
        super().__init__(kind.value)
        self.kind = kind


def decoded(body: bytes, coding: str, limit: int) -> bytes:
    """*body* with its ``Content-Encoding`` undone; never holds more than *limit* bytes plus one.

    Raises :class:`Undecodable` for a result over *limit*, one that ends early, broken data, and
    codings we never ask for (anything but gzip and deflate).
    """
    coding = coding.strip().lower()
    if coding in ("", "identity"):
        return body
    if coding not in ("gzip", "x-gzip", "deflate"):
        raise Undecodable(Kind.ENCODING)
    inflater = zlib.decompressobj(_ZLIB_OR_GZIP)
    try:
        plain = inflater.decompress(body, limit + 1)
    except zlib.error:
        raise Undecodable(Kind.ENCODING) from None
    if len(plain) > limit:
        raise Undecodable(Kind.TOO_LARGE)
    if not inflater.eof:
        raise Undecodable(Kind.TRUNCATED)
    return plain
