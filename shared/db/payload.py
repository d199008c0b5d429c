"""Message bodies in text columns: bytes that are honest text stay readable, others become base64."""

from __future__ import annotations

import base64

UTF8, BASE64 = "utf-8", "base64"


def encode_body(body: bytes) -> tuple[str, str]:
    """(text, encoding) for the columns ``body`` and ``body_encoding``; any bytes can be kept."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:  # PostgreSQL has none in text
        return base64.b64encode(body).decode(), BASE64
    return text, UTF8


def decode_body(text: str, encoding: str) -> bytes:
    """The bytes `encode_body` was given."""
    return base64.b64decode(text) if encoding == BASE64 else text.encode()
