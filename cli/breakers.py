"""``reach breakers``: what is not used since it failed too often in a row, and closing it by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.common import quieten_logs, run, settings

if TYPE_CHECKING:
    from shared.settings import Settings

app = typer.Typer(help="Breakers of credentials and AI applications: list, reset.", no_args_is_help=True)


@app.command("list")
def list_breakers(
    every: Annotated[bool, typer.Option("--all", help="Those that are closed as well.")] = False,
) -> None:
    """List what is not used at the moment, and why."""
    from cli.tables import show
    from cli.times import local

    found = run(_list(_chosen(), every))
    rows = [
        (
            one.service,
            one.key,
            _word(one, "state"),
            str(one.failures),
            local(one, "fail_time") or "-",
            local(one, "retry_time") or "-",
            str(one.waiting),
            _word(one, "alert") if one.alert else "-",
            f"{one.reason} {one.detail}".strip() or "-",
        )
        for one in found
    ]
    heads = (
        "service",
        "breaker",
        "state",
        "failures",
        "since",
        "next try",
        "waiting",
        "alert",
        "last failure",
    )
    show(heads, rows, empty="no breaker is open")


@app.command("reset")
def reset(
    key: Annotated[
        str, typer.Argument(metavar="KEY", help="As the list shows it: app:NAME, robot:NAME, account, key.")
    ],
) -> None:
    """Close one, after what failed was put right; what waits goes at once."""
    one = run(_reset(_chosen(), key))
    typer.echo(f"{one.key} is {_word(one, 'state')}")


def _chosen() -> Settings:
    quieten_logs()
    return settings()


async def _list(chosen: Settings, every: bool) -> list[Any]:
    from reach.ops.v1 import ops_service_pb2 as pb

    from cli.connect import asked
    from cli.stubs import ops

    found = []
    for service in await asked(chosen):
        async with ops(chosen, service) as stub:
            request = pb.ListBreakersRequest(open_only=not every, page_size=200)
            found += list((await stub.ListBreakers(request)).breakers)
    return found


async def _reset(chosen: Settings, key: str) -> Any:
    """Ask each process in turn: a breaker is known where it opened."""
    from reach.ops.v1 import ops_service_pb2 as pb

    from cli.connect import asked
    from cli.stubs import ops
    from shared.errors import NotFound

    never: NotFound | None = None
    for service in await asked(chosen):
        try:
            async with ops(chosen, service) as stub:
                return (await stub.ResetBreaker(pb.ResetBreakerRequest(key=key))).breaker
        except NotFound as error:
            never = error
    assert never is not None  # there is a process to ask, and each answers or raises
    raise never


def _word(one: Any, field: str) -> str:
    kind = one.DESCRIPTOR.fields_by_name[field].enum_type
    prefix = {"state": "BREAKER_STATE_", "alert": "BREAKER_ALERT_"}[field]
    return str(kind.values_by_number[getattr(one, field)].name).removeprefix(prefix).lower()
