"""The text of a token: ``reach_<id>_<secret>``. Only its hash is kept."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import field

from shared.values import value_class

_FORM = re.compile(r"reach_([0-9a-f]{12})_[0-9A-Za-z_-]{43}")


@value_class
class TokenText:
    """A well-formed token; its text never shows up in a representation."""

    id: str
    """Public: names the row."""

    text: str = field(repr=False)

    @classmethod
    def generate(cls) -> TokenText:
        """A new token with 256 random bits."""
        token_id = secrets.token_hex(6)
        return cls(token_id, f"reach_{token_id}_{secrets.token_urlsafe(32)}")

    @classmethod
    def parse(cls, text: str) -> TokenText | None:
        """The token in *text*, or None when it does not have the form of one."""
        match = _FORM.fullmatch(text)
        return cls(match[1], text) if match else None

    @property
    def hash(self) -> str:
        """SHA-256 in hex. Plain, not slow: there is nothing to guess in 256 random bits."""
        return hashlib.sha256(self.text.encode()).hexdigest()
