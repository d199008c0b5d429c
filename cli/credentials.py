"""``reach credentials``: the apps and robots that messages are sent by."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cli.common import SERVICES, quieten_logs, refuse, run, settings
from cli.inputs import secret as read_secret

if TYPE_CHECKING:
    from shared.settings import Settings

app = typer.Typer(help="Apps and robots to send by: add, list, remove.", no_args_is_help=True)
add = typer.Typer(help="Add or replace an app or a robot.", no_args_is_help=True)
app.add_typer(add, name="add")

_Name = Annotated[str, typer.Argument(metavar="NAME", help="`default` serves where none is named.")]


@add.command("app")
def add_app(
    name: _Name,
    corp_id: Annotated[str, typer.Option(metavar="ID", help="Corp id (企业ID).")],
    agent_id: Annotated[int, typer.Option(metavar="NUMBER", min=1, help="Agent id of the app.")],
    secret: Annotated[str, typer.Option(metavar="-|env:NAME", help="Where its secret is.")] = "",
    secret_file: Annotated[Path | None, typer.Option(metavar="FILE", help="File with its secret.")] = None,
) -> None:
    """Add a self-built app (自建应用); without an option its secret is asked for."""
    _set("app", name, read_secret(secret, secret_file, "secret"), corp_id=corp_id, agent_id=agent_id)


@add.command("kf")
def add_kf(
    name: _Name,
    corp_id: Annotated[str, typer.Option(metavar="ID", help="Corp id (企业ID).")],
    secret: Annotated[str, typer.Option(metavar="-|env:NAME", help="Where its secret is.")] = "",
    secret_file: Annotated[Path | None, typer.Option(metavar="FILE", help="File with its secret.")] = None,
) -> None:
    """Add WeChat KF (微信客服), whose accounts share one secret; without an option it is asked for."""
    _set("kf", name, read_secret(secret, secret_file, "secret"), corp_id=corp_id)


@add.command("customer")
def add_customer(
    name: _Name,
    corp_id: Annotated[str, typer.Option(metavar="ID", help="Corp id (企业ID).")],
    secret: Annotated[str, typer.Option(metavar="-|env:NAME", help="Where its secret is.")] = "",
    secret_file: Annotated[Path | None, typer.Option(metavar="FILE", help="File with its secret.")] = None,
) -> None:
    """Add customer contact (客户联系), for groups and campaigns; without an option its secret is asked for."""
    _set("customer", name, read_secret(secret, secret_file, "secret"), corp_id=corp_id)


@add.command("robot")
def add_robot(
    name: _Name,
    key: Annotated[str, typer.Option(metavar="-|env:NAME", help="Where its key is.")] = "",
    key_file: Annotated[Path | None, typer.Option(metavar="FILE", help="File with its key.")] = None,
    pool: Annotated[str, typer.Option(metavar="GROUP", help="Serve this group together with others.")] = "",
) -> None:
    """Add a group robot (群机器人) by its key or its whole webhook URL; without an option it is asked for."""
    from pydantic import TypeAdapter, ValidationError

    from shared.setting_types import RobotKey

    given = read_secret(key, key_file, "key")
    try:
        read = TypeAdapter(RobotKey).validate_python(given)
    except ValidationError as error:
        refuse(f"the key {error.errors(include_input=False)[0]['msg'].removeprefix('Value error, ')}")
    _set("robot", name, read.get_secret_value(), pool=pool)


@app.command("list")
def list_credentials() -> None:
    """List them, without their secrets."""
    from cli.tables import show
    from cli.times import local

    cards = run(_list(_chosen()))
    rows = [
        (
            _kind(one.kind),
            one.name,
            one.corp_id or "-",
            str(one.agent_id or "-"),
            one.pool or "-",
            local(one, "update_time"),
            one.updated_by,
        )
        for one in cards
    ]
    show(("kind", "name", "corp", "agent", "pool", "set", "by"), rows, empty="no credentials yet")


@app.command("remove")
def remove(
    kind: Annotated[Literal["app", "robot", "kf", "customer"], typer.Argument()],
    name: _Name,
) -> None:
    """Remove one; sends that need it then fail with `credential_missing`."""
    run(_remove(_chosen(), kind, name))
    typer.echo(f"{kind} {name} removed")


def _chosen() -> Settings:
    quieten_logs()
    return settings()


def _set(kind: str, name: str, secret: str, **fields: Any) -> None:
    run(_put(_chosen(), kind, name, secret, fields))
    typer.echo(f"{kind} {name} set")


async def _put(chosen: Settings, kind: str, name: str, secret: str, fields: dict[str, Any]) -> None:
    from reach.ops.v1 import ops_service_pb2 as pb

    from cli.connect import asked
    from cli.stubs import ops

    request = pb.SetCredentialRequest(kind=_number(kind), name=name, secret=secret, **fields)
    for service in await asked(chosen):
        async with ops(chosen, service) as stub:
            await stub.SetCredential(request)


async def _list(chosen: Settings) -> list[Any]:
    from reach.ops.v1 import ops_service_pb2 as pb

    from cli.stubs import ops

    async with ops(chosen, SERVICES[0]) as stub:  # every service is given all of them
        return list((await stub.ListCredentials(pb.ListCredentialsRequest())).credentials)


async def _remove(chosen: Settings, kind: str, name: str) -> None:
    from reach.ops.v1 import ops_service_pb2 as pb

    from cli.connect import asked
    from cli.stubs import ops

    for service in await asked(chosen):
        async with ops(chosen, service) as stub:
            await stub.DeleteCredential(pb.DeleteCredentialRequest(kind=_number(kind), name=name))


def _number(kind: str) -> Any:
    from reach.ops.v1 import ops_service_pb2 as pb

    return pb.CredentialKind.Value(f"CREDENTIAL_KIND_{kind.upper()}")


def _kind(number: Any) -> str:
    from reach.ops.v1 import ops_service_pb2 as pb

    return pb.CredentialKind.Name(number).removeprefix("CREDENTIAL_KIND_").lower()
