"""Expected texts kept as files that people read; written anew only with ``GOLDEN_WRITE=1``, to be reviewed as a diff."""

from __future__ import annotations

import os
from pathlib import Path


def check_golden(path: Path, text: str) -> None:
    """Compare *text* with the file at *path*."""
    text = text.rstrip("\n") + "\n"
    if os.environ.get("GOLDEN_WRITE") == "1":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return
    assert path.is_file(), f"{path} is missing; GOLDEN_WRITE=1 writes it"
    assert text == path.read_text(encoding="utf-8"), f"{path.name} differs; GOLDEN_WRITE=1 writes it anew"
