"""Callbacks of the platform: who sent them is proved by a signature, what they say is encrypted.

Everything here is checked in this order: shape of the query, freshness, signature (in constant time), and only then
anything is decrypted or parsed. Whatever is wrong, the refusal is the same, so that nobody learns from answers how
far a forgery got. A repeat of a genuine callback passes: what it is a repeat of, the caller's rows must know.

Sources: developer.work.weixin.qq.com 90930 (verification, delivery), 90968 (cipher).
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import parse_qsl

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

from shared.values import value_class
from shared.wecom.callback_xml import Malformed, fields

WINDOW: Final = timedelta(seconds=300)
"""How far a callback's timestamp may lie from our clock, before or after it."""

MOST_BYTES: Final = 64 * 1024
"""Of a body; real ones have a few hundred."""

MOST_QUERY: Final = 8 * 1024

_RANDOM, _LENGTH, _BLOCK = 16, 4, 32
_TOLD = ("FromUserName", "CreateTime", "MsgType", "Event", "EventKey", "TaskId", "MsgId")
_TOLD_OF_GROUP = (
    "ChatId",
    "ChangeType",
    "UpdateDetail",
    "JoinScene",
    "QuitScene",
    "MemChangeCnt",
    "LastMemVer",
    "CurMemVer",
)
"""Two changes of one second are told apart by their groups, and those of one group by what changed."""
_TOLD_OF_KF = ("OpenKfId", "Token", "AuthAddOpenKfId", "AuthDelOpenKfId")
"""Two calls of one second are told apart by their tokens: a customer may write twice in it."""
_SIGNATURE = re.compile(r"[0-9a-f]{40}", re.ASCII)
_TIMESTAMP = re.compile(r"[0-9]{1,11}", re.ASCII)
_ECHO = re.compile(rb"[0-9A-Za-z_+/=.:-]{1,128}")
_NONCE = re.compile(r"[\x21-\x7e]{1,64}", re.ASCII)


class Forged(Exception):
    """Not from the platform, not for us, or not fresh; why is for our log alone, never for the answer."""


@value_class
class Stamp:
    """What signs a callback, from its query string."""

    signature: str
    timestamp: str
    nonce: str
    echo: str = field(default="", repr=False)
    """The encrypted text of a verification; empty for a delivery."""

    @classmethod
    def of_query(cls, raw: bytes | str) -> Stamp:
        """From a query string; raises :class:`Forged` unless each part is there once and looks as it should."""
        text = raw.decode("latin-1") if isinstance(raw, bytes) else raw
        if len(text) > MOST_QUERY:
            raise Forged("the query is too long")
        try:
            pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=16)
        except ValueError as error:
            raise Forged("the query cannot be read") from error
        signature, timestamp, nonce = (_once(pairs, name) for name in ("msg_signature", "timestamp", "nonce"))
        shapes = ((_SIGNATURE, signature), (_TIMESTAMP, timestamp), (_NONCE, nonce))
        if not all(pattern.fullmatch(value) for pattern, value in shapes):
            raise Forged("the query has another shape")
        echoes = [value for name, value in pairs if name == "echostr"]
        return cls(signature, timestamp, nonce, echoes[0] if len(echoes) == 1 else "")

    def fresh(self, now: datetime) -> bool:
        """Whether it was signed within ``WINDOW`` of *now*."""
        return abs(now.astimezone(UTC).timestamp() - int(self.timestamp)) <= WINDOW.total_seconds()


@value_class
class Opened:
    """A callback that is genuine."""

    text: bytes = field(repr=False)
    """The message inside, as the platform wrote it."""
    timestamp: str
    nonce: str

    def fields(self) -> dict[str, str]:
        """Its top-level fields; raises :class:`Forged` where it is not XML as the platform writes it."""
        try:
            return fields(self.text)
        except Malformed as error:
            raise Forged(f"the message: {error}") from error


class CallbackKey:
    """Token and key of one callback URL; ``receive_id`` is whom its messages must be for (the corp id)."""

    def __init__(self, token: str, aes_key: str, receive_id: str) -> None:
        """Raises ValueError for an *aes_key* that is not 43 characters of Base64."""
        key = b64decode(aes_key + "=", validate=True)
        if len(key) != 32:
            raise ValueError("an EncodingAESKey has 43 characters")
        self._token = token
        self._cipher = Cipher(AES(key), CBC(key[:16]))
        self._receive_id = receive_id.encode()

    def echo(self, stamp: Stamp, now: datetime) -> bytes:
        """What a verification of the URL is answered with, byte for byte. Raises :class:`Forged`, also for what is no
        short word: a delivery is signed alike, and who recorded one is not to have it decrypted by asking."""
        text = self._open(stamp, stamp.echo, now)
        if not _ECHO.fullmatch(text):
            raise Forged("no word to be echoed")
        return text

    def open(self, stamp: Stamp, body: bytes, now: datetime) -> Opened:
        """The message inside the XML envelope *body*. Raises :class:`Forged`."""
        if len(body) > MOST_BYTES:
            raise Forged("the body is too long")
        try:
            sealed = fields(body).get("Encrypt", "")
        except Malformed as error:
            raise Forged(f"the envelope: {error}") from error
        return Opened(self._open(stamp, sealed, now), stamp.timestamp, stamp.nonce)

    def signature(self, timestamp: str, nonce: str, sealed: str) -> str:
        """What *sealed* must be signed with."""
        parts = sorted(part.encode() for part in (self._token, timestamp, nonce, sealed))
        return hashlib.sha1(b"".join(parts), usedforsecurity=False).hexdigest()

    def decrypted(self, sealed: str) -> bytes:
        """The message in *sealed*, whose signature has been checked. Raises :class:`Forged`."""
        try:
            cipher = b64decode(sealed, validate=True)
        except (binascii.Error, ValueError) as error:
            raise Forged("not Base64") from error
        if not cipher or len(cipher) % 16:
            raise Forged("no whole blocks")
        decryptor = self._cipher.decryptor()
        plain = decryptor.update(cipher) + decryptor.finalize()
        return self._message(plain)

    def _open(self, stamp: Stamp, sealed: str, now: datetime) -> bytes:
        if not stamp.fresh(now):
            raise Forged("not fresh")
        if not sealed:
            raise Forged("nothing encrypted")
        try:
            expected = self.signature(stamp.timestamp, stamp.nonce, sealed)
        except UnicodeEncodeError as error:
            raise Forged("no text that could be signed") from error
        if not hmac.compare_digest(expected.encode(), stamp.signature.encode()):
            raise Forged("the signature is another one")
        return self.decrypted(sealed)

    def _message(self, plain: bytes) -> bytes:
        pad = plain[-1]
        # The padding is PKCS7 for blocks of 32 bytes, twice the cipher's own.
        if not 1 <= pad <= _BLOCK or not plain.endswith(bytes([pad]) * pad):
            raise Forged("the padding is wrong")
        body = plain[_RANDOM:-pad]
        length = int.from_bytes(body[:_LENGTH], "big")
        message, receiver = body[_LENGTH : _LENGTH + length], body[_LENGTH + length :]
        if len(body) < _LENGTH or len(message) != length:
            raise Forged("the length is wrong")
        if not hmac.compare_digest(receiver, self._receive_id):
            raise Forged("it is for somebody else")
        return message


def repeat_keys(opened: Opened, said: Mapping[str, str]) -> tuple[str, str]:
    """What a genuine callback is known by: its signed nonce, and what it tells; a row with either has seen it.

    The platform repeats an event after a time-out, maybe signed anew; an attacker repeats the very request.
    """
    told = [said.get(name, "") for name in (*_TOLD, *_TOLD_OF_KF)]
    if "ChatId" in said:
        told += [said.get(name, "") for name in _TOLD_OF_GROUP]
    return _digest("nonce", [opened.timestamp, opened.nonce]), _digest("event", told)


def _digest(kind: str, parts: Sequence[str]) -> str:
    # Each part with its length before it, so that no two lists give the same text.
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return f"{kind}-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"


def _once(pairs: Sequence[tuple[str, str]], name: str) -> str:
    values = [value for key, value in pairs if key == name]
    if len(values) != 1:
        raise Forged(f"{name} must stand in the query once")
    return values[0]
