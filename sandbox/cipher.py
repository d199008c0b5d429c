"""The platform's side of callback crypto: what it sends is sealed and signed (90930, 90968)."""

import hashlib
import secrets
from base64 import b64decode, b64encode
from urllib.parse import urlencode

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

_BLOCK = 32


def key_of(aes_key: str) -> bytes:
    """The 32 bytes of an EncodingAESKey; ValueError when it is none."""
    try:
        key = b64decode(aes_key + "=", validate=True)
    except ValueError:
        key = b""
    if len(aes_key) != 43 or len(key) != 32:
        raise ValueError("aes_key has 43 characters of Base64")
    return key


def seal(message: bytes, aes_key: str, receive_id: str) -> str:
    """*message* as it travels: random, length, message and receiver, padded to 32 and encrypted."""
    key = key_of(aes_key)
    plain = secrets.token_bytes(16) + len(message).to_bytes(4, "big") + message + receive_id.encode()
    pad = _BLOCK - len(plain) % _BLOCK
    encryptor = Cipher(AES(key), CBC(key[:16])).encryptor()
    return b64encode(encryptor.update(plain + bytes([pad]) * pad) + encryptor.finalize()).decode()


def signed_query(token: str, timestamp: int, sealed: str, *, echo: bool = False) -> str:
    """The query string that signs *sealed*, with it as ``echostr`` for a verification."""
    nonce = str(secrets.randbelow(10**10))
    parts = sorted((token, str(timestamp), nonce, sealed))
    signature = hashlib.sha1("".join(parts).encode(), usedforsecurity=False).hexdigest()
    query = {"msg_signature": signature, "timestamp": str(timestamp), "nonce": nonce}
    return urlencode({**query, "echostr": sealed} if echo else query)
