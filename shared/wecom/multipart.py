"""A one-part form, as media uploads want it."""

from __future__ import annotations

import os


def one_file(filename: str, content: bytes) -> tuple[bytes, str]:
    """The body and its content type. The name goes out as raw UTF-8: the platform mishandles ``filename*``."""
    boundary = f"reach-{os.urandom(12).hex()}"
    safe = "".join(c for c in filename if c.isprintable()).replace("\\", "_").replace('"', "%22") or "file"
    head = (
        f"--{boundary}\r\n"
        f'Content-Disposition: form-data; name="media"; filename="{safe}"; filelength={len(content)}\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    return (
        head.encode() + content + f"\r\n--{boundary}--\r\n".encode(),
        f"multipart/form-data; boundary={boundary}",
    )
