"""The XML of callbacks, read as what a stranger sent: no declarations, no entities, bounded in depth and number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from xml.etree.ElementTree import Element, ParseError

from defusedxml.ElementTree import fromstring

MOST_DEPTH: Final = 8
MOST_ELEMENTS: Final = 500
SEVERAL: Final = frozenset({"AuthAddOpenKfId", "AuthDelOpenKfId"})
"""The fields that the platform writes once for each account; they come joined by a space."""


class Malformed(Exception):
    """It is not the XML of a callback."""


def fields(document: bytes) -> dict[str, str]:
    """The fields right under the root that hold text; what nests deeper is left out.

    Raises :class:`Malformed` for anything but well-formed UTF-8 XML without a DOCTYPE, at most ``MOST_DEPTH`` deep,
    of at most ``MOST_ELEMENTS`` elements, in which no field but those of ``SEVERAL`` stands twice.
    """
    found: dict[str, str] = {}
    for child in _root(document):
        text = child.text or ""
        if child.tag in found:
            if child.tag not in SEVERAL:
                raise Malformed("a field stands twice")
            text = f"{found[child.tag]} {text}"
        if len(child) == 0:
            found[child.tag] = text
    return found


def _root(document: bytes) -> Element:
    try:
        # As text, so that a declared encoding cannot make other characters of the bytes that were checked.
        root: Element = fromstring(document.decode("utf-8"), forbid_dtd=True)
    except (ParseError, ValueError, LookupError) as error:
        raise Malformed("not well-formed, or with declarations of its own") from error
    for number, depth in enumerate(_depths(root), start=1):
        if depth > MOST_DEPTH or number > MOST_ELEMENTS:
            raise Malformed("too deep, or too many elements")
    return root


def _depths(root: Element) -> Iterator[int]:
    """How deep each element stands, without recursion."""
    left = [(root, 1)]
    while left:
        element, depth = left.pop()
        yield depth
        left.extend((child, depth + 1) for child in element)
