"""``reach send``: a message that somebody wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli.common import FAILED, quieten_logs, refuse, run, settings
from cli.inputs import duration, targets, text

if TYPE_CHECKING:
    from reach.notifier.v1 import notifier_service_pb2 as pb

    from shared.settings import Settings


def send(
    words: Annotated[str, typer.Argument(metavar="TEXT", help="The words, @FILE, or - for stdin.")],
    store: Annotated[str, typer.Option(metavar="ID", help="For which; empty: REACH_DEFAULT_STORE.")] = "",
    user: Annotated[list[str] | None, typer.Option(metavar="USERID", help="A member; repeat it.")] = None,
    role: Annotated[list[str] | None, typer.Option(metavar="ROLE", help="A role of the store.")] = None,
    robot: Annotated[list[str] | None, typer.Option(metavar="NAME", help="A group's robot.")] = None,
    party: Annotated[list[str] | None, typer.Option(metavar="NUMBER", help="A department (部门).")] = None,
    tag: Annotated[list[str] | None, typer.Option(metavar="NUMBER", help="A tag (标签).")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="The words are markdown.")] = False,
    priority: Annotated[Literal["urgent", "high", "normal", "low"], typer.Option()] = "normal",
    wait: Annotated[str, typer.Option(help="How long to wait for the outcome, at most 10s.")] = "5s",
    key: Annotated[str, typer.Option(help="Idempotency key: the same again sends nothing.")] = "",
    preview: Annotated[bool, typer.Option("--preview", help="Show the calls; send nothing.")] = False,
) -> None:
    """Send a message to people, roles or groups, and say what became of it."""
    from reach.notifier.v1 import notifier_service_pb2 as pb
    from reach.notifier.v1 import rule_pb2

    from shared.rpc.fields import to_duration

    to = targets(user or [], robot or [], party or [], tag or [])
    if not to and not role:
        refuse("to whom? Use --user, --role, --robot, --party or --tag")
    written = text(words, "TEXT").decode("utf-8", "replace")
    request = pb.SendMessageRequest(
        store_id=store,
        targets=to,
        roles=role or [],
        priority=rule_pb2.Priority.Value(f"PRIORITY_{priority.upper()}"),
        wait=to_duration(duration(wait, "--wait")),
        idempotency_key=key,
        preview_only=preview,
    )
    if markdown:
        request.markdown = written
    else:
        request.text = written
    quieten_logs()
    answer = run(_send(settings(), request))
    if preview:
        _show(answer)
    else:
        _tell(answer)


async def _send(chosen: Settings, request: pb.SendMessageRequest) -> pb.SendMessageResponse:
    from cli.stubs import notifier

    if not request.store_id:
        request.store_id = chosen.default_store or ""
    async with notifier(chosen) as stub:
        answer: pb.SendMessageResponse = await stub.SendMessage(request, timeout=15.0)
    return answer


def _show(answer: pb.SendMessageResponse) -> None:
    from cli.roles import spelled
    from cli.times import local

    for one in answer.calls:
        whom = "、".join(spelled(recipient.target) for recipient in one.recipients)
        held = f", not before {local(one, 'earliest_time')} ({one.held_by})" if one.held_by else ""
        typer.echo(f"{one.channel} {whom}: {one.byte_count} of {one.byte_limit} bytes{held}\n{one.text}\n")
    if not answer.calls:
        typer.echo(f"nothing would be sent: {_verdict(answer)}", err=True)
        raise typer.Exit(FAILED)


def _verdict(answer: pb.SendMessageResponse) -> str:
    from reach.notifier.v1 import explain_pb2

    return explain_pb2.Verdict.Name(answer.verdict).removeprefix("VERDICT_").lower()


def _tell(answer: pb.SendMessageResponse) -> None:
    from reach.notifier.v1 import delivery_pb2, explain_pb2

    from cli.roles import spelled

    typer.echo(answer.message_id)
    failed = answer.verdict != explain_pb2.VERDICT_PLANNED
    if failed:
        typer.echo(f"nothing was sent: {_verdict(answer)}", err=True)
    for one in answer.deliveries:
        status = delivery_pb2.DeliveryStatus.Name(one.status).removeprefix("DELIVERY_STATUS_").lower()
        whom = "、".join(spelled(recipient.target) for recipient in one.recipients)
        why = one.reason or one.hold_reason
        typer.echo(f"{status} {one.channel} {whom}" + (f" ({why})" if why else ""), err=True)
        failed = failed or one.status in (
            delivery_pb2.DELIVERY_STATUS_FAILED,
            delivery_pb2.DELIVERY_STATUS_UNKNOWN,
        )
    if failed:
        raise typer.Exit(FAILED)
