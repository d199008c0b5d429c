"""What a command is given: texts and secrets from where they are kept, instants as people write them."""

from __future__ import annotations

import os
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import typer

from cli.common import refuse

if TYPE_CHECKING:
    from reach.notifier.v1 import target_pb2


def text(given: str, option: str) -> bytes:
    """*given* itself, the file of ``@file``, or standard input for ``-``."""
    if given == "-":
        return sys.stdin.buffer.read()
    if given.startswith("@"):
        return _file(Path(given[1:]), option)
    return given.encode("utf-8", "surrogateescape")


def secret(source: str, file: Path | None, what: str) -> str:
    """A secret from *file*, or from *source*: ``-`` (standard input), ``env:NAME``; asked for on a terminal.

    A secret written on the command line is refused: every process of the machine could read it there.
    """
    option = f"--{what}"
    if file is not None:
        found = _file(file, f"{option}-file").decode("utf-8", "replace")
    elif source == "-":
        found = sys.stdin.read()
    elif source.startswith("env:"):
        found = os.environ.get(source.removeprefix("env:"), "")
    elif source:
        refuse(
            f"{option} takes - (standard input) or env:NAME, never the {what} itself: it would show in the "
            f"process list; or use {option}-file"
        )
    elif sys.stdin.isatty():
        found = typer.prompt(what.capitalize(), hide_input=True, err=True)
    else:
        refuse(f"where is the {what}? Use {option}-file FILE, {option} - or {option} env:NAME")
    if not found.strip():
        refuse(f"the {what} is empty")
    return found.strip()


def _file(path: Path, option: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        refuse(f"{option}: cannot read {path}: {(error.strerror or type(error).__name__).lower()}")


def instant(given: str, option: str, zone: ZoneInfo) -> datetime:
    """An instant as people write it: ``18:30`` (today), ``2026-02-20``, ``2026-02-20 18:30``, or RFC 3339.

    Without an offset it is read on the clocks of *zone*.
    """
    written = given.strip()
    if re.fullmatch(r"[0-9]{1,2}:[0-9]{2}", written):
        written = f"{datetime.now(zone):%Y-%m-%d} {written.zfill(5)}"
    try:
        read = datetime.fromisoformat(written)
    except ValueError:
        refuse(f"{option} {given}: must be 18:30, 2026-02-20, 2026-02-20 18:30 or an RFC 3339 instant")
    return (read if read.tzinfo is not None else read.replace(tzinfo=zone)).astimezone(UTC)


def duration(given: str, option: str) -> timedelta:
    """A span as the settings write it: ``500ms``, ``10s``, ``5m``, ``72h``, ``14d``."""
    from pydantic import TypeAdapter, ValidationError

    from shared.setting_types import Duration

    try:
        span: timedelta = TypeAdapter(Duration).validate_python(given)
    except ValidationError as error:
        refuse(f"{option} {given}: {error.errors()[0]['msg'].removeprefix('Value error, ')}")
    return span


def targets(
    users: list[str], robots: list[str], parties: list[str], tags: list[str]
) -> list[target_pb2.Target]:
    """Typed addresses from the options of a command, in the order of the arguments."""
    from reach.notifier.v1 import target_pb2

    kinds = (
        (target_pb2.TARGET_KIND_USER, users),
        (target_pb2.TARGET_KIND_ROBOT, robots),
        (target_pb2.TARGET_KIND_PARTY, parties),
        (target_pb2.TARGET_KIND_TAG, tags),
    )
    return [target_pb2.Target(kind=kind, id=name) for kind, names in kinds for name in names]


def holders(
    users: list[str], robots: list[str], parties: list[str], tags: list[str]
) -> list[target_pb2.Target]:
    """Like ``targets``, of the holders of a role, which may have attributes: ``zhang[name=张三]``."""
    from services.notifier.domain.attributes import split
    from shared.errors import Invalid

    found = targets(users, robots, parties, tags)
    for one in found:
        try:
            one.id, attributes = split(one.id)
        except Invalid as refusal:
            refuse(f"{one.id}: {refusal.violations[0].description}")
        one.attributes.update(attributes)
    return found
