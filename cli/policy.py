"""``reach policy``: when people may be reached and how often; ``policy_words`` reads and writes what it says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import policy_words
from cli.common import quieten_logs, refuse, run, settings
from cli.inputs import targets as read_targets

if TYPE_CHECKING:
    from reach.notifier.v1 import notifier_service_pb2 as pb
    from reach.notifier.v1 import policy_pb2

app = typer.Typer(help="Quiet hours, budgets and merging: set, get, list, remove.", no_args_is_help=True)

_Store = Annotated[str, typer.Option(metavar="ID", help="The store; empty: all that have none of their own.")]
_Role = Annotated[str, typer.Option(metavar="ROLE", help="For everybody who is told for it.")]
_User = Annotated[str, typer.Option(metavar="USERID", help="For one member.")]
_Robot = Annotated[str, typer.Option(metavar="NAME", help="For one group's robot.")]
_Party = Annotated[str, typer.Option(metavar="NUMBER", help="For a department (部门).")]
_Tag = Annotated[str, typer.Option(metavar="NUMBER", help="For a tag (标签).")]

_OPTIONS = {
    "policy.quiet_hours": "--quiet",
    "policy.time_zone": "--zone",
    "policy.budgets": "--budget",
    "policy.merging": "--merge",
    "subject.role": "--role",
    "subject.target": "--user, --robot, --party, --tag",
    "role": "--role",
    "store_id": "--store",
}
"""Which option a field of a request was given by, the more particular field first."""


@app.command("set")
def set_policy(
    store: _Store = "",
    role: _Role = "",
    user: _User = "",
    robot: _Robot = "",
    party: _Party = "",
    tag: _Tag = "",
    quiet: Annotated[
        list[str] | None,
        typer.Option(metavar="FROM-TO[/DAYS]", help="Left alone: 22:00-08:00, 12:00-14:00/6-7; repeat it."),
    ] = None,
    days: Annotated[
        str, typer.Option(help="Weekdays on which quiet begins, 1 is Monday: 1-5, 6,7; empty: every day.")
    ] = "",
    mode: Annotated[str, typer.Option(help="What comes in quiet hours: hold (default), digest, drop.")] = "",
    zone: Annotated[str, typer.Option(metavar="ZONE", help="IANA zone of its hours and days.")] = "",
    budget: Annotated[
        list[str] | None,
        typer.Option(metavar="N/SPAN[/EXCESS]", help="At most: 30/1h, 100/day, 5/10m/drop; repeat it."),
    ] = None,
    excess: Annotated[str, typer.Option(help="What is too much: hold (default), drop.")] = "",
    unlimited: Annotated[
        bool, typer.Option("--unlimited", help="No budget, whatever wider ones say.")
    ] = False,
    merge: Annotated[
        str, typer.Option(metavar="HOW:SPAN[:LINES]", help="window:60s, cooldown:5m:10, off.")
    ] = "",
) -> None:
    """Replace the policy for everybody, a role or one address. What is not said is left to wider policies."""
    subject = _subject(role, user, robot, party, tag)
    said = policy_words.policy(quiet or [], days, mode, zone, budget or [], excess, unlimited, merge)
    stored = run(_set(store, subject, said))
    typer.echo(f"{policy_words.whom(stored)}: {policy_words.sentence(stored.policy)}")


@app.command("get")
def get_policy(
    store: _Store = "",
    role: Annotated[
        str, typer.Option(metavar="ROLE", help="A role; beside an address, the one it is told for.")
    ] = "",
    user: _User = "",
    robot: _Robot = "",
    party: _Party = "",
    tag: _Tag = "",
) -> None:
    """Show the policy of a subject, and which policies count for it."""
    from reach.notifier.v1 import notifier_service_pb2 as pb

    from cli.tables import show

    told_for = role if user or robot or party or tag else ""
    subject = _subject("" if told_for else role, user, robot, party, tag)
    request = pb.GetPolicyRequest(store_id=store, subject=subject, role=told_for)
    found = run(_ask(lambda stub: stub.GetPolicy(request)))
    own = policy_words.sentence(found.stored.policy) if found.HasField("stored") else "no policy of its own"
    typer.echo(f"{policy_words.named(subject, store)}: {own}")
    rows = []
    for part, field, of in (
        ("quiet hours", "quiet_hours_from", policy_words.quiet_of),
        ("budgets", "budgets_from", policy_words.budgets_of),
        ("merging", "merging_from", policy_words.merging_of),
    ):
        if found.HasField(field):
            one = getattr(found, field)
            rows.append((part, of(one.policy), policy_words.whom(one), one.updated_by or "-"))
    show(
        ("what counts", "says", "policy of", "set by"), rows, empty="nothing counts: messages go as they come"
    )


@app.command("list")
def list_policies(
    store: Annotated[str, typer.Option(metavar="ID", help="Only of this store, and those for all.")] = "",
) -> None:
    """List the policies of a store and those for all stores; without --store those of every store."""
    from cli.tables import show
    from cli.times import local

    rows = [
        (
            policy_words.named(one.subject, ""),
            one.store_id or "all",
            policy_words.quiet_of(one.policy) or "-",
            policy_words.budgets_of(one.policy) or "-",
            policy_words.merging_of(one.policy) or "-",
            one.policy.time_zone or "-",
            one.updated_by or "-",
            local(one, "update_time"),
        )
        for one in run(_list(store))
    ]
    heads = ("for", "store", "quiet hours", "budgets", "merging", "zone", "set by", "at")
    show(heads, rows, empty="there are no policies: messages go as they come")


@app.command("remove")
def remove_policy(
    store: _Store = "",
    role: _Role = "",
    user: _User = "",
    robot: _Robot = "",
    party: _Party = "",
    tag: _Tag = "",
) -> None:
    """Take a policy away; wider ones count then."""
    stored = run(_set(store, _subject(role, user, robot, party, tag), None))
    typer.echo(f"{policy_words.whom(stored)}: no policy of its own")


def _subject(role: str, user: str, robot: str, party: str, tag: str) -> policy_pb2.PolicySubject:
    from reach.notifier.v1 import policy_pb2

    lists = [[one] if one else [] for one in (user, robot, party, tag)]
    found = read_targets(*lists)
    if len(found) + bool(role) > 1:
        refuse(
            "a policy is for one: give one of --role, --user, --robot, --party, --tag, or none (everybody)"
        )
    if role:
        return policy_pb2.PolicySubject(role=role)
    return policy_pb2.PolicySubject(target=found[0] if found else None)


async def _set(
    store: str, subject: policy_pb2.PolicySubject, said: policy_pb2.Policy | None
) -> policy_pb2.StoredPolicy:
    from reach.notifier.v1 import notifier_service_pb2 as pb

    request = pb.SetPolicyRequest(store_id=store, subject=subject, policy=said)
    stored: policy_pb2.StoredPolicy = (await _ask(lambda stub: stub.SetPolicy(request))).stored
    return stored


async def _list(store: str) -> list[policy_pb2.StoredPolicy]:
    from reach.notifier.v1 import notifier_service_pb2 as pb

    from shared.rpc.client import pages

    async def every(stub: Any) -> list[pb.ListPoliciesResponse]:
        return [page async for page in pages(stub.ListPolicies, pb.ListPoliciesRequest(store_id=store))]

    return [one for page in await _ask(every) for one in page.policies]


async def _ask(question: Callable[[Any], Awaitable[Any]]) -> Any:
    """Ask the notifier; what it refuses is said by the options that were given."""
    from cli.stubs import notifier
    from shared.errors import Invalid

    quieten_logs()
    try:
        async with notifier(settings()) as stub:
            return await question(stub)
    except Invalid as refusal:
        lines = [f"{_option(one.field)}: {one.description}" for one in refusal.violations]
        refuse(*(lines or [refusal.message]))


def _option(field: str) -> str:
    return next((option for start, option in _OPTIONS.items() if field.startswith(start)), field)
