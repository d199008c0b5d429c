"""What of prompts and replies may be kept, for a time: no secret, no whole phone number, and not without end."""

from __future__ import annotations

from typing import Final

from shared.telemetry.redaction import redact
from shared.text.cutting import clip

KEPT_LONGEST: Final = 64 * 1024
"""Bytes that are kept of a prompt, and of a reply."""
MESSAGE_LONGEST: Final = 1500
"""Bytes of what is told of a problem."""


def kept(text: str, longest: int = KEPT_LONGEST) -> str:
    """*text* as it may be stored: masked, without NUL, at most *longest* bytes."""
    return clip(redact(text.replace("\0", "")), longest)
