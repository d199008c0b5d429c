"""What every command does alike: read the settings, run, and say a failure in one line.

Exit codes: 0 done · 1 failed, or something was found wrong · 2 asked or configured wrongly.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import typer

if TYPE_CHECKING:
    from shared.errors import ReachError
    from shared.settings import Settings

T = TypeVar("T")

SERVICES = ("notifier", "kf_session", "ai_orchestrator", "campaign")
"""The services there are; ``explain``, ``doctor`` and ``dead`` ask every one of them."""

TOKEN_VARIABLE = "REACH_TOKEN"
"""The token a person's commands show; services have REACH_SERVICE_TOKEN_FILE."""

FAILED, MISUSED = 1, 2


def settings(service: str = "up") -> Settings:
    """The settings of this environment; prints every problem and exits 2 when there are any."""
    from shared.settings import SettingsError, load

    try:
        return load(os.environ, service=service, also_known={TOKEN_VARIABLE})
    except SettingsError as error:
        refuse(*error.problems)


def configure_logs(chosen: Settings, service: str) -> None:
    """Send the logs of a serving process through the chain, with its secrets known to the redactor."""
    from shared.telemetry import logs, redaction

    logs.configure(service=service, level=chosen.log_level, format=chosen.log_format)
    redaction.register_secret(*chosen.secrets())


def quieten_logs() -> None:
    """Keep library chatter out of a command's output: what failed is said once, by the command itself."""
    import logging

    from shared.telemetry import logs

    logs.configure(service="reach", level="error", format="auto")
    logging.disable()


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run one command's work; a failure that was to be expected is one line and the exit code."""
    with failures_told():
        return asyncio.run(work)


@contextmanager
def failures_told() -> Iterator[None]:
    """Turn a failure with a meaning into lines on stderr and an exit; a bug keeps its traceback."""
    from shared.environment import ConfigurationError
    from shared.errors import Invalid, ReachError
    from shared.process import expected

    try:
        yield
    except ConfigurationError as error:
        refuse(*error.problems)
    except ReachError as error:
        say(describe(error))
        raise typer.Exit(MISUSED if isinstance(error, Invalid) else FAILED) from None
    except OSError as error:
        line = expected(error)
        if line is None:
            raise
        fail(line)


def describe(error: ReachError) -> str:
    """A failure for people: what, its stable reason, and each field that was wrong."""
    fields = [f"\n  {one.field}: {one.description}" for one in error.violations]
    # One violation usually is the message already.
    shown = "".join(line for line in fields if line.strip() not in error.message)
    return f"{error.message} ({error.reason}){shown}"


def say(line: str) -> None:
    """One line on stderr, secrets masked."""
    from shared.telemetry.redaction import redact

    typer.echo(f"reach: {redact(line)}", err=True)


def fail(line: str) -> NoReturn:
    """Say *line* and exit 1."""
    say(line)
    raise typer.Exit(FAILED)


def refuse(*lines: str) -> NoReturn:
    """Say each line and exit 2: the caller has to change something."""
    for line in lines:
        say(line)
    raise typer.Exit(MISUSED)


def words(text: str) -> list[str]:
    """``A,B`` as a list, spaces and empty words left out."""
    return [word for part in text.split(",") if (word := part.strip())]
