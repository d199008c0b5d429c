"""Reads an environment into a settings model: every problem at once, no secret repeated.

The mechanics only; ``shared.settings`` declares what there is to set. A model nested in another one
carries the prefix of its variables (``env_prefix``), so a variable's name follows from the field's
place, and the table of variables can be listed (``variables``) for the manual and ``reach doctor``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from shared.values import value_class

# A secret is a line of text; a larger file is a mistake (a directory listing, a log) and is not read.
_SECRET_FILE_MAX = 64 * 1024

# Where pydantic speaks of parsing and patterns, say what to write instead.
_PLAIN = {
    "bool_parsing": "must be true or false",
    "int_parsing": "must be a whole number",
    "string_pattern_mismatch": "may hold only letters, digits, dots, dashes and underscores, and must not be too long",
}


class ConfigurationError(Exception):
    """The process cannot start as it is configured; ``problems`` says everything that is wrong.

    Each problem is one line that names the setting, what is wrong and how to put it right, and holds
    no secret. ``shared.process.run`` prints them and exits with 2.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(self.problems))


class SettingsError(ConfigurationError):
    """The environment is wrong."""


class Group(BaseModel):
    """Settings that belong together and share a prefix of their variables."""

    model_config = {"frozen": True, "extra": "forbid", "use_attribute_docstrings": True}
    env_prefix: ClassVar[str]


@value_class
class Variable:
    """One environment variable that is understood."""

    name: str
    path: tuple[str, ...]
    """Where its value lives in the settings (``("wecom", "secret")``)."""

    description: str
    default: str
    """As it would be written in the environment; empty when there is none."""

    secret: bool
    """Its value is never shown, and may come from the file named by ``<name>_FILE``."""

    aliases: tuple[str, ...] = ()


def variables(model: type[BaseModel], prefix: str, aliases: Mapping[str, tuple[str, ...]]) -> list[Variable]:
    """Every variable of *model*, nested groups included, in the order of declaration."""
    return list(_walk(model, prefix, (), aliases))


def _walk(
    model: type[BaseModel], prefix: str, path: tuple[str, ...], aliases: Mapping[str, tuple[str, ...]]
) -> Iterator[Variable]:
    for field, info in model.model_fields.items():
        group = info.annotation
        if isinstance(group, type) and issubclass(group, Group):
            yield from _walk(group, group.env_prefix, (*path, field), aliases)
            continue
        if info.exclude:  # filled by other means than one variable
            continue
        name = prefix + field.upper()
        yield Variable(
            name=name,
            path=(*path, field),
            description=" ".join((info.description or "").split()),
            default=_written(info),
            secret="SecretStr" in str(info.annotation),
            aliases=aliases.get(name, ()),
        )


def _written(info: FieldInfo) -> str:
    default = info.get_default()
    if default is None or info.is_required():
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, tuple):
        return ",".join(map(str, default))
    return str(default)


class Reading:
    """What an environment says, variable by variable, with the problems met on the way."""

    def __init__(self, environ: Mapping[str, str], table: Iterable[Variable]) -> None:
        self.problems: list[str] = []
        self.values: dict[tuple[str, ...], str] = {}
        self.sources: dict[tuple[str, ...], str] = {}
        self._environ = environ
        self._table = list(table)
        for variable in self._table:
            self._read(variable)

    def _read(self, variable: Variable) -> None:
        found = [pair for name in (variable.name, *variable.aliases) if (pair := self._value(name, variable))]
        if not found:
            return
        source, value = found[0]
        for other, text in found[1:]:
            if text != value:
                self.problems.append(f"{source} and {other} say different things; set only {variable.name}")
        self.values[variable.path] = value
        self.sources[variable.path] = source

    def _value(self, name: str, variable: Variable) -> tuple[str, str] | None:
        """The variable's text and where it came from. Empty is the same as not set: that is what
        an empty line of an env file or a compose file means."""
        text = self._environ.get(name, "").strip()
        if not variable.secret:
            return (name, text) if text else None
        file_name = f"{name}_FILE"
        path = self._environ.get(file_name, "").strip()
        if text and path:
            self.problems.append(f"{name} and {file_name} are both set; keep one of them")
        if text:
            return name, text
        return self._from_file(file_name, Path(path)) if path else None

    def _from_file(self, name: str, path: Path) -> tuple[str, str] | None:
        try:
            with path.open("rb") as file:
                raw = file.read(_SECRET_FILE_MAX + 1)
            text = raw.decode().strip()
        except OSError as error:
            reason = (error.strerror or type(error).__name__).lower()
            self.problems.append(f"{name}: cannot read {path} ({reason}); name a readable file")
            return None
        except UnicodeDecodeError:
            self.problems.append(
                f"{name}: {path} is not UTF-8 text; it must hold the secret and nothing else"
            )
            return None
        if not text or len(raw) > _SECRET_FILE_MAX:
            size = "empty" if not text else f"larger than {_SECRET_FILE_MAX} bytes"
            self.problems.append(f"{name}: {path} is {size}; it must hold the secret and nothing else")
            return None
        return name, text

    def nested(self, without: Iterable[tuple[str, ...]] = ()) -> dict[str, Any]:
        """The values as the model wants them, leaving out the paths in *without*."""
        left_out = set(without)
        tree: dict[str, Any] = {}
        for path, value in self.values.items():
            if path in left_out:
                continue
            branch = tree
            for step in path[:-1]:
                branch = branch.setdefault(step, {})
            branch[path[-1]] = value
        return tree

    def explain(self, error: ValidationError) -> set[tuple[str, ...]]:
        """Turn *error* into problems; returns the paths of the values that were refused."""
        known = {variable.path: variable for variable in self._table}
        refused: set[tuple[str, ...]] = set()
        for detail in error.errors(include_url=False, include_context=False, include_input=False):
            path = tuple(str(step) for step in detail["loc"])
            while path and path not in known:  # an item of a list, a member of a union
                path = path[:-1]
            if path in refused or not path:
                continue
            refused.add(path)
            variable = known[path]
            message = _PLAIN.get(detail["type"]) or detail["msg"].removeprefix("Value error, ").replace(
                "Input should be", "must be", 1
            )
            shown = "" if variable.secret else f" (it is {self.values.get(path, '')[:80]!r})"
            self.problems.append(f"{self.sources.get(path, variable.name)}: {message}{shown}")
        return refused

    def unknown(self, *, prefix: str, also: Iterable[str], only_near: bool) -> None:
        """Report variables that start with *prefix* and mean nothing: most are typing mistakes.

        With *only_near* only those that resemble a known name: the prefix is not ours alone.
        """
        names = {name for variable in self._table for name in (variable.name, *variable.aliases)}
        files = {
            f"{name}_FILE"
            for variable in self._table
            if variable.secret
            for name in (variable.name, *variable.aliases)
        }
        known = names | files | set(also)
        for name in sorted(self._environ):
            if not name.startswith(prefix) or name in known or name.startswith("REACH_TEST_"):
                continue
            near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.9 if only_near else 0.6)
            if near:
                self.problems.append(f"{name} is not known; did you mean {near[0]}?")
            elif not only_near:
                self.problems.append(
                    f"{name} is not known; remove it (docs/settings.md lists every variable)"
                )


def secrets_of(model: BaseModel) -> Iterator[str]:
    """The secret values that *model* holds, nested groups included: what logs must never show."""
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, SecretStr):
            yield value.get_secret_value()
        elif isinstance(value, BaseModel):
            yield from secrets_of(value)
