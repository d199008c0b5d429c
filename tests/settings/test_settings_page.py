"""docs/settings.md says what the settings declare, and what it shows can be set as shown."""

from __future__ import annotations

import re

import pytest

from shared.settings import Settings, SettingsError, known_variables, load
from tools import gensettings

ROWS = dict(re.findall(r"^\| `([A-Z_]+)` \| `?([^`|]*?)`? \|", gensettings.page(), re.MULTILINE))

DECLARING = ("settings.py", "setting_checks.py")


def test_the_page_is_current() -> None:
    assert gensettings.PAGE.read_text(encoding="utf-8") == gensettings.page()


def test_every_variable_has_a_row() -> None:
    assert ROWS.keys() == {variable.name for variable in known_variables()}


def test_every_default_is_accepted_as_it_is_shown() -> None:
    shown = {name: value for name, value in ROWS.items() if value.strip()}
    assert load(shown) == load({}) == Settings()


def test_the_example_is_what_one_is_told() -> None:
    example = re.search(r"```text\n\$ (.*) reach up\n(.*?)```", gensettings.HEAD, re.DOTALL)
    assert example is not None
    environ = dict(pair.split("=", 1) for pair in example[1].split())
    with pytest.raises(SettingsError) as caught:
        load(environ)
    assert [f"reach: {problem}" for problem in caught.value.problems] == example[2].splitlines()


def test_no_limit_is_without_effect() -> None:
    root = gensettings.PAGE.parents[1]
    files = [path for place in ("shared", "services", "cli") for path in (root / place).rglob("*.py")]
    code = "\n".join(path.read_text(encoding="utf-8") for path in files if path.name not in DECLARING)
    limits = {one.name: one.path[1] for one in known_variables() if one.path[0] == "limits"}
    unread = {
        name for name, field in limits.items() if not re.search(rf"\b(?:limits|figures)\.{field}\b", code)
    }
    assert unread == set()


def test_an_outdated_page_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gensettings.main(["--check"]) == 0
    monkeypatch.setattr(gensettings, "HEAD", "# Other settings\n")
    assert gensettings.main(["--check"]) == 1
    assert "out of date" in capsys.readouterr().err
