"""What is known of one holder of a role, for words that are its own: ``{to.name}``.

Attributes are written beside a holder where a role is given out: ``zhangsan[name=张三,title=主管]``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from shared.errors import Invalid
from shared.text.neutral import LINE_BREAKS
from shared.text.parsing import NAME_CHARACTERS, is_name

Attributes = tuple[tuple[str, str], ...]
"""Names with their values, by name."""

ATTRIBUTES_MOST = 16
VALUE_BYTES = 256

BUILT_IN = ("id", "role")
"""Names that every recipient has: its id, and what people call the role it is told for."""

_WRITTEN = re.compile(r"([^\[\]]*)\[(.*)\]", re.DOTALL)
_LINES = re.compile(f"[{LINE_BREAKS}\0]")
_COMMA = re.compile(r"(?<!\\),")
_MEANT = re.compile(r"[,\\]")
_ESCAPE = re.compile(r"\\([,\\])")


def checked(given: Mapping[str, str], *, field: str = "attributes") -> Attributes:
    """The attributes as they are kept. Raises Invalid for *field*, naming the attribute and never its value."""
    if len(given) > ATTRIBUTES_MOST:
        raise Invalid.field(field, f"has {len(given)} attributes; {ATTRIBUTES_MOST} are allowed")
    for name, value in given.items():
        place = f"{field}[{name[:NAME_CHARACTERS]}]"
        if not is_name(name):
            raise Invalid.field(
                place, f"a name has 1 to {NAME_CHARACTERS} of a-z, 0-9 and _, and no digit first"
            )
        if name in BUILT_IN:
            raise Invalid.field(place, f"{name} is every recipient's own; choose another name")
        if len(value.encode()) > VALUE_BYTES or _LINES.search(value):
            raise Invalid.field(place, f"a value is one line of at most {VALUE_BYTES} bytes")
    return tuple(sorted(given.items()))


def split(written: str, *, field: str = "target") -> tuple[str, dict[str, str]]:
    r"""``zhangsan[name=张三,title=主管]`` as an id and its attributes; a comma inside a value is written ``\,``.

    Raises Invalid for *field* where the brackets hold anything else.
    """
    if "[" not in written:
        return written, {}
    found = _WRITTEN.fullmatch(written)
    pairs = [pair.partition("=") for pair in _COMMA.split(found[2])] if found is not None else []
    names = [name.strip() for name, _, _ in pairs]
    if found is None or not all(sign for _, sign, _ in pairs) or len(set(names)) < len(names):
        raise Invalid.field(field, "attributes are written like zhangsan[name=张三,title=主管]")
    return found[1], {
        name: _ESCAPE.sub(r"\1", value).strip() for name, (_, _, value) in zip(names, pairs, strict=True)
    }


def joined(ident: str, attributes: Mapping[str, str]) -> str:
    """The opposite of ``split``."""
    if not attributes:
        return ident
    pairs = (f"{name}={_MEANT.sub(_escaped, value)}" for name, value in sorted(attributes.items()))
    return f"{ident}[{','.join(pairs)}]"


def _escaped(match: re.Match[str]) -> str:
    return "\\" + match[0]
