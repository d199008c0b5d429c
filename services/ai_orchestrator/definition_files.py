"""Apps and chains as files: one TOML document each, named as the app type or the chain is.

The keys are the fields of ``domain.definitions``; spans are seconds. An app's ``schema`` is a table, or a JSON text.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, fields
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import orjson

from services.ai_orchestrator.domain.definitions import AppDefinition, ChainDefinition, StepDefinition
from shared.errors import Invalid

PRESETS: Final = Path(__file__).parent / "presets"
PARTS: Final = ("member_id", "assistant_id", "time_dimension", "area")
LISTS: Final = ("time_dimensions", "areas")

_SPANS: Final = ("timeout", "input_max_age")
_TUPLES: Final = ("needs", "facts", "inputs", "dedup", "after", "each")


def load_apps(folder: Path = PRESETS / "apps") -> tuple[AppDefinition, ...]:
    """Every app there is, by name. Raises Invalid naming file and key."""
    return tuple(app_of(path.stem, _read(path)) for path in sorted(folder.glob("*.toml")))


def load_chains(folder: Path = PRESETS / "chains") -> tuple[ChainDefinition, ...]:
    """Every chain there is, by name. Raises Invalid naming file and key."""
    return tuple(chain_of(path.stem, _read(path)) for path in sorted(folder.glob("*.toml")))


def app_of(name: str, spec: Mapping[str, Any]) -> AppDefinition:
    """The app of a file's content. Raises Invalid."""
    plain = _checked(AppDefinition, name, spec, {"app_type": name})
    if isinstance(plain.get("schema"), str):
        try:
            plain["schema"] = json.loads(plain["schema"])
        except ValueError as error:
            raise Invalid.field(f"{name} schema", f"is no JSON ({error})") from None
    for key in ("needs",):
        _known(name, key, plain[key], PARTS)
    return AppDefinition(**plain)


def chain_of(name: str, spec: Mapping[str, Any]) -> ChainDefinition:
    """The chain of a file's content, its graph checked. Raises Invalid."""
    plain = _checked(ChainDefinition, name, spec, {"name": name})
    steps: list[StepDefinition] = []
    for one in plain["steps"]:
        step = StepDefinition(**_checked(StepDefinition, f"{name} step", one, {}))
        _known(f"{name} step {step.name}", "after", step.after, [before.name for before in steps])
        _known(f"{name} step {step.name}", "each", step.each, LISTS)
        _known(f"{name} step {step.name}", "when", (step.when,) if step.when else (), PARTS)
        if step.name in [before.name for before in steps]:
            raise Invalid.field(f"{name} steps", f"{step.name} is there twice; give one another name")
        steps.append(step)
    if not steps:
        raise Invalid.field(f"{name} steps", "needs at least one")
    _known(name, "needs", plain["needs"], PARTS)
    _known(name, "dedup", plain["dedup"], PARTS)
    return ChainDefinition(**{**plain, "steps": tuple(steps)})


def app_spec(app: AppDefinition) -> dict[str, Any]:
    """The content from which `app_of` makes it again."""
    plain = {field.name: getattr(app, field.name) for field in fields(AppDefinition)}
    del plain["app_type"], plain["version"]
    return {key: value.total_seconds() if key in _SPANS else value for key, value in plain.items()}


def chain_spec(chain: ChainDefinition) -> dict[str, Any]:
    """The content from which `chain_of` makes it again."""
    plain = {field.name: getattr(chain, field.name) for field in fields(ChainDefinition)}
    del plain["name"], plain["version"]
    steps = [
        {field.name: getattr(step, field.name) for field in fields(StepDefinition)} for step in chain.steps
    ]
    return {**plain, "steps": steps}


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise Invalid.field(path.name, f"is no TOML: {error}") from None


def _checked(made: type, name: str, spec: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments of *made*: every key known, every one that is needed there."""
    known = {field.name: field for field in fields(made)}
    plain = {**spec, **given}
    if "version" in known:
        plain["version"] = plain.get("version") or _digest(spec)
    for key in plain.keys() - known.keys():
        raise Invalid.field(f"{name} {key}", f"is not known; there are {', '.join(sorted(known))}")
    for key, field in known.items():
        if key not in plain and field.default is MISSING and field.default_factory is MISSING:
            raise Invalid.field(f"{name} {key}", "is missing")
    for key in plain.keys() & set(_TUPLES):
        plain[key] = tuple(plain[key])
    for key in plain.keys() & set(_SPANS):
        plain[key] = timedelta(seconds=float(plain[key]))
    return plain


def _digest(spec: Mapping[str, Any]) -> str:
    return hashlib.sha256(orjson.dumps(spec, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def _known(name: str, key: str, values: tuple[str, ...], known: tuple[str, ...] | list[str]) -> None:
    for value in values:
        if value not in known:
            raise Invalid.field(
                f"{name} {key}", f"{value} is not known; there are {', '.join(known) or 'none'}"
            )
