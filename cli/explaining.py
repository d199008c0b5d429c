"""``reach explain``: why something did, or did not, go out."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cli.common import FAILED, describe, quieten_logs, refuse, run, say, settings
from cli.inputs import instant, targets

if TYPE_CHECKING:
    from reach.ai_orchestrator.v1 import run_pb2
    from reach.campaign.v1 import explain_pb2 as campaign_pb2
    from reach.kf_session.v1 import push_pb2
    from reach.notifier.v1 import explain_pb2
    from reach.notifier.v1 import notifier_service_pb2 as pb

    from shared.settings import Settings


class _Found:
    """What the services know, each in its own words."""

    def __init__(self) -> None:
        self.stories: list[explain_pb2.Explanation] = []
        self.steps: list[push_pb2.ExplainStep] = []
        self.ai_steps: list[run_pb2.ExplainStep] = []
        self.campaigns: list[campaign_pb2.Explanation] = []

    @property
    def known(self) -> bool:
        """Whether anybody knows anything."""
        return bool(self.elsewhere or any(map(_is_known, self.stories)))

    @property
    def elsewhere(self) -> bool:
        """Whether anybody but the notifier does."""
        return bool(self.steps or self.ai_steps or self.campaigns)


def explain(
    subject: Annotated[
        str,
        typer.Argument(
            metavar="[ID]",
            help="Of an event, message, delivery, push, match or run; of a campaign, an owner's task, a customer group.",
        ),
    ] = "",
    store: Annotated[str, typer.Option(metavar="ID", help="Only in this store.")] = "",
    user: Annotated[str, typer.Option(metavar="USERID", help="What this person was sent instead.")] = "",
    robot: Annotated[str, typer.Option(metavar="NAME", help="What this group was sent instead.")] = "",
    customer: Annotated[
        str, typer.Option(metavar="EXTERNAL_USERID", help="What this customer was sent instead.")
    ] = "",
    start: Annotated[
        str, typer.Option("--from", metavar="INSTANT", help="18:30, 2026-02-20 18:30, RFC 3339.")
    ] = "",
    end: Annotated[str, typer.Option("--to", metavar="INSTANT", help="Up to then; empty: until now.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="The whole answer as JSON.")] = False,
    lang: Annotated[
        Literal["zh", "en"] | None, typer.Option(help="Language of the story; empty: the terminal's.")
    ] = None,
) -> None:
    """Tell the story of an event, message, push, run or campaign, or of what one person was sent in a period."""
    if sum(map(bool, (subject, user, robot, customer))) != 1:
        refuse("name one thing to explain: an ID, --user USERID, --robot NAME or --customer EXTERNAL_USERID")
    if (start or end) and subject:
        refuse("--from and --to go with --user, --robot or --customer")
    quieten_logs()
    chosen = settings()
    if customer and not (store or chosen.default_store):
        refuse("--customer needs --store ID, or REACH_DEFAULT_STORE")
    staff = None if customer else _request(chosen, subject, user, robot, start, end)
    if staff is not None:
        staff.store_id = store
    client = _kf_request(chosen, subject, customer, store, start, end)
    found = run(_ask(chosen, staff, client, subject))
    if as_json:
        _print_json(found)
    else:
        from cli.stories import tell, tell_campaigns, tell_runs, tell_steps

        if staff is not None and (found.stories or not found.elsewhere):
            tell(found.stories, lang or _language())
        if customer or found.steps:
            tell_steps(found.steps, lang or _language())
        if found.ai_steps:
            tell_runs(found.ai_steps, lang or _language())
        if found.campaigns:
            tell_campaigns(found.campaigns, lang or _language())
    if not found.known:
        raise typer.Exit(FAILED)


def _request(
    chosen: Settings, subject: str, user: str, robot: str, start: str, end: str
) -> pb.ExplainRequest:
    from reach.notifier.v1 import notifier_service_pb2 as pb

    if subject:
        return pb.ExplainRequest(id=subject)
    (target,) = targets([user] if user else [], [robot] if robot else [], [], [])
    period = pb.PersonPeriod(target=target)
    _set_period(chosen, period, start, end)
    return pb.ExplainRequest(person=period)


def _kf_request(
    chosen: Settings, subject: str, customer: str, store: str, start: str, end: str
) -> push_pb2.ExplainRequest | None:
    """The same for kf_session, which knows no staff."""
    from reach.kf_session.v1 import push_pb2

    if subject:
        return push_pb2.ExplainRequest(id=subject)
    if not customer:
        return None
    asked = push_pb2.ExplainCustomer(store_id=store or chosen.default_store or "", external_userid=customer)
    _set_period(chosen, asked, start, end)
    return push_pb2.ExplainRequest(customer=asked)


def _set_period(chosen: Settings, period: Any, start: str, end: str) -> None:
    from shared.rpc.fields import to_timestamp

    for option, given, field in (("--from", start, "start_time"), ("--to", end, "end_time")):
        if given:
            getattr(period, field).CopyFrom(to_timestamp(instant(given, option, chosen.default_zone)))


async def _ask(
    chosen: Settings, staff: pb.ExplainRequest | None, client: push_pb2.ExplainRequest | None, subject: str
) -> _Found:
    """Every service's stories. One that cannot be asked is named, and fails the command only where nobody else knew."""
    from shared.errors import NotFound, ReachError

    found = _Found()
    problems: list[ReachError] = []
    for asked in (
        staff and _ask_notifier(chosen, staff, found.stories),
        client and _ask_kf(chosen, client, found.steps),
        subject and _ask_ai(chosen, subject, found.ai_steps),
        subject and _ask_campaign(chosen, subject, found.campaigns),
    ):
        try:
            if asked:
                await asked
        except NotFound:
            continue
        except ReachError as error:
            problems.append(error)
    if problems and not found.known:
        raise problems[0]
    for problem in problems:
        say(describe(problem))
    if found.elsewhere:
        # What the one does not know the other may: only where nobody does is that the answer.
        found.stories = [story for story in found.stories if _is_known(story)]
    return found


async def _ask_notifier(
    chosen: Settings, request: pb.ExplainRequest, stories: list[explain_pb2.Explanation]
) -> None:
    from cli.stubs import notifier

    async with notifier(chosen) as stub:
        stories += (await stub.Explain(request, timeout=10.0)).explanations


async def _ask_kf(
    chosen: Settings, request: push_pb2.ExplainRequest, steps: list[push_pb2.ExplainStep]
) -> None:
    from cli.stubs import kf

    async with kf(chosen) as stub:
        steps += (await stub.Explain(request, timeout=10.0)).steps


async def _ask_ai(chosen: Settings, subject: str, steps: list[run_pb2.ExplainStep]) -> None:
    """An id does not say what it is of: a run, else an event."""
    from reach.ai_orchestrator.v1 import run_pb2

    from cli.stubs import ai_orchestrator
    from shared.errors import NotFound

    for request in (run_pb2.ExplainRequest(run_id=subject), run_pb2.ExplainRequest(event_id=subject)):
        try:
            async with ai_orchestrator(chosen) as stub:
                steps += (await stub.Explain(request, timeout=10.0)).steps
        except NotFound:
            continue
        return


async def _ask_campaign(chosen: Settings, subject: str, found: list[campaign_pb2.Explanation]) -> None:
    from reach.campaign.v1 import explain_pb2

    from cli.stubs import campaign

    async with campaign(chosen) as stub:
        found += (await stub.Explain(explain_pb2.ExplainRequest(id=subject), timeout=10.0)).explanations


def _is_known(story: explain_pb2.Explanation) -> bool:
    from reach.notifier.v1 import explain_pb2

    return story.verdict != explain_pb2.VERDICT_NOT_FOUND


def _print_json(found: _Found) -> None:
    import json

    from google.protobuf.json_format import MessageToDict
    from reach.kf_session.v1 import push_pb2
    from reach.notifier.v1 import notifier_service_pb2 as pb

    told = MessageToDict(pb.ExplainResponse(explanations=found.stories), preserving_proto_field_name=True)
    told |= MessageToDict(push_pb2.ExplainResponse(steps=found.steps), preserving_proto_field_name=True)
    if found.ai_steps:
        told["ai_steps"] = [MessageToDict(one, preserving_proto_field_name=True) for one in found.ai_steps]
    if found.campaigns:
        told["campaigns"] = [MessageToDict(one, preserving_proto_field_name=True) for one in found.campaigns]
    typer.echo(json.dumps(told, ensure_ascii=False, indent=2))


def _language() -> Literal["zh", "en"]:
    spoken = next(
        (value for name in ("LC_ALL", "LC_MESSAGES", "LANG") if (value := os.environ.get(name))), ""
    )
    return "zh" if spoken.lower().startswith("zh") else "en"
