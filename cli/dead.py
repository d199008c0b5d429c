"""``reach dead``: what was taken out of the flow, why, and giving it back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cli.common import FAILED, SERVICES, quieten_logs, run, settings

if TYPE_CHECKING:
    from reach.ops.v1 import ops_service_pb2 as pb

    from shared.settings import Settings

app = typer.Typer(help="Dead letters: list, show, replay.", no_args_is_help=True)


@app.command("list")
def list_letters(
    reason: Annotated[str, typer.Option(help="Only with this reason: schema, oversize, …")] = "",
    state: Annotated[Literal["parked", "replayed", "discarded"], typer.Option()] = "parked",
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 50,
) -> None:
    """List dead letters of every service, newest first."""
    letters = run(_list(_chosen(), reason, state, limit))
    from cli.tables import show
    from cli.times import local

    rows = [
        (
            one.dead_letter_id,
            one.service,
            one.reason,
            one.event_type or "-",
            one.event_id or "-",
            one.store_id or "-",
            one.door,
            local(one, "receive_time"),
            one.detail,
        )
        for one in letters
    ]
    heads = ("id", "service", "reason", "type", "event", "store", "door", "received", "detail")
    show(heads, rows, empty=f"nothing is {state}")


@app.command("show")
def show_letter(letter: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Show one dead letter with its headers and its body, personal data masked."""
    one = run(_get(_chosen(), letter))
    from cli.times import local

    facts = {
        "id": one.dead_letter_id,
        "service": one.service,
        "reason": one.reason,
        "detail": one.detail,
        "type": one.event_type,
        "event": one.event_id,
        "store": one.store_id,
        "door": one.door,
        "received": local(one, "receive_time"),
        "state": _state(one),
        "resolved by": one.resolved_by,
        "bytes": str(one.body_bytes),
        **{f"header {name}": value for name, value in sorted(one.headers.items())},
    }
    for name, value in facts.items():
        if value:
            typer.echo(f"{name}: {value}")
    typer.echo(f"\n{one.body}")


@app.command("replay")
def replay(letters: Annotated[list[str], typer.Argument(metavar="ID…")]) -> None:
    """Give dead letters to the flow again; what already went out does not go twice."""
    after = run(_replay(_chosen(), letters))
    for one in after:
        again = _state(one) == "parked"
        typer.echo(f"{one.dead_letter_id}: {'parked again: ' + one.detail if again else 'replayed'}")
    if any(_state(one) == "parked" for one in after):
        raise typer.Exit(FAILED)


def _chosen() -> Settings:
    quieten_logs()
    return settings()


def _state(one: pb.DeadLetter) -> str:
    from reach.ops.v1 import ops_service_pb2 as pb

    return pb.DeadLetterState.Name(one.state).removeprefix("DEAD_LETTER_STATE_").lower()


async def _list(chosen: Settings, reason: str, state: str, limit: int) -> list[pb.DeadLetter]:
    from reach.ops.v1 import ops_service_pb2 as pb

    from cli.connect import asked
    from shared.rpc.client import pages

    request = pb.ListDeadLettersRequest(
        reason=reason, state=pb.DeadLetterState.Value(f"DEAD_LETTER_STATE_{state.upper()}")
    )
    found: list[pb.DeadLetter] = []
    for service in await asked(chosen):
        async with _ops(chosen, service) as stub:
            async for page in pages(stub.ListDeadLetters, request):
                found += page.dead_letters
                if len(found) >= limit:
                    break
    found.sort(key=lambda one: one.receive_time.ToNanoseconds(), reverse=True)
    return found[:limit]


async def _get(chosen: Settings, letter: str) -> pb.DeadLetter:
    from reach.ops.v1 import ops_service_pb2 as pb

    from shared.errors import NotFound

    for service in SERVICES:
        try:
            async with _ops(chosen, service) as stub:
                answer = await stub.GetDeadLetter(pb.GetDeadLetterRequest(dead_letter_id=letter))
        except NotFound:
            continue
        one: pb.DeadLetter = answer.dead_letter
        return one
    raise NotFound("NOT_FOUND", f"no service has a dead letter {letter}", resource="dead_letter")


async def _replay(chosen: Settings, letters: list[str]) -> list[pb.DeadLetter]:
    from reach.ops.v1 import ops_service_pb2 as pb

    by_service: dict[str, list[str]] = {}
    for letter in letters:
        by_service.setdefault((await _get(chosen, letter)).service, []).append(letter)
    after: list[pb.DeadLetter] = []
    for service, ids in by_service.items():
        async with _ops(chosen, service) as stub:
            for at in range(0, len(ids), 100):
                request = pb.ReplayDeadLetterRequest(dead_letter_ids=ids[at : at + 100])
                after += (await stub.ReplayDeadLetter(request)).dead_letters
    return after


def _ops(chosen: Settings, service: str) -> Any:
    from cli.stubs import ops

    return ops(chosen, service)
