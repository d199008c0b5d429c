"""Files that clients uploaded: kept in memory, bounded, alive for three days."""

from dataclasses import dataclass
from typing import Literal

from sandbox.profile import Profile

MediaType = Literal["image", "voice", "video", "file"]

_AMR_NB_FRAMES = (12, 13, 15, 17, 19, 20, 26, 31, 5, 0, 0, 0, 0, 0, 0, 0)  # bytes after the frame header


@dataclass(frozen=True, slots=True)
class Media:
    """One file. `owner` is the corp it belongs to, or for a robot's file its webhook key."""

    media_id: str
    type: MediaType
    filename: str
    content: bytes
    owner: str
    created_at: float


class MediaStore:
    """The uploads by id; the oldest are forgotten when the bytes kept would exceed the setting."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self.clear()

    def clear(self) -> None:
        """Forget every file."""
        self._media: dict[str, Media] = {}
        self._bytes = 0

    def add(self, media: Media) -> None:
        """Keep a file."""
        self._media[media.media_id] = media
        self._bytes += len(media.content)
        while self._bytes > self._profile.media_bytes_kept and len(self._media) > 1:
            self._bytes -= len(self._media.pop(next(iter(self._media))).content)

    def get(self, media_id: str, owner: str, now: float) -> Media | None:
        """The file if it is the owner's and still alive."""
        media = self._media.get(media_id)
        if media is None or media.owner != owner or media.created_at + self._profile.media_ttl_seconds <= now:
            return None
        return media


def kind_of(content: bytes) -> str | None:
    """jpg, png, amr or mp4 by the first bytes; None for anything else."""
    if content.startswith(b"\xff\xd8\xff"):
        return "jpg"
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if content.startswith(b"#!AMR"):
        return "amr"
    return "mp4" if content[4:8] == b"ftyp" else None


def amr_seconds(content: bytes) -> float:
    """Length of a narrow-band AMR recording: 20 ms a frame."""
    position, frames = len(b"#!AMR\n"), 0
    while position < len(content):
        position += 1 + _AMR_NB_FRAMES[content[position] >> 3 & 15]
        frames += 1
    return frames * 0.02
