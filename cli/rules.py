"""``reach rules``: which event tells which roles, and switching a rule off and on; ``rule_changes`` has the rest."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli import rule_changes, rule_testing
from cli.common import quieten_logs, refuse, run, settings
from cli.inputs import duration

if TYPE_CHECKING:
    from reach.notifier.v1 import rule_pb2

    from shared.settings import Settings

app = typer.Typer(help="Which event tells whom: list, put, try, switch off, take back.", no_args_is_help=True)

_Store = Annotated[str, typer.Option(metavar="ID", help="As it acts in this store; empty: all stores.")]


@app.command("list")
def list_rules(store: _Store = "") -> None:
    """List the rules."""
    from cli.tables import show
    from cli.times import local

    rules = run(_list(_chosen(), store))
    rows = []
    for one in rules:
        until = local(one, "disabled_until_time")
        state = "on" if one.enabled else f"off by {one.disabled_by}" + (f" until {until}" if until else "")
        rows.append((one.rule_id, one.display_name, _priority(one), "、".join(one.roles), state))
    show(("rule", "name", "priority", "roles", "state"), rows, empty="there are no rules")


@app.command("toggle")
def toggle(
    rule: Annotated[str, typer.Argument(metavar="RULE", help="Its id; for a preset, the event type.")],
    state: Annotated[Literal["on", "off"], typer.Argument()],
    store: _Store = "",
    span: Annotated[str, typer.Option("--for", metavar="SPAN", help="Only for so long: 30m, 8h.")] = "",
    comment: Annotated[str, typer.Option(help="Why, for whoever asks later.")] = "",
) -> None:
    """Switch a rule on or off; events recorded from now on are decided by it."""
    if span and state == "on":
        refuse("--for goes with off")
    until = datetime.now(UTC) + duration(span, "--for") if span else None
    one = run(_toggle(_chosen(), rule, state == "on", store, until, comment))
    typer.echo(f"{one.rule_id} ({one.display_name}) is {'on' if one.enabled else 'off'}")


for _command in (
    rule_changes.put,
    rule_changes.show,
    rule_changes.versions,
    rule_changes.publish,
    rule_changes.rollback,
    rule_changes.delete,
    rule_changes.restore,
):
    app.command()(_command)
app.command("test")(rule_testing.run_tests)


def _chosen() -> Settings:
    quieten_logs()
    return settings()


def _priority(one: rule_pb2.Rule) -> str:
    from reach.notifier.v1 import rule_pb2

    return rule_pb2.Priority.Name(one.priority).removeprefix("PRIORITY_").lower()


async def _list(chosen: Settings, store: str) -> list[rule_pb2.Rule]:
    from reach.notifier.v1 import notifier_service_pb2 as pb

    from cli.stubs import notifier
    from shared.rpc.client import pages

    async with notifier(chosen) as stub:
        request = pb.ListRulesRequest(store_id=store)
        return [rule async for page in pages(stub.ListRules, request) for rule in page.rules]


async def _toggle(
    chosen: Settings, rule: str, enabled: bool, store: str, until: datetime | None, comment: str
) -> rule_pb2.Rule:
    from reach.notifier.v1 import notifier_service_pb2 as pb

    from cli.stubs import notifier
    from shared.rpc.fields import to_timestamp

    request = pb.ToggleRuleRequest(rule_id=rule, enabled=enabled, store_id=store, comment=comment)
    if until is not None:
        request.disabled_until_time.CopyFrom(to_timestamp(until))
    async with notifier(chosen) as stub:
        one: rule_pb2.Rule = (await stub.ToggleRule(request)).rule
    return one
