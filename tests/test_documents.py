"""What the documents say of events and commands is what there is."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import typer.main

from cli.main import app
from shared.events.catalogue import EVENT_TYPES

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
PRESETS = tomllib.loads((ROOT / "services/notifier/presets.toml").read_text(encoding="utf-8"))


def commands(page: Path) -> list[list[str]]:
    """The commands of ``reach`` that a page shows, in blocks or within a line, as words."""
    text = page.read_text(encoding="utf-8")
    shown = re.findall(r"^reach (.*)$", text, re.MULTILINE) + re.findall(r"`reach ([^`]*)`", text)
    return [words for line in shown if (words := line.split()) and words[0].isalpha()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_is_shown_exists(page: Path) -> None:
    known = typer.main.get_command(app)
    for words in commands(page):
        command = getattr(known, "commands", {}).get(words[0])
        assert command is not None, f"reach {' '.join(words)}"
        options: set[str] = {option for one in command.params for option in one.opts}
        for word in words[1:]:
            inner = getattr(command, "commands", {})
            if inner and word in inner:
                command = inner[word]
                options |= {option for one in command.params for option in one.opts}
            elif word.startswith("--"):
                assert word.partition("=")[0] in options, f"reach {' '.join(words)}"
            elif word in ("#", "\\"):
                break


def test_the_table_of_events_is_the_contract() -> None:
    text = (ROOT / "docs/events.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z_.]+)` \| (.+?) \| (.+?) \| (\w+) \|$", text, re.MULTILINE)
    told = {name: (fields, heard_by.split(", "), priority) for name, fields, heard_by, priority in rows}
    meant = {}
    for name, rule in PRESETS.items():
        if EVENT_TYPES[name].announced:
            continue  # in the table of what Reach announces
        fields = [one.name + ("" if one.required else "?") for one in EVENT_TYPES[name].fields]
        meant[name] = (", ".join(fields), rule["roles"], rule["priority"])
    assert told == meant


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_readmes_name_every_command(name: str) -> None:
    rows = re.findall(
        r"^\| \S.* \| (`up`.*|`publish`.*|`doctor`.*) \|$", (ROOT / name).read_text("utf-8"), re.MULTILINE
    )
    assert {command for row in rows for command in re.findall(r"`(\w+)`", row)} == set(
        getattr(typer.main.get_command(app), "commands", {})
    )


def test_both_readmes_show_the_same_commands_and_links() -> None:
    english, chinese = (
        re.sub(r"\s*(#|//) .*", "", (ROOT / name).read_text(encoding="utf-8"))
        for name in ("README.md", "README.zh-CN.md")
    )
    blocks = re.compile(r"^```(?:sh|js)\n(.*?)^```", re.DOTALL | re.MULTILINE)
    assert blocks.findall(english) == blocks.findall(chinese)
    links = re.compile(r"\]\((?!README)([^)]+)\)")
    assert links.findall(english) == links.findall(chinese)
