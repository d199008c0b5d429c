"""Print every RPC with what strangers are answered: ``PYTHONPATH=.:gen .venv/bin/python -m tests.access``.

Exit 1 when one of them is not refused.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from shared.telemetry import logs
from tests.access.walk import CORP_WIDE, KNOWN, OPEN, walker


async def _main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        async with walker(Path(folder) / "home") as walk:
            doors = await walk.doors()
    print("| RPC | no token | wrong token | one scope too few | another store's token |")
    print("| --- | --- | --- | --- | --- |")
    for one in doors:
        elsewhere = (
            f"{one.from_elsewhere} ({CORP_WIDE[one.path]})" if one.path in CORP_WIDE else one.from_elsewhere
        )
        print(
            f"| {one.path} | {one.without_token} | {one.with_wrong_token} "
            f"| {one.without_scope}: {one.scope} | {elsewhere} |"
        )
    problems = [one.problem for one in doors if one.problem]
    print(f"\n{len(doors)} RPCs, {len(problems)} not refused.")
    print(f"Open to everybody: {', '.join(sorted(OPEN))}. With any token: {', '.join(sorted(KNOWN))}.")
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    logs.configure(service="access", level="error", format="console")
    sys.exit(asyncio.run(_main()))
