"""``reach explain``: why something did, or did not, go out."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli.common import FAILED, quieten_logs, refuse, run, settings
from cli.inputs import instant, targets

if TYPE_CHECKING:
    from reach.notifier.v1 import explain_pb2
    from reach.notifier.v1 import notifier_service_pb2 as pb

    from shared.settings import Settings


def explain(
    subject: Annotated[str, typer.Argument(metavar="[ID]", help="An event, message or delivery id.")] = "",
    store: Annotated[str, typer.Option(metavar="ID", help="Only in this store.")] = "",
    user: Annotated[str, typer.Option(metavar="USERID", help="What this person was sent instead.")] = "",
    robot: Annotated[str, typer.Option(metavar="NAME", help="What this group was sent instead.")] = "",
    start: Annotated[
        str, typer.Option("--from", metavar="INSTANT", help="18:30, 2026-02-20 18:30, RFC 3339.")
    ] = "",
    end: Annotated[str, typer.Option("--to", metavar="INSTANT", help="Up to then; empty: until now.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="The whole answer as JSON.")] = False,
    lang: Annotated[
        Literal["zh", "en"] | None, typer.Option(help="Language of the story; empty: the terminal's.")
    ] = None,
) -> None:
    """Tell the story of an event or message, or of what one person was sent in a period."""
    if sum(map(bool, (subject, user, robot))) != 1:
        refuse("name one thing to explain: an ID, --user USERID or --robot NAME")
    if (start or end) and subject:
        refuse("--from and --to go with --user or --robot")
    quieten_logs()
    chosen = settings()
    request = _request(chosen, subject, user, robot, start, end)
    request.store_id = store
    stories = run(_ask(chosen, request))
    if as_json:
        _print_json(stories)
    else:
        from cli.stories import tell

        tell(stories, lang or _language())
    if not any(_is_known(story) for story in stories):
        raise typer.Exit(FAILED)


def _request(
    chosen: Settings, subject: str, user: str, robot: str, start: str, end: str
) -> pb.ExplainRequest:
    from reach.notifier.v1 import notifier_service_pb2 as pb

    from shared.rpc.fields import to_timestamp

    if subject:
        return pb.ExplainRequest(id=subject)
    (target,) = targets([user] if user else [], [robot] if robot else [], [], [])
    period = pb.PersonPeriod(target=target)
    for option, given, field in (
        ("--from", start, period.start_time),
        ("--to", end, period.end_time),
    ):
        if given:
            field.CopyFrom(to_timestamp(instant(given, option, chosen.default_zone)))
    return pb.ExplainRequest(person=period)


async def _ask(chosen: Settings, request: pb.ExplainRequest) -> list[explain_pb2.Explanation]:
    """Every service's stories: the notifier's is the only one there is so far."""
    from cli.stubs import notifier

    async with notifier(chosen) as stub:
        return list((await stub.Explain(request, timeout=10.0)).explanations)


def _is_known(story: explain_pb2.Explanation) -> bool:
    from reach.notifier.v1 import explain_pb2

    return story.verdict != explain_pb2.VERDICT_NOT_FOUND


def _print_json(stories: list[explain_pb2.Explanation]) -> None:
    from google.protobuf.json_format import MessageToJson
    from reach.notifier.v1 import notifier_service_pb2 as pb

    answer = pb.ExplainResponse(explanations=stories)
    typer.echo(MessageToJson(answer, preserving_proto_field_name=True, ensure_ascii=False))


def _language() -> Literal["zh", "en"]:
    spoken = next(
        (value for name in ("LC_ALL", "LC_MESSAGES", "LANG") if (value := os.environ.get(name))), ""
    )
    return "zh" if spoken.lower().startswith("zh") else "en"
