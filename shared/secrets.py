"""The key that keeps stored credentials unreadable without this host's file."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.errors import Conflict, Invalid

_KEY_BYTES = 32
_NONCE_BYTES = 12
_VERSION = "v1"


class SecretKey:
    """AES-256-GCM under one 32-byte key.

    Ciphertexts are ASCII text (``v1.<fingerprint>.<base64>``), say which key made them, and open
    only with the *context* they were sealed for, so that a row's secret cannot be moved to another.
    """

    def __init__(self, key: bytes) -> None:
        """Raises :class:`shared.errors.Invalid` unless *key* is 32 bytes."""
        if len(key) != _KEY_BYTES:
            raise Invalid("SECRET_KEY_INVALID", f"the secret key must be {_KEY_BYTES} bytes, not {len(key)}")
        self._key = key
        self._aead = AESGCM(key)
        self._fingerprint = hashlib.sha256(b"reach secret key\0" + key).hexdigest()[:12]

    @classmethod
    def load(cls, path: Path) -> SecretKey:
        """Read the key from a file that holds 32 raw bytes or their base64.

        Raises :class:`shared.errors.Invalid` for a file that cannot be read or holds neither.
        """
        try:
            content = path.read_bytes()
        except OSError as error:
            raise Invalid(
                "SECRET_KEY_INVALID", f"the secret key file cannot be read: {error.strerror}"
            ) from error
        if len(content) == _KEY_BYTES:
            return cls(content)
        try:
            text = content.strip().replace(b"-", b"+").replace(b"_", b"/")
            return cls(base64.b64decode(text, validate=True))
        except (binascii.Error, Invalid):
            raise Invalid(
                "SECRET_KEY_INVALID", "the secret key file must hold 32 bytes, raw or in base64"
            ) from None

    @classmethod
    def create(cls, path: Path) -> SecretKey:
        """Write a new random key (base64, readable by the owner only) and return it.

        A file already there is never replaced: it may be all that opens the database. It is loaded.
        """
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(base64.b64encode(os.urandom(_KEY_BYTES)) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):
                os.link(temporary, path)  # whole or not at all, and never over another's
        finally:
            temporary.unlink()
        return cls.load(path)

    def encrypt(self, plain: str, context: str) -> str:
        """Seal *plain* for *context* (the row it belongs to)."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = nonce + self._aead.encrypt(nonce, plain.encode(), context.encode())
        return f"{_VERSION}.{self._fingerprint}.{base64.b64encode(sealed).decode()}"

    def decrypt(self, sealed: str, context: str) -> str:
        """Open what :meth:`encrypt` made.

        Raises :class:`shared.errors.Conflict` (``SECRET_KEY_MISMATCH``) for another key, another
        context or an altered text.
        """
        version, _, rest = sealed.partition(".")
        fingerprint, _, encoded = rest.partition(".")
        if version != _VERSION or fingerprint != self._fingerprint:
            raise Conflict(
                "SECRET_KEY_MISMATCH", "a stored secret was sealed with another key", key=self._fingerprint
            )
        try:
            raw = base64.b64decode(encoded, validate=True)
            return self._aead.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], context.encode()).decode()
        except (InvalidTag, binascii.Error, ValueError):
            raise Conflict("SECRET_KEY_MISMATCH", "a stored secret was altered or moved") from None

    def derive(self, purpose: str) -> bytes:
        """Another key of 32 bytes for *purpose*; the same on every host with this key."""
        return hmac.digest(self._key, b"reach derive\0" + purpose.encode(), "sha256")

    def fingerprint(self) -> str:
        """Twelve hex digits that name the key without telling it; the same on every host."""
        return self._fingerprint

    def __repr__(self) -> str:
        return f"SecretKey({self._fingerprint})"
