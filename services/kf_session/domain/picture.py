"""Pictures that are kept, and uploaded anew before the platform forgets them."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from shared.errors import Invalid

LIVES: Final = timedelta(days=3)
"""How long the platform keeps a temporary file."""
RENEWED: Final = timedelta(hours=12)
"""So long before its end it is uploaded anew: an upload may fail for hours, and no push notices."""
IN_TIME: Final = timedelta(minutes=1)
"""So long a file must live on for a push to name it."""
PAUSES: Final = tuple(timedelta(seconds=seconds) for seconds in (5, 15, 60, 300, 600))
"""The waits after failures in a row; the last one goes on."""

UNKNOWN: Final = "picture_unknown"
"""There is none of this name."""
PENDING: Final = "picture_pending"
"""It is about to be uploaded."""
FAILED: Final = "picture_failed"
"""It could not be uploaded, and is tried again."""
REASONS: Final = (UNKNOWN, PENDING, FAILED)

_KINDS: Final = {b"\xff\xd8\xff": "jpg", b"\x89PNG\r\n\x1a\n": "png"}


def kind_of(content: bytes, *, field: str) -> str:
    """``jpg`` or ``png``. Raises Invalid for *field*, for anything else."""
    for begin, kind in _KINDS.items():
        if content.startswith(begin):
            return kind
    raise Invalid.field(field, "is neither a JPG nor a PNG")


def pause_after(failures: int) -> timedelta:
    """How long to wait after so many failures in a row, of which there is at least one."""
    return PAUSES[min(failures, len(PAUSES)) - 1]
