"""``reach doctor``: every service's checks, with the fix of each that fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from cli.common import FAILED, SERVICES, quieten_logs, run, settings

if TYPE_CHECKING:
    from reach.ops.v1 import ops_service_pb2 as pb

    from shared.settings import Settings

_SIGNS = {"ok": "OK", "warning": "!", "failed": "✗", "skipped": "-"}
_SECONDS = 10.0


def doctor() -> None:
    """Check every service and say what to do about what does not work; exit 1 when something failed."""
    quieten_logs()
    found = run(_examine(settings()))
    _print(found)
    failed = [check for check in found if _word(check) == "failed"]
    typer.echo(f"{len(found)} checks, {len(failed)} failed")
    if failed:
        raise typer.Exit(FAILED)


async def _examine(chosen: Settings) -> list[pb.Check]:
    return [check for service in SERVICES for check in await _ask(chosen, service)]


async def _ask(chosen: Settings, service: str) -> list[pb.Check]:
    """The checks of one service; being unreachable is a finding like others."""
    from reach.ops.v1 import ops_service_pb2 as pb
    from reach.ops.v1 import ops_service_pb2_grpc

    from cli.connect import calling
    from shared.errors import ReachError

    try:
        async with calling(chosen, service, pb.DESCRIPTOR.services_by_name["OpsService"]) as channel:
            stub = ops_service_pb2_grpc.OpsServiceStub(channel)
            answer = await stub.Doctor(pb.DoctorRequest(), timeout=_SECONDS)
    except ReachError as error:
        found, _, fix = error.message.partition(": " if "cannot be reached" in error.message else "; ")
        failed = pb.CHECK_STATUS_FAILED
        return [pb.Check(service=service, name="reachable", status=failed, found=found, fix=fix)]
    return list(answer.checks)


def _word(check: pb.Check) -> str:
    from reach.ops.v1 import ops_service_pb2 as pb

    return pb.CheckStatus.Name(check.status).removeprefix("CHECK_STATUS_").lower()


def _print(found: list[pb.Check]) -> None:
    from cli.tables import show

    rows = [
        (_SIGNS.get(_word(one), "?"), one.service, one.name, one.found, one.fix and f"→ {one.fix}")
        for one in found
    ]
    show(("", "service", "check", "found", "what to do"), rows, empty="no service has checks")
