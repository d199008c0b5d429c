"""Pictures, videos and files: what the platform takes, and how long it remembers them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Final

from shared.errors import Invalid


class MaterialKind(StrEnum):
    """What a material is, in the platform's words."""

    IMAGE = "image"
    VIDEO = "video"
    FILE = "file"


_MEGABYTE: Final = 1024 * 1024
LARGEST: Final[Mapping[MaterialKind, int]] = {
    MaterialKind.IMAGE: 10 * _MEGABYTE,
    MaterialKind.VIDEO: 10 * _MEGABYTE,
    MaterialKind.FILE: 20 * _MEGABYTE,
}
"""Most bytes of each (platform)."""
SMALLEST: Final = 6
"""The platform takes what has more than five bytes."""
PART_BYTES: Final = 768 * 1024
"""Most bytes of one part."""

LIVES: Final = timedelta(days=3)
"""How long the platform remembers what was uploaded."""
IN_TIME: Final = timedelta(hours=12)
"""So long it has to remember on for a task to name it: a task takes its time, and so may a second try."""
ABANDONED: Final = timedelta(days=1)
"""A material whose next part has not come for so long is forgotten."""

_SHAPES: Final[Mapping[MaterialKind, tuple[tuple[int, bytes], ...]]] = {
    MaterialKind.IMAGE: ((0, b"\xff\xd8\xff"), (0, b"\x89PNG\r\n\x1a\n")),
    MaterialKind.VIDEO: ((4, b"ftyp"),),
}
_NAMES: Final = {
    MaterialKind.IMAGE: "neither a JPG nor a PNG",
    MaterialKind.VIDEO: "no MP4",
}


def check_size(kind: MaterialKind, size: int, field: str) -> None:
    """Raises Invalid for *field* where the platform would not take so many bytes."""
    if not SMALLEST <= size <= LARGEST[kind]:
        raise Invalid.field(field, f"{kind.value}: {SMALLEST} to {LARGEST[kind]} bytes")


def check_begin(kind: MaterialKind, begin: bytes, field: str) -> None:
    """Raises Invalid for *field* where the first bytes are not those of such a thing; looks at twelve at most."""
    shapes = _SHAPES.get(kind)
    if shapes and not any(begin[at : at + len(mark)] == mark for at, mark in shapes):
        raise Invalid.field(field, f"is {_NAMES[kind]}")
