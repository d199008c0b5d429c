"""``reach facts``: history that no event told, from files as tills and spreadsheets export them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final, Literal

import typer

from cli.common import FAILED, quieten_logs, refuse, run, say, settings

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from shared.settings import Settings

app = typer.Typer(help="What AI chains know of stores, members and visits.", no_args_is_help=True)

KINDS = ("store", "member", "assistant", "visit", "note", "task")
Form = Literal["csv", "jsonl"]
FORMS: Final[Mapping[str, Form]] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
"""What a file's name says it is."""
BATCH_ROWS, BATCH_BYTES = 500, 256 * 1024
"""Of one call, well within what a server takes at once."""
SHOWN = 20
"""Bad rows that are told one by one."""


@app.callback()
def facts() -> None:
    """So that ``load`` is a command of its own, with others to come."""


@app.command()
def load(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=f"What the rows are: {', '.join(KINDS)}.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV with a header line, or JSON lines.")],
    store: Annotated[str, typer.Option(metavar="ID", help="Whose; empty: REACH_DEFAULT_STORE.")] = "",
    form: Annotated[Form | None, typer.Option("--format", help="If the file's name does not end so.")] = None,
) -> None:
    """Load facts: good rows are kept, bad ones told with their line. Loading a file again changes nothing."""
    if kind not in KINDS:
        refuse(f"{kind}: choose of {', '.join(KINDS)}")
    form = form or FORMS.get(file.suffix.lower())
    if form is None:
        refuse(f"{file}: is it CSV or JSON lines? Say so with --format csv or --format jsonl")
    quieten_logs()
    chosen = settings()
    store = store or chosen.default_store or ""
    if not store:
        refuse("--store is missing, and REACH_DEFAULT_STORE is not set")
    try:
        opened = file.open("rb")
    except OSError as error:
        refuse(f"cannot read {file}: {(error.strerror or type(error).__name__).lower()}")
    tally = Tally()
    with opened, _bar(file.stat().st_size) as bar:
        run(_load(chosen, store, kind, _lines(opened, form, tally), tally, bar))
    if tally.bad > SHOWN:
        say(f"… and {tally.bad - SHOWN} more bad rows")
    typer.echo(f"{tally.loaded} loaded ({tally.new} new), {tally.bad} bad")
    if tally.bad:
        raise typer.Exit(FAILED)


@dataclass
class Tally:
    """What became of a file's rows."""

    loaded: int = 0
    new: int = 0
    bad: int = 0

    def refuse(self, line: int, why: str) -> None:
        """Count a bad row, and tell of it."""
        self.bad += 1
        if self.bad <= SHOWN:
            say(f"line {line}: {why}")


@dataclass
class Row:
    """One row, where it is in the file, and how far the file was read with it."""

    line: int
    columns: dict[str, Any]
    place: int

    @property
    def size(self) -> int:
        """About what it takes on the wire."""
        return len(json.dumps(self.columns, ensure_ascii=False).encode())


def _lines(opened: BinaryIO, form: str, tally: Tally) -> Iterator[Row]:
    return _csv(opened, tally) if form == "csv" else _jsonl(opened, tally)


def _jsonl(opened: BinaryIO, tally: Tally) -> Iterator[Row]:
    from shared.strict_json import BadJson, load_object

    for number, line in enumerate(opened, 1):
        if not line.strip():
            continue
        try:
            columns = load_object(line.removeprefix(b"\xef\xbb\xbf"))
        except BadJson as error:
            tally.refuse(number, f"is no JSON object: {error}")
        else:
            yield Row(number, {name: _exact(value) for name, value in columns.items()}, opened.tell())


def _exact(value: object) -> object:
    """A whole number that a double does not hold, as its digits: ids of tills are such."""
    return str(value) if type(value) is int and abs(value) > 2**53 else value


def _csv(opened: BinaryIO, tally: Tally) -> Iterator[Row]:
    def decoded() -> Iterator[str]:
        for number, line in enumerate(opened, 1):
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError:
                refuse(f"line {number}: is not UTF-8; save the file as CSV UTF-8")

    reader = csv.reader(decoded(), strict=True)
    try:
        heads = [head.strip() for head in next(reader, [])]
        if not heads or len(set(heads)) < len(heads) or not all(heads):
            refuse("line 1: must name the columns, each once")
        before = reader.line_num
        for cells in reader:
            line, before = before + 1, reader.line_num
            if len(cells) > len(heads):
                tally.refuse(line, f"has {len(cells)} cells, the header has {len(heads)}")
            elif any(cell.strip() for cell in cells):
                columns = {head: cell for head, cell in zip(heads, cells, strict=False) if cell.strip()}
                yield Row(line, columns, opened.tell())
    except csv.Error as error:
        refuse(f"line {reader.line_num}: is no CSV ({error}); what was before it is loaded")


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    size = 0
    for row in rows:
        if batch and (len(batch) == BATCH_ROWS or size + row.size > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += row.size
    if batch:
        yield batch


async def _load(
    chosen: Settings, store: str, kind: str, rows: Iterator[Row], tally: Tally, bar: tuple[Progress, TaskID]
) -> None:
    from reach.ai_orchestrator.v1 import fact_pb2 as pb

    from cli.stubs import ai_orchestrator
    from shared.rpc.fields import to_struct

    wire_kind = pb.FactKind.Value(f"FACT_KIND_{kind.upper()}")
    progress, task = bar
    async with ai_orchestrator(chosen) as stub:
        for batch in _batches(rows):
            request = pb.LoadFactsRequest(
                store_id=store, kind=wire_kind, rows=[to_struct(row.columns) for row in batch]
            )
            answer = await stub.LoadFacts(request, timeout=60.0)
            tally.loaded += answer.loaded_count
            tally.new += answer.new_count
            for error in answer.errors:
                tally.refuse(batch[error.row - 1].line, _told(error.columns))
            progress.update(task, completed=batch[-1].place)


def _told(columns: Sequence[Any]) -> str:
    return "; ".join(f"{one.column}: {one.description}" for one in columns)


@contextmanager
def _bar(total: int) -> Iterator[tuple[Progress, TaskID]]:
    """How much of the file is loaded, on stderr where a person looks."""
    import sys

    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    from cli.tables import console

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    looked_at = sys.stderr.isatty()
    with Progress(*columns, console=console(sys.stderr), transient=True, disable=not looked_at) as progress:
        yield progress, progress.add_task("loading", total=total)
