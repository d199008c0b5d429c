"""``reach rules test``: test files run here, without a server; exit 0 all passed, 1 one failed, 2 a file cannot be read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.common import FAILED, refuse
from cli.rule_changes import objections, read_rules, read_text

if TYPE_CHECKING:
    from services.notifier.domain.rules import Rule
    from services.notifier.rule_tests import Difference, Outcome, Suite

ENDING = ".test.toml"
"""How the files of a directory are called that are run."""


def run_tests(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH…", help="Test files, and directories of *.test.toml.")
    ],
) -> None:
    """Run rule tests: events in, deliveries out, without a server."""
    from services.notifier.rule_tests import run_suite
    from shared.events.catalogue import EVENT_TYPES

    # Everything is read before anything is run: a file that was not run must not look like one that passed.
    suites = [(file, *_read(file)) for file in _files(paths)]
    outcomes = []
    for file, suite, rules in suites:
        for outcome in run_suite(suite, rules, EVENT_TYPES):
            outcomes.append(outcome)
            if outcome.differences:
                _tell(file, outcome)
    passed = sum(not one.differences for one in outcomes)
    typer.echo(f"{len(outcomes)} case{'s' if len(outcomes) != 1 else ''}, {passed} passed")
    if passed < len(outcomes):
        raise typer.Exit(FAILED)


def _files(paths: list[Path]) -> list[Path]:
    found: dict[Path, Path] = {}
    for path in paths:
        inside = [path]
        if path.is_dir():
            # Directories that hide (.venv, .git) hold other people's files.
            inside = [
                one
                for one in sorted(path.rglob(f"*{ENDING}"))
                if not any(part.startswith(".") for part in one.relative_to(path).parts)
            ]
            if not inside:
                refuse(f"{path} has no *{ENDING}")
        found |= {one.resolve(): one for one in inside}
    return list(found.values())


def _read(file: Path) -> tuple[Suite, list[Rule]]:
    from services.notifier.rule_tests import parse_suite, together
    from shared.errors import Invalid

    words = read_text(file)
    try:
        suite = parse_suite(words)
        named = {name: read_rules(file.parent / name) for name in suite.rules}
        return suite, together(suite, _presets(), named)
    except Invalid as refusal:
        refuse(*objections(file, refusal))


def _presets() -> list[Rule]:
    from importlib.resources import files

    from services.notifier.domain.rules import parse_presets
    from shared.events.catalogue import EVENT_TYPES

    document = files("services.notifier").joinpath("presets.toml").read_text(encoding="utf-8")
    return [preset.rule for preset in parse_presets(document, EVENT_TYPES)]


def _tell(file: Path, outcome: Outcome) -> None:
    typer.echo(f"{file}: {outcome.case.name}")
    for one in outcome.differences:
        for line in _compared(one):
            typer.echo(f"  {line}")
    for why in outcome.why:
        typer.echo(f"  rule {why}")
    for line in outcome.course:
        typer.echo(f"  {line}")


def _compared(one: Difference) -> list[str]:
    lines = []
    for label, words in (("expected", one.expected), ("actual  ", one.actual)):
        first, *rest = words.split("\n")
        lines += [
            f"{one.what} {label}  {first}",
            *(f"{' ' * len(one.what)} {' ' * 8}  {line}" for line in rest),
        ]
    return lines
