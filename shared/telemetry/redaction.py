"""Masks secrets and phone numbers in any text that leaves the process as telemetry.

WeCom carries its credentials in query strings and webhook keys in URLs, so every URL, every error
text of an HTTP library and every traceback is a place where they leak. ``redact`` is applied where
text leaves (the log handler, the exporter of spans, stored errors), not where it is written: nobody
has to remember it. It is pure but for the literal secrets registered at the start.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote, quote_plus

MASK: Final = "***"

# Values shorter than this are not secrets worth the name, and masking them would eat ordinary text.
_SHORTEST = 6

SECRET_FIELDS: Final = frozenset(
    [
        "access_token",
        "accesstoken",
        "refresh_token",
        "corpsecret",
        "corp_secret",
        "secret",
        "client_secret",
        "appsecret",
        "app_secret",
        "kf_secret",
        "customer_secret",
        "api_key",
        "apikey",
        "x-api-key",
        "aes_key",
        "encodingaeskey",
        "encoding_aes_key",
        "password",
        "passwd",
        "pwd",
        "authorization",
        "proxy-authorization",
        "token",
        "robot_key",
        "webhook_key",
        "webhook_url",
        "suite_ticket",
        "suite_access_token",
        "suite_secret",
        "ticket",
        "jsapi_ticket",
        "permanent_code",
        "private_key",
        "cookie",
        "set-cookie",
    ]
)
"""Names of fields whose value is a secret whatever it looks like, in lower case."""

_NAMES = "|".join(sorted(map(re.escape, SECRET_FIELDS), key=len, reverse=True))

# A word that names a secret: one of the names, alone or after a prefix (kf_access_token, %26corpsecret).
# `key` only by itself: it is how WeCom writes a robot's key, while routing_key and the like are harmless.
_SECRET_NAME: Final = re.compile(
    rf"(?:^|.*[^a-z])(?:{_NAMES})|(?:[0-9][0-9a-f])?key", re.IGNORECASE | re.DOTALL
)

# name=value in a query, a form or text; name: value; and either one quoted, as in JSON, JSON within a
# string, and reprs. The word is taken possessively, so that the search runs through text once.
_NAME: Final = re.compile(
    r"""(?<![A-Za-z0-9_-])(?P<name>[A-Za-z0-9_-]++)
        (?: (?P<quoted>\\*["']?\s*[:=]\s*b?\\*["']) | (?P<plain>=|%3[dD]|:\s+) )""",
    re.VERBOSE,
)
_QUOTED_VALUE: Final = re.compile(r"""(?:[^"'\\]|\\[^"'])+""")
_PLAIN_VALUE: Final = re.compile(r"""[^\s&;"'<>\\,(){}\[\]#|]+""")

_MOBILE: Final = re.compile(
    # With or without +86 and separators. The look-behinds follow the literal 1, so that the search
    # can skip from 1 to 1.
    r"1(?:(?<![0-9]1)|(?<=(?<![0-9])861))([3-9][0-9])[ -]?[0-9]{4}[ -]?([0-9]{4})(?![0-9])"
)

# The first column is a cheap question; most text answers no to all of them.
_SHAPES: Final = tuple(
    (hint, re.compile(pattern, re.IGNORECASE), mask)
    for hint, pattern, mask in (
        # amqp://user:password@host. A raw @ in the password is common enough to reach for the last one.
        ("://", r"""(://[^\s:/?#@"']*:)[^\s/"']*@""", rf"\g<1>{MASK}@"),
        ("bearer", r"\b(bearer\s+)[a-z0-9._~+/=-]{6,}", rf"\g<1>{MASK}"),
        ("basic", r"\b(basic\s+)[a-z0-9+/=_-]{6,}", rf"\g<1>{MASK}"),
        # Ours: the id is no secret and says which token it was.
        ("reach_", r"(?<![0-9a-z])(reach_[0-9a-f]{12}_)[0-9a-z_-]+", rf"\g<1>{MASK}"),
        ("sk-", r"\b(sk-)[a-z0-9_-]{8,}", rf"\g<1>{MASK}"),
        ("eyj", r"\beyj[a-z0-9_-]{6,}\.[a-z0-9_-]{6,}(?:\.[a-z0-9_-]*)?", MASK),
    )
)


def _mask_named(text: str) -> str:
    parts: list[str] = []
    done = position = 0
    while match := _NAME.search(text, position):
        position = match.end()
        # "key: value" is ordinary prose; only key=value is WeCom's.
        prose = match["plain"] is not None and match["plain"][0] == ":" and match["name"].lower() == "key"
        if prose or _SECRET_NAME.fullmatch(match["name"]) is None:
            continue
        value = (_QUOTED_VALUE if match["quoted"] else _PLAIN_VALUE).match(text, position)
        if value is not None:
            parts += text[done:position], MASK
            done = position = value.end()
    return "".join((*parts, text[done:])) if parts else text


def _spellings(secret: str) -> set[str]:
    quoted = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1]}
    return {secret, quote(secret, safe=""), quote_plus(secret), *quoted}


class Redactor:
    """Masks by rule, and masks the literal secrets it was told about."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets: set[str] = set()
        self._literal: re.Pattern[str] | None = None
        self.register(*secrets)

    def register(self, *secrets: str) -> None:
        """Never show these values again, nor as a URL, JSON or a repr writes them. Values under 6
        characters are left to the rules."""
        new = [one for one in secrets if len(one) >= _SHORTEST and one not in self._secrets]
        if not new and self._literal is not None:
            return
        for secret in new:
            self._secrets.update(_spellings(secret))
        # The longest first, so that a secret that begins with another one is masked whole.
        words = sorted(self._secrets, key=len, reverse=True)
        self._literal = re.compile("|".join(map(re.escape, words))) if words else None

    def __call__(self, text: str) -> str:
        """*text* with everything secret masked. Masking twice changes nothing more."""
        if self._literal is not None:
            text = self._literal.sub(MASK, text)
        lower = text.lower()
        for hint, pattern, mask in _SHAPES:
            if hint in lower:
                text = pattern.sub(mask, text)
        if "=" in text or ":" in text or "%3" in text:
            text = _mask_named(text)
        return _MOBILE.sub(r"1\g<1>****\g<2>", text) if "1" in text else text


_default = Redactor()


def redact(text: str) -> str:
    """Mask secrets and mobile numbers in *text*, registered secrets included."""
    return _default(text)


def register_secret(*secrets: str) -> None:
    """Tell the process's redactor about secrets it holds (``Settings.secrets()``, a fresh token)."""
    _default.register(*secrets)


def mask_phone(number: str) -> str:
    """``13800138000`` → ``138****8000``; anything else, all but its last two characters hidden."""
    masked = redact(number)
    return masked if masked != number else "*" * max(0, len(number) - 2) + number[-2:]
