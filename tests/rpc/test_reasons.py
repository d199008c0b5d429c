"""The contract lists the reasons that the code raises: no more, no less."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from reach.errors.v1 import error_reason_pb2

from shared.rpc import status

ROOT = Path(__file__).parents[2]
BASE = {"ReachError"}

# Raised by services that are not built yet; whoever builds one takes its reasons off this list.
EXPECTED_LATER = {"DISABLED": "campaign"}
UNSEEN = {"TEMPLATE_UNSAFE"}
"""Raised through a name rather than a literal (shared/text/parsing.py), which the scan does not follow."""


def sources() -> Iterator[tuple[Path, ast.Module]]:
    for folder in ("shared", "services"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path, ast.parse(path.read_text(), str(path))


def name_of(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def words(modules: list[ast.Module]) -> set[str]:
    """Names of ReachError and of every class derived from it."""
    classes = [node for module in modules for node in ast.walk(module) if isinstance(node, ast.ClassDef)]
    found: set[str] = set()
    grown = set(BASE)
    while grown != found:
        found = grown
        grown = found | {c.name for c in classes if found & {name_of(base) for base in c.bases}}
    return found


def literals(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from literals(node.body)
        yield from literals(node.orelse)


def reasons_in(module: ast.Module, known: set[str]) -> Iterator[str]:
    for call in (node for node in ast.walk(module) if isinstance(node, ast.Call)):
        target = call.func
        if name_of(target) in known and call.args:
            yield from literals(call.args[0])
        elif isinstance(target, ast.Attribute) and target.attr == "field" and name_of(target.value) in known:
            given = [k.value for k in call.keywords if k.arg == "reason"] or call.args[2:3]
            yield from literals(given[0]) if given else ["FIELD_INVALID"]


def raised() -> dict[str, str]:
    """Reason → one file that raises it."""
    parsed = list(sources())
    known = words([module for _, module in parsed])
    return {
        reason: path.relative_to(ROOT).as_posix()
        for path, module in parsed
        for reason in reasons_in(module, known)
        if reason.isupper()  # lower case: why an event was parked, a vocabulary of its own
    }


def listed() -> set[str]:
    names = {
        name.removeprefix("ERROR_REASON_") for name in error_reason_pb2.ErrorReason.DESCRIPTOR.values_by_name
    }
    return names - {"UNSPECIFIED"}


def test_every_reason_that_is_raised_stands_in_the_contract():
    assert {reason: path for reason, path in raised().items() if reason not in listed()} == {}


def test_every_reason_in_the_contract_is_raised_somewhere():
    assert listed() - set(raised()) - set(EXPECTED_LATER) - UNSEEN == set()


def test_no_reason_is_still_expected_that_is_raised_already():
    assert set(EXPECTED_LATER) & set(raised()) == set()


def test_the_reasons_given_to_bare_statuses_stand_in_the_contract_too():
    assert set(status._BARE_REASONS.values()) <= listed()


def test_the_scan_sees_what_it_is_meant_to_see():
    module = ast.parse(
        "class Lost(errors.Denied): ...\n"
        "Lost('A', 'x'); errors.Invalid('B' if x else 'C', 'y'); Invalid.field('f', 'd')\n"
        "Invalid.field('f', 'd', reason='D'); Invalid.field('f', 'd', 'E'); print('F')"
    )
    known = words([module, ast.parse("class Denied(ReachError): ...\nclass Invalid(ReachError): ...")])
    assert set(reasons_in(module, known)) == {"A", "B", "C", "D", "E", "FIELD_INVALID"}
