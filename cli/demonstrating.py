"""``reach demo``: a restaurant's evening, played through the embedded suite and checked."""

from __future__ import annotations

import typer


def demo() -> None:
    """Play a restaurant's evening on embedded defaults and show who received what."""
    from cli.demo.evening import run_demo

    raise typer.Exit(run_demo())
