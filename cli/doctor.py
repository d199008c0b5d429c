"""``reach doctor``: every service's checks, with the fix of each that fails."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import typer

from cli.common import FAILED, quieten_logs, run, settings

if TYPE_CHECKING:
    from reach.ops.v1 import ops_service_pb2 as pb

    from shared.settings import Settings

_SIGNS = {"ok": "OK", "warning": "!", "failed": "✗", "skipped": "-"}
# While the database is away, looking up who asks takes its time, too, before any check begins.
_SECONDS = 20.0
_DATABASE_FIX = "start the database, or correct REACH_DATABASE_URL; the process comes back by itself"


def doctor() -> None:
    """Check every service and say what to do about what does not work; exit 1 when something failed."""
    quieten_logs()
    found = run(_examine(settings()))
    _print(found)
    count = Counter(map(_word, found))
    typer.echo(f"{len(found)} checks: {count['failed']} failed, {count['warning']} to look at (!)")
    if count["failed"]:
        raise typer.Exit(FAILED)


async def _examine(chosen: Settings) -> list[pb.Check]:
    from cli.connect import asked

    return [check for service in await asked(chosen) for check in await _ask(chosen, service)]


async def _ask(chosen: Settings, service: str) -> list[pb.Check]:
    """The checks of one service; being unreachable is a finding like others."""
    from reach.ops.v1 import ops_service_pb2 as pb
    from reach.ops.v1 import ops_service_pb2_grpc

    from cli.connect import calling
    from shared.errors import ReachError

    try:
        # Without the contract nothing is repeated: what is wrong is to be told, not waited out.
        async with calling(chosen, service) as channel:
            stub = ops_service_pb2_grpc.OpsServiceStub(channel)
            answer = await stub.Doctor(pb.DoctorRequest(), timeout=_SECONDS)
    except ReachError as error:
        if error.reason == "DEPENDENCY_DOWN" and "cannot be reached" not in error.message:
            # Its checks cannot be asked for: who asks is looked up in the database, and that does not answer.
            return [_failed(service, "database", error.message, _DATABASE_FIX)]
        found, _, fix = error.message.partition(": " if "cannot be reached" in error.message else "; ")
        return [_failed(service, "reachable", found, fix)]
    return list(answer.checks)


def _failed(service: str, name: str, found: str, fix: str) -> pb.Check:
    from reach.ops.v1 import ops_service_pb2 as pb

    return pb.Check(service=service, name=name, status=pb.CHECK_STATUS_FAILED, found=found, fix=fix)


def _word(check: pb.Check) -> str:
    from reach.ops.v1 import ops_service_pb2 as pb

    return pb.CheckStatus.Name(check.status).removeprefix("CHECK_STATUS_").lower()


def _print(found: list[pb.Check]) -> None:
    from cli.tables import show

    # The fix stands under what was found, where it has the width of both: it is a sentence, and often a path of pages.
    rows = [
        (
            _SIGNS.get(_word(one), "?"),
            one.service,
            one.name,
            f"{one.found}\n→ {one.fix}" if one.fix else one.found,
        )
        for one in found
    ]
    show(("", "service", "check", "found, and what to do"), rows, empty="no service has checks")
