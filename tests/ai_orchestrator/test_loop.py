"""ai_orchestrator has one event loop, the process's: nothing starts another, and nothing holds it up on purpose."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import services.ai_orchestrator

FORBIDDEN = {
    "asyncio.run",
    "asyncio.Runner",
    "asyncio.new_event_loop",
    "asyncio.run_coroutine_threadsafe",
    "loop.run_until_complete",
    "time.sleep",
}
"""What starts a second loop, or blocks the one there is."""


def _calls(source: str) -> Iterator[str]:
    """Every call of a file, as it is written, and what is imported by name from the modules concerned."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)
            if isinstance(node.func, ast.Attribute):
                yield f"loop.{node.func.attr}"  # whatever the loop is called there
        elif isinstance(node, ast.ImportFrom) and node.module in ("asyncio", "time"):
            yield from (f"{node.module}.{one.name}" for one in node.names)
        elif isinstance(node, ast.Import) and any(one.name == "requests" for one in node.names):
            yield "requests"


def _found(source: str) -> set[str]:
    return FORBIDDEN.union({"requests"}) & set(_calls(source))


def test_no_file_starts_a_loop_or_blocks_one() -> None:
    files = sorted(Path(services.ai_orchestrator.__file__).parent.rglob("*.py"))
    assert len(files) > 50
    assert {str(file): bad for file in files if (bad := _found(file.read_text(encoding="utf-8")))} == {}


def test_each_way_to_do_so_would_be_found() -> None:
    for source in (
        "import asyncio\nasyncio.run(main())",
        "from asyncio import run",
        "asyncio.get_event_loop().run_until_complete(x)",
        "import time\ntime.sleep(1)",
        "from time import sleep",
        "import requests",
    ):
        assert _found(source), source
