"""``reach rules put``, ``show``, ``versions``, ``publish``, ``rollback``, ``delete``, ``restore``: rules as they change."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.common import quieten_logs, refuse, run, settings

if TYPE_CHECKING:
    from reach.notifier.v1 import notifier_service_pb2 as pb
    from reach.notifier.v1 import rule_pb2

    from services.notifier.domain.rules import Rule
    from shared.settings import Settings

_Rule = Annotated[str, typer.Argument(metavar="RULE", help="Its id; for a preset, the event type.")]
_Version = Annotated[int, typer.Option(metavar="N", min=0, show_default=False)]


def put(
    file: Annotated[Path, typer.Argument(metavar="FILE.toml", help="A table for each rule, under its id.")],
    draft: Annotated[bool, typer.Option("--draft", help="Store it without letting it act.")] = False,
    comment: Annotated[str, typer.Option(help="Why, for whoever asks later.")] = "",
) -> None:
    """Add the rules of a file, or a version of those that are there; all are checked before the first is stored."""
    rules = read_rules(file)
    run(_put(_chosen(), rules, draft, comment))


def show(
    rule: _Rule,
    version: Annotated[int, typer.Option(metavar="N", min=0, help="0: the one that acts.")] = 0,
) -> None:
    """Show a rule as a file that put takes."""
    from services.notifier.rule_files import write_rule
    from services.notifier.rule_wire import from_spec

    one = run(_get(_chosen(), rule, version))
    typer.echo(f"# version {one.version}" + (f", {_state(one)}" if not version else ""))
    typer.echo(write_rule(from_spec(one.rule_id, _spec_of(one))), nl=False)


def versions(rule: _Rule) -> None:
    """List the versions of a rule, drafts included, the newest first."""
    found = run(_versions(_chosen(), rule))
    from cli.tables import show as show_table
    from cli.times import local

    rows = [
        (
            str(one.rule.version),
            "acts" if one.published else "-",
            local(one, "create_time"),
            one.created_by or "-",
            one.comment or "-",
        )
        for one in found
    ]
    show_table(("version", "state", "made", "by", "comment"), rows, empty=f"{rule} has no versions")


def publish(rule: _Rule, version: _Version = 0) -> None:
    """Let a draft act; without --version the latest."""
    _tell(run(_publish(_chosen(), rule, version)))


def rollback(rule: _Rule, version: _Version = 0) -> None:
    """Let an earlier version act again; without --version the one before that which acts."""
    _tell(run(_rollback(_chosen(), rule, version)))


def delete(rule: _Rule) -> None:
    """Let a rule act no more; its versions stay and can be published again."""
    run(_delete(_chosen(), rule))
    typer.echo(f"{rule} is deleted (reach rules publish {rule} brings it back)")


def restore(
    rules: Annotated[list[str] | None, typer.Argument(metavar="RULE", help="Presets; none: all.")] = None,
) -> None:
    """Publish presets as they ship, those that are other."""
    restored = run(_restore(_chosen(), rules or []))
    for one in restored:
        _tell(one)
    if not restored:
        typer.echo("nothing to restore: they are as they ship")


def read_rules(file: Path) -> tuple[Rule, ...]:
    """The rules of *file*; what is wrong with it is said with its place, and the command exits 2."""
    from services.notifier.rule_files import parse_rules
    from shared.errors import Invalid
    from shared.events.catalogue import EVENT_TYPES

    try:
        return parse_rules(read_text(file), EVENT_TYPES)
    except Invalid as refusal:
        refuse(*objections(file, refusal))


def read_text(file: Path) -> str:
    """The words of *file*; the command exits 2 where it has none."""
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        refuse(f"cannot read {file}: {(error.strerror or type(error).__name__).lower()}")
    except UnicodeDecodeError:
        refuse(f"cannot read {file}: it is no UTF-8 text; save it as UTF-8")


def objections(file: Path, refusal: Any) -> list[str]:
    """A line for each thing that *refusal* objects to in *file*."""
    return [f"{file}: {one.field}: {one.description}" for one in refusal.violations] or [
        f"{file} {refusal.message}"
    ]


def _chosen() -> Settings:
    quieten_logs()
    return settings()


def _state(one: rule_pb2.Rule) -> str:
    return "on" if one.enabled else "off"


def _tell(one: rule_pb2.Rule) -> None:
    typer.echo(f"{one.rule_id} version {one.version} {_state(one)}")


def _spec(rule: Rule) -> rule_pb2.RuleSpec:
    from services.notifier.rule_wire import to_rule
    from shared.clock import SystemClock

    return _spec_of(to_rule(rule, SystemClock().now()))


def _spec_of(one: rule_pb2.Rule) -> rule_pb2.RuleSpec:
    """What an operator decides about a rule, out of all that is known of it."""
    from reach.notifier.v1 import rule_pb2

    spec = rule_pb2.RuleSpec(
        event_type=one.event_type,
        display_name=one.display_name,
        priority=one.priority,
        roles=one.roles,
        format=one.format,
        template=one.template,
        missing=one.missing,
        condition=one.condition,
        # Absent is the manager, empty is nobody.
        fallback=one.fallback if one.HasField("fallback") else None,
        stores=one.stores,
        person_field=one.person_field,
        variables=one.variables,
        escalation=one.escalation if one.HasField("escalation") else None,
    )
    if one.HasField("merging"):
        spec.merging.CopyFrom(one.merging)
    return spec


async def _put(chosen: Settings, rules: tuple[Rule, ...], draft: bool, comment: str) -> None:
    from cli.stubs import notifier
    from shared.errors import Conflict, Denied, Invalid, Overtaken

    for rule in rules:
        try:
            async with notifier(chosen) as stub:
                # A line as soon as it is true: where a later rule fails, one can see which are stored.
                typer.echo(await _put_one(stub, rule, draft, comment))
        except (Conflict, Denied, Invalid, Overtaken) as failure:
            failure.message = f"{rule.id}: {failure.message}"
            raise


async def _put_one(stub: Any, rule: Rule, draft: bool, comment: str) -> str:
    import grpc
    from reach.notifier.v1 import notifier_service_pb2 as pb

    spec = _spec(rule)
    try:
        page = await stub.ListRuleVersions(pb.ListRuleVersionsRequest(rule_id=rule.id, page_size=1))
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.NOT_FOUND:
            raise
        saved = await stub.CreateRule(
            pb.CreateRuleRequest(rule_id=rule.id, spec=spec, draft=draft, comment=comment)
        )
    else:
        saved = await stub.UpdateRule(
            pb.UpdateRuleRequest(
                rule_id=rule.id,
                spec=spec,
                # Another change in between is told, not overwritten.
                expected_version=page.versions[0].rule.version,
                draft=draft,
                comment=comment,
            )
        )
    state = "draft"
    if not draft:
        # A new version does not undo a switch, which versions know nothing of.
        state = _state((await stub.GetRule(pb.GetRuleRequest(rule_id=rule.id))).rule)
    return f"{rule.id} version {saved.rule.version} {state}, {_size(saved.check)}"


def _size(check: rule_pb2.RuleCheck) -> str:
    if not check.example_text:
        return f"no example to measure, {check.byte_limit} bytes of room"
    cut = "; longer ones are cut" if check.byte_count > check.byte_limit else ""
    return f"{check.byte_count} of {check.byte_limit} bytes for the example{cut}"


async def _get(chosen: Settings, rule: str, version: int) -> rule_pb2.Rule:
    from reach.notifier.v1 import notifier_service_pb2 as pb

    from cli.stubs import notifier
    from shared.errors import Invalid, NotFound

    if not version:
        try:
            async with notifier(chosen) as stub:
                acting: rule_pb2.Rule = (await stub.GetRule(pb.GetRuleRequest(rule_id=rule))).rule
            return acting
        except NotFound as absent:
            latest = (await _versions(chosen, rule))[0].rule.version
            absent.message = f"no version of {rule} acts; see reach rules show {rule} --version {latest}"
            raise
    found = await _versions(chosen, rule)
    for one in found:
        if one.rule.version == version:
            return one.rule
    raise Invalid.field("version", f"rule {rule} has versions 1 to {found[0].rule.version}")


async def _versions(chosen: Settings, rule: str) -> list[rule_pb2.RuleVersion]:
    from reach.notifier.v1 import notifier_service_pb2 as pb

    from cli.stubs import notifier
    from shared.rpc.client import pages

    async with notifier(chosen) as stub:
        request = pb.ListRuleVersionsRequest(rule_id=rule)
        return [one async for page in pages(stub.ListRuleVersions, request) for one in page.versions]


async def _publish(chosen: Settings, rule: str, version: int) -> rule_pb2.Rule:
    from reach.notifier.v1 import notifier_service_pb2 as pb

    from cli.stubs import notifier

    async with notifier(chosen) as stub:
        answer: pb.PublishRuleResponse = await stub.PublishRule(
            pb.PublishRuleRequest(rule_id=rule, version=version)
        )
    return answer.rule


async def _rollback(chosen: Settings, rule: str, version: int) -> rule_pb2.Rule:
    from reach.notifier.v1 import notifier_service_pb2 as pb

    from cli.stubs import notifier

    async with notifier(chosen) as stub:
        answer: pb.RollbackRuleResponse = await stub.RollbackRule(
            pb.RollbackRuleRequest(rule_id=rule, version=version)
        )
    return answer.rule


async def _delete(chosen: Settings, rule: str) -> None:
    from reach.notifier.v1 import notifier_service_pb2 as pb

    from cli.stubs import notifier

    async with notifier(chosen) as stub:
        await stub.DeleteRule(pb.DeleteRuleRequest(rule_id=rule))


async def _restore(chosen: Settings, rules: list[str]) -> list[rule_pb2.Rule]:
    from reach.notifier.v1 import notifier_service_pb2 as pb

    from cli.stubs import notifier

    async with notifier(chosen) as stub:
        answer: pb.RestorePresetsResponse = await stub.RestorePresets(
            pb.RestorePresetsRequest(rule_ids=rules)
        )
    return list(answer.rules)
