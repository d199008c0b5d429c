"""Write services/campaign/domain/lookalikes.py: letters of other scripts that look like Latin letters, digits or ideographs.

    python tools/genlookalikes.py confusables.json

The file is that of the package confusable_homoglyphs (MIT), which is the table of Unicode's UTS #39 as JSON. Kept are
single letters and digits that neither normalisation nor case folding leads to their likeness.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from collections import defaultdict
from pathlib import Path

TARGET = Path(__file__).parent.parent / "services" / "campaign" / "domain" / "lookalikes.py"
HEADER = '''"""Letters and digits of other scripts, by what they look like. Written by tools/genlookalikes.py; do not edit.

Source: Unicode Technical Standard #39, confusables, in the JSON form of confusable_homoglyphs {version}
(MIT).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

LOOKALIKES: Final[Mapping[str, str]] = {{
'''


def is_ideograph(char: str) -> bool:
    """Whether *char* is one of the unified ideographs of the common block."""
    return "\u4e00" <= char <= "\u9fff"


def plain(char: str) -> bool:
    """Whether something may be folded to *char*."""
    return len(char) == 1 and ((char.isascii() and char.isalnum()) or is_ideograph(char))


def likeness(char: str, others: list[str]) -> str:
    """What *char* is folded to; '' for nothing."""
    if len(char) != 1 or char.isascii() or is_ideograph(char):
        return ""
    folded = unicodedata.normalize("NFKD", char).casefold()
    if not all(unicodedata.category(one)[0] in "LN" for one in char) or plain(folded[:1]):
        return ""
    latin = sorted({one.casefold() for one in others if plain(one) and one.isascii()})
    ideographs = sorted(one for one in others if plain(one) and is_ideograph(one))
    if not latin and "rn" in others:
        return "m"
    return (latin or ideographs or [""])[0]


def main(source: str, version: str = "3.3.1") -> None:
    """Write the module."""
    table = json.loads(Path(source).read_text(encoding="utf-8"))
    found: dict[str, list[str]] = defaultdict(list)
    for char, others in table.items():
        if like := likeness(char, [one["c"] for one in others]):
            found[like].append(char)
    lines = [HEADER.format(version=version)]
    for like, chars in sorted(found.items()):
        escaped = "".join(
            f"\\u{ord(c):04x}" if ord(c) < 0x10000 else f"\\U{ord(c):08x}" for c in sorted(chars)
        )
        lines.append(f'    "{like}": "{escaped}",\n')
    lines.append("}\n" + '"""What is looked like, and all that looks like it."""\n')
    TARGET.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
