"""``reach roles``: who holds which role in a store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli.common import quieten_logs, refuse, run, settings
from cli.inputs import holders as read_holders
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
            "、".join(described(target) for target in one.targets) or "nobody",
            "、".join(spelled(target) for target in one.deputies) or "-",
            "default" if one.inherited else "own" if one.targets else "-",
            one.updated_by or "-",
        )
        for one in roles
    ]
    show(("role", "name", "held by", "deputies", "from", "set by"), rows, empty="there are no roles")


@app.command("set")
def set_role(
    role: Annotated[str, typer.Argument(help="kitchen_staff, manager, front_desk, …")],
    store: _Store = "",
    user: Annotated[
        list[str] | None,
        typer.Option(
            metavar="USERID", help="A member; repeat it. With attributes: zhang\\[name=张三,title=主管]."
        ),
    ] = None,
    robot: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A group's robot; repeat it.")
    ] = None,
    party: Annotated[list[str] | None, typer.Option(metavar="NUMBER", help="A department (部门).")] = None,
    tag: Annotated[list[str] | None, typer.Option(metavar="NUMBER", help="A tag (标签).")] = None,
    deputy: Annotated[
        list[str] | None,
        typer.Option(metavar="TARGET", help="Who stands in: USERID, party:2, tag:1, robot:front; repeat it."),
    ] = None,
    nobody: Annotated[bool, typer.Option("--nobody", help="Take every holder away.")] = False,
) -> None:
    """Replace who holds a role, and who stands in for them."""
    holders = read_holders(user or [], robot or [], party or [], tag or [])
    if bool(holders) == nobody:
        refuse("name who holds it (--user, --robot, --party, --tag), or say --nobody")
    one = run(_set(_chosen(), role, store, holders, [unspelled(text) for text in deputy or []]))
    held = "、".join(described(target) for target in one.targets) or "nobody"
    deputies = "、".join(spelled(target) for target in one.deputies)
    behind = f", deputies {deputies}" if deputies else ""
    typer.echo(f"{one.role} ({one.display_name}) at {store or 'all stores'}: {held}{behind}")


def spelled(target: target_pb2.Target) -> str:
    """A target as people write it: ``zhangsan``, ``robot:front``."""
    from reach.notifier.v1 import target_pb2

    kind = target_pb2.TargetKind.Name(target.kind).removeprefix("TARGET_KIND_").lower()
    return target.id if kind == "user" else f"{kind}:{target.id}"


def described(target: target_pb2.Target) -> str:
    """A holder of a role with its attributes, as ``set`` takes it."""
    from services.notifier.domain.attributes import joined

    return joined(spelled(target), target.attributes)


def unspelled(text: str) -> target_pb2.Target:
    """The target that ``spelled`` writes as *text*."""
    kind, separator, ident = text.partition(":")
    if not separator:
        kind, ident = "user", text
    if kind not in ("user", "robot", "party", "tag"):
        refuse(f"{text}: a target is USERID, party:NUMBER, tag:NUMBER or robot:NAME")
    (target,) = read_targets(*([ident] if kind == one else [] for one in ("user", "robot", "party", "tag")))
    return target


def _chosen() -> Settings:
    quieten_logs()
    return settings()


async def _list(chosen: Settings, store: str) -> list[target_pb2.Role]:
    from reach.notifier.v1 import notifier_service_pb2 as pb

    from cli.stubs import notifier

    async with notifier(chosen) as stub:
        return list((await stub.ListRoles(pb.ListRolesRequest(store_id=store))).roles)


async def _set(
    chosen: Settings,
    role: str,
    store: str,
    holders: list[target_pb2.Target],
    deputies: list[target_pb2.Target],
) -> target_pb2.Role:
    from reach.notifier.v1 import notifier_service_pb2 as pb

    from cli.stubs import notifier

    async with notifier(chosen) as stub:
        request = pb.SetRoleTargetsRequest(role=role, store_id=store, targets=holders, deputies=deputies)
        one: target_pb2.Role = (await stub.SetRoleTargets(request)).role
    return one
