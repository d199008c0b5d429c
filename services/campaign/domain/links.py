"""Links in what customers read: found as clients find them, and where they lead.

Whatever a client might open counts, also what is written without ``https://``. A host is allowed by its whole name, or
with all below it by ``*.`` before it; what cannot be read as one plain host is not.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import urlsplit

from shared.values import value_class

_LABEL: Final = r"[0-9A-Za-z\u00a1-\u2dff](?:[0-9A-Za-z\u00a1-\u2dff-]{0,61}[0-9A-Za-z\u00a1-\u2dff])?"
_GENERIC: Final = (
    "app|art|biz|club|cloud|com|design|dev|edu|fun|gov|group|host|info|ink|int|link|live|ltd|market|mil|mobi|name|net"
    "|news|online|org|page|plus|pro|pub|ren|run|shop|show|site|space|store|team|tech|today|top|video|vip|wang|wiki|win"
    "|work|world|xin|xyz|zone"
)
"""Endings that clients take for a host's without a scheme, beside those of countries, which have two letters."""
_LINK: Final = re.compile(
    r"[A-Za-z][0-9A-Za-z+.-]{0,30}:/*//[^\s<>\"'`，。！？；：、（）【】《》「」“”‘’…]+"
    rf"|(?<![0-9A-Za-z\u00a1-\u2dff@.-])(?:{_LABEL}\.)+(?:{_GENERIC}|[A-Za-z]{{2}}|xn--[0-9A-Za-z-]{{1,59}})"
    r"(?![0-9A-Za-z\u00a1-\u2dff-])(?::[0-9]+)?(?:[/?#][^\s<>\"'`，。！？；：、（）【】《》「」“”‘’…]*)?",
    re.IGNORECASE,
)
_DOTS: Final = "。｡．"
_HTTPS_PORT: Final = 443


@value_class
class Link:
    """What a client may take for a link."""

    start: int
    end: int
    found: str
    """As it is written."""
    url: str
    """As a client reads it."""


def links(text: str) -> Iterator[Link]:
    """Every link in *text*, by place."""
    seen, places = _read(text)
    for match in _LINK.finditer(seen):
        start, last = places[match.start()], places[match.end() - 1]
        yield Link(start, last + 1, text[start : last + 1], match[0])


class LinkHosts:
    """The hosts that links may lead to."""

    def __init__(self, allowed: Iterable[str]) -> None:
        """Names of hosts; ``*.`` before one allows all below it, and not itself. None: no links at all."""
        self._exact: set[str] = set()
        self._below: list[str] = []
        for name in allowed:
            if name.startswith("*."):
                self._below.append("." + (_ascii(name[2:]) or name[2:]))
            else:
                self._exact.add(_ascii(name) or name)

    def allows(self, url: str) -> bool:
        """Whether *url* leads to one of them by https, with nothing that could be read in two ways."""
        host = host_of(url)
        return bool(host) and (host in self._exact or host.endswith(tuple(self._below)))


def host_of(url: str) -> str:
    """The one host that every client would ask for *url*, in ASCII; '' where they might differ."""
    text = url if re.match(r"[A-Za-z][0-9A-Za-z+.-]*:", url) and "://" in url else f"https://{url}"
    if "\\" in text or any(char.isspace() or not char.isprintable() for char in text):
        return ""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return ""
    if parts.scheme.lower() != "https" or "@" in parts.netloc or port not in (None, _HTTPS_PORT):
        return ""
    return _ascii(parts.hostname or "")


def _ascii(host: str) -> str:
    """*host* as resolvers are asked; '' for what is no name."""
    try:
        name = host.encode("idna").decode("ascii").lower().removesuffix(".")
    except UnicodeError:
        return ""
    return name if re.fullmatch(r"[0-9a-z]([0-9a-z.-]*[0-9a-z])?", name) and ".." not in name else ""


def _read(text: str) -> tuple[str, list[int]]:
    """*text* as clients read it, and where each of its characters comes from."""
    seen: list[str] = []
    places: list[int] = []
    for place, char in enumerate(text):
        if unicodedata.category(char) == "Cf":
            continue
        if char in _DOTS:
            # A stop before an ideograph ends a sentence; before a letter it may be the dot of a host.
            following = text[place + 1 : place + 2]
            wide = unicodedata.normalize("NFKC", following)
            char = "." if wide[:1].isalnum() and wide[:1] < "\u2e80" else char
        else:
            plain = unicodedata.normalize("NFKC", char)
            char = plain if len(plain) == 1 and plain.isascii() and char not in "，！？；：（）" else char
        seen.append(char)
        places.append(place)
    return "".join(seen), places
