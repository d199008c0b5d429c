"""One table of a playbook's file, read key by key; what is left over or wrong is named by file and field."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from shared.errors import Invalid


class Fields:
    """Reads each key once, with its kind and its bounds; ``closed`` refuses those that nobody asked for."""

    def __init__(self, document: object, source: str, at: str = "") -> None:
        """*at* is where the table stands in *source*, the file's name. Raises Invalid for what is no table."""
        self._source, self._at = source, at
        if not isinstance(document, Mapping):
            raise self.wrong("", "is a table")
        self.document: Mapping[str, Any] = document
        self._asked: set[str] = set()

    def wrong(self, key: str, description: str) -> Invalid:
        """What is wrong with *key* of this table."""
        field = ".".join(part for part in (self._at, key) if part)
        return Invalid.field(f"{self._source} {field}".strip(), description)

    def any(self, key: str, default: object = None) -> Any:
        """Whatever stands there; *default* where nothing does. Raises Invalid where neither is."""
        self._asked.add(key)
        found = self.document.get(key, default)
        if found is None:
            raise self.wrong(key, "is missing")
        return found

    def text(self, key: str, *, most: int, default: str | None = None) -> str:
        """Characters, at most so many, and at least one unless there is a default."""
        found = self.any(key, default)
        if not isinstance(found, str) or len(found) > most or (default is None and not found.strip()):
            raise self.wrong(key, f"has 1 to {most:,} characters")
        return found

    def texts(self, key: str, most: int, chars: int) -> tuple[str, ...]:
        """A list of texts, empty where nothing stands there."""
        found = self.listed(key, 0, most)
        if not all(isinstance(one, str) and 1 <= len(one) <= chars for one in found):
            raise self.wrong(key, f"holds texts of 1 to {chars} characters")
        return tuple(found)

    def number(self, key: str, least: int, most: int, *, default: int | None = None) -> int:
        """A whole number."""
        found = self.any(key, default)
        if isinstance(found, bool) or not isinstance(found, int) or not least <= found <= most:
            raise self.wrong(key, f"is a whole number from {least:,} to {most:,}")
        return found

    def numbers(self, key: str, least: int, most: int) -> tuple[int, ...]:
        """A list of whole numbers, none of them twice; empty where nothing stands there."""
        found = self.listed(key, 0, most - least + 1)
        plain = all(
            isinstance(one, int) and not isinstance(one, bool) and least <= one <= most for one in found
        )
        if not plain or len(set(found)) != len(found):
            raise self.wrong(key, f"holds whole numbers from {least} to {most}, each once")
        return tuple(found)

    def bounds(self, key: str, least: int, most: int) -> tuple[int, int]:
        """A least and a most, within those given, which hold where nothing stands there."""
        found = self.any(key, [least, most])
        if (
            not isinstance(found, list)
            or len(found) != 2
            or not all(isinstance(one, int) and not isinstance(one, bool) for one in found)
            or not least <= found[0] <= found[1] <= most
        ):
            raise self.wrong(
                key, f"is a least and a most within {least:,} and {most:,}, such as [{least}, {most}]"
            )
        return found[0], found[1]

    def choice(self, key: str, known: Collection[str]) -> str:
        """One of *known*."""
        found = self.any(key)
        if found not in known:
            raise self.wrong(key, f"is not known; there are {', '.join(known)}")
        return str(found)

    def truth(self, key: str) -> bool:
        """True or false; false where nothing stands there."""
        found = self.any(key, default=False)
        if not isinstance(found, bool):
            raise self.wrong(key, "is true or false")
        return found

    def table(self, key: str, default: Mapping[str, Any] | None = None) -> Fields:
        """A table below."""
        return Fields(self.any(key, default), self._source, self._below(key))

    def each(self, key: str, most: int, default: Sequence[Any] | None = None) -> list[Fields]:
        """Tables below, at least one unless there is a default."""
        found = self.any(key, default)
        if not isinstance(found, list | tuple) or len(found) > most or (default is None and not found):
            raise self.wrong(key, f"holds 1 to {most} tables")
        return [Fields(one, self._source, self._below(f"{key}[{at}]")) for at, one in enumerate(found)]

    def listed(self, key: str, least: int, most: int) -> list[Any]:
        """A list of so many."""
        found = self.any(key, []) if not least else self.any(key)
        if not isinstance(found, list) or not least <= len(found) <= most:
            raise self.wrong(key, f"is a list of {least} to {most}")
        return found

    def closed(self) -> None:
        """Raises Invalid for a key that nobody has asked for."""
        for key in sorted(set(self.document) - self._asked):
            raise self.wrong(key, "is not known here")

    def _below(self, key: str) -> str:
        return f"{self._at}.{key}" if self._at else key
