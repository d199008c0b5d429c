"""Files that are replaced while a process runs: certificates, keys, tokens."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Generic, TypeVar

import structlog

T = TypeVar("T")

EVERY: Final = 1.0
"""Seconds between two looks at whether a file was replaced."""

LARGEST: Final = 256 * 1024
"""Bytes; nothing that is watched is larger, and a larger file is a mistake."""

_log = structlog.get_logger("reach.files")
_Marks = tuple[tuple[int, int, int], ...]


class WatchedFiles(Generic[T]):
    """What some files say together, read anew when one of them was replaced.

    Once something good was read, it holds until something else that is good can be: a pair of which only one half has
    arrived, a file that is empty for a moment, change nothing. That is logged once.
    """

    def __init__(
        self,
        name: str,
        paths: Sequence[Path],
        read: Callable[[Sequence[bytes]], T],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """*name* is for the log; *read* makes sense of the contents, in the order of *paths*, or raises ``ValueError``."""
        self._name, self._paths, self._read = name, tuple(paths), read
        self._monotonic = monotonic
        self._looked = float("-inf")
        self._marks: _Marks | None = None
        self._held: list[T] = []
        self._said = ""
        self.version = 0
        """Grows with each reading that is taken."""

    def current(self) -> T:
        """What they say.

        Raises ``OSError`` and ``ValueError`` only where nothing good was ever read.
        """
        now = self._monotonic()
        if not self._held or now - self._looked >= EVERY:
            self._looked = now
            self._look()
        return self._held[0]

    def _look(self) -> None:
        try:
            marks = tuple(_mark(path) for path in self._paths)
            if marks == self._marks:
                return
            made = self._read([_content(path) for path in self._paths])
        except (OSError, ValueError) as error:
            if not self._held:
                raise
            self._say(str(error))
            return
        if self._held:
            _log.info("files were replaced", files=self._name)
        self._held, self._marks, self._said = [made], marks, ""
        self.version += 1

    def _say(self, why: str) -> None:
        if why != self._said:
            self._said = why
            _log.error("replaced files are of no use; the ones before hold", files=self._name, why=why)


def _mark(path: Path) -> tuple[int, int, int]:
    """What differs after a replacement, also one by a link to another directory."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise ValueError(f"{path} is larger than {LARGEST} bytes")
    return content


def watched_token(path: Path) -> WatchedFiles[str]:
    """The token in a file: one line, without the space around it."""

    def read(contents: Sequence[bytes]) -> str:
        try:
            text = contents[0].decode("ascii").strip()
        except UnicodeDecodeError:
            text = ""
        if not text or not text.isprintable() or " " in text:
            raise ValueError(f"{path} must hold one token and nothing else")
        return text

    return WatchedFiles("service token", [path], read)
