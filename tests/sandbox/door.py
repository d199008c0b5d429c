"""Where callbacks arrive in tests, and how an app opens them."""

import asyncio
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha1
from urllib.parse import parse_qs
from xml.etree import ElementTree

from aiohttp import web
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

from sandbox.cipher import key_of

TOKEN, AES_KEY = "QDG6eK", "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C"


@dataclass
class App:
    """A callback URL that says what it is told to."""

    url: str = ""
    requests: list[tuple[str, bytes]] = field(default_factory=list)
    answer: Callable[[], web.StreamResponse] = lambda: web.Response(text="success")
    pause: float = 0

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.query_string, await request.read()))
        await asyncio.sleep(self.pause)
        return self.answer()


def opened(request: tuple[str, bytes]) -> Mapping[str, str]:
    """The fields of a callback's event, lists with a space between, once signature and receiver are found right."""
    query, body = request
    sealed = str(ElementTree.fromstring(body).findtext("Encrypt"))
    signed = {name: values[0] for name, values in parse_qs(query).items()}
    parts = sorted((TOKEN, signed["timestamp"], signed["nonce"], sealed))
    assert sha1("".join(parts).encode(), usedforsecurity=False).hexdigest() == signed["msg_signature"]
    key = key_of(AES_KEY)
    decryptor = Cipher(AES(key), CBC(key[:16])).decryptor()
    plain = decryptor.update(b64decode(sealed)) + decryptor.finalize()
    plain = plain[16 : -plain[-1]]
    length = int.from_bytes(plain[:4], "big")
    assert plain[4 + length :] == b"ww1"
    event = ElementTree.fromstring(plain[4 : 4 + length])
    return {child.tag: child.text or " ".join(item.text or "" for item in child) for child in event}
