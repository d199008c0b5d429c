"""``reach roles``: who holds which role in a store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli.common import quieten_logs, refuse, run, settings
from cli.inputs import targets as read_targets

if TYPE_CHECKING:
    from reach.notifier.v1 import target_pb2

    from shared.settings import Settings

app = typer.Typer(help="Who holds which role: list, set.", no_args_is_help=True)

_Store = Annotated[str, typer.Option(metavar="ID", help="The store; empty: the default of all stores.")]


@app.command("list")
def list_roles(store: _Store = "") -> None:
    """List the eight roles and who holds them."""
    from cli.tables import show

    roles = run(_list(_chosen(), store))
    rows = [
        (
            one.role,
            one.display_name,
            "、".join(spelled(target) for target in one.targets) or "nobody",
            "default" if one.inherited else "own" if one.targets else "-",
            one.updated_by or "-",
        )
        for one in roles
    ]
    show(("role", "name", "held by", "from", "set by"), rows, empty="there are no roles")


@app.command("set")
def set_role(
    role: Annotated[str, typer.Argument(help="kitchen_staff, manager, front_desk, …")],
    store: _Store = "",
    user: Annotated[list[str] | None, typer.Option(metavar="USERID", help="A member; repeat it.")] = None,
    robot: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A group's robot; repeat it.")
    ] = None,
    party: Annotated[list[str] | None, typer.Option(metavar="NUMBER", help="A department (部门).")] = None,
    tag: Annotated[list[str] | None, typer.Option(metavar="NUMBER", help="A tag (标签).")] = None,
    nobody: Annotated[bool, typer.Option("--nobody", help="Take every holder away.")] = False,
) -> None:
    """Replace who holds a role."""
    holders = read_targets(user or [], robot or [], party or [], tag or [])
    if bool(holders) == nobody:
        refuse("name who holds it (--user, --robot, --party, --tag), or say --nobody")
    one = run(_set(_chosen(), role, store, holders))
    held = "、".join(spelled(target) for target in one.targets) or "nobody"
    typer.echo(f"{one.role} ({one.display_name}) at {store or 'all stores'}: {held}")


def spelled(target: target_pb2.Target) -> str:
    """A target as people write it: ``zhangsan``, ``robot:front``."""
    from reach.notifier.v1 import target_pb2

    kind = target_pb2.TargetKind.Name(target.kind).removeprefix("TARGET_KIND_").lower()
    return target.id if kind == "user" else f"{kind}:{target.id}"


def _chosen() -> Settings:
    quieten_logs()
    return settings()


async def _list(chosen: Settings, store: str) -> list[target_pb2.Role]:
    from reach.notifier.v1 import notifier_service_pb2 as pb

    from cli.stubs import notifier

    async with notifier(chosen) as stub:
        return list((await stub.ListRoles(pb.ListRolesRequest(store_id=store))).roles)


async def _set(chosen: Settings, role: str, store: str, holders: list[target_pb2.Target]) -> target_pb2.Role:
    from reach.notifier.v1 import notifier_service_pb2 as pb

    from cli.stubs import notifier

    async with notifier(chosen) as stub:
        request = pb.SetRoleTargetsRequest(role=role, store_id=store, targets=holders)
        one: target_pb2.Role = (await stub.SetRoleTargets(request)).role
    return one
