"""Write docs/settings.md from what the settings declare; a test keeps it current.

.venv/bin/python -m tools.gensettings           # write it
.venv/bin/python -m tools.gensettings --check   # exit 1 when it is out of date
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from datetime import timedelta
from functools import reduce
from pathlib import Path
from textwrap import fill
from typing import Final

from shared.environment import Variable
from shared.settings import PORTS, Settings, known_variables

WIDTH: Final = 120
PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "settings.md"

HEAD: Final = """\
# Settings

<!-- Written by tools/gensettings.py from shared/settings.py. Change it there, then
run `.venv/bin/python -m tools.gensettings`. -->

Settings are environment variables, read once when a process starts. An empty variable counts as not set.
A wrong one stops the process with exit code 2 before anything is opened, and every problem is told at once:

```text
$ REACH_AMQP_URI=amqp://localhost REACH_LIMIT_LEASE=soon reach up
reach: REACH_AMQP_URI is not known; did you mean REACH_AMQP_URL?
reach: REACH_LIMIT_LEASE: must be a positive number of seconds, or one with a unit: 500ms, 10s, 5m, 72h, 14d (it is 'soon')
```

- A **secret** may come from the file that `<NAME>_FILE` names instead; set one of the two.
- A duration is a number of seconds, or has a unit: `500ms`, `10s`, `5m`, `72h`, `14d`. A size is in bytes, or has a
  unit: `256KiB`, `1MiB`. A list is separated by commas. An address is `host:port`; port 0 picks a free one, and the
  ready line says which.
- Unknown names that begin with `REACH_` are refused, as are `WECOM_` names that look like a typing mistake.
- Tracing follows the standard `OTEL_*` variables; without `OTEL_EXPORTER_OTLP_ENDPOINT` nothing is exported.
- `REACH_TOKEN` is read by the commands of `reach` only: the bearer token they show.
"""

GROUPS: Final[Mapping[str, tuple[str, str]]] = {
    "": ("The process", "Where things are, and how a process behaves."),
    "auth": ("Who may call", "Beyond loopback a process needs tokens and TLS, else it does not start."),
    "wecom": (
        "WeCom",
        "Corp id, agent id and secret together are the app named `default`, the robot key is the robot named `default`: "
        "both are stored, encrypted, whenever a process starts, and replace what was stored under that name. More apps "
        "and robots: `reach credentials`. So are the secrets of WeChat KF and of customer contact.",
    ),
    "kf": (
        "WeChat KF",
        "How kf_session hears customers; it needs `WECOM_KF_SECRET` and the callback beside it.",
    ),
    "dashscope": (
        "DashScope",
        "The AI orchestrator calls 百炼 applications with it. App ids are `DASHSCOPE_APP_ID_<APP TYPE>`, for example "
        "`DASHSCOPE_APP_ID_APP3_CLUE`.",
    ),
    "ai": ("AI chains", "How ai_orchestrator runs chains and prepares figures."),
    "limits": ("Limits", "Each default is right for most."),
}


_DURATIONS: Final = ((86_400, "d"), (3600, "h"), (60, "m"), (1, "s"))
_SIZES: Final = ((1 << 20, "MiB"), (1 << 10, "KiB"), (1, ""))


def page() -> str:
    """The whole page."""
    table = known_variables()
    parts = [HEAD, _ports()]
    for group, (title, words) in GROUPS.items():
        rows = [one for one in table if _group(one) == group]
        parts.append(f"## {title}\n\n{fill(words, WIDTH)}\n\n{_rows(rows)}")
    return "\n".join(parts)


def _group(variable: Variable) -> str:
    return variable.path[0] if len(variable.path) > 1 else ""


def _ports() -> str:
    lines = [
        "## Ports",
        "",
        "On 127.0.0.1, unless set otherwise.",
        "",
        "| process | gRPC | HTTP |",
        "| --- | --- | --- |",
    ]
    for name, ports in PORTS.items():
        command = "reach up" if name == "up" else f"reach serve {name}"
        lines.append(f"| `{command}` | {ports.grpc} | {ports.http or '–'} |")
    return "\n".join([*lines, ""])


def _rows(variables: Iterable[Variable]) -> str:
    lines = ["| variable | default | what it is |", "| --- | --- | --- |"]
    for one in variables:
        notes = [one.description.replace("``", "`")]
        if one.secret:
            notes.append("**Secret.**")
        if one.aliases:
            notes.append(f"Also read as {', '.join(f'`{name}`' for name in one.aliases)}.")
        default = f"`{_written(one)}`" if one.default else ""
        lines.append(f"| `{one.name}` | {default} | {' '.join(notes).replace('|', chr(92) + '|')} |")
    return "\n".join([*lines, ""])


def _written(variable: Variable) -> str:
    """The default as one would set it, in the largest unit that keeps it a whole number."""
    value: object = reduce(getattr, variable.path, Settings())
    if isinstance(value, timedelta):
        return _in_units(int(value.total_seconds()), _DURATIONS)
    if isinstance(value, int) and variable.name.endswith("_BYTES"):
        return _in_units(value, _SIZES)
    return variable.default


def _in_units(amount: int, units: Iterable[tuple[int, str]]) -> str:
    return next(f"{amount // size}{unit}" for size, unit in units if amount % size == 0)


def main(arguments: list[str]) -> int:
    """Write the page, or with ``--check`` only say whether it is current."""
    text = page()
    if arguments == ["--check"]:
        current = PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text
        if not current:
            print("docs/settings.md is out of date; run python -m tools.gensettings", file=sys.stderr)
        return 0 if current else 1
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
